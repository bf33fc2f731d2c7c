"""The table of confirmed clips, of one neck, beside this version itself."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.speed import windows
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table

NECK = np.array([[-9000, -70, -40, 70], [-40, -35, 40, 35], [40, -70, 9000, 70]])


def test_both_versions_find_the_same_where_they_are_the_same(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(case: windows.Case, *ignored: object) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(np.clip(NECK + 1860, 0, 3720), np.empty((0, 4), np.int64))]

    monkeypatch.setattr(windows, "CASES", windows.CASES[:1])
    monkeypatch.setattr(windows, "draw_windows", draw)
    printed = benchmark(windows, "--before", windows.ROOT, "--rounds", 1)
    _, *rows = read_table(printed)
    assert [row[1] for row in rows] == ["before", "this"]
    assert [row[3:] for row in rows] == [["100.0%", "0.0000"]] * 2
    assert read_number(rows[0][2]) > 0
