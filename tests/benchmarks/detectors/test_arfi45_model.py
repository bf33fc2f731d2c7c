"""The making of ``arfi45``: networks of one step on regions labelled before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from benchmarks.detectors import arfi45_model
from benchmarks.detectors.shipped_model import is_inner
from benchmarks.open_benchmark.regions import Metal, list_regions
from stages.detector.models import checkpoint
from tests.benchmarks.conftest import Benchmark, link_regions

METAL = [region for region in list_regions() if region.set == "metal"]


def test_no_square_is_trained_on_twice_or_lies_where_savings_are_measured() -> None:
    sources = [region.source for region in METAL if region.split == "train"]
    sources += [region.source for region in arfi45_model.list_more()]
    boxes = [source.box_um for source in sources if isinstance(source, Metal)]
    assert len(set(boxes)) == len(boxes) == 70
    assert all(box is not None and box[2] <= 2200 for box in boxes)


def test_clips_at_the_border_of_a_cut_square_set_no_threshold(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "cut", mode="w")
    x, y = (each.ravel() for each in np.meshgrid([600, 1800, 3000, 4200], [600, 1800, 3000]))
    group["x_dbu"], group["y_dbu"] = x, y
    inner = is_inner(tmp_path / "cut")
    assert list(zip(x[inner], y[inner], strict=True)) == [(1800, 1800), (3000, 1800)]


def test_training_and_figures(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, labelled: Path, tmp_path: Path
) -> None:
    link_regions(tmp_path, (*METAL, *arfi45_model.list_more()), labelled)
    short = {"steps": 1, "batch": 4}
    monkeypatch.setattr(arfi45_model, "TRAINING", arfi45_model.TRAINING | short)
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    printed = benchmark(
        arfi45_model,
        "--data",
        tmp_path,
        "--work",
        tmp_path,
        "--workers",
        0,
        "--epochs",
        1,
        "--ship",
    )
    with_prefilter, figures = (
        json.loads("{" + part[: part.index("}") + 1]) for part in printed.split("{")[1:]
    )
    assert with_prefilter["prefiltered"] is True
    assert figures["clips"] > 50
    shipped = checkpoint.load(tmp_path / "shipped" / "arfi45.pt")
    assert shipped.operating_point.false_alarms == figures["false_alarms"]
