"""A model that comes with the program: trained on some datasets, measured on others, shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from pipeline.evaluate.model import EvaluateRequest, evaluate_model
from pipeline.train.model import TrainRequest, train_model
from pipeline.train.network_jobs import Machine
from stages.detector.models import checkpoint

THREADS = 1


def make_model(
    model: Path,
    sets: Mapping[str, tuple[Path, ...]],
    training: dict[str, Any],
    layer: str,
    *,
    ship: bool,
) -> None:
    """Train unless that is done, print the figures, and put the weights into the package.

    Parameters
    ----------
    model
        Its file is called as the model.
    sets
        Datasets to train on, to set epoch and threshold (``validation``), and to ``test`` on.
    """
    if not model.exists():
        train_model(TrainRequest(
            datasets=sets["train"], out=model, validation=sets["validation"],
            shape={"core_px": 0}, training=training,
        ), Machine(threads=THREADS), print)  # fmt: skip
    for prefiltered in (True, False):
        figures = evaluate_model(EvaluateRequest(
            model=str(model), datasets=sets["test"], prefiltered=prefiltered
        ))  # fmt: skip
        print(json.dumps({"prefiltered": prefiltered, **figures}, indent=1))
    print(machine())
    if ship:
        checkpoint.save(checkpoint.WEIGHTS / model.name, measured(model, figures, layer))


def measured(model: Path, figures: dict[str, Any], layer: str) -> checkpoint.Checkpoint:
    """Return a model with what it does on a set that it never saw, at its own threshold."""
    trained = checkpoint.load(model)
    names = ("recall", "false_alarms", "false_alarm_rate", "hotspots", "clips")
    on = f"{figures['clips']:,} simulated clips of area that it never saw"
    point = replace(trained.operating_point, **{name: figures[name] for name in names})
    return replace(
        trained, layers=(layer,), operating_point=point,
        provenance={**trained.provenance, "measured_on": on},
    )  # fmt: skip
