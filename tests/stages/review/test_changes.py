"""What changed between two scans, on cases small enough to say what is right."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from stages.findings import Failures
from stages.review.changes import FIXED, MOVED, NEW, SAME, Changes, compare_failures

Spots = Mapping[int, Sequence[tuple[str, int, int]]]
"""Id of a hotspot to the key and place of each place at which it fails."""


def make_failures(spots: Spots, severity: Mapping[int, float] | None = None) -> Failures:
    rows = [(spot, *row) for spot, each in spots.items() for row in each]
    return Failures(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[2:] for row in rows], np.int64).reshape(-1, 2),
        [row[1] for row in rows], ["pinch"] * len(rows),
        np.array([(severity or {}).get(row[0], 0.1) for row in rows]),
        np.ones(len(rows), bool),
    )  # fmt: skip


def find_nothing(*_: object) -> Mapping[int, list[int]]:
    return {}


def compare(before: Spots, after: Spots, stood: Sequence[bool] | None = None) -> Changes:
    old, new = make_failures(before), make_failures(after)
    if stood is None:  # geometry that did not fail before was not there
        known = {row for each in before.values() for row in each}
        stood = [row in known for each in after.values() for row in each]
    return compare_failures(old, new, stood, find_nothing)


def test_each_kind_of_change() -> None:
    before = {1: [("a", 0, 0)], 2: [("b", 50, 0)], 3: [("c", 90, 0)]}
    after = {1: [("c", 90, 0)], 2: [("a", 7, 400)], 3: [("d", 0, 0)]}
    found = compare(before, after)
    assert found.before == {1: MOVED, 2: FIXED, 3: SAME}
    assert found.after == {1: SAME, 2: MOVED, 3: NEW}
    assert found.was == {1: 3, 2: 1}


def test_nothing_before_and_nothing_after() -> None:
    assert compare({}, {1: [("a", 0, 0)]}).after == {1: NEW}
    assert compare({1: [("a", 0, 0)]}, {}).before == {1: FIXED}
    assert compare({}, {}) == Changes({}, {}, {}, frozenset())


def test_a_further_place_makes_a_hotspot_new() -> None:
    """The one before is not fixed: it fails still."""
    found = compare({1: [("a", 0, 0)]}, {1: [("a", 0, 0), ("b", 40, 0)]})
    assert (found.before, found.after) == ({1: SAME}, {1: NEW})


def test_one_more_of_the_same_geometry_is_new() -> None:
    found = compare({1: [("a", 0, 0)]}, {1: [("a", 0, 0), ("a", 40, 0)]})
    assert found.after == {1: NEW}
    found = compare({1: [("a", 0, 0)]}, {1: [("a", 0, 0)], 2: [("a", 900, 0)]})
    assert found.after == {1: SAME, 2: NEW}


def test_another_clip_of_a_pattern_that_stood_is_no_news() -> None:
    found = compare(
        {1: [("a", 0, 0), ("a", 40, 0)]}, {1: [("a", 40, 0), ("a", 80, 0)]}, [True, True]
    )
    assert (found.before, found.after) == ({1: SAME}, {1: SAME})


def test_geometry_that_stood_and_fails_only_now_is_new() -> None:
    assert compare({}, {1: [("a", 0, 0)]}, [True]).after == {1: NEW}


def test_equal_geometry_is_matched_one_by_one_the_nearest_first() -> None:
    before = {1: [("a", 0, 0)], 2: [("a", 1000, 0)], 3: [("a", 2000, 0)]}
    after = {1: [("a", 1010, 0)], 2: [("a", 10, 0)]}
    found = compare(before, after)
    assert found.before == {1: MOVED, 2: MOVED, 3: FIXED}
    assert found.was == {1: 2, 2: 1}


def test_hotspots_that_meet_after_a_move() -> None:
    before = {1: [("a", 0, 0)], 2: [("b", 500, 0)]}
    found = compare(before, {1: [("a", 3000, 0), ("b", 3100, 0)]})
    assert (found.before, found.after) == ({1: MOVED, 2: MOVED}, {1: MOVED})


def test_hotspots_that_part_after_a_move() -> None:
    found = compare({1: [("a", 0, 0), ("b", 5, 0)]}, {1: [("a", 900, 0)], 2: [("b", 2000, 0)]})
    assert (found.before, found.after) == ({1: MOVED}, {1: MOVED, 2: MOVED})


def test_a_move_together_with_something_new_is_new() -> None:
    found = compare({1: [("a", 0, 0)]}, {1: [("a", 900, 0), ("c", 920, 0)]})
    assert found.after == {1: NEW}


def test_what_is_moved_along_itself_is_moved() -> None:
    """One of its places lies where another one was."""
    found = compare({1: [("a", 0, 0), ("a", 40, 0)]}, {1: [("a", 40, 0), ("a", 80, 0)]})
    assert (found.before, found.after) == ({1: MOVED}, {1: MOVED})


def test_what_fails_worse_is_told() -> None:
    old = make_failures({1: [("a", 0, 0)], 2: [("b", 50, 0)]})
    new = make_failures({1: [("b", 50, 0)], 2: [("a", 0, 0)]}, {1: 0.129, 2: 0.131})
    found = compare_failures(old, new, [True, True], find_nothing)
    assert found.was == {1: 2, 2: 1}
    assert found.worse == {2}


def test_what_is_left_is_looked_up() -> None:
    """In the layouts: those that are gone, those left, and what of the gone others were."""

    def look_up(
        gone: Collection[int], left: Collection[int], known: Mapping[int, int]
    ) -> Mapping[int, list[int]]:
        assert (sorted(gone), sorted(left), known) == ([2, 3, 4, 5], [7, 8], {2: 2})
        return {7: [3, 4]}

    before = make_failures({n: [(key, 90 * n, 0)] for n, key in enumerate("abcde", start=1)})
    after = make_failures(
        {1: [("a", 90, 0)], 2: [("b", 7, 400)], 7: [("x", 9, 900)], 8: [("y", 0, 9000)]},
        {7: 0.131},
    )
    found = compare_failures(before, after, [True, False, False, False], look_up)
    assert found.before == {1: SAME, 2: MOVED, 3: MOVED, 4: MOVED, 5: FIXED}
    assert found.after == {1: SAME, 2: MOVED, 7: MOVED, 8: NEW}
    assert (found.was[7], found.worse) == (3, {7})
