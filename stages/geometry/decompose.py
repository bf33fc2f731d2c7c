"""Rectilinear polygons cut into disjoint rectangles."""

from __future__ import annotations

import numpy as np

from stages.compiled import gil_free_kernel, kernel
from stages.contracts import Int64s
from stages.geometry.growing import copy_rows, reserve_row
from stages.geometry.union import sweep


@gil_free_kernel
def decompose(points: Int64s, starts: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Cut the rectilinear polygons into rectangles, and list the others.

    Parameters
    ----------
    points : (m, 2) int64
        Corners of all polygons, in dbu; the last of each is joined to its first.
    starts : (n + 1,) int64
        Polygon `i` is ``points[starts[i]:starts[i + 1]]``.

    Returns
    -------
    rects : (r, 4) int64
        The region of non-zero winding of each rectilinear polygon, as disjoint rectangles.
    owner : (r,) int64
        The polygon of each rectangle.
    others : (o,) int64
        The polygons that are not rectilinear.
    """
    n = starts.shape[0] - 1
    found, used = np.empty((n + 1, 5), np.int64), 0
    others, other_count = np.empty(n, np.int64), 0
    for polygon in range(n):
        ring = points[starts[polygon] : starts[polygon + 1]]
        vertical = _count_vertical(ring)
        if vertical < 0:
            others[other_count] = polygon
            other_count += 1
            continue
        sides = _find_vertical(ring, vertical)
        runs = _make_rect(sides) if vertical == 2 else sweep(sides, 0, False)[0]
        for run in range(runs.shape[0]):
            found = reserve_row(found, used)
            copy_rows(found, used, runs, run, 1)
            found[used, 4] = polygon
            used += 1
    return found[:used, :4].copy(), found[:used, 4].copy(), others[:other_count].copy()


@kernel
def _count_vertical(ring: Int64s) -> int:
    """Return the number of vertical edges of a polygon, -1 if it is not rectilinear."""
    vertical = 0
    for i in range(len(ring)):
        following = i + 1 if i + 1 < len(ring) else 0
        if ring[i, 0] == ring[following, 0]:
            vertical += ring[i, 1] != ring[following, 1]
        elif ring[i, 1] != ring[following, 1]:
            return -1
    return vertical


@kernel
def _find_vertical(ring: Int64s, vertical: int) -> Int64s:
    """Return the vertical edges of a polygon as (vertical, 4) sides, see `sweep`."""
    sides, count = np.empty((vertical, 4), np.int64), 0
    for i in range(len(ring)):
        following = i + 1 if i + 1 < len(ring) else 0
        low, high = ring[i, 1], ring[following, 1]
        if ring[i, 0] == ring[following, 0] and low != high:
            sides[count, 0] = ring[i, 0]
            sides[count, 1], sides[count, 2] = min(low, high), max(low, high)
            sides[count, 3] = 1 if low < high else -1
            count += 1
    return sides


@kernel
def _make_rect(sides: Int64s) -> Int64s:
    """Return the rectangle between two sides, (1, 4), or (0, 4) if it has no area."""
    rect = np.empty((1, 4), np.int64)
    rect[0, 0], rect[0, 2] = min(sides[0, 0], sides[1, 0]), max(sides[0, 0], sides[1, 0])
    rect[0, 1], rect[0, 3] = sides[0, 1], sides[0, 2]
    return rect[:0] if rect[0, 0] == rect[0, 2] else rect
