"""Rectilinear polygons cut into disjoint rectangles."""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Int64s
from stages.geometry.union import sweep


@kernel
def decompose(points: Int64s, starts: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Cut the rectilinear polygons into rectangles, and name the others.

    Parameters
    ----------
    points : (m, 2) int64
        Corners of all polygons, in dbu; the last corner of each is joined to its first.
    starts : (n + 1,) int64
        Polygon `i` is ``points[starts[i]:starts[i + 1]]``.

    Returns
    -------
    rects : (r, 4) int64
        The region of non-zero winding of each rectilinear polygon, as disjoint rectangles.
    owner : (r,) int64
        The polygon that each rectangle comes from.
    others : (o,) int64
        The polygons that are not rectilinear.
    """
    n = starts.shape[0] - 1
    rects, owner, used = np.empty((n + 1, 4), np.int64), np.empty(n + 1, np.int64), 0
    others, other_count = np.empty(n, np.int64), 0
    for polygon in range(n):
        first, end = starts[polygon], starts[polygon + 1]
        rectilinear, upright = True, 0
        for i in range(first, end):
            following = i + 1 if i + 1 < end else first
            if points[i, 0] == points[following, 0]:
                upright += points[i, 1] != points[following, 1]
            elif points[i, 1] != points[following, 1]:
                rectilinear = False
                break
        if not rectilinear:
            others[other_count] = polygon
            other_count += 1
            continue
        sides, count = np.empty((upright, 4), np.int64), 0
        for i in range(first, end):
            following = i + 1 if i + 1 < end else first
            low, high = points[i, 1], points[following, 1]
            if points[i, 0] == points[following, 0] and low != high:
                sides[count, 0] = points[i, 0]
                sides[count, 1], sides[count, 2] = min(low, high), max(low, high)
                sides[count, 3] = 1 if low < high else -1
                count += 1
        if upright == 2:  # a plain rectangle, or one drawn with needless corners
            runs = np.empty((1, 4), np.int64)
            runs[0, 0], runs[0, 2] = min(sides[0, 0], sides[1, 0]), max(sides[0, 0], sides[1, 0])
            runs[0, 1], runs[0, 3] = sides[0, 1], sides[0, 2]
            if runs[0, 0] == runs[0, 2]:
                runs = runs[:0]
        else:
            runs = sweep(sides, 0)[0]
        while used + runs.shape[0] > rects.shape[0]:
            more, more_owner = (
                np.empty((2 * rects.shape[0], 4), np.int64),
                np.empty(2 * rects.shape[0], np.int64),
            )
            more[:used], more_owner[:used] = rects[:used], owner[:used]
            rects, owner = more, more_owner
        rects[used : used + runs.shape[0]] = runs
        owner[used : used + runs.shape[0]] = polygon
        used += runs.shape[0]
    return rects[:used].copy(), owner[:used].copy(), others[:other_count].copy()
