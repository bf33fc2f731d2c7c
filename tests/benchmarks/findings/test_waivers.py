"""A few edits, told right."""

from __future__ import annotations

import pytest

from benchmarks.findings import waivers
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_table


@pytest.mark.parametrize(("case", "edits"), [(2, 10), (4, 10)])
def test_edits_are_told_right(benchmark: Benchmark, case: int, edits: int) -> None:
    """Blocks moved by whole clips are waived as well; moved by any distance they are moved."""
    _, row = read_table(benchmark(waivers, "--edits", edits, "--case", case))
    assert row[-3:-1] == ["100.00 %", "0"]
    assert sum(int(number) > 0 for number in row[1:8]) > 4  # kinds of edits
    assert case != 2 or row[-1] == "0"
