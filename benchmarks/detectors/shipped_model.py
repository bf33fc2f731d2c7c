"""A model that comes with the program: trained on some datasets, measured on others, shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.machine import machine
from pipeline.datasets.store import load_dataset
from pipeline.evaluate.model import EvaluateRequest, evaluate_model
from pipeline.train.model import TrainRequest, train_model
from pipeline.train.network_jobs import Machine
from stages.contracts import Float32s, Int64s
from stages.detector.models import checkpoint
from stages.detector.training.thresholds import OperatingPoint, choose_threshold
from stages.lithography.measure.margins import Bools, split_by_margin
from stages.scores import ModelScorer, build_scorer, choose_arithmetic, score_rasters

THREADS = 1


def make_model(
    model: Path,
    sets: Mapping[str, tuple[Path, ...]],
    training: dict[str, Any],
    layer: str,
    *,
    ship: bool,
    cut_out: bool = False,
) -> None:
    """Train unless that is done, print the figures, and put the weights into the package.

    Parameters
    ----------
    model
        Its file is called as the model.
    sets
        Datasets to train on, to set epoch and threshold (``validation``), and to ``test`` on.
    cut_out
        The validation sets were cut out of a chip. What was cut at their border prints as chance
        has it, and clips there set no threshold.
    """
    if not model.exists():
        train_model(TrainRequest(
            datasets=sets["train"], out=model, validation=sets["validation"],
            shape={"core_px": 0}, training=training,
        ), Machine(threads=THREADS), print)  # fmt: skip
    if cut_out:
        set_threshold(model, sets["validation"], training["recall"])
    for prefiltered in (True, False):
        figures = evaluate_model(EvaluateRequest(
            model=str(model), datasets=sets["test"], prefiltered=prefiltered
        ))  # fmt: skip
        print(json.dumps({"prefiltered": prefiltered, **figures}, indent=1))
    print(machine())
    if ship:
        checkpoint.save(checkpoint.WEIGHTS / model.name, measured(model, figures, layer))


def set_threshold(model: Path, validation: tuple[Path, ...], recall: float) -> None:
    """Set a model's threshold by the clips of some sets that are not at the sets' border."""
    trained, scored = checkpoint.load(model), []
    scorer = make_scorer(trained)
    for path in validation:
        scores, fails, passes = score_clips(scorer, path)
        inner = is_inner(path)
        scored.append((scores[inner], fails[inner], passes[inner]))
    point = choose_sure_threshold(scored, recall)
    confident = trained.operating_point.confident
    if confident is not None:
        confident = max(confident, point.threshold)
    checkpoint.save(model, replace(trained, operating_point=replace(point, confident=confident)))


def is_inner(path: Path) -> Bools:
    """Return which clips of a dataset are not the first or last of its lattice, (n,)."""
    group, inner = zarr.open_group(path, mode="r"), np.True_
    for name in ("x_dbu", "y_dbu"):
        place: Int64s = np.asarray(group[name])
        inner = inner & (place > place.min()) & (place < place.max())
    return np.asarray(inner)


def make_scorer(model: checkpoint.Checkpoint) -> ModelScorer:
    """Return what scores with a model alone, without its prefilter."""
    return build_scorer(model, prefiltered=False, arithmetic=choose_arithmetic(model, "cpu", None))


def choose_sure_threshold(
    scored: Sequence[tuple[Float32s, Bools, Bools]], recall: float
) -> OperatingPoint:
    """Return the highest threshold that finds so much of what surely fails in all of some sets.

    Parameters
    ----------
    scored
        Of each set as of `score_clips`.
    """
    scores, fails, passes = (np.concatenate(column) for column in zip(*scored, strict=True))
    sure = fails | passes
    return choose_threshold(scores[sure], fails[sure], recall)


def score_clips(scorer: ModelScorer, path: Path) -> tuple[Float32s, Bools, Bools]:
    """Return the score of each clip of a set, and which surely fail and surely pass, (n,) each."""
    dataset = load_dataset(path)
    fails, passes = split_by_margin(dataset.worst_margin())
    return score_rasters(dataset.raster, scorer).score[dataset.pattern], fails, passes


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
