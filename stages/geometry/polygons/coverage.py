"""Exact area coverage of polygons of any angle, united with rectangles.

in       indexed outlines and disjoint rectangles of a layer, square windows
out      the pictures of the windows that a polygon reaches into
promise  non-zero winding fills a polygon, overlapping shapes count once; a pixel is exact to half a
         grey level; a picture depends only on the edges in and left of its window, to the byte, not
         on their order

A row of pixels is cut into bands in which no edge starts or ends. In a band the sides, sorted by x,
are crossed from the left. If the region starts or ends at a side, that is noted, and the area to
its right is added when this changes or the row ends. Sides that cross each other are cut.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Floats, Int64s
from stages.geometry.growing import copy_rows, reserve_row
from stages.geometry.polygons.crossings import (
    EDGE,
    HIGH,
    LOW,
    SLACK_DBU,
    add_crossing,
    add_pair,
    cross_edge,
    find_group_ends,
    sort_sides,
)
from stages.geometry.polygons.outlines import Outlines, find_edges_in_window
from stages.geometry.polygons.pixel_row import Canvas, add_side, make_canvas, write_row
from stages.geometry.sorting import merge_sort, sort_keys
from stages.geometry.union import sweep
from stages.geometry.windows import Bins, bin_rects, find_rects_in_window

TURN, SINCE_Y, SINCE_X = 0, 1, 2
"""Columns of notes on edges, (n, 3): 1 if the region starts at the edge, -1 if it ends, 0 if
neither; and the place on the edge since which that holds."""


MOST_EDGES = 200_000
"""Most edges that are drawn in a window: the time grows with their square where they cross."""


PART_EDGES = 1 << 18
"""Edges that are gathered before they are drawn, or those of one window."""


def draw_slanted(
    pictures: Bytes, outlines: Outlines, rects: Int64s, left: Int64s, bottom: Int64s, pixel_dbu: int
) -> int:
    """Redraw the windows in which a polygon covers anything.

    Returns the first window that has over `MOST_EDGES`, where it ends; else -1. Two kernels, so
    that two processors may compile them.

    Parameters
    ----------
    pictures : (n, size, size) uint8
        As drawn from `rects` by `stages.geometry.coverage.draw_windows`.
    rects : (r, 4) int64
        Disjoint rectangles in dbu: all that overlap any window.
    left, bottom : (n,) int64
        Lower left corners of the windows.
    pixel_dbu : int
        Side of a pixel.
    """
    size_dbu = pixel_dbu * pictures.shape[1]
    bins, drawn = bin_rects(rects, size_dbu), 0
    while drawn < len(pictures):
        edges, ends, polygons = _gather_edges(
            outlines, rects, bins, left[drawn:], bottom[drawn:], size_dbu
        )
        if not len(ends):
            return drawn
        draw_edges(edges, ends, polygons, pixel_dbu, pictures[drawn:])
        drawn += len(ends)
    return -1


@kernel
def _gather_edges(
    outlines: Outlines, rects: Int64s, bins: Bins, left: Int64s, bottom: Int64s, size_dbu: int
) -> tuple[Int64s, Int64s, Int64s]:
    """Return the edges of the first windows, up to one that has over `MOST_EDGES`.

    As many windows as have `PART_EDGES`: their edges, which `find_edges_in_window` describes, where
    those of each end, (n,), and its number of polygons, (n,). A window has none if no polygon
    covers any of it.
    """
    gathered, used = np.empty((1024, 6), np.int64), 0
    edges, local = np.empty((256, 6), np.int64), np.empty((64, 4), np.int64)
    ends, polygons = np.empty(len(left), np.int64), np.empty(len(left), np.int64)
    n = 0
    while n < len(left) and used < PART_EDGES:
        edges, count, polygons[n] = find_edges_in_window(
            outlines, size_dbu, left[n], bottom[n], edges
        )
        if count > MOST_EDGES:
            break
        if count:
            local, held = find_rects_in_window(rects, bins, size_dbu, left[n], bottom[n], local)
            edges, count = _add_rects(local[:held], edges, count, polygons[n])
            while len(gathered) < used + count:
                gathered = reserve_row(gathered, len(gathered))
            copy_rows(gathered, used, edges, 0, count)
        used += count
        ends[n] = used
        n += 1
    return gathered[:used], ends[:n], polygons[:n]


@kernel
def draw_edges(
    edges: Int64s, ends: Int64s, polygons: Int64s, pixel_dbu: int, pictures: Bytes
) -> None:
    """Draw the windows that have edges, as `_gather_edges` returns them."""
    first = 0
    for n in range(len(ends)):
        if ends[n] > first:
            _draw_window(edges[first : ends[n]], polygons[n] + 1, pixel_dbu, pictures[n])
        first = ends[n]


@kernel
def _add_rects(rects: Int64s, edges: Int64s, count: int, number: int) -> tuple[Int64s, int]:
    """Append the sides of a window's rectangles, as one more polygon."""
    if len(rects) > 1:  # their cuts depend on what lies outside the window: merge again
        sides = np.empty((2 * len(rects), 4), np.int64)
        for i in range(len(rects)):
            for side in range(2):
                sides[2 * i + side, 0] = rects[i, 2 * side]
                sides[2 * i + side, 1], sides[2 * i + side, 2] = rects[i, 1], rects[i, 3]
                sides[2 * i + side, 3] = 1 - 2 * side
        rects = sweep(sides, 0, False)[0]
    for i in range(len(rects)):
        for side in range(2):
            edges = reserve_row(edges, count)
            edges[count, 0] = edges[count, 2] = rects[i, 2 * side]
            edges[count, 1], edges[count, 3] = rects[i, 1], rects[i, 3]
            edges[count, 4], edges[count, 5] = 1 - 2 * side, number
            count += 1
    return edges, count


@kernel
def _draw_window(edges: Int64s, polygons: int, pixel_dbu: int, picture: Bytes) -> None:
    """Draw a window from its edges, as `find_edges_in_window` returns them."""
    size_px, canvas = len(picture), make_canvas(pixel_dbu, len(picture))
    winding = np.zeros(polygons + 1, np.int64)
    sides, notes = np.empty((len(edges), 3)), np.zeros((len(edges), 3))
    order, at, active = sort_keys(edges[:, 1].copy()), 0, 0
    for row in range(size_px):
        y, top = row * pixel_dbu, (row + 1) * pixel_dbu
        if not active and (at == len(edges) or edges[order[at], 1] >= top):
            picture[row] = 0
            continue
        while y < top:
            active = _drop_sides(edges, notes, sides, active, y, canvas)
            active, at = _add_sides(edges, sides, active, order, at, y)
            band_top = _raise_sides(edges, sides, active, order, at, top)
            _add_band(edges, winding, notes, sides[:active], y, band_top, canvas)
            y = band_top
        for k in range(active):
            _settle(notes, int(sides[k, EDGE]), sides[k, HIGH], top, canvas)
        write_row(canvas, picture[row])


@kernel
def _drop_sides(
    edges: Int64s, notes: Floats, sides: Floats, active: int, y: int, canvas: Canvas
) -> int:
    """Drop the sides that end at `y`, raise the others to it; return how many are left."""
    kept = 0
    for k in range(active):
        i = int(sides[k, EDGE])
        if edges[i, 3] > y:
            sides[kept, LOW], sides[kept, EDGE] = sides[k, HIGH], sides[k, EDGE]
            kept += 1
        else:
            _settle(notes, i, sides[k, HIGH], y, canvas)
    return kept


@kernel
def _add_sides(
    edges: Int64s, sides: Floats, active: int, order: Int64s, at: int, y: int
) -> tuple[int, int]:
    """Add the sides that start at `y`; return their new number, and the next index of `order`."""
    before = active
    while at < len(order) and edges[order[at], 1] <= y:
        i = order[at]
        if edges[i, 3] > y:
            sides[active, LOW], sides[active, EDGE] = _find_x(edges, i, y), i
            active += 1
        at += 1
    if active - before > 32:  # for so many, a merge sort beats insertion
        unsorted = sides[:active].copy()
        by_low = merge_sort(unsorted[:, LOW].copy())
        for k in range(active):
            copy_rows(sides, k, unsorted, by_low[k], 1)
    return active, at


@kernel
def _raise_sides(
    edges: Int64s, sides: Floats, active: int, order: Int64s, at: int, top: int
) -> int:
    """Set the x of the sides at the band's top; return it: no edge starts or ends in between."""
    if at < len(order):
        top = min(top, edges[order[at], 1])
    for k in range(active):
        top = min(top, edges[int(sides[k, EDGE]), 3])
    for k in range(active):
        sides[k, HIGH] = _find_x(edges, int(sides[k, EDGE]), top)
    return top


@kernel
def _find_x(edges: Int64s, i: int, y: int) -> float:
    """Return the x at which an edge crosses `y`, exact at its ends."""
    x_0, y_0, x_1, y_1 = edges[i, 0], edges[i, 1], edges[i, 2], edges[i, 3]
    if x_0 == x_1 or y <= y_0:
        return float(x_0)
    if y >= y_1:
        return float(x_1)
    return x_0 + float(y - y_0) * float(x_1 - x_0) / float(y_1 - y_0)


@kernel
def _add_band(
    edges: Int64s, winding: Int64s, notes: Floats, sides: Floats, y: int, top: int, canvas: Canvas
) -> None:
    """Add the area of a band, at once or through notes; resets the winding to 0."""
    sort_sides(edges, sides)
    furthest, crossing = -np.inf, False
    for k in range(len(sides)):
        crossing |= sides[k, HIGH] < furthest - SLACK_DBU
        furthest = max(furthest, sides[k, HIGH])
    if crossing:
        _add_groups(edges, winding, notes, sides, y, top, canvas)
    else:
        _note_turns(edges, winding, notes, sides, y, canvas)
    for k in range(len(sides)):
        winding[edges[int(sides[k, EDGE]), 5]] = 0
    winding[-1] = 0


@kernel
def _add_groups(
    edges: Int64s, winding: Int64s, notes: Floats, sides: Floats, y: int, top: int, canvas: Canvas
) -> None:
    """Add the groups of sides that cross in the band, and note the turns at the other sides."""
    ends, at, noted = find_group_ends(sides), 0, 0
    while at < len(sides):
        group = sides[at : ends[at]]
        if len(group) > 1:
            _note_turns(edges, winding, notes, sides[noted:at], y, canvas)
            for k in range(len(group)):
                _settle(notes, int(group[k, EDGE]), group[k, LOW], y, canvas)
            if len(group) == 2:
                add_pair(edges, winding, group, float(top - y), canvas)
            else:
                add_crossing(edges, winding, group, float(top - y), canvas)
            noted = ends[at]
        at = ends[at]
    _note_turns(edges, winding, notes, sides[noted:], y, canvas)


@kernel
def _note_turns(
    edges: Int64s, winding: Int64s, notes: Floats, sides: Floats, y: int, canvas: Canvas
) -> None:
    """Note at which of the sorted sides the region starts or ends, from `y` on."""
    k = 0
    while k < len(sides):
        # Coinciding sides count as one, or the result would depend on their order.
        first, turn = k, 0
        while k < len(sides) and (
            sides[k, LOW] == sides[first, LOW] and sides[k, HIGH] == sides[first, HIGH]
        ):
            turn += cross_edge(edges, winding, int(sides[k, EDGE]), 1)
            k += 1
        for j in range(first, k):
            i = int(sides[j, EDGE])
            if notes[i, TURN] != turn:
                _settle(notes, i, sides[j, LOW], y, canvas)
                notes[i, TURN], notes[i, SINCE_Y], notes[i, SINCE_X] = turn, y, sides[j, LOW]
            turn = 0


@kernel
def _settle(notes: Floats, i: int, x: float, y: int, canvas: Canvas) -> None:
    """Add the area right of an edge, from its noted place up to (x, y), and clear the note."""
    if notes[i, TURN] != 0.0:
        height = (y - notes[i, SINCE_Y]) * notes[i, TURN]
        add_side(notes[i, SINCE_X], x, height, canvas)
        notes[i, TURN] = 0.0
