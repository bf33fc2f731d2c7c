"""Whether two patterns match: every edge moved by at most a tolerance, or most of the area equal.

in       patterns, of which one may be moved a little
out      how far its edges must move, or which share of its area differs
unit     a pair of patterns
promise  exact. Edges: of the two patterns P and Q, within the window, P lies in Q grown by the
         distance, Q in P grown, and so do what P and Q leave free; growing is by a square. Area: of
         the window, what belongs to one pattern only

The window compared is smaller than that of the patterns by the tolerance and the move, so that what
is just outside counts as near.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import brief_kernel, kernel
from stages.contracts import Int64s
from stages.geometry.growing import copy_rows, reserve_row
from stages.geometry.sorting import list_distinct

NO_MATCH = -1


@kernel
def _is_covered(
    inner: Int64s,
    i_0: int,
    i_1: int,
    outer: Int64s,
    o_0: int,
    o_1: int,
    half: int,
    grow: int,
    inner_x: int,
    inner_y: int,
    outer_x: int,
    outer_y: int,
) -> bool:
    """Return whether rectangles, moved and cut to the window, lie in others, moved and grown."""
    left = np.empty((16, 4), np.int64)
    for i in range(i_0, i_1):
        count = 1
        left[0, 0] = max(inner[i, 0] + inner_x, -half)
        left[0, 1] = max(inner[i, 1] + inner_y, -half)
        left[0, 2] = min(inner[i, 2] + inner_x, half)
        left[0, 3] = min(inner[i, 3] + inner_y, half)
        if left[0, 0] >= left[0, 2] or left[0, 1] >= left[0, 3]:
            continue
        for o in range(o_0, o_1):
            left, count = _subtract(
                left, count, outer[o, 0] + outer_x - grow, outer[o, 1] + outer_y - grow,
                outer[o, 2] + outer_x + grow, outer[o, 3] + outer_y + grow,
            )  # fmt: skip
            if count == 0:
                break
        if count > 0:
            return False
    return True


@kernel
def _subtract(
    left: Int64s, count: int, x_0: int, y_0: int, x_1: int, y_1: int
) -> tuple[Int64s, int]:
    """Take a rectangle away from the first `count` of `left`."""
    i = 0
    while i < count:
        a, b, c, d = left[i, 0], left[i, 1], left[i, 2], left[i, 3]
        if a >= x_1 or c <= x_0 or b >= y_1 or d <= y_0:
            i += 1
            continue
        count -= 1
        copy_rows(left, i, left, count, 1)  # it is looked at next
        low, high = max(b, y_0), min(d, y_1)
        for p, q, r, s in (
            (a, b, c, low), (a, high, c, d), (a, low, max(a, x_0), high),
            (min(c, x_1), low, c, high),
        ):  # fmt: skip
            if p < r and q < s:
                left = reserve_row(left, count)
                left[count, 0], left[count, 1], left[count, 2], left[count, 3] = p, q, r, s
                count += 1
    return left, count


@kernel
def _match_edges(
    p: Int64s,
    p_start: Int64s,
    p_first: int,
    q: Int64s,
    q_start: Int64s,
    q_first: int,
    parts: int,
    half: int,
    grow: int,
    x: int,
    y: int,
) -> bool:
    """Return whether no edge of Q, moved by x, y, is further than `grow` from one of P."""
    for part in range(parts):
        a, b = p_start[p_first + part], p_start[p_first + part + 1]
        c, d = q_start[q_first + part], q_start[q_first + part + 1]
        if not _is_covered(p, a, b, q, c, d, half, grow, 0, 0, x, y):
            return False
        if not _is_covered(q, c, d, p, a, b, half, grow, x, y, 0, 0):
            return False
    return True


@kernel
def _measure_difference(
    p: Int64s,
    p_start: Int64s,
    p_first: int,
    q: Int64s,
    q_start: Int64s,
    q_first: int,
    parts: int,
    half: int,
    x: int,
    y: int,
) -> int:
    """Return the area of the window that belongs to one of P and Q, moved by x, y, only."""
    differs = np.int64(0)
    for part in range(parts):  # what P has and Q leaves free, and what Q has and P leaves free
        other = part ^ 1
        for i in range(p_start[p_first + part], p_start[p_first + part + 1]):
            for j in range(q_start[q_first + other], q_start[q_first + other + 1]):
                wide = min(p[i, 2], q[j, 2] + x, half) - max(p[i, 0], q[j, 0] + x, -half)
                high = min(p[i, 3], q[j, 3] + y, half) - max(p[i, 1], q[j, 1] + y, -half)
                if wide > 0 and high > 0:
                    differs += wide * high
    return int(differs)


@kernel
def _list_sides(
    rects: Int64s, start: Int64s, first: int, parts: int, axis: int, half: int
) -> Int64s:
    """Return the distinct coordinates of the edges within the window along an axis, sorted."""
    sides = np.empty(2 * (start[first + parts] - start[first]), np.int64)
    used = 0
    for part in range(0, parts, 2):
        for i in range(start[first + part], start[first + part + 1]):
            for side in (rects[i, axis], rects[i, axis + 2]):
                if abs(side) < half:
                    sides[used] = side
                    used += 1
    distinct: Int64s = list_distinct(sides[:used])
    return distinct


@kernel
def _find_move(p: Int64s, q: Int64s, most: int) -> int:
    """Return the move of Q that brings its sorted edges nearest to those of P; 0 if unclear."""
    if p.shape[0] != q.shape[0] or p.shape[0] == 0:
        return 0
    low = high = p[0] - q[0]
    for i in range(1, p.shape[0]):
        low, high = min(low, p[i] - q[i]), max(high, p[i] - q[i])
    return int(min(max((low + high) // 2, -most), most))


@kernel
def _find_moves(
    p: Int64s,
    p_start: Int64s,
    p_first: int,
    q: Int64s,
    q_start: Int64s,
    q_first: int,
    parts: int,
    half: int,
    most: int,
) -> tuple[int, int]:
    """Return the moves in x and y of Q that bring its edges nearest to those of P."""
    x = _find_move(
        _list_sides(p, p_start, p_first, parts, 0, half),
        _list_sides(q, q_start, q_first, parts, 0, half), most,
    )  # fmt: skip
    y = _find_move(
        _list_sides(p, p_start, p_first, parts, 1, half),
        _list_sides(q, q_start, q_first, parts, 1, half), most,
    )  # fmt: skip
    return x, y


@brief_kernel
def match_patterns(
    turned: Int64s,
    turned_start: Int64s,
    rects: Int64s,
    start: Int64s,
    which: Int64s,
    parts: int,
    half: int,
    limit: int,
    most_move: int,
    by_area: bool,
) -> Int64s:
    """Compare a pattern in all its orientations with others.

    Parameters
    ----------
    turned, turned_start
        The parts of the pattern (`stages.classes.patterns.Patterns`), once per orientation.
    rects, start, which
        The patterns to compare it with.
    parts
        Parts of one pattern: two per layer.
    half
        Half the side of the window that is compared.
    limit
        Furthest move of an edge, or largest area that may differ.
    most_move
        Furthest that a pattern may be moved, both ways.
    by_area
        Whether `limit` is an area.

    Returns
    -------
    (n, 4) int64
        Per pattern: the smallest distance or area, `NO_MATCH` if over the limit; the orientation of
        the first pattern; the move of the other one in x and y.
    """
    found = np.zeros((which.shape[0], 4), np.int64)
    found[:, 0] = NO_MATCH
    for k in range(which.shape[0]):
        q_first = parts * which[k]
        for turn in range((turned_start.shape[0] - 1) // parts):
            p_first = parts * turn
            for moved in range(2 if most_move > 0 else 1):
                x = y = 0
                if moved:
                    x, y = _find_moves(
                        turned, turned_start, p_first, rects, start, q_first, parts, half, most_move
                    )
                    if x == 0 and y == 0:
                        continue
                best = found[k, 0]
                most = limit if best == NO_MATCH else best - 1
                value = _compare(
                    turned, turned_start, p_first, rects, start, q_first, parts, half, most, x, y,
                    by_area,
                )  # fmt: skip
                if value != NO_MATCH:
                    found[k, 0], found[k, 1], found[k, 2], found[k, 3] = value, turn, x, y
    return found


@kernel
def _compare(
    p: Int64s,
    p_start: Int64s,
    p_first: int,
    q: Int64s,
    q_start: Int64s,
    q_first: int,
    parts: int,
    half: int,
    most: int,
    x: int,
    y: int,
    by_area: bool,
) -> int:
    """Return the distance or area of P and Q, moved by x, y; `NO_MATCH` if it is over `most`."""
    if not by_area:
        return int(
            _search_distance(p, p_start, p_first, q, q_start, q_first, parts, half, most, x, y)
        )
    area = _measure_difference(p, p_start, p_first, q, q_start, q_first, parts, half, x, y)
    return int(area if area <= most else NO_MATCH)


@kernel
def _search_distance(
    p: Int64s,
    p_start: Int64s,
    p_first: int,
    q: Int64s,
    q_start: Int64s,
    q_first: int,
    parts: int,
    half: int,
    most: int,
    x: int,
    y: int,
) -> int:
    """Return the smallest distance up to `most` at which P and Q match, `NO_MATCH` if none."""
    if most < 0 or not _match_edges(
        p, p_start, p_first, q, q_start, q_first, parts, half, most, x, y
    ):
        return NO_MATCH
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if _match_edges(p, p_start, p_first, q, q_start, q_first, parts, half, middle, x, y):
            high = middle
        else:
            low = middle + 1
    return high
