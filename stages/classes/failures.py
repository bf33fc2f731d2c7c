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

from stages.classes.classify import Rules, Spots, list_all_places, read_around, read_window
from stages.classes.patterns import sign_places
from stages.classes.places import choose_tightest
from stages.contracts import Int64s, PackedLayer


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
    owners, places = [np.empty(0, np.int64)], [np.empty((0, 2), np.int64)]
    for at in range(len(spots)):
        local = read_around(layers, spots, rules, at)
        found = choose_tightest(list_all_places(local, bool(spots.fails[at]), rules))
        owners.append(np.full(len(found), at))
        places.append(found[:, :2] + 2 * np.array([spots.x_dbu[at], spots.y_dbu[at]]))
    return np.concatenate(owners), np.concatenate(places)


def sign_geometry(layers: Sequence[PackedLayer], places: Int64s, rules: Rules) -> list[str]:
    """Return the key of the geometry around each of (n, 2) places, 32 hexadecimal digits."""
    tolerance = rules.tolerance
    middle = np.zeros((1, 2), np.int64)
    keys = []
    for x, y in places.tolist():
        local = read_window(layers, (x, y), tolerance.half, tolerance.step)
        signature, _ = sign_places(local, middle, tolerance.half, tolerance.symmetries)
        keys.append("".join(f"{part:016x}" for part in signature[0].tolist()))
    return keys
