"""Hotspots by kind: counted again by hand, and in an order that shows each kind early."""

from __future__ import annotations

import random

from stages.contracts import Box, Defect, Hotspot, Verdict
from stages.exports.pages.kinds import KindCount, count_kinds, interleave_kinds
from stages.hotspots import sort_worst_first


def make_spot(number: int) -> Hotspot:
    return Hotspot(number, 0, 0, 0.5, "grid", 1, 1, "0" * 32, 1, Box(0, 0, 10, 10))


def fail(kind: str, severity: float) -> Verdict:
    return Verdict(1, Defect(kind, 0, 0, "nominal", severity))


SPOTS = tuple(make_spot(number) for number in range(1, 10))
VERDICTS = {
    1: fail("pinch", 0.9), 2: fail("pinch", 0.8), 3: fail("pinch", 0.7), 4: fail("pinch", 0.1),
    5: fail("space", 0.3), 6: fail("space", 0.75), 7: fail("line_end", 0.2), 8: Verdict(0, None),
}  # fmt: skip


def test_every_hotspot_is_counted_once() -> None:
    assert count_kinds(SPOTS, VERDICTS) == (
        KindCount("pinch", 4, 0.9, 0.75),
        KindCount("space", 2, 0.75, 0.525),
        KindCount("line_end", 1, 0.2, 0.2),
        KindCount("prints", 1, None, None),
        KindCount("not simulated", 1, None, None),
    )
    assert count_kinds(SPOTS, {}) == (KindCount("not simulated", 9, None, None),)
    assert count_kinds((), {}) == ()


def test_the_worst_of_each_kind_comes_first() -> None:
    found = interleave_kinds(sort_worst_first(SPOTS, VERDICTS), VERDICTS)
    assert [spot.id for spot in found] == [1, 6, 7, 2, 5, 3, 4, 9, 8]


def test_the_order_of_the_hotspots_does_not_matter() -> None:
    expected = interleave_kinds(sort_worst_first(SPOTS, VERDICTS), VERDICTS)
    for seed in range(5):
        mixed = random.Random(seed).sample(SPOTS, len(SPOTS))
        assert interleave_kinds(sort_worst_first(mixed, VERDICTS), VERDICTS) == expected
        assert count_kinds(mixed, VERDICTS) == count_kinds(SPOTS, VERDICTS)
