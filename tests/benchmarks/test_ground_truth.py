"""Full simulation beside scan and confirm: a corner of the crowded sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import ground_truth
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import CHECKOUT
from tests.support.tables import read_number, read_table


def test_shares_follow_from_the_counts(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOTSCAN_DATA", str(CHECKOUT))
    monkeypatch.setattr(ground_truth, "CHIP", "sample_layouts/dense.gds.gz")
    printed = benchmark(
        ground_truth, "--work", tmp_path, "--roi", "45,45,56,56", "--workers", 0, "--skip-opc"
    )
    rows = read_table(printed)
    simulated = rows[1]
    assert simulated[0] == "simulated, opc none"
    kinds = [read_number(kind.split()[-1]) for kind in simulated[2].split(", ")]
    assert read_number(simulated[1]) == sum(kinds) > 0
    found = {name: value for name, value, *_ in rows[2:]}
    clips = read_number(found["clips"])
    hotspots = read_number(found["hotspots by full simulation"].split()[0])
    flagged = read_number(found["clips simulated"].split()[0])
    false_alarms = read_number(found["false alarms of the scan"])
    assert 0 < hotspots < clips <= 81
    recall = (flagged - false_alarms) / hotspots
    assert read_number(found["recall of the scan"]) == pytest.approx(recall, abs=1e-4)
    assert read_number(found["false alarms after confirming"]) <= false_alarms
