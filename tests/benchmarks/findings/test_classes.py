"""Classes of a scan of a corner of the crowded sample, checked; and the check by pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter

from benchmarks.findings import classes
from stages.classes.cover import Tolerance
from stages.contracts import Int64s
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


def test_the_check_is_that_of_pictures() -> None:
    """A pixel per half dbu: a region grown is a picture filtered."""
    random, half, edge = np.random.default_rng(3), 24, 4
    tolerance, side, seen = Tolerance(half=half, edge=edge, move=0), half + edge, set()
    inner = slice(edge, -edge)

    def draw(rects: Int64s) -> npt.NDArray[np.bool_]:
        picture = np.zeros((2 * side, 2 * side), bool)
        for x0, y0, x1, y1 in np.clip(rects + side, 0, 2 * side).tolist():
            picture[y0:y1, x0:x1] = True
        return picture

    for _ in range(200):
        low, size = random.integers(-40, 30, (3, 2)), random.integers(3, 40, (3, 2))
        p = np.concatenate((low, low + size), axis=1)
        q, distance = p + random.integers(-2, 3, p.shape), int(random.integers(0, edge))
        one, other = draw(p), draw(q)
        expected = all(
            (maximum_filter(b, 2 * distance + 1)[inner, inner] >= a[inner, inner]).all()
            for pair in ((one, other), (~one, ~other))
            for a, b in (pair, pair[::-1])
        )
        assert classes.is_within(p, q, distance, tolerance) == expected
        seen.add(expected)
    assert seen == {True, False}
