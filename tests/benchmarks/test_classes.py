"""Classes of a scan of a corner of the crowded sample, checked by pictures."""

from __future__ import annotations

from pathlib import Path

from benchmarks import classes
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import DENSE, SmallScan
from tests.support.tables import read_number, read_table


def test_every_hotspot_matches_its_representative(benchmark: Benchmark, tmp_path: Path) -> None:
    SmallScan(DENSE, Path("krf130-met1"), (45.0, 45.0, 58.0, 58.0))(tmp_path / "run")
    printed = benchmark(classes, tmp_path / "run", "--generated", "400")
    _, narrow, wide = read_table(printed)
    for row in (narrow, wide):
        assert read_number(row[6]) == 0
        assert read_number(row[5]) >= read_number(row[2])
        assert read_number(row[1]) >= read_number(row[2]) > 0
    assert read_number(wide[0]) == 2 * read_number(narrow[0])
    assert read_number(wide[2]) >= read_number(narrow[2])
    assert "of 30 kinds" in printed
    assert ": 30 classes, 0 of them of several kinds" in printed
