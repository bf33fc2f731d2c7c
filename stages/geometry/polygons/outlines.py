"""Outlines of any-angle polygons, and the edges that a window needs.

in       the polygons of a layer, square windows
out      directed edges in dbu from the window's corner, each with its polygon
promise  inside the window each polygon keeps its winding, whichever corner its outline starts at; a
         long outline is not walked edge by edge

Winding is counted from the left, so edges above, below or right of a window do not matter. A
stretch of outline to the left matters only by its ends. Each run of `CHUNK` edges has a box, so
most of a long outline is skipped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.compiled import brief_kernel, kernel
from stages.contracts import Int64s, Shapes
from stages.geometry.growing import copy_rows, reserve_row
from stages.geometry.windows import Bins, bin_rects

CHUNK = 32
"""Successive edges per box."""

_INSIDE, _OUTSIDE, _LEFT = 0, 1, 2


class Outlines(NamedTuple):
    """Indexed polygons around some windows; a named tuple, as numba can take it as an argument."""

    point: Int64s
    """(m, 2) corners, in dbu."""
    start: Int64s
    """(n + 1,) polygon `p` is ``point[start[p]:start[p + 1]]``."""
    chunk_box: Int64s
    """(k, 4)"""
    chunk_start: Int64s
    """(n + 1,) into `chunk_box`."""
    box: Int64s
    """(n, 4) box of each polygon, clipped to the box of all windows."""
    bins: Bins
    """Bins of `box`, each as large as a window."""


def index_outlines(shapes: Shapes, left: Int64s, bottom: Int64s, size_dbu: int) -> Outlines | None:
    """Index the polygons that may reach into any of the windows; None if there are none.

    Parameters
    ----------
    left, bottom : (n,) int64
        Lower left corners of the windows.
    size_dbu : int
        Side of a window.
    """
    if len(shapes.point_start) <= 1 or not len(left):
        return None
    chunk_box, chunk_start = _compute_chunk_boxes(shapes.points, shapes.point_start)
    low = np.array([left.min(), bottom.min()] * 2)
    high = np.array([left.max(), bottom.max()] * 2) + size_dbu
    box = np.clip(_compute_outline_boxes(chunk_box, chunk_start), low, high)
    if not (box[:, :2] < box[:, 2:]).all(axis=1).any():
        return None
    bins = bin_rects(box, size_dbu)
    return Outlines(shapes.points, shapes.point_start, chunk_box, chunk_start, box, bins)


@brief_kernel
def _compute_chunk_boxes(point: Int64s, start: Int64s) -> tuple[Int64s, Int64s]:
    """Return the box of every `CHUNK` edges, and the offset of each polygon's boxes."""
    chunk_start = np.zeros(len(start), np.int64)
    for p in range(len(start) - 1):
        chunk_start[p + 1] = chunk_start[p] + (start[p + 1] - start[p] + CHUNK - 1) // CHUNK
    boxes = np.empty((chunk_start[-1], 4), np.int64)
    for p in range(len(start) - 1):
        for c in range(chunk_start[p], chunk_start[p + 1]):
            first = start[p] + (c - chunk_start[p]) * CHUNK
            end = min(first + CHUNK, start[p + 1])
            last = end if end < start[p + 1] else start[p]  # where its last edge ends
            x_min = x_max = point[last, 0]
            y_min = y_max = point[last, 1]
            for i in range(first, end):
                x_min, x_max = min(x_min, point[i, 0]), max(x_max, point[i, 0])
                y_min, y_max = min(y_min, point[i, 1]), max(y_max, point[i, 1])
            boxes[c, 0], boxes[c, 1], boxes[c, 2], boxes[c, 3] = x_min, y_min, x_max, y_max
    return boxes, chunk_start


@brief_kernel
def _compute_outline_boxes(chunk_box: Int64s, chunk_start: Int64s) -> Int64s:
    boxes = np.empty((len(chunk_start) - 1, 4), np.int64)
    for p in range(len(boxes)):
        copy_rows(boxes, p, chunk_box, chunk_start[p], 1)
        for c in range(chunk_start[p] + 1, chunk_start[p + 1]):
            for axis in range(2):
                boxes[p, axis] = min(boxes[p, axis], chunk_box[c, axis])
                boxes[p, axis + 2] = max(boxes[p, axis + 2], chunk_box[c, axis + 2])
    return boxes


@kernel
def find_edges_in_window(
    outlines: Outlines, size_dbu: int, x_dbu: int, y_dbu: int, edges: Int64s
) -> tuple[Int64s, int, int]:
    """Write the edges that determine a window's coverage to the first rows of `edges`.

    Parameters
    ----------
    size_dbu, x_dbu, y_dbu : int
        Side and lower left corner of the window; the side is that of the bins.
    edges : (k, 6) int64
        Grown if it is too small.

    Returns
    -------
    edges : (k, 6) int64
        Lower x, y, upper x, y in dbu from the window's corner; change of winding when crossed to
        larger x; polygon, numbered in this window. Edges of a polygon are consecutive.
    count : int
        Number of rows written, 0 if no polygon covers any of the window.
    polygons : int
        Number of polygons that they belong to.
    """
    grid, start, member = outlines.bins
    count = polygons = 0
    column_0 = max((x_dbu - grid[0]) // size_dbu, 0)
    row_0 = max((y_dbu - grid[1]) // size_dbu, 0)
    column_1 = min((x_dbu + size_dbu - 1 - grid[0]) // size_dbu, grid[2] - 1)
    row_1 = min((y_dbu + size_dbu - 1 - grid[1]) // size_dbu, grid[3] - 1)
    window = (size_dbu, x_dbu, y_dbu)
    for row in range(row_0, row_1 + 1):
        for column in range(column_0, column_1 + 1):
            b = row * grid[2] + column
            for k in range(start[b], start[b + 1]):
                box = outlines.box[member[k]]
                # A polygon stands in every bin that its box touches: it counts in the first.
                if max((box[0] - grid[0]) // size_dbu, column_0) != column or (
                    max((box[1] - grid[1]) // size_dbu, row_0) != row
                ):
                    continue
                if (
                    box[0] < x_dbu + size_dbu and box[2] > x_dbu
                    and box[1] < y_dbu + size_dbu and box[3] > y_dbu
                ):  # fmt: skip
                    before = count
                    edges, count = _add_outline(outlines, member[k], window, edges, count, polygons)
                    polygons += count > before
    return edges, count, polygons


@kernel
def _find_zone(x_min: int, y_min: int, x_max: int, y_max: int, window: tuple[int, int, int]) -> int:
    """Return on which side of a window a box lies, `_INSIDE` if it may reach into it."""
    size, x, y = window
    if y_max <= y or y_min >= y + size or x_min >= x + size:
        return _OUTSIDE
    return _LEFT if x_max <= x else _INSIDE


@kernel
def _find_edge_zone(point: Int64s, i: int, following: int, window: tuple[int, int, int]) -> int:
    x_0, y_0, x_1, y_1 = point[i, 0], point[i, 1], point[following, 0], point[following, 1]
    return _find_zone(min(x_0, x_1), min(y_0, y_1), max(x_0, x_1), max(y_0, y_1), window)


@kernel
def _find_chunk_zone(outlines: Outlines, chunk: int, window: tuple[int, int, int]) -> int:
    box = outlines.chunk_box[chunk]
    return _find_zone(box[0], box[1], box[2], box[3], window)


@kernel
def _add_outline(
    outlines: Outlines, polygon: int, window: tuple[int, int, int],
    edges: Int64s, count: int, number: int,
) -> tuple[Int64s, int]:  # fmt: skip
    """Append the edges of one polygon, which gets a `number`."""
    point, size = outlines.point, window[0]
    first, end = outlines.start[polygon], outlines.start[polygon + 1]
    chunk_0, chunk_1 = outlines.chunk_start[polygon], outlines.chunk_start[polygon + 1]
    # Where the outline passes to the left of the window, or back, the winding at the left border
    # changes. Changes below the window are summed; those above it do not matter.
    below = 0
    zone = _find_chunk_zone(outlines, chunk_1 - 1, window)
    if zone == _INSIDE:
        zone = _find_edge_zone(point, end - 1, first, window)
    was_left = zone == _LEFT
    for chunk in range(chunk_0, chunk_1):
        i = first + (chunk - chunk_0) * CHUNK
        chunk_end = min(i + CHUNK, end)
        whole = _find_chunk_zone(outlines, chunk, window)
        while i < chunk_end:
            following = i + 1 if i + 1 < end else first
            zone = whole if whole != _INSIDE else _find_edge_zone(point, i, following, window)
            if (zone == _LEFT) != was_left:
                was_left = not was_left
                y, change = point[i, 1] - window[2], 1 if was_left else -1
                if y <= 0:
                    below += change
                elif y < size:
                    edges, count = _append(edges, count, -1, y, -1, size, change, number)
            if whole != _INSIDE:
                break
            if zone == _INSIDE and point[i, 1] != point[following, 1]:
                up = point[i, 1] < point[following, 1]
                a, b = (i, following) if up else (following, i)
                edges, count = _append(
                    edges, count,
                    point[a, 0] - window[1], point[a, 1] - window[2],
                    point[b, 0] - window[1], point[b, 1] - window[2], 1 if up else -1, number,
                )  # fmt: skip
            i += 1
    if below:
        edges, count = _append(edges, count, -1, 0, -1, size, below, number)
    return edges, count


@kernel
def _append(
    edges: Int64s, count: int, x_0: int, y_0: int, x_1: int, y_1: int, change: int, polygon: int
) -> tuple[Int64s, int]:
    edges = reserve_row(edges, count)
    edges[count, 0], edges[count, 1], edges[count, 2] = x_0, y_0, x_1
    edges[count, 3], edges[count, 4], edges[count, 5] = y_1, change, polygon
    return edges, count + 1
