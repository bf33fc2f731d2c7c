"""Hotspots that lie elsewhere than in an earlier scan, and in other clips.

in       the layouts of two scans, and the hotspots that are in one of them alone
out      of each hotspot that was moved those that it was before
unit     a whole scan
promise  a block may be moved by any distance and turned: what clips a scan found it in, and which
         places are tightest in them, makes no difference

Something near a hotspot, such as a corner, is looked up by the key of its surroundings near those
of the scan before. That says how it was moved; it was if the geometry around all of its own places
was there, in or beside clips that were flagged, and no other hotspot came from there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from stages.classes.classify import Rules, Spots, list_all_places, read_around
from stages.classes.failures import sign_geometry
from stages.classes.patterns import sign_places
from stages.contracts import Int64s, PackedLayer
from stages.geometry.symmetry import SYMMETRIES
from stages.rows import PART

ANCHORS, TRIED = 4, 64
"""Most things near a hotspot that are looked up, and most ways that each may lie."""
Place = tuple[int, int]
Key = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Flagged:
    """The hotspots of a scan."""

    layers: Sequence[PackedLayer]
    clips: Mapping[int, Int64s]
    """(c, 2) centres of the clips over the threshold, in dbu, by hotspot."""
    places: Mapping[int, Int64s]
    """(p, 2) where it fails, in half dbu, by hotspot."""
    keys: Mapping[int, Sequence[str]]
    """Of each place, see `sign_geometry`."""


def find_moved(
    before: Flagged,
    after: Flagged,
    gone: Collection[int],
    left: Collection[int],
    known: Mapping[int, int],
    rules: Rules,
) -> dict[int, list[int]]:
    """Return the hotspots of `left`, of the second scan, that are some of `gone`, of the first.

    Parameters
    ----------
    known
        Other hotspots of the second scan to the one of `gone` that each was.
    """
    if not gone or not left:
        return {}
    earlier = _Earlier(before, after, sorted(gone), known, rules)
    found = {}
    for spot in sorted(left):
        if way := earlier.find_way(spot):
            found[spot] = earlier.use(spot, way)
    return found


@dataclass(frozen=True, slots=True)
class _Way:
    """How a block was moved, from the second layout back to the first."""

    turn: int
    x: int
    """In half dbu, after the turn."""
    y: int

    def apply_to(self, places: Int64s) -> Int64s:
        """Return (n, 2) places where they were."""
        turned = places * np.array([-1 if self.turn & 1 else 1, -1 if self.turn & 2 else 1])
        back: Int64s = (turned[:, ::-1] if self.turn & 4 else turned) + np.array([self.x, self.y])
        return back


class _Earlier:
    """The layout before, and what came from where in it."""

    def __init__(
        self,
        before: Flagged,
        after: Flagged,
        gone: Sequence[int],
        known: Mapping[int, int],
        rules: Rules,
    ) -> None:
        self._before, self._after, self._rules = before, after, rules
        self._keys: dict[Place, str] = {}
        self._used: list[tuple[_Way, Int64s]] = []
        self._known: dict[int, list[int]] = defaultdict(list)
        for spot, owner in sorted(known.items()):
            self._known[owner].append(spot)
        self._owner = [spot for spot in gone for _ in before.clips[spot]]
        self._clips = scipy.spatial.cKDTree(
            np.concatenate([2 * before.clips[spot] for spot in gone])
        )
        self._alike: dict[Key, list[Place]] = defaultdict(list)
        for _, place, key in _list_anchors(before, gone, rules):
            self._alike[key].append(place)

    def find_way(self, spot: int, owner: int | None = None) -> _Way | None:
        """Return how a hotspot of the second scan was moved; None if its geometry was not there.

        Parameters
        ----------
        owner
            The hotspot that it was, if that is known; else no other may have come from there.
        """
        for ways in self._list_ways(spot):
            tried = 0
            for way in ways:
                places = way.apply_to(self._after.places[spot])
                owners = self._find_owners(places)
                if owner is None and (not owners or self._is_taken(spot, way)):
                    continue
                if owner is not None and owner not in owners:
                    continue
                if self._has(places, self._after.keys[spot]):
                    return way
                if (tried := tried + 1) == TRIED:
                    break
        return None

    def use(self, spot: int, way: _Way) -> list[int]:
        """Note how a hotspot was moved, and return those that it was."""
        self._used.append((way, way.apply_to(2 * self._after.clips[spot])))
        return self._find_owners(way.apply_to(self._after.places[spot]))

    def _list_ways(self, spot: int) -> Iterator[Iterator[_Way]]:
        """Yield the ways back from what is near a hotspot, by what is rarest there."""
        anchors: dict[Key, tuple[bool, int, Place]] = {}
        for loose, place, key in _list_anchors(self._after, [spot], self._rules):
            if key in self._alike:
                anchors.setdefault(key, (loose, len(self._alike[key]), place))
        for key, (*_, anchor) in sorted(anchors.items(), key=lambda row: row[1])[:ANCHORS]:
            yield self._list_ways_from(anchor, key)

    def _list_ways_from(self, anchor: Place, key: Key) -> Iterator[_Way]:
        """Yield the ways back from an anchor to what is alike, the shortest first."""
        x, y = anchor
        near = sorted(self._alike[key], key=lambda at: ((at[0] - x) ** 2 + (at[1] - y) ** 2, at))
        for there_x, there_y in near:
            for turn in SYMMETRIES[self._rules.tolerance.symmetries].tolist():
                ((turned_x, turned_y),) = _Way(turn, 0, 0).apply_to(np.array([anchor])).tolist()
                yield _Way(turn, there_x - turned_x, there_y - turned_y)

    def _is_taken(self, spot: int, way: _Way) -> bool:
        """Return whether another hotspot came from there, and not as part of the same block."""
        core, back = self._rules.core_dbu, way.apply_to(2 * self._after.clips[spot])
        for clips in self._clips.query_ball_point(back, core - 1, p=np.inf):
            for owner in {self._owner[clip] for clip in clips}:
                for other in self._known.pop(owner, ()):
                    if known := self.find_way(other, owner):
                        self.use(other, known)
        return any(
            used != way and (np.abs(back[:, None] - there).max(axis=2) < core).any()
            for used, there in self._used
        )

    def _find_owners(self, places: Int64s) -> list[int]:
        """Return the gone hotspots in whose clips places lie, or else the nearest; none if far."""
        core = self._rules.core_dbu  # half a core in half dbu
        away, nearest = self._clips.query(places, p=np.inf)
        if (away > 3 * core).any():
            return []
        inside = self._clips.query_ball_point(places, core, p=np.inf)
        owners = {self._owner[clip] for clips in inside for clip in clips}
        return sorted(owners) or [self._owner[nearest[np.argmin(away)]]]

    def _has(self, places: Int64s, keys: Sequence[str]) -> bool:
        """Return whether the geometry around places was there."""
        rows = zip(places.tolist(), keys, strict=True)
        return all(self._sign((x, y)) == key for (x, y), key in rows)

    def _sign(self, place: Place) -> str:
        if place not in self._keys:
            (key,) = sign_geometry(self._before.layers, np.array([place]), self._rules)
            self._keys[place] = key
        return self._keys[place]


def _list_anchors(
    flagged: Flagged, spots: Iterable[int], rules: Rules
) -> list[tuple[bool, Place, Key]]:
    """Return what is in the clips of hotspots and beside them, with its key; sorted.

    First those that are where they are by the geometry alone: the middle of a long wire is where
    the clip's is.
    """
    step = 2 * np.arange(-1, 2) * (rules.core_dbu // 2)
    beside = np.array([(x, y) for x in step for y in step])
    centres = np.unique(
        np.concatenate([(flagged.clips[spot][:, None] + beside).reshape(-1, 2) for spot in spots]),
        axis=0,
    )
    clips = Spots(centres[:, 0], centres[:, 1], np.zeros(len(centres), bool))
    tolerance, found = rules.tolerance, set[tuple[bool, Place, Key]]()
    for first in range(0, len(clips), PART):
        some = clips.select(first, PART)
        around = read_around(flagged.layers, some, rules)
        places = list_all_places(around, some.fails, rules)
        keys, _ = sign_places(around, places, tolerance.half, tolerance.symmetries)
        loose = (places[:, 1:3] == 0).any(axis=1)
        at = places[:, 1:3] + some.middle[places[:, 0]]
        for free, (x, y), (a, b) in zip(loose.tolist(), at.tolist(), keys.tolist(), strict=True):
            found.add((free, (x, y), (a, b)))
    return sorted(found)
