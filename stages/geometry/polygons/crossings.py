"""Sides of polygons in a band of one row: sort them, and cut those that cross.

in       edges of a window (`outlines.find_edges_in_window`), their sides in a band
out      areas on a `Canvas`; the winding right of the sides
promise  the areas depend on the sides, not on their order

Two sides that cross are cut at the crossing. With more, the band is halved until they separate, at
most `HALVINGS` times; then they are taken in the order of their middles, with an error below the
height that is left.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Floats, Int64s
from stages.geometry.growing import copy_rows
from stages.geometry.polygons.pixel_row import Canvas, add_side
from stages.geometry.sorting import merge_sort

SLACK_DBU = 2.0**-20
"""An overlap up to this is float rounding, not a crossing."""

HALVINGS = 12

LOW, HIGH, EDGE = 0, 1, 2
"""Columns of sides, (n, 3), sorted by x: x at the bottom and the top of a band, the edge."""


@kernel
def sort_sides(edges: Int64s, sides: Floats) -> None:
    """Sort by x at the bottom, at the top, then by edge: insertion, as order hardly changes."""
    for i in range(1, len(sides)):
        if sides[i - 1, LOW] < sides[i, LOW]:
            continue
        low, high, edge, k = sides[i, LOW], sides[i, HIGH], sides[i, EDGE], i
        while k > 0 and (
            sides[k - 1, LOW] > low
            or (sides[k - 1, LOW] == low and sides[k - 1, HIGH] > high)
            or (sides[k - 1, LOW] == low and sides[k - 1, HIGH] == high
                and _follows(edges, int(sides[k - 1, EDGE]), int(edge)))
        ):  # fmt: skip
            copy_rows(sides, k, sides, k - 1, 1)
            k -= 1
        sides[k, LOW], sides[k, HIGH], sides[k, EDGE] = low, high, edge


@kernel
def _follows(edges: Int64s, i: int, j: int) -> bool:
    """Return whether edge `i` sorts after `j`, without regard to their polygons."""
    for column in range(5):
        if edges[i, column] != edges[j, column]:
            return edges[i, column] > edges[j, column]
    return False


@kernel
def cross_edge(edges: Int64s, winding: Int64s, i: int, way: int) -> int:
    """Cross an edge to the right (`way` 1) or to the left (-1).

    `winding` holds that of each polygon, then the number of polygons that have one. Returns 1 if
    the region starts at the edge, -1 if it ends, 0 if neither.
    """
    polygon = edges[i, 5]
    before, inside = winding[polygon] != 0, winding[-1] > 0
    winding[polygon] += way * edges[i, 4]
    winding[-1] += int(winding[polygon] != 0) - int(before)
    return int(winding[-1] > 0) - int(inside)


@kernel
def _cross_all(edges: Int64s, winding: Int64s, sides: Floats) -> None:
    for k in range(len(sides)):
        cross_edge(edges, winding, int(sides[k, EDGE]), 1)


@kernel
def find_group_ends(sides: Floats) -> Int64s:
    """Return, at the first of each group of crossing sides, the end of the group."""
    count = len(sides)
    nearest = np.full(count + 1, np.inf)  # least x at the top, of the sides from here on
    for k in range(count - 1, -1, -1):
        nearest[k] = min(sides[k, HIGH], nearest[k + 1])
    ends, first, furthest = np.empty(count, np.int64), 0, -np.inf
    for k in range(count):
        furthest = max(furthest, sides[k, HIGH])
        if furthest <= nearest[k + 1] + SLACK_DBU:
            ends[first] = k + 1
            first, furthest = k + 1, -np.inf
    return ends


@kernel
def add_pair(edges: Int64s, winding: Int64s, sides: Floats, height: float, canvas: Canvas) -> None:
    """Add two sides that cross, cut at the crossing."""
    (low_0, high_0), (low_1, high_1) = sides[0, :EDGE], sides[1, :EDGE]
    i, j = int(sides[0, EDGE]), int(sides[1, EDGE])
    share = (low_1 - low_0) / ((low_1 - low_0) + (high_0 - high_1))
    x = low_0 + share * (high_0 - low_0)
    below, above = share * height, (1 - share) * height
    add_side(low_0, x, below * cross_edge(edges, winding, i, 1), canvas)
    add_side(low_1, x, below * cross_edge(edges, winding, j, 1), canvas)
    cross_edge(edges, winding, i, -1)
    cross_edge(edges, winding, j, -1)
    add_side(x, high_1, above * cross_edge(edges, winding, j, 1), canvas)
    add_side(x, high_0, above * cross_edge(edges, winding, i, 1), canvas)


@kernel
def add_crossing(
    edges: Int64s, winding: Int64s, sides: Floats, height: float, canvas: Canvas
) -> None:
    """Add a group of sides that cross, and cross them all.

    The band is halved, and the sides in each half are grouped again; two sides are cut at their
    crossing. Uses a stack, as numba cannot cache recursive functions.
    """
    size = (2 * HALVINGS + 1) * len(sides)  # bound on all pending halves
    stack, task = np.empty((size, 3)), np.empty((size, 3), np.int64)  # first, end, times halved
    entry = np.empty((size, 2), np.int64)  # winding left of a group, as `_keep_winding`
    copy_rows(stack, 0, sides, 0, len(sides))
    depth = 1
    task[0, 0], task[0, 1], task[0, 2] = 0, len(sides), 0
    _keep_winding(edges, winding, sides, entry)
    while depth:
        depth -= 1
        first, end, halved = task[depth]
        _set_winding(edges, winding, stack[first:end], entry[first:end])
        sort_sides(edges, stack[first:end])
        ends, top, at = find_group_ends(stack[first:end]), end, first
        while at < end:
            group, band = stack[at : first + ends[at - first]], height / (1 << halved)
            if len(group) == 2:
                add_pair(edges, winding, group, band, canvas)
            elif len(group) == 1 or halved == HALVINGS:
                _add_by_middle(edges, winding, group, band, canvas)
            else:
                for half in range(2):
                    task[depth, 0], task[depth, 1] = top, top + len(group)
                    task[depth, 2] = halved + 1
                    _halve(group, half, stack[top:])
                    _keep_winding(edges, winding, group, entry[top:])
                    depth, top = depth + 1, top + len(group)
                _cross_all(edges, winding, group)
            at += len(group)
    _set_winding(edges, winding, sides, entry)
    _cross_all(edges, winding, sides)


@kernel
def _keep_winding(edges: Int64s, winding: Int64s, sides: Floats, entry: Int64s) -> None:
    """Save the winding of the polygons of some sides to `entry`."""
    for k in range(len(sides)):
        entry[k, 0] = winding[edges[int(sides[k, EDGE]), 5]]
        entry[k, 1] = winding[-1]


@kernel
def _set_winding(edges: Int64s, winding: Int64s, sides: Floats, entry: Int64s) -> None:
    """Restore the winding that `_keep_winding` saved, for the same sides in the same order."""
    for k in range(len(sides)):
        winding[edges[int(sides[k, EDGE]), 5]] = entry[k, 0]
    winding[-1] = entry[0, 1]


@kernel
def _halve(sides: Floats, half: int, out: Floats) -> None:
    """Write the lower (`half` 0) or the upper half of sides to `out`."""
    for k in range(len(sides)):
        middle = 0.5 * (sides[k, LOW] + sides[k, HIGH])
        out[k, LOW] = middle if half else sides[k, LOW]
        out[k, HIGH] = sides[k, HIGH] if half else middle
        out[k, EDGE] = sides[k, EDGE]


@kernel
def _add_by_middle(
    edges: Int64s, winding: Int64s, sides: Floats, height: float, canvas: Canvas
) -> None:
    """Add sides as if they did not cross, in the order of their middles."""
    middles = np.empty(len(sides))  # twice
    for k in range(len(sides)):
        middles[k] = sides[k, LOW] + sides[k, HIGH]
    for k in merge_sort(middles):
        turn = cross_edge(edges, winding, int(sides[k, EDGE]), 1)
        add_side(sides[k, LOW], sides[k, HIGH], height * turn, canvas)
