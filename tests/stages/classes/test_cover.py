"""Every pattern matches its representative, and the order of the patterns changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from stages.classes.cover import Tolerance, cover_patterns
from stages.classes.patterns import build_patterns, sign_places, turn_rects
from stages.classes.windows import Windows
from stages.contracts import Int64s
from tests.support.windows import cut, draw, jitter, measure

TOLERANCE = Tolerance(half=24, edge=4, move=0)


def draw_kind(random: np.random.Generator) -> Int64s:
    """Return rectangles so far apart that a small move neither joins nor cuts any."""
    corners = np.array([(x, y) for x in (-24, -8, 8) for y in (-24, -8, 8)])
    low = corners[random.random(9) < 0.6] + 3
    return np.concatenate((low, low + random.integers(6, 10, low.shape)), axis=1)


def make_windows(kinds: int, each: int, most: int) -> tuple[list[Int64s], Int64s]:
    """Return windows of known kinds, their edges moved by at most `most`, turned at random."""
    random = np.random.default_rng(5)
    windows, kind = [], []
    for number in range(kinds):
        first = draw_kind(random)
        for _ in range(each):
            moved = jitter(first, random, most) if len(windows) % each else first
            windows.append(turn_rects(cut(moved, TOLERANCE.reach), int(random.integers(8))))
            kind.append(number)
    return windows, np.array(kind)


def cover(windows: list[Int64s], tolerance: Tolerance = TOLERANCE) -> tuple[Int64s, Int64s, Int64s]:
    start = np.cumsum([0, *map(len, windows)])
    middles = np.column_stack([np.arange(len(windows)), np.zeros((len(windows), 2), np.int64)])
    layer = Windows(np.concatenate(windows), start)
    signature, _ = sign_places([layer], middles, tolerance.reach, 8)
    patterns = build_patterns([[window] for window in windows], tolerance.reach)
    found = cover_patterns(patterns, np.ones(len(windows), np.int64), signature, tolerance)
    return found.representative, found.distance, found.turn


def test_members_match_their_representative() -> None:
    """By pictures: turned as found, the representative is as far from the member as is said."""
    windows, _ = make_windows(12, 12, 3)
    representative, distance, turn = cover(windows)
    for at, window in enumerate(windows):
        turned = turn_rects(windows[representative[at]], int(turn[at]))
        pictures = draw(turned, TOLERANCE.reach), draw(window, TOLERANCE.reach)
        assert measure(*pictures, TOLERANCE.reach, TOLERANCE.half, 4) == distance[at] <= 4
    assert 12 < len(np.unique(representative)) < len(windows)


def test_known_kinds_are_found() -> None:
    """Edges move by at most half the tolerance: whichever represents a kind takes all of it."""
    windows, kind = make_windows(12, 15, 2)
    representative, *_ = cover(windows)
    assert len(np.unique(representative)) == len(set(zip(kind, representative, strict=True))) == 12


def test_edges_moved_too_far_are_another_class() -> None:
    near, far = np.array([[-24, -8, 24, 8]]), np.array([[-24, -8, 24, 13]])
    representative, *_ = cover([near, far])
    assert len(np.unique(representative)) == 2
    far[0, 3] = 12
    representative, *_ = cover([near, far])
    assert len(np.unique(representative)) == 1


@pytest.mark.parametrize("area_share", [None, 0.9])
def test_the_order_of_the_patterns_changes_nothing(area_share: float | None) -> None:
    windows, _ = make_windows(8, 10, 4)
    tolerance = Tolerance(half=24, edge=4, move=0, area_share=area_share)
    representative, distance, _ = cover(windows, tolerance)
    order = np.random.default_rng(3).permutation(len(windows))
    other, other_distance, _ = cover([windows[at] for at in order], tolerance)
    assert (order[other] == representative[order]).all()
    assert (other_distance == distance[order]).all()
