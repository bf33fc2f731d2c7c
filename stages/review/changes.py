"""What changed between two scans: hotspots that are new, fixed, moved, or the same.

in       the places where the hotspots of both fail
out      `Changes`
unit     a whole scan
promise  known by geometry, not by scores, ids or clips: a hotspot is the same where all places at
         which it fails were there before, and failed; moved where their geometry failed elsewhere
         and does not there any more; else new. One of the scan before is fixed where none of its
         places fails any more, here or moved

Geometry that is there several times is matched one by one, the nearest first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.findings import Failures
from stages.review.waivers import SLACK

NEW, FIXED, MOVED, SAME = "new", "fixed", "moved", "same"

Place = tuple[int, int]
LookUp = Callable[[Collection[int], Collection[int], Mapping[int, int]], Mapping[int, list[int]]]
"""Of hotspots that are gone, hotspots that are left, and what of the gone others were: returns what
some of the left were."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The hotspots of two scans, compared."""

    before: Mapping[int, str]
    """Id in the first scan to `FIXED`, `MOVED` or `SAME`."""
    after: Mapping[int, str]
    """Id in the second scan to `NEW`, `MOVED` or `SAME`."""
    was: Mapping[int, int]
    """Id in the second scan of one that is moved or the same to its id in the first."""
    worse: frozenset[int]
    """Ids in the second scan of those that were there and fail worse now."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """A hotspot."""

    places: frozenset[tuple[str, Place]]
    severity: float

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(key for key, _ in self.places)

    @property
    def corner(self) -> Place:
        """The lowest, then leftmost place: where it is, for distances."""
        return min((place for _, place in self.places), key=lambda at: (at[1], at[0]))


def compare_failures(
    before: Failures, after: Failures, stood: Sequence[bool], look_up: LookUp
) -> Changes:
    """Return what changed between two scans whose keys are comparable.

    Parameters
    ----------
    stood
        Of each row of `after`, whether its geometry was there in the layout before.
    look_up
        Finds what is moved of what is not known by its keys: the tightest places of other clips
        may be others.
    """
    old, new = _list_spots(before), _list_spots(after)
    fresh = {spot for spot, rows in after.list_hotspots() if not all(stood[row] for row in rows)}
    same = _find_same(old, {spot: row for spot, row in new.items() if spot not in fresh})
    rest = {spot: row for spot, row in new.items() if spot not in same}
    # What is moved along itself fails still at some of its places, all of it elsewhere.
    kept = frozenset().union(*(new[spot].places for spot in same))
    free = {spot: row for spot, row in old.items() if not row.places & kept}
    moved, used = _pair_equal(free, rest, lambda row: tuple(sorted(key for key, _ in row.places)))
    still = frozenset().union(*(row.places for row in new.values()))
    gone = {s: row for s, row in free.items() if s in used or not row.places & still}
    more, taken = _find_moved(
        {spot: row for spot, row in gone.items() if spot not in used},
        {spot: row for spot, row in rest.items() if spot not in moved},
    )
    moved |= more
    used |= taken
    lost = {spot for spot in rest if spot not in moved}
    for spot, owners in look_up(gone.keys(), lost, dict(moved)).items():
        moved[spot] = owners[0]
        used.update(owners)
    was = same | moved
    return Changes(
        {spot: SAME if spot not in gone else MOVED if spot in used else FIXED for spot in old},
        {spot: SAME if spot in same else MOVED if spot in moved else NEW for spot in new},
        was,
        frozenset(
            spot for spot, first in was.items()
            if new[spot].severity > old[first].severity + SLACK
        ),
    )  # fmt: skip


def _list_spots(failures: Failures) -> dict[int, _Spot]:
    places = failures.place.tolist()
    return {
        spot: _Spot(
            frozenset((failures.key[row], (places[row][0], places[row][1])) for row in rows),
            float(failures.severity[rows.start : rows.stop].max()),
        )
        for spot, rows in failures.list_hotspots()
    }


def _find_same(old: Mapping[int, _Spot], new: Mapping[int, _Spot]) -> dict[int, int]:
    """Return the hotspots that are where they were, each with the one that it shares most with.

    Of a pattern that repeats, another clip may show more places: no news, as their keys are known.
    """
    owners: dict[tuple[str, Place], list[int]] = defaultdict(list)
    for spot, row in old.items():
        for place in row.places:
            owners[place].append(spot)
    found = {}
    for spot, row in new.items():
        shared: dict[int, int] = defaultdict(int)
        for place in row.places:
            for owner in owners.get(place, ()):
                shared[owner] += 1
        known = frozenset().union(*(old[owner].keys for owner in shared))
        if shared and row.keys <= known:
            found[spot] = min(shared, key=lambda owner: (-shared[owner], owner))
    return found


def _find_moved(
    old: Mapping[int, _Spot], new: Mapping[int, _Spot]
) -> tuple[dict[int, int], set[int]]:
    """Return the hotspots that were elsewhere before, and which those were.

    Those of equal geometry go first, one for one. Then those that lie together with others now, or
    did before: each of their keys is taken from one that is left.
    """
    found, used = _pair_equal(old, new, lambda row: row.keys)
    left: dict[str, set[int]] = defaultdict(set)
    for spot, row in old.items():
        for key in row.keys if spot not in used else ():
            left[key].add(spot)
    for spot, row in new.items():
        if spot in found or not all(left.get(key) for key in row.keys):
            continue
        for key in sorted(row.keys):
            nearest = min(left[key], key=lambda each: (_measure(old[each], row), each))
            left[key].remove(nearest)
            used.add(nearest)
            found.setdefault(spot, nearest)
    return found, used


def _pair_equal(
    old: Mapping[int, _Spot], new: Mapping[int, _Spot], describe: Callable[[_Spot], Hashable]
) -> tuple[dict[int, int], set[int]]:
    """Pair hotspots that are described alike, those first that moved least."""
    alike: dict[Hashable, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, spots in enumerate((old, new)):
        for spot, row in spots.items():
            alike[describe(row)][side].append(spot)
    found: dict[int, int] = {}
    for before, after in alike.values():
        apart = np.array([[_measure(old[b], new[a]) for a in after] for b in before], np.int64)
        order = np.argsort(apart, axis=None, kind="stable").tolist() if apart.size else []
        taken: set[int] = set()
        for at in order:
            b, a = before[at // len(after)], after[at % len(after)]
            if a not in found and b not in taken:
                found[a] = b
                taken.add(b)
    return found, set(found.values())


def _measure(a: _Spot, b: _Spot) -> int:
    """Return how far apart two hotspots are, squared."""
    return (a.corner[0] - b.corner[0]) ** 2 + (a.corner[1] - b.corner[1]) ** 2
