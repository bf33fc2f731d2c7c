"""The union of rectilinear shapes: disjoint runs, the gaps between them, and the boundary.

One upward sweep over horizontal slabs gives all three. In a slab the union is a sorted list of
intervals in x: an interval is a drawn width, the space between two a drawn space. Equal intervals
of successive slabs are joined. Arithmetic is on integers, so the result depends only on the region,
not on how it is cut into shapes or on their order.

For the other direction, swap x and y first (`swap_xy`).
"""

from __future__ import annotations

import numpy as np

from stages.compiled import brief_kernel, kernel
from stages.contracts import Int64s
from stages.geometry.growing import copy_rows, reserve_row
from stages.geometry.sorting import list_distinct, sort_keys

EDGE_COLUMNS = ("x", "y_lo", "y_hi", "side", "convex_lo", "convex_hi")
"""Columns of `find_edges`; side is +1 where the interior lies at larger x, -1 where at smaller."""


def merge(rects: Int64s) -> Int64s:
    """Return the union of `rects` as disjoint maximal runs.

    Parameters
    ----------
    rects : (n, 4) int64
        x_min, y_min, x_max, y_max in dbu; they may overlap.

    Returns
    -------
    (m, 4) int64
        Disjoint rectangles, each bounded left and right by edges of the union, ordered by the y
        at which they end, then x.

    Examples
    --------
    >>> merge(np.array([[0, 0, 10, 4], [5, 0, 20, 4], [0, 4, 20, 6]])).tolist()
    [[0, 0, 20, 6]]
    """
    runs: Int64s = sweep_rects(rects, 0, False)[0]
    return runs


def find_gaps(rects: Int64s, limit_dbu: int) -> Int64s:
    """Return the spaces in x of at most `limit_dbu`, as (g, 4) rectangles."""
    spaces: Int64s = sweep_rects(rects, limit_dbu, False)[1]
    return spaces


def find_edges(rects: Int64s) -> Int64s:
    """Return the vertical boundary of the union, (k, 6) with the columns `EDGE_COLUMNS`.

    An end of an edge is convex if the boundary turns around the interior there. A short edge with
    two convex ends is a line end.
    """
    boundary: Int64s = sweep_rects(rects, 0, True)[2]
    return boundary


def find_runs_gaps_edges(rects: Int64s, limit_dbu: int) -> tuple[Int64s, Int64s, Int64s]:
    """Return what `merge`, `find_gaps` and `find_edges` return, from one sweep."""
    runs, spaces, boundary = sweep_rects(rects, limit_dbu, True)
    return runs, spaces, boundary


def swap_xy(rects: Int64s) -> Int64s:
    """Return the rectangles with x and y swapped."""
    return np.ascontiguousarray(rects[:, [1, 0, 3, 2]])


@kernel
def _find_intervals(active: Int64s, count: int, out: Int64s) -> int:
    """Write the intervals of non-zero winding of the sorted `active` sides; return how many."""
    found, winding = 0, 0
    for i in range(count):
        before = winding
        winding += active[i, 3]
        if before == 0 and winding != 0:
            if found > 0 and out[found - 1, 1] == active[i, 0]:
                found -= 1  # it touches the interval before: join them
            else:
                out[found, 0] = active[i, 0]
        elif before != 0 and winding == 0:
            out[found, 1] = active[i, 0]
            if out[found, 1] > out[found, 0]:
                found += 1
    return found


@kernel
def _copy_side(target: Int64s, at: int, source: Int64s, i: int) -> None:
    target[at, 0], target[at, 1] = source[i, 0], source[i, 1]
    target[at, 2], target[at, 3] = source[i, 2], source[i, 3]


@kernel
def _advance(
    active: Int64s, count: int, y: int, sides: Int64s, order: Int64s, at: int
) -> tuple[int, int]:
    """Drop the sides that end at `y` and insert those that start there, sorted by x."""
    kept = 0
    for i in range(count):
        if active[i, 2] > y:
            if kept != i:
                _copy_side(active, kept, active, i)
            kept += 1
    first = at
    while at < order.shape[0] and sides[order[at], 1] == y:
        at += 1
    # Merge the new sides (already in x order) from the back.
    i, j, k = kept - 1, at - 1, kept + (at - first) - 1
    while j >= first:
        if i >= 0 and active[i, 0] > sides[order[j], 0]:
            _copy_side(active, k, active, i)
            i -= 1
        else:
            _copy_side(active, k, sides, order[j])
            j -= 1
        k -= 1
    return kept + (at - first), at


@kernel
def _carry(
    before: Int64s, before_count: int, now: Int64s, now_count: int, y: int, out: Int64s, used: int
) -> tuple[Int64s, int]:
    """Keep the start of intervals that continue, emit those that end at `y`: x0, x1, start."""
    i = j = 0
    while i < before_count or j < now_count:
        if (
            i < before_count
            and j < now_count
            and (before[i, 0] == now[j, 0] and before[i, 1] == now[j, 1])
        ):
            now[j, 2] = before[i, 2]
            i += 1
            j += 1
        elif j == now_count or (
            i < before_count
            and (
                before[i, 0] < now[j, 0] or (before[i, 0] == now[j, 0] and before[i, 1] < now[j, 1])
            )
        ):
            out = reserve_row(out, used)
            out[used, 0], out[used, 1] = before[i, 0], before[i, 2]
            out[used, 2], out[used, 3] = before[i, 1], y
            used += 1
            i += 1
        else:
            now[j, 2] = y
            j += 1
    return out, used


@kernel
def _is_covered(intervals: Int64s, count: int, x: int, side: int) -> int:
    """Return whether the area next to `x`, on the given side, is covered (binary search)."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        begins = intervals[middle, 0]
        if begins < x or (side > 0 and begins == x):
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return 0
    end = intervals[low - 1, 1]
    return 1 if (end > x or (side < 0 and end == x)) else 0


@kernel
def _carry_edges(
    open_edges: Int64s,
    open_count: int,
    before: Int64s,
    before_count: int,
    now: Int64s,
    now_count: int,
    y: int,
    side: int,
    out: Int64s,
    used: int,
    spare: Int64s,
) -> tuple[int, Int64s, int]:
    """Do for boundary edges of one side what `_carry` does for runs: x, start, convex."""
    column = 0 if side > 0 else 1
    i = j = 0
    while i < open_count or j < now_count:
        if i < open_count and j < now_count and open_edges[i, 0] == now[j, column]:
            copy_rows(spare, j, open_edges, i, 1)
            i += 1
            j += 1
        elif j == now_count or (i < open_count and open_edges[i, 0] < now[j, column]):
            out = reserve_row(out, used)
            x = open_edges[i, 0]
            out[used, 0], out[used, 1], out[used, 2], out[used, 3] = x, open_edges[i, 1], y, side
            out[used, 4] = open_edges[i, 2]
            out[used, 5] = 1 - _is_covered(now, now_count, x, side)
            used += 1
            i += 1
        else:
            spare[j, 0], spare[j, 1] = now[j, column], y
            spare[j, 2] = 1 - _is_covered(before, before_count, now[j, column], side)
            j += 1
    copy_rows(open_edges, 0, spare, 0, now_count)
    return now_count, out, used


@kernel
def _sort_sides(sides: Int64s) -> tuple[Int64s, Int64s]:
    """Return the order of the sides by y_lo, then x, and the distinct y of their ends, sorted."""
    n = len(sides)
    keys, ends = np.empty(n, np.int64), np.empty(2 * n, np.int64)
    for i in range(n):
        keys[i], ends[i], ends[n + i] = sides[i, 0], sides[i, 1], sides[i, 2]
    by_x, order = sort_keys(keys), np.empty(n, np.int64)
    for k in range(n):
        keys[k] = sides[by_x[k], 1]
    by_y = sort_keys(keys)
    for k in range(n):
        order[k] = by_x[by_y[k]]
    return order, list_distinct(ends)


@brief_kernel
def sweep_rects(rects: Int64s, limit_dbu: int, with_edges: bool) -> tuple[Int64s, Int64s, Int64s]:
    """Sweep upward over the sides of rectangles, which may overlap: see `sweep`."""
    sides = np.empty((2 * len(rects), 4), np.int64)
    for i in range(len(rects)):
        for side in range(2):
            sides[2 * i + side, 0], sides[2 * i + side, 3] = rects[i, 2 * side], 1 - 2 * side
            sides[2 * i + side, 1], sides[2 * i + side, 2] = rects[i, 1], rects[i, 3]
    runs, spaces, boundary = sweep(sides, limit_dbu, with_edges)
    return runs, spaces, boundary


@brief_kernel
def sweep(sides: Int64s, limit_dbu: int, with_edges: bool) -> tuple[Int64s, Int64s, Int64s]:
    """Sweep upward over vertical sides, (n, 4): x, y_lo, y_hi, change of winding at x.

    The interior is where the winding, summed from the left, is not zero. Returns the runs
    (m, 4), the gaps of at most `limit_dbu` (g, 4) and the edges (k, 6), or none.
    """
    n = sides.shape[0]
    order, levels = _sort_sides(sides)
    active = np.empty((n + 1, 4), np.int64)
    runs, now = np.empty((n + 1, 3), np.int64), np.empty((n + 1, 3), np.int64)  # x0, x1, start
    spaces, next_spaces = np.empty((n + 1, 3), np.int64), np.empty((n + 1, 3), np.int64)
    lefts, rights = np.empty((n + 1, 3), np.int64), np.empty((n + 1, 3), np.int64)
    spare = np.empty((n + 1, 3), np.int64)
    out_runs, out_spaces = np.empty((n + 1, 4), np.int64), np.empty((n + 1, 4), np.int64)
    out_edges = np.empty((n + 1, 6), np.int64)
    run_used = space_used = edge_used = 0
    active_count = run_count = space_count = left_count = right_count = at = 0
    for y in levels:
        active_count, at = _advance(active, active_count, y, sides, order, at)
        now_count = _find_intervals(active, active_count, now)
        out_runs, run_used = _carry(runs, run_count, now, now_count, y, out_runs, run_used)
        if limit_dbu > 0:
            next_count = 0
            for i in range(now_count - 1):
                if now[i + 1, 0] - now[i, 1] <= limit_dbu:
                    next_spaces[next_count, 0] = now[i, 1]
                    next_spaces[next_count, 1] = now[i + 1, 0]
                    next_count += 1
            out_spaces, space_used = _carry(
                spaces, space_count, next_spaces, next_count, y, out_spaces, space_used
            )
            spaces, next_spaces, space_count = next_spaces, spaces, next_count
        if with_edges:
            left_count, out_edges, edge_used = _carry_edges(
                lefts, left_count, runs, run_count, now, now_count, y, 1, out_edges, edge_used,
                spare,
            )  # fmt: skip
            right_count, out_edges, edge_used = _carry_edges(
                rights, right_count, runs, run_count, now, now_count, y, -1, out_edges, edge_used,
                spare,
            )  # fmt: skip
        runs, now, run_count = now, runs, now_count
    return out_runs[:run_used].copy(), out_spaces[:space_used].copy(), out_edges[:edge_used].copy()
