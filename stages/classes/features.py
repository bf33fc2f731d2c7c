"""Features that bound how different two patterns are, so that few pairs need a comparison.

in       patterns
out      a row of numbers per pattern, the same for all its orientations
promise  patterns that match within a distance (or area) differ in no feature by more than a stated
         bound

Edges: at points of the window, how deep they lie in the geometry or in a space. By matching within
d, and moving by m, that changes by at most 2 d + m. Area: how much of each square of the window is
covered. Of the points, or squares, that symmetries exchange, the least and the largest is taken.
"""

from __future__ import annotations

import numpy as np

from stages.classes.patterns import Patterns
from stages.compiled import brief_kernel, kernel
from stages.contracts import Int64s

_STEPS = 4
_ORBIT = np.array(
    [[low * 4 + high for low in range(4) for high in range(low, 4)].index(
        min(abs(x), abs(y)) * 4 + max(abs(x), abs(y)))
     for y in range(-3, 4) for x in range(-3, 4)]
).reshape(7, 7)  # fmt: skip
_ORBITS = 10


def compute_depths(patterns: Patterns, half: int, distance: int) -> Int64s:
    """Return the features for matching by edges, (n, features), in half dbu.

    Parameters
    ----------
    half, distance
        Half the side of the window compared, and the largest distance of a match.
    """
    depths: Int64s = _compute_depths(
        patterns.rects, patterns.start, len(patterns), patterns.layers, half, distance
    )
    return depths


@brief_kernel
def _compute_depths(
    rects: Int64s, start: Int64s, patterns: int, layers: int, half: int, distance: int
) -> Int64s:
    found = np.empty((patterns, layers * 2 * _ORBITS), np.int64)
    for n in range(patterns):
        for layer in range(layers):
            first = 2 * (n * layers + layer)
            column = layer * 2 * _ORBITS
            found[n, column : column + _ORBITS] = 1 << 40
            found[n, column + _ORBITS : column + 2 * _ORBITS] = -(1 << 40)
            for row in range(7):
                for line in range(7):
                    x, y = (line - 3) * half // _STEPS, (row - 3) * half // _STEPS
                    cap = half - max(abs(x), abs(y)) + distance
                    inside = _measure_gap(rects, start[first + 1], start[first + 2], x, y, cap)
                    outside = _measure_gap(rects, start[first], start[first + 1], x, y, cap)
                    depth, orbit = inside - outside, _ORBIT[row, line]
                    low, high = column + orbit, column + _ORBITS + orbit
                    found[n, low] = min(found[n, low], depth)
                    found[n, high] = max(found[n, high], depth)
    return found


@kernel
def _measure_gap(rects: Int64s, first: int, end: int, x: int, y: int, most: int) -> int:
    """Return the distance of a point to the nearest rectangle, at most `most`."""
    for i in range(first, end):
        away = max(rects[i, 0] - x, x - rects[i, 2], rects[i, 1] - y, y - rects[i, 3], 0)
        most = min(most, away)
    return most


def compute_shares(patterns: Patterns, half: int) -> Int64s:
    """Return the features for matching by area, (n, features), in half dbu squared."""
    shares: Int64s = _compute_shares(
        patterns.rects, patterns.start, len(patterns), patterns.layers, half
    )
    return shares


@brief_kernel
def _compute_shares(rects: Int64s, start: Int64s, patterns: int, layers: int, half: int) -> Int64s:
    found = np.empty((patterns, layers * 7), np.int64)
    for n in range(patterns):
        for layer in range(layers):
            part, column = 2 * (n * layers + layer), layer * 7
            found[n, column : column + 3] = 1 << 60
            found[n, column + 3 : column + 7] = 0
            for row in range(4):
                for line in range(4):
                    x_0, x_1 = (line - 2) * half // 2, (line - 1) * half // 2
                    y_0, y_1 = (row - 2) * half // 2, (row - 1) * half // 2
                    area = np.int64(0)
                    for i in range(start[part], start[part + 1]):
                        wide = min(rects[i, 2], x_1) - max(rects[i, 0], x_0)
                        high = min(rects[i, 3], y_1) - max(rects[i, 1], y_0)
                        if wide > 0 and high > 0:
                            area += wide * high
                    orbit = (row in (0, 3)) + (line in (0, 3))
                    found[n, column + orbit] = min(found[n, column + orbit], area)
                    found[n, column + 3 + orbit] = max(found[n, column + 3 + orbit], area)
                    found[n, column + 6] += area
    return found
