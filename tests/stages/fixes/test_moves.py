"""Moves of edges: which are listed, what they change, and that turning them turns the change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import Box
from stages.fixes.moves import (
    Change,
    EdgeMove,
    fit_moves,
    join_changes,
    join_moves,
    list_stretches,
    subtract_rect,
    to_change,
)
from stages.geometry.union import merge

BAR = np.array([[-100, -10, 100, 10]])


def draw(rects: np.ndarray, size: int = 60) -> np.ndarray:
    picture = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in np.clip(rects, 0, size).tolist():
        picture[y0:y1, x0:x1] = True
    return picture


def test_each_edge_near_the_place_is_listed_once_however_the_shape_is_cut() -> None:
    whole = list_stretches(BAR, near=50, whole=60, half=25)
    cut = np.array([[-100, -10, 20, 10], [10, -10, 100, 3], [20, 3, 100, 10]])
    assert whole == list_stretches(merge(cut), near=50, whole=60, half=25)
    assert sorted((edge.axis, edge.side, edge.at) for edge in whole) == [
        *3 * [(1, -1, 10)], *3 * [(1, 1, -10)]
    ]  # fmt: skip
    reaches = [(-60, 60), (-50, 50), (-25, 25)]
    assert {(edge.low, edge.high) for edge in whole} == set(reaches)


def test_a_short_edge_moves_from_end_to_end() -> None:
    ends = [
        edge for edge in list_stretches(np.array([[0, -10, 200, 10]]), 50, 60, 25) if not edge.axis
    ]
    assert ends == [EdgeMove(0, 1, 0, -10, 10)]


@pytest.mark.parametrize(
    ("out", "grown"), [(5, [[-105, -10, 100, 10]]), (-5, [[-95, -10, 100, 10]])]
)
def test_a_move_out_adds_and_a_move_in_takes_away(out: int, grown: list[list[int]]) -> None:
    move = EdgeMove(0, 1, -100, -10, 10, out)
    assert to_change([move]).apply_to(BAR).tolist() == grown


def test_moves_of_one_edge_that_touch_are_one() -> None:
    upper = EdgeMove(1, -1, 10, 0, 340, -20)
    beside, apart = replace(upper, low=300, high=500), replace(upper, low=501, high=600)
    further, other = replace(upper, out=-25), replace(upper, at=11)
    assert join_moves([beside, apart, upper]) == (replace(upper, high=500), apart)
    assert join_moves([upper, further, other]) == tuple(sorted([upper, further, other]))
    assert to_change(join_moves([upper, beside])).apply_to(BAR).tolist() == (
        to_change([upper, beside]).apply_to(BAR).tolist()
    )


def test_what_of_a_change_is_within_a_box() -> None:
    change = Change(((0, 0, 10, 10), (20, 0, 30, 10)), ((5, 5, 50, 50),))
    assert change.clip(Box(0, 0, 20, 20)) == Change(((0, 0, 10, 10),), ((5, 5, 20, 20),))


def test_a_move_in_words() -> None:
    upper = EdgeMove(1, -1, 10, 0, 340, -20)
    assert upper.describe(2.0) == "move the upper edge 40 nm down over 680 nm"
    assert (
        replace(upper, side=1, out=20).describe(1.0) == "move the lower edge 20 nm down over 340 nm"
    )


def test_what_is_subtracted_is_gone_and_nothing_else() -> None:
    random = np.random.default_rng(3)
    for _ in range(50):
        corners = np.sort(random.integers(0, 60, (9, 2, 2)), axis=1)
        rects = merge(corners[:8].reshape(8, 4))
        taken = corners[8].reshape(4)
        assert (draw(subtract_rect(rects, taken)) == draw(rects) & ~draw(taken[None])).all()


@pytest.mark.parametrize("turn", range(8))
def test_a_change_of_a_cell_returns_from_where_it_is_placed(turn: int) -> None:
    change = Change(((0, 0, 10, 20),), ((-5, 3, 7, 9), (50, 60, 70, 90)))
    assert change.place(turn, 123, -45).unplace(turn, 123, -45) == change


def test_the_same_change_twice_is_one() -> None:
    change = Change(((0, 0, 10, 20),), ())
    assert join_changes([change, change]) == change


def test_moves_fit_edges_that_differ_by_the_tolerance_and_no_others() -> None:
    wanted = EdgeMove(0, 1, -103.5, -12, 8, 10)
    assert fit_moves(BAR, [wanted], tolerance=4, step=5) == (EdgeMove(0, 1, -100, -10, 10, 10),)
    assert fit_moves(BAR, [wanted], tolerance=3, step=5) == ()
    stretch = EdgeMove(1, -1, 12, -47.5, 22, 10)
    assert fit_moves(BAR, [stretch], tolerance=4, step=5) == (EdgeMove(1, -1, 10, -50, 20, 10),)
