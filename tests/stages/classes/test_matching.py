"""Matching is exact: equal to comparing pictures with a pixel per unit of length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from stages.classes.cover import Tolerance
from stages.classes.features import compute_depths, compute_shares
from stages.classes.matching import NO_MATCH, match_patterns
from stages.classes.patterns import Patterns, build_patterns, turn_rects
from stages.contracts import Int64s
from tests.support.windows import cut, draw, jitter, measure, random_rects

EDGES = Tolerance(half=24, edge=4, move=3)
AREAS = Tolerance(half=24, edge=4, move=0, area_share=0.9)


def random_pairs(reach: int, count: int) -> Iterator[tuple[Int64s, Int64s]]:
    """Pairs of patterns: unrelated, and with edges moved within and past the tolerance."""
    random = np.random.default_rng(11)
    for number in range(count):
        rects = random_rects(random, reach)
        other = jitter(rects, random, number % 7) if number % 8 else random_rects(random, reach)
        yield rects, other[(other[:, 0] < other[:, 2]) & (other[:, 1] < other[:, 3])]


def compare(p: Int64s, q: Int64s, tolerance: Tolerance, turns: range = range(1)) -> list[int]:
    patterns = build_patterns([[p], [q]], tolerance.reach)
    turned = [turn_rects(part, turn) for turn in turns for part in patterns.get(0)]
    start = np.cumsum([0, *(len(part) for part in turned)])
    (found,) = match_patterns(
        np.concatenate(turned), start, patterns.rects, patterns.start, np.array([1]), 2,
        tolerance.half, tolerance.limit, tolerance.move, tolerance.area_share is not None,
    ).tolist()  # fmt: skip
    return list(found)


def test_the_distance_is_that_of_the_pictures() -> None:
    still, seen = Tolerance(half=24, edge=4, move=0), set()
    for p, q in random_pairs(still.reach, 300):
        p, q = cut(p, still.reach), cut(q, still.reach)
        pictures = draw(p, still.reach), draw(q, still.reach)
        expected = measure(*pictures, still.reach, still.half, still.edge)
        assert compare(p, q, still)[0] == expected, (p.tolist(), q.tolist())
        seen.add(expected)
    assert seen == {-1, 0, 1, 2, 3, 4}


def test_a_moved_pattern_matches_where_the_pictures_do() -> None:
    """Whatever move is found, the pictures match with it at that distance."""
    moved = 0
    for p, q in random_pairs(EDGES.reach, 200):
        p, q = cut(p, EDGES.reach), cut(q + np.array([2, -3, 2, -3]), EDGES.reach)
        distance, _, x, y = compare(p, q, EDGES)
        if distance == NO_MATCH or max(abs(x), abs(y)) == 0:
            continue
        moved += 1
        window = EDGES.half + EDGES.edge
        pictures = draw(p, window), draw(q + np.array([x, y, x, y]), window)
        assert measure(*pictures, window, EDGES.half, EDGES.edge) == distance
        assert max(abs(x), abs(y)) <= EDGES.move
    assert moved > 20


def test_the_area_is_that_of_the_pictures() -> None:
    inner = slice(AREAS.reach - AREAS.half, AREAS.reach + AREAS.half)
    matches = 0
    for p, q in random_pairs(AREAS.reach, 200):
        p, q = cut(p, AREAS.reach), cut(q, AREAS.reach)
        differs = int((draw(p, AREAS.reach) ^ draw(q, AREAS.reach))[inner, inner].sum())
        expected = differs if differs <= AREAS.limit else NO_MATCH
        assert compare(p, q, AREAS)[0] == expected
        matches += expected != NO_MATCH
    assert 20 < matches < 180


@pytest.mark.parametrize("turn", range(8))
def test_turned_patterns_match(turn: int) -> None:
    p = np.array([[-20, -20, -4, 10], [4, -8, 20, 24]])
    distance, by, *_ = compare(p, turn_rects(p, turn), EDGES, range(8))
    assert distance == 0
    turned = draw(turn_rects(p, by), EDGES.reach)
    assert (turned == draw(turn_rects(p, turn), EDGES.reach)).all()


@pytest.mark.parametrize("tolerance", [EDGES, AREAS], ids=["edges", "area"])
def test_features_rule_out_no_match(tolerance: Tolerance) -> None:
    """Patterns that match, in any orientation, differ by at most the radius of the search."""
    matches = 0
    for number, (p, q) in enumerate(random_pairs(tolerance.reach, 300)):
        p, q = cut(p, tolerance.reach), cut(turn_rects(q, number % 8), tolerance.reach)
        if compare(p, q, tolerance, range(8))[0] == NO_MATCH:
            continue
        matches += 1
        patterns: Patterns = build_patterns([[p], [q]], tolerance.reach)
        if tolerance.area_share is None:
            features = compute_depths(patterns, tolerance.half, tolerance.edge)
            radius = 2 * tolerance.edge + tolerance.move
        else:
            features, radius = compute_shares(patterns, tolerance.half), tolerance.limit
        assert np.abs(features[0] - features[1]).max() <= radius
    assert matches > 50
