"""The making of ``arfi45``: a shrunk strip, and networks of one step on strips labelled before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.detectors import arfi45_model
from pipeline.layout.ingest import read_layout
from stages.detector.models import checkpoint
from stages.geometry.union import merge
from stages.geometry.window_query import query
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import DENSE


def test_a_strip_is_shrunk(tmp_path: Path) -> None:
    arfi45_model.shrink(DENSE, tmp_path / "small.gds", (50.0, 50.0, 70.0, 60.0))
    layout = read_layout(tmp_path / "small.gds", [arfi45_model.METAL])
    rects = merge(query(layout.packed[0], layout.extent).rects)
    widths = (rects[:, 2] - rects[:, 0], rects[:, 3] - rects[:, 1])
    assert layout.extent.x_min >= 50_000 * arfi45_model.SHRINK - 1
    assert layout.extent.x_max <= 70_000 * arfi45_model.SHRINK + 1
    share = (widths[0] * widths[1]).sum() / (20_000 * 10_000 * arfi45_model.SHRINK**2)
    assert 0.1 < share < 0.9
    assert min(map(min, widths)) >= 1


def test_training_and_figures(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, labelled: Path, tmp_path: Path
) -> None:
    for name in (*arfi45_model.STRIPS_UM, *arfi45_model.FIELDS):
        (tmp_path / name).symlink_to(labelled)
        (tmp_path / f"{name}.gds").touch()  # shrunk and labelled before
    monkeypatch.setattr(arfi45_model, "TRAINING", {"epochs": 1, "steps": 1, "batch": 4})
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    printed = benchmark(arfi45_model, "--work", tmp_path, "--workers", 0, "--ship")
    figures = json.loads(printed[printed.index("{\n") :])
    assert figures["clips"] > 50
    shipped = checkpoint.load(tmp_path / "shipped" / "arfi45.pt")
    assert shipped.operating_point.false_alarms == figures["false_alarms"]
