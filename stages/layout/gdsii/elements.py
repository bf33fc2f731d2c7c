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

from stages.compiled import kernel
from stages.contracts import Bytes, Floats, Int64s, Layer
from stages.errors import LayoutError
from stages.geometry.growing import copy_rows
from stages.geometry.path_outline import outline_paths
from stages.layout.gdsii.collect import BOX_ROW
from stages.layout.gdsii.grammar import Record
from stages.layout.gdsii.index import StreamIndex
from stages.layout.gdsii.records import (
    find_end,
    is_same_point,
    read_i16,
    read_i32,
    read_real,
    read_u16,
)
from stages.layout.limits import advise_raising
from stages.layout.references import escape_name

MOST_SHAPES = 1 << 20
"""Shapes whose corners are in memory at once, where they are read part by part."""

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


@dataclass(frozen=True, slots=True)
class UnreadElements(Elements):
    """Elements whose corners are still in the stream: there are no points."""

    data: Bytes
    index: StreamIndex
    extent_mm: float

    def read(self, chosen: Int64s) -> tuple[Int64s, Int64s]:
        """Return the corners of some shapes, and the offset of each; errors as `read_elements`."""
        shapes = self.index.shape[chosen]
        of_path = shapes[:, 3] >= 0
        paths = self.index.path[shapes[of_path, 3]]
        shapes[of_path, 3] = np.arange(len(paths))
        limit = min(self.extent_mm * 1e-3 / self.index.dbu_m, 2.0**40)
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
    return UnreadElements(
        dbu_nm=index.dbu_m * 1e9,
        names=tuple(escape_name(name.rstrip(b"\0")) for name in names),
        point=np.empty((0, 2), np.int64), point_start=np.zeros(1, np.int64),
        shape=index.shape[:, :2],
        reference=_read_references(data, index.reference),
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


@kernel
def _read_references(data: Bytes, placed: Int64s) -> Int64s:
    """Return references with the columns `REFERENCE`."""
    found = np.zeros((len(placed), len(REFERENCE)), np.int64)
    for reference in range(len(placed)):
        owner, cell, turn = placed[reference, 0], placed[reference, 2], placed[reference, 1]
        xy, columns, made = placed[reference, 3], placed[reference, 4], found[reference]
        made[0], made[1], made[2] = owner, cell, turn
        made[3], made[4], made[5], made[6] = read_i32(data, xy), read_i32(data, xy + 4), 1, 1
        if columns:
            made[5], made[6] = max(read_i16(data, columns), 1), max(read_i16(data, columns + 2), 1)
            for axis in range(4):
                made[7 + axis] = read_i32(data, xy + 8 + 4 * axis) - made[3 + axis % 2]
            for axis in range(2):  # copies in one place are one, so 10^12 of them do no harm
                if made[7 + 2 * axis] == 0 and made[8 + 2 * axis] == 0:
                    made[5 + axis] = 1
    return found


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
