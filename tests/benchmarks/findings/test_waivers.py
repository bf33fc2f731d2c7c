"""A few edits, told right."""

from __future__ import annotations

from benchmarks.findings import waivers
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_table


def test_edits_are_told_right(benchmark: Benchmark) -> None:
    _, row = read_table(benchmark(waivers, "--edits", 14, "--case", 2))
    assert row[-2:] == ["100.00 %", "0"]
    assert sum(int(number) > 0 for number in row[1:8]) > 4  # kinds of edits
