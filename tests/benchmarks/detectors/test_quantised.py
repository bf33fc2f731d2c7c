"""What integers find beside float32, counted by another route."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.detectors import quantised
from pipeline.datasets.store import load_dataset
from pipeline.evaluate.model import EvaluateRequest, evaluate_model
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table

MODEL = "krf130-met1"


def test_each_set_and_all_are_counted_as_evaluating_does(
    benchmark: Benchmark, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "REPEATS", 1)
    printed = benchmark(quantised, MODEL, "--test", labelled, labelled)
    rows = [row for row in read_table(printed) if row[0] in ("yes", "no")]
    assert [row[0] for row in rows] == ["no"] * 3 + ["yes"] * 3
    assert len(load_dataset(labelled).raster) > 0
    for prefiltered, (one, same, both) in zip((False, True), (rows[:3], rows[3:]), strict=True):
        found = evaluate_model(
            EvaluateRequest(model=MODEL, datasets=(labelled,), prefiltered=prefiltered)
        )
        fails, passes, _, in_int8, _, alarms_int8 = (int(read_number(cell)) for cell in one[2:8])
        assert fails > 0 < passes
        assert found["recall"] == pytest.approx(in_int8 / fails)
        assert found["false_alarm_rate"] == pytest.approx(alarms_int8 / passes)
        assert one == same
        assert [int(read_number(cell)) for cell in both[2:8]] == [
            2 * int(read_number(cell)) for cell in one[2:8]
        ]
        assert both[1] == "all"
        assert both[8:] == one[8:]
