"""Keys of the places where hotspots fail: what waivers and comparisons know them by.

in       the packed layers, the places of defects or the centres of clips
out      every place that is at fault, and the signature of the exact geometry around it
unit     a whole scan
promise  the key of a place depends on the geometry within half a window of it, and on nothing else:
         not on where it lies, how it is turned, or what other hotspots there are

Where places are equally tight, all of them are listed: which of them `classify` shows depends on
the other hotspots. Of a defect it is the tightest places around it, not the nearest one: where in a
bridge it is worst depends on where the simulation took its samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.classes.classify import Rules, Spots, list_all_places, read_around
from stages.classes.patterns import sign_places
from stages.classes.places import choose_tightest
from stages.classes.windows import read_windows
from stages.contracts import Int64s, PackedLayer
from stages.rows import PART


def find_failing_places(
    layers: Sequence[PackedLayer], spots: Spots, rules: Rules
) -> tuple[Int64s, Int64s]:
    """Return the places at fault.

    Parameters
    ----------
    layers
        The scanned layers.
    spots
        Defects, and clips that were not simulated.

    Returns
    -------
    owner : (n,) int64
        Index of the spot, rising.
    place : (n, 2) int64
        In half dbu.
    """
    parts = [np.empty((0, 3), np.int64)]
    for first in range(0, len(spots), PART):
        some = spots.select(first, PART)
        every = list_all_places(read_around(layers, some, rules), some.fails, rules)
        found = choose_tightest(every, some.fails)[:, :3]
        found[:, 1:] += some.middle[found[:, 0]]
        found[:, 0] += first
        parts.append(found)
    places = np.concatenate(parts)
    return places[:, 0], places[:, 1:]


def sign_geometry(layers: Sequence[PackedLayer], places: Int64s, rules: Rules) -> list[str]:
    """Return the key of the geometry around each of (n, 2) places, 32 hexadecimal digits."""
    tolerance = rules.tolerance
    keys = list[str]()
    for first in range(0, len(places), PART):
        some = places[first : first + PART]
        around = read_windows(layers, some, tolerance.half, tolerance.step)
        middles = np.column_stack((np.arange(len(some)), np.zeros((len(some), 2), np.int64)))
        signatures, _ = sign_places(around, middles, tolerance.half, tolerance.symmetries)
        keys += [f"{high:016x}{low:016x}" for high, low in signatures.tolist()]
    return keys
