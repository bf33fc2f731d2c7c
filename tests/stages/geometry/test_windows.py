"""What windows hold of rectangles, against cutting each rectangle to each window."""

from __future__ import annotations

import numpy as np
import pytest

from stages.contracts import Int64s
from stages.geometry.windows import (
    bin_rects,
    cut_to_windows,
    find_rects_in_window,
    find_touched_windows,
)

SIZE = 50


def random_rects(seed: int, count: int = 120) -> Int64s:
    """Small and long ones, some as far as the edge of a window."""
    rng = np.random.default_rng(seed)
    low = rng.integers(-6, 18, (count, 2)) * 25 + rng.integers(0, 2, (count, 2)) * 7
    sides = rng.choice([1, 25, 50, 230], (count, 2))
    return np.concatenate((low, low + sides), axis=1).astype(np.int64)


def cut(rects: Int64s, x: int, y: int) -> list[tuple[int, ...]]:
    """The parts of rectangles in one window, in dbu from its corner."""
    parts = np.clip(rects - [x, y, x, y], 0, SIZE)
    inside = (parts[:, 0] < parts[:, 2]) & (parts[:, 1] < parts[:, 3])
    return sorted(map(tuple, parts[inside].tolist()))


@pytest.mark.parametrize("seed", range(3))
def test_a_window_holds_each_rectangle_once(seed: int) -> None:
    rects, local = random_rects(seed), np.empty((1, 4), np.int64)
    bins = bin_rects(rects, SIZE)
    held = 0
    x_0, y_0 = bins[0][:2].tolist()
    # Some windows reach one dbu into the next bin.
    for x in (*range(-260, 700, 65), *range(x_0 - 49, 700, 100)):
        for y in (*range(-275, 700, 75), *range(y_0 - 49, 700, 100)):
            local, count = find_rects_in_window(rects, bins, SIZE, x, y, local)
            assert sorted(map(tuple, local[:count].tolist())) == cut(rects, x, y)
            held += count
    assert held > 300
    assert len(local) > 1  # it grew


def test_bins_list_what_they_touch() -> None:
    rects = np.array([[10, 20, 60, 70], [60, 20, 61, 69], [110, 80, 160, 81]], np.int64)
    grid, start, member = bin_rects(rects, SIZE)
    assert grid.tolist() == [10, 20, 3, 2]  # no bin begins at the right edge of the third
    assert len(start) == 7
    listed = [member[start[b] : start[b + 1]].tolist() for b in range(6)]
    assert listed == [[0], [1], [], [], [], [2]]


def test_no_rectangles_have_no_bins() -> None:
    none = np.empty((0, 4), np.int64)
    bins = bin_rects(none, SIZE)
    assert [part.tolist() for part in bins] == [[0] * 4, [0], []]
    assert find_rects_in_window(none, bins, SIZE, 0, 0, np.empty((1, 4), np.int64))[1] == 0


def test_rectangles_are_cut_to_the_box_of_all_windows() -> None:
    rects = np.array(
        [
            [-900, 10, 900, 20],
            [0, 0, 5, 5],
            [-20, 0, -10, 40],
            [150, 0, 170, 9],
            [0, 150, 9, 170],
            [120, 130, 200, 200],
        ],
        np.int64,
    )
    left, bottom = np.array([-10, 100]), np.array([-10, 100])
    found = cut_to_windows(rects, left, bottom, SIZE)
    assert found.tolist() == [[-10, 10, 150, 20], [0, 0, 5, 5], [120, 130, 150, 150]]
    assert cut_to_windows(rects, left[:0], bottom[:0], SIZE).shape == (0, 4)


def test_a_box_touches_the_windows_that_it_overlaps() -> None:
    left, bottom = np.array([0, 0, 10, 50, 0]), np.array([0, 10, 0, 0, 50])
    for box, expected in (
        ((50, 0, 60, 10), [False, False, True, True, False]),
        ((0, 50, 10, 60), [False, True, False, False, True]),
        ((-5, -5, 0, 99), [False] * 5),
        ((-5, -5, 1, 1), [True, False, False, False, False]),
    ):
        assert find_touched_windows(np.array([box]), left, bottom, SIZE).tolist() == expected
    assert not find_touched_windows(np.empty((0, 4), np.int64), left, bottom, SIZE).any()
