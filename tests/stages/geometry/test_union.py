"""The sweep against a brute-force grid of unit squares."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from hypothesis import example, given
from hypothesis import strategies as st

from stages.geometry.decompose import decompose
from stages.geometry.union import find_edges, find_gaps, merge, swap_xy

SIZE = 14

rect = st.tuples(*(st.integers(0, SIZE - 1) for _ in range(4))).map(
    lambda v: [min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]) + 1, max(v[1], v[3]) + 1]
)
rects = st.lists(rect, min_size=0, max_size=8).map(
    lambda rows: np.array(rows, np.int64).reshape(-1, 4)
)


def painted(shapes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often each unit square is covered, (rows, columns), with a border of one."""
    grid = np.zeros((SIZE + 2, SIZE + 2), int)
    for x_0, y_0, x_1, y_1 in shapes:
        grid[y_0 + 1 : y_1 + 1, x_0 + 1 : x_1 + 1] += 1
    return grid


@given(rects)
def test_merged_runs_cover_the_union_once(shapes: npt.NDArray[np.int64]) -> None:
    assert (painted(merge(shapes)) == (painted(shapes) > 0)).all()


@given(rects, st.randoms(use_true_random=False))
def test_merge_depends_on_the_region_alone(shapes: npt.NDArray[np.int64], random: object) -> None:
    halves = [[x0, y0, (x0 + x1) // 2, y1] for x0, y0, x1, y1 in shapes.tolist() if x1 - x0 > 1]
    more = np.array(shapes.tolist()[::-1] + halves, np.int64).reshape(-1, 4)
    assert merge(shapes).tolist() == merge(more).tolist()


@given(rects, st.integers(1, SIZE))
def test_gaps_are_the_uncovered_stretches_between_shapes(
    shapes: npt.NDArray[np.int64], limit: int
) -> None:
    covered = painted(shapes) > 0
    expected = np.zeros_like(covered)
    for row in range(SIZE + 2):
        inside = np.flatnonzero(covered[row])
        for left, right in itertools.pairwise(inside):
            if 1 < right - left <= limit + 1:
                expected[row, left + 1 : right] = True
    assert (painted(find_gaps(shapes, limit)) == expected).all()


def test_gaps_wider_than_the_limit_are_left_out() -> None:
    two = np.array([[0, 0, 4, 4], [7, 0, 9, 4]])
    assert find_gaps(two, 3).tolist() == [[4, 0, 7, 4]]
    assert find_gaps(two, 2).tolist() == []


@example(np.array([[0, 0, 4, 4], [4, 4, 8, 8]]))  # they touch in a corner: convex for both
@example(np.array([[4, 0, 8, 4], [0, 4, 4, 8]]))
@given(rects)
def test_edges_bound_the_union(shapes: npt.NDArray[np.int64]) -> None:
    covered = painted(shapes) > 0
    step = np.diff(covered.astype(int), axis=1)  # +1 where the interior begins
    for x, y_lo, y_hi, side, convex_lo, convex_hi in find_edges(shapes).tolist():
        assert (step[y_lo + 1 : y_hi + 1, x] == side).all()
        step[y_lo + 1 : y_hi + 1, x] = 0
        column = x + 1 if side > 0 else x  # the column of squares inside the edge
        assert convex_lo == (not covered[y_lo, column])
        assert convex_hi == (not covered[y_hi + 1, column])
    assert not step.any(), "a boundary that no edge names"


@given(rects)
def test_transposing_twice_gives_the_rectangles_back(shapes: npt.NDArray[np.int64]) -> None:
    assert swap_xy(swap_xy(shapes)).tolist() == shapes.tolist()
    assert (painted(swap_xy(shapes)) == painted(shapes).T).all()


def test_decompose_keeps_holes_drawn_with_a_cut_line() -> None:
    keyhole = [(0, 0), (9, 0), (9, 9), (0, 9), (0, 3), (3, 3), (3, 6), (6, 6), (6, 3), (0, 3)]
    triangle = [(0, 0), (5, 0), (0, 5)]
    points = np.array(keyhole + triangle, np.int64)
    pieces, owner, others = decompose(points, np.array([0, len(keyhole), len(points)]))
    area = (pieces[:, 2] - pieces[:, 0]) * (pieces[:, 3] - pieces[:, 1])
    assert area.sum() == 9 * 9 - 3 * 3
    assert set(owner.tolist()) == {0}
    assert others.tolist() == [1]
