"""The making of the default model: three small strips, networks of one step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import default_model
from stages.detector import checkpoint
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import CHECKOUT

SHORT = {"epochs": 1, "steps": 1, "batch": 4}


def test_labels_training_and_figures(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOTSCAN_DATA", str(CHECKOUT))
    monkeypatch.setattr(default_model, "CHIP", "sample_layouts/dense.gds.gz")
    monkeypatch.setattr(default_model, "STRIPS_UM", {
        "train": ((45.0, 45.0, 56.0, 56.0), None),
        "validation": ((60.0, 45.0, 66.0, 51.0), None),
        "test": ((70.0, 45.0, 76.0, 51.0), None),
    })  # fmt: skip
    monkeypatch.setattr(default_model, "TRAINING", SHORT)
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path)
    work = tmp_path / "work"
    printed = benchmark(default_model, "--work", work, "--workers", 0, "--ship")
    figures, _ = json.JSONDecoder().raw_decode(printed, printed.index('{\n "with'))
    found = figures["with its prefilter"]
    assert 0 < found["clips"] <= 36
    assert 0 <= found["false_alarms"] <= found["clips"] - found["hotspots"]
    shipped = checkpoint.load(tmp_path / "krf130-met1.pt")
    assert shipped.layers == ("met1",)
    assert shipped.operating_point.clips == found["clips"]
    assert shipped.operating_point.recall == found["recall"]
    assert "area that it never saw" in shipped.provenance["measured_on"]
