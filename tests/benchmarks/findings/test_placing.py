"""Distances from a hotspot to its defect: a confirmed scan of a corner of the crowded sample."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.findings import placing
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import DENSE, SmallScan
from tests.support.tables import read_number, read_table


def test_distances_are_those_within_a_core(benchmark: Benchmark, tmp_path: Path) -> None:
    scan = SmallScan(DENSE, Path("krf130-met1"), (45.0, 45.0, 70.0, 70.0))
    scan(tmp_path / "run", confirm={"enabled": True})
    printed = benchmark(placing, tmp_path / "run")
    _, centre, placed, alike = read_table(printed)
    for row in (centre, placed, alike):
        mean, median, most = map(read_number, row[1:])
        assert 0 < median <= most
        assert 0 < mean < 1810  # the diagonal of two cores
    counted = re.search(r"^(\d+) hotspots", printed, re.MULTILINE)
    assert counted
    assert int(counted[1]) > 0
