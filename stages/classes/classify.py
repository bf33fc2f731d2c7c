"""Group hotspots into classes by the geometry around what fails.

in       the packed layers, the centres of the hotspots, their worst defects where simulated
out      `Classes`: place, class and match of each hotspot
unit     a whole scan; time grows with the hotspots, and with pairs of similar distinct patterns
promise  every hotspot matches the representative of its class within the tolerance; the result does
         not depend on the order of the hotspots

What fails is the worst defect, or the nearest place of `stages.classes.places` within a fraction of
the window; without simulation the tightest place of the core. Of places that are equally tight the
one is taken whose geometry most hotspots have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.classes.cover import Tolerance, cover_patterns
from stages.classes.patterns import UInt64s, build_patterns, sign_places, turn_rects
from stages.classes.places import choose_places, list_places
from stages.classes.windows import Windows, cut_window, read_windows
from stages.compiled import interpreting_up_to
from stages.contracts import Int64s, PackedLayer
from stages.findings import Bools
from stages.rows import PART

_SHORT = 2
"""A gap up to this many times half a window is short: its middle sees both ends."""
_RECTS = 200
"""Rectangles around a hotspot, at a guess."""


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """The hotspots to group."""

    x_dbu: Int64s
    """(n,) of the worst defect, or of the middle of the core where no simulation found one."""
    y_dbu: Int64s
    fails: Bools
    """(n,) whether it is a defect's place."""

    def __len__(self) -> int:
        return len(self.x_dbu)

    @property
    def middle(self) -> Int64s:
        """(n, 2) the same, in half dbu."""
        return 2 * np.stack((self.x_dbu, self.y_dbu), axis=1)

    def select(self, first: int, count: int) -> Spots:
        """Return some that follow one another."""
        part = slice(first, first + count)
        return Spots(self.x_dbu[part], self.y_dbu[part], self.fails[part])


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """How places are found and compared."""

    core_dbu: int
    limits_dbu: Int64s
    """(5,) as `stages.geometry.sites.find_sites` takes them."""
    tolerance: Tolerance


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The class of each hotspot, and how it matches."""

    place: Int64s
    """(n, 2) what fails, in half dbu."""
    feature: Int64s
    """(n, 2) index into `stages.classes.places.FEATURES`, and the measured distance in half dbu."""
    number: Int64s
    """(n,) class, from 0: most hotspots first, then the one that has the first hotspot."""
    distance: Int64s
    """(n,) from the representative, see `stages.classes.cover.Cover`."""
    representative: Int64s
    """(classes,) the first of the hotspots with the class's representative pattern."""
    pattern: Int64s
    """(n,) distinct pattern."""
    symmetry: Int64s
    """(n,) symmetry that turns the surroundings of the place to its pattern."""
    turn: Int64s
    """(n,) symmetry that turns the representative's pattern as this one lies."""
    move: Int64s
    """(n, 2) how far the pattern is moved onto the turned representative, in half dbu."""


def classify(
    layers: Sequence[PackedLayer], spots: Spots, rules: Rules, places: Int64s | None = None
) -> Classes:
    """Group hotspots into classes.

    Parameters
    ----------
    layers
        The scanned layers, which are compared one by one.
    places : (c, 8) int64
        What `sign_spots` returned for all hotspots; by default it is asked here.
    """
    with interpreting_up_to(_RECTS * len(spots)):
        if places is None:
            parts = [
                sign_spots(layers, spots.select(first, PART), rules, first)
                for first in range(0, max(len(spots), 1), PART)
            ]
            places = np.concatenate(parts)
        return _classify(layers, spots, rules, places)


def _classify(layers: Sequence[PackedLayer], spots: Spots, rules: Rules, places: Int64s) -> Classes:
    chosen = _choose_places(places)
    if not len(spots):
        none = np.empty(0, np.int64)
        return Classes(
            chosen.place, chosen.feature, none, none, none, none, none, none, chosen.place
        )
    keys = np.ascontiguousarray(chosen.signature).view([("a", "u8"), ("b", "u8")]).ravel()
    _, first, pattern, count = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    windows = _cut_turned(layers, spots, chosen, rules, first)
    patterns = build_patterns(windows, rules.tolerance.reach, len(layers))
    cover = cover_patterns(patterns, count, chosen.signature[first], rules.tolerance)
    number, representative = _number_classes(cover.representative[pattern], first)
    return Classes(
        chosen.place, chosen.feature, number, cover.distance[pattern], representative, pattern,
        chosen.symmetry, cover.turn[pattern], cover.move[pattern],
    )  # fmt: skip


def _number_classes(owner: Int64s, first: Int64s) -> tuple[Int64s, Int64s]:
    """Return the number of the class of each hotspot, and the representatives, largest class first.

    Parameters
    ----------
    owner : (n,) int64
        The pattern that represents each hotspot.
    first : (patterns,) int64
        The first hotspot that has each pattern.
    """
    found, start, class_of, count = np.unique(
        owner, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((start, -count))
    number = np.empty(len(found), np.int64)
    number[order] = np.arange(len(found))
    return number[class_of], first[found[order]]


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    place: Int64s
    feature: Int64s
    signature: UInt64s
    symmetry: Int64s


def _choose_places(places: Int64s) -> _Chosen:
    """Choose one place of each hotspot."""
    owner, signature = places[:, 0], np.ascontiguousarray(places[:, 5:7]).view(np.uint64)
    rank = np.lexsort(
        (places[:, 1], places[:, 2], signature[:, 1], signature[:, 0],
         -_count_owners(owner, signature), owner)
    )  # fmt: skip
    best = rank[np.flatnonzero(np.diff(owner[rank], prepend=-1))]
    return _Chosen(places[best, 1:3], places[best, 3:5], signature[best], places[best, 7])


def sign_spots(layers: Sequence[PackedLayer], spots: Spots, rules: Rules, first: int = 0) -> Int64s:
    """Return the places of hotspots that may be what fails.

    Parameters
    ----------
    first
        Number of the first of the hotspots.

    Returns
    -------
    (c, 8) int64
        The hotspot; x, y, feature and measured distance as of `Classes`; the signature of what is
        around, in two halves; the symmetry that gives it.
    """
    tolerance = rules.tolerance
    with interpreting_up_to(_RECTS * len(spots)):
        around = read_around(layers, spots, rules)
        every = list_all_places(around, spots.fails, rules)
        found = choose_places(every, spots.fails, tolerance.half // 2)
        signature, symmetry = sign_places(around, found, tolerance.reach, tolerance.symmetries)
    found[:, 1:3] += spots.middle[found[:, 0]]
    found[:, 0] += first
    return np.column_stack((found[:, :5], signature.view(np.int64), symmetry))


def _count_owners(owner: Int64s, signature: UInt64s) -> Int64s:
    """Return for each place how many hotspots have one of its signature."""
    order = np.lexsort((owner, signature[:, 1], signature[:, 0]))
    ordered, of = signature[order], owner[order]
    new = np.ones(len(order), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    other = new.copy()
    other[1:] |= of[1:] != of[:-1]
    group = np.cumsum(new) - 1
    counts = np.bincount(group, weights=other).astype(np.int64)
    found = np.empty(len(order), np.int64)
    found[order] = counts[group]
    return found


def list_all_places(around: Sequence[Windows], fails: Bools, rules: Rules) -> Int64s:
    """Return the places near defects, or in the cores of clips, as `list_places` does.

    Parameters
    ----------
    around
        What `read_around` returns.
    fails
        (n,) whether it is around a defect.
    """
    tolerance = rules.tolerance
    limits = 2 * rules.limits_dbu + tolerance.edge  # a class is not cut in two by a limit
    reach = np.where(fails, tolerance.half // 2, rules.core_dbu)  # half a core, in half dbu
    short = _SHORT * tolerance.half
    return np.concatenate([list_places(each, limits, reach, short) for each in around])


def read_around(layers: Sequence[PackedLayer], spots: Spots, rules: Rules) -> list[Windows]:
    """Return the geometry around hotspots, as far as a place and its window may reach."""
    tolerance = rules.tolerance
    window = tolerance.half + tolerance.reach
    side = rules.core_dbu + max(window, 2 * int(rules.limits_dbu.max()) + tolerance.edge)
    return read_windows(layers, spots.middle, side, tolerance.step)


def _cut_turned(
    layers: Sequence[PackedLayer], spots: Spots, chosen: _Chosen, rules: Rules, which: Int64s
) -> Iterator[list[Int64s]]:
    """Yield the geometry around the places of some hotspots, turned to the side that was signed."""
    some = Spots(spots.x_dbu[which], spots.y_dbu[which], spots.fails[which])
    around = read_around(layers, some, rules)
    middles = (chosen.place[which] - some.middle).tolist()
    turns = chosen.symmetry[which].tolist()
    for at, ((x, y), turn) in enumerate(zip(middles, turns, strict=True)):
        windows = (cut_window(each.get(at), x, y, rules.tolerance.reach) for each in around)
        yield [turn_rects(rects, turn) for rects in windows]
