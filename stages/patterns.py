"""Patterns: the distinct rasters among the clips; each is scored once, however often it occurs.

in       rasters, or the keys of rasters in scan order
out      canonical rasters and their 16-byte keys; the distinct keys in order of first place
unit     the clips of a tile for keys, all clips for the distinct ones
promise  two clips share a key if, and (but for a collision of BLAKE2b-128, odds below 1e-20 on a
         full chip) only if, their rasters are equal up to the symmetries that the process allows
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.compiled import brief_kernel
from stages.contracts import Bytes, Int64s
from stages.geometry.sorting import sort_keys
from stages.geometry.symmetry import SYMMETRIES, canonicalize_pictures

UInt64s = npt.NDArray[np.uint64]

KEY_BYTES = 16


def canonicalize(pictures: Bytes, symmetries: int = 8) -> Bytes:
    """Return each raster turned to the first, in byte order, of its symmetric forms.

    Parameters
    ----------
    pictures : (n, layers, h, w) uint8
        Square rasters.
    symmetries : {8, 4, 1}
        How many symmetries the process allows, see `SYMMETRIES`.
    """
    if symmetries == 1:
        return pictures
    turned: Bytes = canonicalize_pictures(np.ascontiguousarray(pictures), SYMMETRIES[symmetries])
    return turned


def compute_keys(pictures: Bytes) -> Bytes:
    """Return the key of each raster, (n, 16) uint8."""
    digests = [hashlib.blake2b(picture, digest_size=KEY_BYTES).digest() for picture in pictures]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, KEY_BYTES)


@dataclass(frozen=True, slots=True)
class Distinct:
    """The distinct keys, in order of the lowest, then leftmost clip that has each."""

    first: Int64s
    """(p,) that clip."""
    count: Int64s
    """(p,) number of clips that have it."""
    pattern: Int64s
    """(n,) index of each clip's pattern."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts and places of distinct keys, in order of their first places."""

    key: Bytes
    """(p, 16)"""
    count: Int64s
    """(p,) number of clips that have it."""
    x_dbu: Int64s
    """(p,) centre of the lowest, then leftmost of them."""
    y_dbu: Int64s

    def __len__(self) -> int:
        return len(self.count)


def tally(keys: Bytes, count: Int64s, x_dbu: Int64s, y_dbu: Int64s) -> Tally:
    """Sum the counts of equal keys, (n, 16), of clips or of tallies, with their first centres."""
    found = find_distinct(keys, x_dbu, y_dbu)
    total = np.zeros(len(found.first), np.int64)
    np.add.at(total, found.pattern, count)
    return Tally(keys[found.first], total, x_dbu[found.first], y_dbu[found.first])


class KeyIndex:
    """Finds keys among distinct others, sorted once: many parts of a scan are looked up in it.

    Examples
    --------
    >>> some = np.eye(4, KEY_BYTES, dtype=np.uint8)
    >>> KeyIndex(some[[0, 2]]).locate(some[[2, 0, 2, 3]]).tolist()
    [1, 0, 1, -1]
    """

    def __init__(self, among: Bytes) -> None:
        halves = np.ascontiguousarray(among).view(np.uint64)  # (m, 2)
        self._order = np.lexsort((halves[:, 1], halves[:, 0]))
        self._first, self._second = halves[self._order].T.copy()

    def locate(self, keys: Bytes) -> Int64s:
        """Return the index of each of (n, 16) `keys`, -1 if it is absent."""
        first, second = np.ascontiguousarray(keys).view(np.uint64).T
        found, left = np.full(len(keys), -1), np.arange(len(keys))
        place = np.searchsorted(self._first, first)
        while len(left):  # once, but for keys of which one half is alike
            left = left[place[left] < len(self._first)]
            left = left[self._first[place[left]] == first[left]]
            same = self._second[place[left]] == second[left]
            found[left[same]] = self._order[place[left[same]]]
            left = left[~same]
            place[left] += 1
        return found


def find_distinct(keys: Bytes, x_dbu: Int64s, y_dbu: Int64s) -> Distinct:
    """Find the distinct rows of ``(n, 16)`` keys of clips centred at `x_dbu`, `y_dbu`.

    The result does not depend on the order of the clips, hence not on the tiles they come from.
    """
    # Copied, as a kernel is compiled anew for columns of a table or arrays that are read-only.
    halves = np.array(keys, np.uint8, order="C").view(np.uint64)  # (n, 2)
    x_dbu, y_dbu = np.array(x_dbu, np.int64), np.array(y_dbu, np.int64)
    return Distinct(*_number_keys(halves, x_dbu, y_dbu))


@brief_kernel
def _number_keys(halves: UInt64s, x_dbu: Int64s, y_dbu: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Return the columns of `Distinct`: keys are looked up in a table as their clips come."""
    n = len(halves)
    by_x, y = sort_keys(x_dbu), np.empty(n, np.int64)
    for k in range(n):
        y[k] = y_dbu[by_x[k]]
    slots = 2
    while slots < 2 * n:
        slots *= 2
    # The pattern of a key is in the slot that its lowest bits name, or in the next free one.
    table = np.full(slots, -1)
    first, count, pattern = np.empty(n, np.int64), np.zeros(n, np.int64), np.empty(n, np.int64)
    found = 0
    for k in sort_keys(y):
        clip = by_x[k]
        slot = np.int64(halves[clip, 0] & np.uint64(slots - 1))
        while table[slot] >= 0 and (
            halves[first[table[slot]], 0] != halves[clip, 0]
            or halves[first[table[slot]], 1] != halves[clip, 1]
        ):
            slot = (slot + 1) % slots
        if table[slot] < 0:
            table[slot], first[found] = found, clip
            found += 1
        pattern[clip] = table[slot]
        count[table[slot]] += 1
    return first[:found].copy(), count[:found].copy(), pattern
