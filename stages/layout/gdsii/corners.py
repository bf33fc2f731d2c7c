"""Read the corners of shapes from the bytes of a checked GDSII stream.

in: the bytes, and rows of `StreamIndex.shape` and `StreamIndex.path` · out: corners, or rectangles
unit: some shapes · promise: a rectangle is the one that its corners would be cut into
"""

from __future__ import annotations

import math

import numpy as np

from stages.compiled import borrowing_kernel, gil_free_kernel, kernel
from stages.contracts import Bytes, Int64s
from stages.geometry.growing import copy_rows
from stages.geometry.path_outline import outline_paths
from stages.layout.gdsii.collect import BOUNDARY_ROW, BOX_ROW
from stages.layout.gdsii.grammar import Record
from stages.layout.gdsii.records import find_end, is_same_point, read_i32, read_point, read_u16

MOST_SHAPES = 1 << 20
"""Shapes whose corners are in memory at once, where they are read part by part."""
_FIVE_POINTS = 44  # bytes of an XY record


def read_rects(
    data: Bytes, shapes: Int64s, chosen: Int64s, limit: float = math.inf
) -> tuple[Int64s, Int64s, Int64s]:
    """Return the boundaries of four corners, among chosen shapes, that are rectangles.

    Others are longer than `limit`, or take more to read.

    Returns
    -------
    rects : (n, 4) int64
    drawn : (n,) int64
        Number of each among the chosen shapes, sorted.
    rest : (r,) int64
        Numbers of all others, sorted.
    """
    count = len(chosen)
    rects, drawn, rest = (np.empty(shape, np.int64) for shape in ((count, 4), count, count))
    found = _read_rects(data, shapes, chosen, limit, rects, drawn, rest)
    return rects[:found], drawn[:found], rest[: count - found]


@borrowing_kernel
def _read_rects(
    data: Bytes, shapes: Int64s, chosen: Int64s, limit: float, rects: Int64s, drawn: Int64s,
    rest: Int64s,
) -> int:  # fmt: skip
    """Fill the arrays of `read_rects`; return the number of rectangles."""
    found = 0
    for at in range(len(chosen)):
        xy, path = shapes[chosen[at], 2], shapes[chosen[at], 3]
        box = _read_rect(data, xy) if path == BOUNDARY_ROW else (0, 0, 0, 0)
        width, height = box[2] - box[0], box[3] - box[1]
        if min(width, height) > 0 and max(width, height) <= limit:
            for side in range(4):
                rects[found, side] = box[side]
            drawn[found] = at
            found += 1
        else:
            rest[at - found] = at
    return found


@borrowing_kernel
def _read_rect(data: Bytes, xy: int) -> tuple[int, int, int, int]:
    """Return the box of a boundary that is a closed rectangle in one XY record; else zeros."""
    if read_u16(data, xy - 4) != _FIVE_POINTS or data[xy + 42] == Record.XY:
        return 0, 0, 0, 0
    (x_0, y_0), before = read_point(data, xy), read_point(data, xy + 8)
    (x_1, y_1), after = read_point(data, xy + 16), read_point(data, xy + 24)
    is_rect = (before == (x_0, y_1) and after == (x_1, y_0)) or (
        before == (x_1, y_0) and after == (x_0, y_1)
    )
    if not is_rect or not is_same_point(data, xy, xy + 32):
        return 0, 0, 0, 0
    return min(x_0, x_1), min(y_0, y_1), max(x_0, x_1), max(y_0, y_1)


def read_corners(data: Bytes, shapes: Int64s, paths: Int64s) -> tuple[Int64s, Int64s]:
    """Return the corners of shapes, rows as of `StreamIndex`, and the offset of each."""
    points, starts, _ = read_shapes(data, shapes, paths, math.inf)
    return points, starts


def read_shapes(
    data: Bytes, shapes: Int64s, paths: Int64s, limit: float
) -> tuple[Int64s, Int64s, int]:
    """Return the corners of shapes, the offset of each, and the first shape over `limit`."""
    rings, ring_starts = outline_paths(*_read_lines(data, paths), paths[:, 1:].copy())
    return _read_corners(data, shapes, rings, ring_starts, limit)


@kernel
def _count_points(data: Bytes, xy: int, closed: bool) -> int:
    """Return the number of points at `xy`, in this record and the XY records right after it.

    The last point of a `closed` line is not counted if it repeats the first.
    """
    first, points, end = xy, 0, find_end(data, xy)
    while True:
        points += (end - xy) // 8
        if data[end + 2] != Record.XY:
            break
        xy, end = end + 4, end + read_u16(data, end)
    return points - int(closed and points > 1 and end > xy and is_same_point(data, first, end - 8))


@kernel
def _read_points(data: Bytes, xy: int, points: Int64s) -> None:
    """Fill `points` from this record and the XY records right after it."""
    end = find_end(data, xy)
    for point in range(len(points)):
        while xy == end:
            xy, end = end + 4, end + read_u16(data, end)
        points[point, 0], points[point, 1] = read_i32(data, xy), read_i32(data, xy + 4)
        xy += 8


@gil_free_kernel
def _read_lines(data: Bytes, paths: Int64s) -> tuple[Int64s, Int64s]:
    """Return the points of paths, and the offset of each path."""
    starts = np.zeros(len(paths) + 1, np.int64)
    for path in range(len(paths)):
        starts[path + 1] = starts[path] + _count_points(data, paths[path, 0], False)
    points = np.empty((starts[-1], 2), np.int64)
    for path in range(len(paths)):
        _read_points(data, paths[path, 0], points[starts[path] : starts[path + 1]])
    return points, starts


@gil_free_kernel
def _read_corners(
    data: Bytes, shapes: Int64s, rings: Int64s, ring_starts: Int64s, limit: float
) -> tuple[Int64s, Int64s, int]:
    """Return the corners of shapes, the offset of each, and the first shape over `limit`."""
    starts = np.zeros(len(shapes) + 1, np.int64)
    for shape in range(len(shapes)):
        xy, path = shapes[shape, 2], shapes[shape, 3]
        if path >= 0:
            corners = ring_starts[path + 1] - ring_starts[path]
        else:
            corners = _count_points(data, xy, True) if path != BOX_ROW else 4
        starts[shape + 1] = starts[shape] + corners
    points, longest = np.empty((starts[-1], 2), np.int64), -1
    for shape in range(len(shapes)):
        xy, path = shapes[shape, 2], shapes[shape, 3]
        corners = points[starts[shape] : starts[shape + 1]]
        if path >= 0:
            copy_rows(corners, 0, rings, ring_starts[path], len(corners))
        elif path != BOX_ROW:
            _read_points(data, xy, corners)
        if len(corners) == 0:
            continue
        x_0, y_0, x_1, y_1 = _read_box(data, xy) if path == BOX_ROW else _compute_box(corners)
        if path == BOX_ROW:  # readers draw the box around its points
            corners[0, 0], corners[1, 0], corners[2, 0], corners[3, 0] = x_0, x_1, x_1, x_0
            corners[0, 1], corners[1, 1], corners[2, 1], corners[3, 1] = y_0, y_0, y_1, y_1
        if longest < 0 and max(x_1 - x_0, y_1 - y_0) > limit:
            longest = shape
    return points, starts, longest


@kernel
def _compute_box(points: Int64s) -> tuple[int, int, int, int]:
    x_0, y_0 = points[0]
    x_1, y_1 = x_0, y_0
    for x, y in points:
        x_0, y_0, x_1, y_1 = min(x, x_0), min(y, y_0), max(x, x_1), max(y, y_1)
    return x_0, y_0, x_1, y_1


@kernel
def _read_box(data: Bytes, xy: int) -> tuple[int, int, int, int]:
    """Return the box around the points at `xy`; zeros if there are none."""
    count = _count_points(data, xy, False)
    points = np.zeros((max(count, 1), 2), np.int64)
    _read_points(data, xy, points[:count])
    return _compute_box(points)
