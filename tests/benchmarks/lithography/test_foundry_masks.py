"""Cells and their mirror images."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("klayout")

from benchmarks.lithography.foundry_masks import Cell, Optics, Source, Tried, surround
from stages.contracts import Box


def test_a_cell_is_surrounded_by_its_mirror_images() -> None:
    cell = Cell("c", (100, 60), np.array([[10, 0, 30, 20]]), np.array([[10, 0, 30, 20]]))
    around = surround(cell.target, cell.size, Box(-100, -60, 200, 120))
    # Twice joined across the lower edge, once alone below the upper one of the next row.
    expected = {(-30, -20, -10, 20), (10, -20, 30, 20), (170, -20, 190, 20)} | {
        (x, 100, x + 20, 120) for x in (-30, 10, 170)
    }
    assert {tuple(rect) for rect in around.tolist()} == expected


def test_the_blur_and_level_of_least_error_are_chosen() -> None:
    sums = np.full((2, 4, 61), 90.0)
    sums[0, 1, 7], sums[1, 2, 9] = 1.0, 4.0
    tried = Tried(Optics(248, 0.7, Source("circular", 0.6), False), sums, np.array([10.0, 10.0]))
    assert tried.choose(np.array([0])) == (pytest.approx(0.1**0.5), 1, 7)
    assert tried.choose(np.array([1, 1]))[1:] == (2, 9)
