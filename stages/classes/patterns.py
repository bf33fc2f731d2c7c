"""Patterns: the exact geometry around places, up to the symmetries of the process.

in       the rectangles around each place
out      a signature per place, and the geometry of each distinct one, turned to a fixed side
unit     windows of one size, in half dbu from the place
promise  signatures are equal if, and (but for a collision of 128 bits) only if, the geometry in the
         windows is equal up to symmetry; then the turned geometry is equal, too
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.classes.windows import Windows
from stages.compiled import brief_kernel, kernel
from stages.contracts import Int64s
from stages.geometry.growing import reserve_row
from stages.geometry.signature import sign_rect
from stages.geometry.sorting import list_distinct, sort_keys
from stages.geometry.symmetry import SYMMETRIES
from stages.geometry.union import merge

UInt64s = npt.NDArray[np.uint64]


def sign_places(
    layers: Sequence[Windows], places: Int64s, half: int, symmetries: int
) -> tuple[UInt64s, Int64s]:
    """Return the signature of the window around each place, and the symmetry that gives it.

    Parameters
    ----------
    layers
        Of each layer, windows that are complete `half` around every place.
    places : (c, 3 or more) int64
        The number of the window, and x, y from its middle.
    half : int
        Half the side of a window.

    Returns
    -------
    signature : (c, 2) uint64
    symmetry : (c,) int64
    """
    allowed = SYMMETRIES[symmetries]
    sums = np.zeros((len(places), len(allowed), 2), np.uint64)
    for number, layer in enumerate(layers):
        _sign(layer.rects, layer.start, places, half, number, allowed, sums)
    least = np.argmin(sums[:, :, 0], axis=1)
    return sums[np.arange(len(sums)), least], allowed[least]


@kernel
def _sign(
    rects: Int64s,
    start: Int64s,
    places: Int64s,
    half: int,
    layer: int,
    symmetries: Int64s,
    sums: UInt64s,
) -> None:
    local = np.empty(4, np.int64)
    for n in range(places.shape[0]):
        left, bottom = places[n, 1] - half, places[n, 2] - half
        for i in range(start[places[n, 0]], start[places[n, 0] + 1]):
            local[0], local[1] = max(rects[i, 0] - left, 0), max(rects[i, 1] - bottom, 0)
            local[2] = min(rects[i, 2] - left, 2 * half)
            local[3] = min(rects[i, 3] - bottom, 2 * half)
            if local[0] < local[2] and local[1] < local[3]:
                sign_rect(local, 2 * half, layer, symmetries, sums[n])


def turn_rects(rects: Int64s, symmetry: int) -> Int64s:
    """Return rectangles turned about the place: bit 0 flips x, 1 flips y, 2 exchanges them."""
    if symmetry & 1:
        rects = rects[:, [2, 1, 0, 3]] * (-1, 1, -1, 1)
    if symmetry & 2:
        rects = rects[:, [0, 3, 2, 1]] * (1, -1, 1, -1)
    if symmetry & 4:
        rects = rects[:, [1, 0, 3, 2]]
    return np.ascontiguousarray(rects)


@brief_kernel
def find_spaces(runs: Int64s, half: int) -> Int64s:
    """Return what the disjoint `runs` leave free of the window, as disjoint rectangles."""
    n = len(runs)
    ends = np.empty(2 * n + 2, np.int64)
    ends[2 * n], ends[2 * n + 1] = -half, half
    for i in range(n):
        ends[2 * i], ends[2 * i + 1] = runs[i, 1], runs[i, 3]
    levels, by_x = list_distinct(ends), sort_keys(runs[:, 0].copy())
    free, used = np.empty((16, 4), np.int64), 0
    for k in range(levels.shape[0] - 1):
        x = -half
        for i in by_x:
            if runs[i, 1] <= levels[k] and runs[i, 3] >= levels[k + 1]:
                if runs[i, 0] > x:
                    free = reserve_row(free, used)
                    free[used, 0], free[used, 2] = x, runs[i, 0]
                    free[used, 1], free[used, 3] = levels[k], levels[k + 1]
                    used += 1
                x = runs[i, 2]
        if x < half:
            free = reserve_row(free, used)
            free[used, 0], free[used, 2] = x, half
            free[used, 1], free[used, 3] = levels[k], levels[k + 1]
            used += 1
    return free[:used].copy()


@dataclass(frozen=True, slots=True, eq=False)
class Patterns:
    """The geometry of windows, and its complement: each is a list of disjoint rectangles.

    Part ``2 * (layer + layers * pattern)`` is the geometry, the next one the complement.
    """

    layers: int
    rects: Int64s
    """(r, 4) from the place."""
    start: Int64s
    """(2 * layers * n + 1,)"""

    def __len__(self) -> int:
        return (len(self.start) - 1) // (2 * self.layers)

    def get(self, number: int) -> list[Int64s]:
        """Return the parts of a pattern."""
        first = 2 * self.layers * number
        bounds = self.start[first : first + 2 * self.layers + 1]
        return np.split(self.rects[bounds[0] : bounds[-1]], bounds[1:-1] - bounds[0])


def build_patterns(windows: Iterable[Sequence[Int64s]], half: int, layers: int = 1) -> Patterns:
    """Return patterns of the rectangles of each window, by layer; they may overlap."""
    parts = []
    for window in windows:
        for rects in window:
            runs = merge(rects)
            parts += [runs, find_spaces(runs, half)]
    start = np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))
    return Patterns(layers, np.concatenate([np.empty((0, 4), np.int64), *parts]), start)
