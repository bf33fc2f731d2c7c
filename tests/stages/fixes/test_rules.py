"""Rules around a fix: violations are those of a rule check; nets and vias are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.contracts import Int64s
from stages.fixes.rules import NET, SPACE, VIA, WIDTH, DesignRules, find_broken, inspect_drawn
from stages.geometry.union import merge

RULES = DesignRules(width=20, space=20)
HALF = 1000
NO_VIAS = np.empty((0, 4), np.int64)
PAIR = np.array([[0, 0, 100, 30], [0, 60, 100, 90]])


def rects(*rows: tuple[int, int, int, int]) -> Int64s:
    return merge(np.array(rows, np.int64))


def add(*rows: tuple[int, int, int, int]) -> Int64s:
    return rects(*map(tuple, PAIR.tolist()), *rows)


@pytest.mark.parametrize(
    ("after", "broken"),
    [
        (add((0, 30, 100, 35)), ""),
        (add((0, 30, 100, 45)), SPACE),
        (add((0, 30, 40, 60)), NET),
        (rects((0, 0, 100, 15), (0, 60, 100, 90)), WIDTH),
        (rects((0, 0, 30, 30), (60, 0, 100, 30), (0, 60, 100, 90)), NET),
        (rects((0, 60, 100, 90)), NET),
        (add((110, 40, 140, 100)), SPACE),  # beside the upper bar
        (add((105, 35, 130, 56)), SPACE),  # from corner to corner of the lower one
    ],
)
def test_what_a_change_breaks(after: Int64s, broken: str) -> None:
    assert find_broken(inspect_drawn(PAIR, RULES, HALF), after, NO_VIAS) == broken


def test_a_violation_that_was_there_is_no_reason() -> None:
    before = rects((0, 0, 100, 30), (0, 40, 100, 70))
    wider = rects((0, -5, 100, 30), (0, 40, 100, 70))
    assert find_broken(inspect_drawn(before, RULES, HALF), wider, NO_VIAS) == ""


def test_what_the_window_cuts_is_not_narrow() -> None:
    """A step in an edge that goes on beyond the window, and one that does not."""
    wire, (low, high) = (-100, 0, 100, 30), (85, 100)
    for half, broken in ((100, ""), (101, WIDTH)):
        for before, after in (
            (rects(wire), rects(wire, (low, 30, high, 35))),
            (rects(wire)[:, [1, 0, 3, 2]], rects((0, -100, 30, 100), (30, low, 35, high))),
        ):
            assert find_broken(inspect_drawn(before, RULES, half), after, NO_VIAS) == broken


def test_a_via_stays_covered_with_its_enclosure() -> None:
    via, shorter = np.array([[70, 10, 80, 20]]), rects((0, 0, 85, 30), (0, 60, 100, 90))
    for enclosure, broken in ((5, ""), (6, VIA)):
        drawn = inspect_drawn(PAIR, DesignRules(20, 20, enclosure), HALF)
        assert find_broken(drawn, shorter, via) == broken


@pytest.mark.parametrize("grid", [1, 8])
def test_the_same_violations_as_klayout(grid: int) -> None:
    """On a grid many corners are in line."""
    kdb = pytest.importorskip("klayout.db")

    def draw(region: Int64s) -> Any:
        shapes = kdb.Region()
        for row in region.tolist():
            shapes.insert(kdb.Box(*row))
        return shapes.merge()

    def is_joined_at_a_corner(shapes: Any) -> bool:  # which is neither width nor space
        return bool(shapes.merged(True, 0).count() != shapes.count())

    random, seen = np.random.default_rng(5), {"": 0, WIDTH: 0, SPACE: 0}
    nothing = np.empty((0, 4), np.int64)
    for _ in range(300):
        low = random.integers(0, 120, (4, 2))
        region = merge(np.concatenate([low, low + random.integers(12, 60, (4, 2))], axis=1))
        region = merge(region // grid * grid)
        shapes = draw(region)
        if np.unique(region[:, [0, 2]]).size < 2 or is_joined_at_a_corner(shapes):
            continue
        found = find_broken(inspect_drawn(nothing, RULES, HALF), region, NO_VIAS)
        narrow, near = shapes.width_check(20).count(), shapes.space_check(20).count()
        # With nothing before, the shapes are new nets: what is left when no rule is broken.
        assert found == (WIDTH if narrow else SPACE if near else NET), region.tolist()
        seen["" if found == NET else found] += 1
    assert min(seen.values()) > 20
