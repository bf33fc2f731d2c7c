"""Met1 wires on the six tracks between two power rails, as a router leaves them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from sample_layouts.draw import TRACKS

Place = tuple[int, int]
"""A site and a track."""
STUB = 195
"""Wire that gives a lone pad its smallest legal area, in nm past the pad."""


STARTS = (0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5)
"""Tracks to begin on: pins lie towards the middle of a cell, away from its rails."""


@dataclass
class Net:
    """One wire: its corners, and the places where it changes layer."""

    corners: list[Place]
    pads: list[Place]


@dataclass
class Row:
    """What is taken between two rails.

    Neighbouring places of one track may both hold a pad (0.14 um apart); neighbouring tracks of
    one site may not (0.08 um). With `roomy` pads the eight places around a pad, and the tracks
    beside a rail, hold nothing of another net.
    """

    sites: int
    roomy: bool = False
    used: set[Place] = field(default_factory=set)
    pads: set[Place] = field(default_factory=set)

    def takes(self, path: list[Place], pads: list[Place]) -> bool:
        """Take the places for one net, or say that they are not free."""
        clash = {(site, track + step) for site, track in pads for step in (-1, 1)}
        inside = all(0 <= site < self.sites and 0 <= track < TRACKS for site, track in path)
        if not inside or self.used & set(path) or self.pads & clash:
            return False
        if self.roomy and not self._has_room(path, pads, clash):
            return False
        self.used.update(path)
        self.pads.update(pads)
        return True

    def _has_room(self, path: list[Place], pads: list[Place], clash: set[Place]) -> bool:
        """Tell whether pads and wires keep a place apart, and pads a track from the rails."""
        apart = not (self.used & _around(pads) or self.pads & _around(path))
        return apart and not clash & set(path) and all(0 < y < TRACKS - 1 for _, y in pads)

    def reserve(self, rng: random.Random, sites: int) -> int | None:
        """Take `sites` whole sites at a random free place, and return the first."""
        first = rng.randrange(self.sites - sites)
        places = [(first + step, track) for step in range(sites) for track in range(TRACKS)]
        return first if self.takes(places, []) else None


def _around(places: list[Place]) -> set[Place]:
    """Return the places, and the eight about each."""
    steps = (-1, 0, 1)
    return {(site + x, track + y) for site, track in places for x in steps for y in steps}


def wanted_lengths(rng: random.Random, places: float) -> list[int]:
    """Draw wire lengths in sites, longest first, that fill about so many places."""
    lengths: list[int] = []
    while sum(lengths) + len(lengths) < places:
        lengths.append(0 if rng.random() < 0.17 else max(1, round(rng.lognormvariate(1.5, 1.1))))
    return sorted(lengths, reverse=True)


def trace(rng: random.Random, start: Place, length: int) -> tuple[list[Place], list[Place]]:
    """Return the corners and all places of a wire that runs to the right, some with jogs."""
    (site, track), end = start, start[0] + length
    corners, path = [start], [start]
    bends = min(rng.choice((0, 0, 0, 1, 1, 2)), max(0, length - 1))
    for stop in [*sorted(rng.sample(range(site + 1, end + 1), bends)), end]:
        path += [(x, track) for x in range(corners[-1][0] + 1, stop + 1)]
        corners.append((stop, track))
        if len(corners) <= 2 * bends:
            step, turn = rng.choice((1, 1, 2, 3)), rng.choice((-1, 1))
            path += [(stop, track + turn * k) for k in range(1, step + 1)]
            track += turn * step
            corners.append((stop, track))
    distinct = [c for n, c in enumerate(corners) if n == 0 or c != corners[n - 1]]
    return distinct, path


def route(rng: random.Random, row: Row, length: int) -> Net | None:
    """Find room for one wire of `length` sites, or give up after some tries."""
    for _ in range(30):
        start = rng.randrange(row.sites), rng.choice(STARTS)
        corners, path = trace(rng, start, length)
        pads = {corners[0], corners[-1]} | {p for p in path[2:-2] if rng.random() < 0.06}
        pads -= {(site, track + 1) for site, track in pads}
        if length == 0:
            path.append((start[0] + 1, start[1]))
        if row.takes(path, sorted(pads)):
            return Net(corners, sorted(pads))
    return None
