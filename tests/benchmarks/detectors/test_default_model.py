"""The making of the default model: small parts of the samples, networks of one step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.detectors import default_model
from benchmarks.detectors.default_model import Region
from stages.detector.models import checkpoint
from tests.benchmarks.conftest import Benchmark

DENSE = "dense.gds.gz"


def test_labels_training_and_figures(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One group is left out, and the model that may ship is measured on the test strip."""
    monkeypatch.setattr(default_model, "REGIONS", {
        "dense": Region(DENSE, (45.0, 45.0, 56.0, 56.0)),
        "block": Region(DENSE, (60.0, 60.0, 68.0, 68.0)),
        "varied": Region("varied.gds"),
        "varied-validation": Region("varied-validation.gds"),
        "chip-validation": Region(DENSE, (60.0, 45.0, 74.0, 59.0), None),
        "chip-test": Region(DENSE, (70.0, 45.0, 76.0, 51.0), None),
    })  # fmt: skip
    monkeypatch.setattr(default_model, "GROUPS", {"dense": ("dense",), "block": ("block",)})
    monkeypatch.setattr(default_model, "VALIDATION", {})
    monkeypatch.setattr(default_model, "FIELDS_UM", dict.fromkeys(default_model.FIELDS_UM, 12.5))
    monkeypatch.setattr(default_model, "TRAINING", {"steps": 1, "batch": 4})
    shutil.copy(checkpoint.WEIGHTS / "krf130-met1.pt", tmp_path)
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path)
    asked = ("--work", tmp_path / "work", "--workers", 0, "--epochs", 1, "--left-out", "block")
    printed = benchmark(default_model, *asked, "--ship")
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert [(row["measured on"], row["model"]) for row in rows] == [
        ("block left out", "without-block"), ("block left out", "krf130-met1"),
        *(("block left out", f"without-block, block, {share} of the validation")
          for share in ("99.0%", "99.3%", "99.5%")),
        ("test strip of the chip", "new"), ("test strip of the chip", "krf130-met1"),
    ]  # fmt: skip
    for figure in ("recall", "false_alarm_rate"):
        assert rows[2][figure] <= rows[3][figure] <= rows[4][figure]
    assert rows[4]["recall"] > 0
    found = rows[5]
    assert 0 < found["clips"] <= 36
    assert 0 <= found["false_alarms"] <= found["clips"] - found["hotspots"]
    shipped = checkpoint.load(tmp_path / "krf130-met1.pt")
    assert shipped.layers == ("met1",)
    assert shipped.operating_point.recall == found["recall"]
    assert shipped.operating_point.clips == found["clips"]
    assert "area that it never saw" in shipped.provenance["measured_on"]
