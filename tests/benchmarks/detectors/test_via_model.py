"""The making of ``arfi45-via``: a network of one step on regions labelled before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.detectors import shipped_model, via_model
from benchmarks.open_benchmark.regions import list_regions
from stages.detector.models import checkpoint
from tests.benchmarks.conftest import Benchmark, link_regions


def test_it_is_trained_once_and_shipped_with_what_it_does_on_other_regions(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, labelled: Path, tmp_path: Path
) -> None:
    vias = [region for region in list_regions() if region.set != "metal" and region.number < 2]
    link_regions(tmp_path, vias, labelled)
    monkeypatch.setattr(via_model, "TRAINING", via_model.TRAINING | {"steps": 1, "batch": 4})
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    asked = ("--data", tmp_path, "--work", tmp_path / "work", "--epochs", 1)
    with_prefilter, figures = read_figures(benchmark(via_model, *asked))
    assert not list((tmp_path / "shipped").iterdir())
    assert [with_prefilter["prefiltered"], figures["prefiltered"]] == [True, False]

    monkeypatch.setattr(shipped_model, "train_model", None)  # it is there
    figures = read_figures(benchmark(via_model, *asked, "--ship"))[1]
    trained = checkpoint.load(tmp_path / "work" / "arfi45-via.pt")
    shipped = checkpoint.load(tmp_path / "shipped" / "arfi45-via.pt")
    assert shipped.layers == ("via",)
    assert shipped.threshold == trained.threshold
    assert shipped.operating_point.clips == figures["clips"] > 50
    assert shipped.operating_point.false_alarms == figures["false_alarms"]
    assert f"{figures['clips']:,} simulated clips" in shipped.provenance["measured_on"]


def read_figures(printed: str) -> list[dict[str, Any]]:
    """Return the objects that the making of a model prints last."""
    return [json.loads("{" + part[: part.index("}") + 1]) for part in printed.split("{")[1:]]
