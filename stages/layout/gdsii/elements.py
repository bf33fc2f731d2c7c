"""Read the shapes and references of a checked GDSII stream from its bytes.

in: the bytes of a stream that passed `stages.layout.gdsii.stream_check`, and what that found
out: `Elements`: corners of shapes, paths as outlines, and references, in arrays for all structures
unit: the file · promise: no object per element, so that 10 million take a second

The kernel relies on the check for grammar, record sizes and names, and does not repeat it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.compiled import borrowing_kernel, gil_free_kernel, kernel
from stages.contracts import Bytes, Floats, Int64s, Layer
from stages.errors import LayoutError
from stages.geometry.growing import copy_rows
from stages.geometry.path_outline import outline_paths
from stages.layout.gdsii.collect import BOUNDARY_ROW, BOX_ROW
from stages.layout.gdsii.grammar import Record
from stages.layout.gdsii.index import StreamIndex
from stages.layout.gdsii.records import (
    find_end,
    is_same_point,
    read_i16,
    read_i32,
    read_point,
    read_real,
    read_u16,
)
from stages.layout.limits import advise_raising
from stages.layout.references import escape_name

MOST_SHAPES = 1 << 20
"""Shapes whose corners are in memory at once, where they are read part by part."""

_FIVE_POINTS = 44  # bytes of an XY record

REFERENCE = ("owner", "cell", "turn", "x", "y", "columns", "rows", "u_x", "u_y", "v_x", "v_y")
"""Columns of references, (n, 11) int64. u and v lead from the first to one past the last column
and row; `cell` is -1 if the file has no such structure; `turn` is a code of
`PackedLayer.inst_turn`, or ``-1 - row`` of `Elements.odd`."""


@dataclass(frozen=True, slots=True)
class Elements:
    """The contents of all structures of a file, in its order."""

    dbu_nm: float
    """Database unit, in nm."""
    names: tuple[str, ...]
    """Names of the structures, escaped if they are not printable UTF-8."""
    point: Int64s
    """(m, 2) corners of shapes on the requested layers, in dbu; the last is joined to the first."""
    point_start: Int64s
    """(shapes + 1,) shape `i` is ``point[point_start[i]:point_start[i + 1]]``."""
    shape: Int64s
    """(shapes, 2) structure, and index of the requested layer."""
    reference: Int64s
    """(references, 11) columns `REFERENCE`, sorted by owner."""
    odd: Floats
    """(turns, 3) magnification, angle in degrees, mirrored: turns other than by quarters."""
    layers: tuple[Layer, ...]
    """All layers that have a boundary, box or path."""

    def read(self, chosen: Int64s) -> tuple[Int64s, Int64s]:
        """Return the corners of some shapes, and the offset of each."""
        return gather_shapes(self.point, self.point_start, chosen)

    def read_rects(self, chosen: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """Return those of some shapes that are rectangles at a glance, if there are any.

        Returns
        -------
        rects : (n, 4) int64
        drawn : (n,) int64
            Number of each among the chosen shapes, sorted.
        rest : (r,) int64
            Numbers of all others, sorted.
        """
        none = np.empty(0, np.int64)
        return none.reshape(0, 4), none, np.arange(len(chosen))


@dataclass(frozen=True, slots=True)
class UnreadElements(Elements):
    """Elements whose corners are still in the stream: there are no points."""

    data: Bytes
    index: StreamIndex
    extent_mm: float

    @property
    def _limit_dbu(self) -> float:
        return min(self.extent_mm * 1e-3 / self.index.dbu_m, 2.0**40)

    def read_rects(self, chosen: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """Return the boundaries of four corners that are rectangles; see `Elements.read_rects`."""
        count = len(chosen)
        rects, drawn, rest = (np.empty(shape, np.int64) for shape in ((count, 4), count, count))
        shapes, limit = self.index.shape, self._limit_dbu
        found = _read_rects(self.data, shapes, chosen, limit, rects, drawn, rest)
        return rects[:found], drawn[:found], rest[: count - found]

    def read(self, chosen: Int64s) -> tuple[Int64s, Int64s]:
        """Return the corners of some shapes, and the offset of each; errors as `read_elements`."""
        shapes, limit = self.index.shape[chosen], self._limit_dbu
        of_path = shapes[:, 3] >= 0
        paths = self.index.path[shapes[of_path, 3]]
        shapes[of_path, 3] = np.arange(len(paths))
        points, starts, longest = _read_shapes(self.data, shapes, paths, limit)
        if longest >= 0:
            owner, _, xy, _ = shapes[longest].tolist()
            sides = np.ptp(points[starts[longest] : starts[longest + 1]], axis=0)
            raise LayoutError(
                f"byte {xy - 4} in structure '{self.names[owner]}': a shape {sides.max()} dbu "
                f"long; the limit is {int(limit)} dbu ({self.extent_mm:g} mm): a damaged "
                f"coordinate, or the limit is too low: {advise_raising('extent_mm')}"
            )
        return points, starts


def read_elements(data: Bytes, index: StreamIndex, *, extent_mm: float = math.inf) -> Elements:
    """Return the shapes of a stream, and all its references.

    Parameters
    ----------
    data
        (n,) bytes of an uncompressed GDSII file that passed the check.
    index
        What the check found; of shapes, those that are to be read.
    extent_mm
        Longest side of a shape.

    Raises
    ------
    LayoutError
        A shape is longer; the message gives structure and byte.
    """
    unread = leave_shapes(data, index, extent_mm=extent_mm)
    points, starts = unread.read(np.arange(len(index.shape)))
    return Elements(
        unread.dbu_nm, unread.names, points, starts, unread.shape, unread.reference, unread.odd,
        unread.layers,
    )  # fmt: skip


def leave_shapes(data: Bytes, index: StreamIndex, *, extent_mm: float = math.inf) -> UnreadElements:
    """Return all references of a stream, and what reads its shapes, a part of them at a time.

    Arguments as `read_elements`.
    """
    names = (bytes(data.data[at : at + size]) for at, size in index.structure.tolist())
    reference = np.zeros((len(index.reference), len(REFERENCE)), np.int64)
    _read_references(data, index.reference, reference)
    return UnreadElements(
        dbu_nm=index.dbu_m * 1e9,
        names=tuple(escape_name(name.rstrip(b"\0")) for name in names),
        point=np.empty((0, 2), np.int64), point_start=np.zeros(1, np.int64),
        shape=index.shape[:, :2],
        reference=reference,
        odd=_read_turns(data, index.odd),
        layers=index.layers,
        data=data, index=index, extent_mm=extent_mm,
    )  # fmt: skip


def read_corners(data: Bytes, shapes: Int64s, paths: Int64s) -> tuple[Int64s, Int64s]:
    """Return the corners of shapes, rows as of `StreamIndex`, and the offset of each."""
    points, starts, _ = _read_shapes(data, shapes, paths, math.inf)
    return points, starts


def _read_shapes(
    data: Bytes, shapes: Int64s, paths: Int64s, limit: float
) -> tuple[Int64s, Int64s, int]:
    """Return the corners of shapes, the offset of each, and the first shape over `limit`."""
    rings, ring_starts = outline_paths(*_read_lines(data, paths), paths[:, 1:].copy())
    return _read_corners(data, shapes, rings, ring_starts, limit)


@gil_free_kernel
def gather_shapes(points: Int64s, starts: Int64s, chosen: Int64s) -> tuple[Int64s, Int64s]:
    """Return the corners of chosen shapes, and the offset of each."""
    found_start = np.zeros(len(chosen) + 1, np.int64)
    for at in range(len(chosen)):
        corners = starts[chosen[at] + 1] - starts[chosen[at]]
        found_start[at + 1] = found_start[at] + corners
    found = np.empty((found_start[-1], 2), np.int64)
    for at in range(len(chosen)):
        count = found_start[at + 1] - found_start[at]
        copy_rows(found, found_start[at], points, starts[chosen[at]], count)
    return found, found_start


@borrowing_kernel
def _read_rects(
    data: Bytes, shapes: Int64s, chosen: Int64s, limit: float, rects: Int64s, drawn: Int64s,
    rest: Int64s,
) -> int:  # fmt: skip
    """Fill the arrays of `UnreadElements.read_rects`; return the number of rectangles."""
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


@kernel
def _read_lines(data: Bytes, paths: Int64s) -> tuple[Int64s, Int64s]:
    """Return the points of paths, and the offset of each path."""
    starts = np.zeros(len(paths) + 1, np.int64)
    for path in range(len(paths)):
        starts[path + 1] = starts[path] + _count_points(data, paths[path, 0], False)
    points = np.empty((starts[-1], 2), np.int64)
    for path in range(len(paths)):
        _read_points(data, paths[path, 0], points[starts[path] : starts[path + 1]])
    return points, starts


@kernel
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


@borrowing_kernel
def _read_references(data: Bytes, placed: Int64s, found: Int64s) -> None:
    """Fill rows of zeros with the columns `REFERENCE`."""
    for row in range(len(placed)):
        owner, cell, turn = placed[row, 0], placed[row, 2], placed[row, 1]
        xy, columns = placed[row, 3], placed[row, 4]
        found[row, 0], found[row, 1], found[row, 2] = owner, cell, turn
        found[row, 3], found[row, 4] = read_i32(data, xy), read_i32(data, xy + 4)
        found[row, 5], found[row, 6] = 1, 1
        if columns:
            found[row, 5] = max(read_i16(data, columns), 1)
            found[row, 6] = max(read_i16(data, columns + 2), 1)
            for axis in range(4):
                far = read_i32(data, xy + 8 + 4 * axis)
                found[row, 7 + axis] = far - found[row, 3 + axis % 2]
            for axis in range(2):  # copies in one place are one, so 10^12 of them do no harm
                if found[row, 7 + 2 * axis] == 0 and found[row, 8 + 2 * axis] == 0:
                    found[row, 5 + axis] = 1


@kernel
def _read_turns(data: Bytes, turns: Int64s) -> Floats:
    """Return the odd turns, see `Elements`."""
    found = np.empty((len(turns), 3))
    for turn in range(len(turns)):
        scale, angle, mirrored = turns[turn]
        found[turn, 0] = read_real(data, scale) if scale else 1.0
        found[turn, 1] = read_real(data, angle) if angle else 0.0
        found[turn, 2] = mirrored
    return found
