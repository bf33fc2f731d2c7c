"""Read the shapes and references of a checked GDSII stream from its bytes.

in: the bytes of a stream that passed `stages.layout.gdsii.stream_check`, the layers
out: `Elements`: corners of shapes, paths as outlines, and references, in arrays for all structures
unit: the file · promise: no object per element, so that 10 million take a second

The kernel relies on the check for grammar, record sizes and names, and does not repeat it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Floats, Int64s, Layer
from stages.errors import LayoutError
from stages.geometry.growing import copy_rows
from stages.geometry.path_outline import outline_paths
from stages.layout.gdsii.grammar import Record
from stages.layout.gdsii.names import number_names
from stages.layout.gdsii.walk import is_same_point, read_i16, read_i32, read_real, read_u16
from stages.layout.limits import advise_raising
from stages.layout.references import escape_name, quote_name

REFERENCE = ("owner", "cell", "turn", "x", "y", "columns", "rows", "u_x", "u_y", "v_x", "v_y")
"""Columns of references, (n, 11) int64. u and v lead from the first to one past the last column
and row; `cell` is -1 if the file has no such structure; `turn` is a code of
`PackedLayer.inst_turn`, or ``-1 - row`` of `Elements.odd`."""

_FIRST_ROWS = 1024  # initial rows of a table


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


def read_elements(
    data: Bytes, layers: Sequence[Layer] | None, *, extent_mm: float = math.inf
) -> Elements:
    """Return the shapes of a stream on `layers`, and all its references.

    Parameters
    ----------
    data
        (n,) bytes of an uncompressed GDSII file that passed the check.
    layers
        Each once; None for all, in the order of `Elements.layers`.
    extent_mm
        Longest side of a shape.

    Raises
    ------
    LayoutError
        A shape is longer; the message gives structure and byte.
    """
    wanted = np.array([_encode_layer(layer) for layer in layers or ()], np.int64)
    dbu_m, cells, shapes, paths, placed, odd, tags = _walk(data, wanted)
    present = np.sort(tags)
    if layers is None:
        return read_elements(data, _decode_layers(present), extent_mm=extent_mm)
    rings, ring_starts = outline_paths(*_read_lines(data, paths), paths[:, 1:].copy())
    limit = min(extent_mm * 1e-3 / dbu_m, 2.0**40)
    points, starts, longest = _read_corners(data, shapes, rings, ring_starts, limit)
    names = [bytes(data.data[at : at + size]).rstrip(b"\0") for at, size in cells.tolist()]
    if longest >= 0:
        owner, _, xy, _ = shapes[longest].tolist()
        sides = np.ptp(points[starts[longest] : starts[longest + 1]], axis=0)
        raise LayoutError(
            f"byte {xy - 4} in structure {quote_name(names[owner])}: a shape {sides.max()} dbu "
            f"long; the limit is {int(limit)} dbu ({extent_mm:g} mm): a damaged coordinate, or "
            f"the limit is too low: {advise_raising('extent_mm')}"
        )
    return Elements(
        dbu_nm=dbu_m * 1e9,
        names=tuple(escape_name(name) for name in names),
        point=points,
        point_start=starts,
        shape=shapes[:, :2],
        reference=_read_references(data, placed, cells),
        odd=odd,
        layers=_decode_layers(present),
    )


def _encode_layer(layer: Layer) -> int:
    """Encode a layer as an integer; -2 past 16 bits, which no GDSII file has."""
    past = max(layer.layer, layer.datatype) > 65535
    return -2 if past else layer.layer << 16 | layer.datatype


def _decode_layers(tags: Int64s) -> tuple[Layer, ...]:
    return tuple(Layer(tag >> 16, tag & 65535) for tag in tags.tolist())


class Field(IntEnum):
    """Fields of the element being read; offsets are in bytes, 0 if absent."""

    KIND, TAG, XY, NAME, COLUMNS, MIRRORED, WIDTH, PATHTYPE, BEGIN, END = range(10)


_FIELDS = len(Field)
_BOX = -2  # in place of a path's row; -1 for a boundary


@kernel
def _walk(
    data: Bytes, wanted: Int64s
) -> tuple[float, Int64s, Int64s, Int64s, Int64s, Floats, Int64s]:
    """Walk over the records once. Owners are numbers of structures; offsets are in bytes.

    Returns
    -------
    - the database unit in m;
    - structures: offset and length of the name;
    - shapes on the layers `wanted`: owner, layer, offset of the corners, row among paths;
    - paths on them: offset of the points, columns `PATH_SHAPE`;
    - references: owner, turn, offsets of name, place and columns (0 for none);
    - odd turns, see `Elements`;
    - the layers of all shapes and paths, ``layer << 16 | datatype``.
    """
    cells, cell_count = np.empty((_FIRST_ROWS, 2), np.int64), 0
    shapes, shape_count = np.empty((_FIRST_ROWS, 4), np.int64), 0
    paths, path_count = np.empty((_FIRST_ROWS, 5), np.int64), 0
    placed, placed_count = np.empty((_FIRST_ROWS, 5), np.int64), 0
    odd, odd_count = np.empty((_FIRST_ROWS, 3)), 0
    item, turn = np.zeros(_FIELDS, np.int64), np.array((1.0, 0.0))  # magnification, angle
    dbu_m, last, at = 0.0, -1, 0
    tags = {last}  # an empty set has no type in numba
    while True:
        code, end, owner = data[at + 2], at + read_u16(data, at), cell_count - 1
        if code == Record.ENDLIB:
            break
        if code == Record.UNITS:
            dbu_m = read_real(data, at + 12)
        elif code == Record.STRNAME:
            cells = _append(cells, cell_count, (at + 4, end - at - 4))
            cell_count += 1
        elif code != Record.ENDEL:
            _read_field(data, at, code, item, turn)
        elif _is_reference(item[Field.KIND]):
            quarters = _encode_turn(item, turn)
            if quarters < 0:
                odd = _append(odd, odd_count, (turn[0], turn[1], float(item[Field.MIRRORED])))
                odd_count += 1
                quarters = -odd_count
            reference = (owner, quarters, item[Field.NAME], item[Field.XY], item[Field.COLUMNS])
            placed = _append(placed, placed_count, reference)
            placed_count += 1
        elif _is_shape(item[Field.KIND]):
            if item[Field.TAG] != last:
                last = item[Field.TAG]
                tags.add(last)
            layer = _find_layer(wanted, last)
            if layer >= 0:
                row = _BOX if item[Field.KIND] == Record.BOX else -1
                if item[Field.KIND] == Record.PATH:
                    row = path_count
                    paths = _append(paths, path_count, _read_path(data, item))
                    path_count += 1
                shapes = _append(shapes, shape_count, (owner, layer, item[Field.XY], row))
                shape_count += 1
        if code == Record.ENDEL:
            item[:], turn[0], turn[1] = 0, 1.0, 0.0
        at = end
    tags.remove(-1)
    return (
        dbu_m, cells[:cell_count], shapes[:shape_count], paths[:path_count],
        placed[:placed_count], odd[:odd_count], np.array(list(tags), np.int64),
    )  # fmt: skip


@kernel
def _read_field(data: Bytes, at: int, code: int, item: Int64s, turn: Floats) -> None:
    """Store the value of a record in the fields of its element."""
    if code == Record.XY:
        if item[Field.XY] == 0:  # further XY records follow the first
            item[Field.XY] = at + 4
    elif code == Record.LAYER:
        item[Field.TAG] += read_u16(data, at + 4) << 16
    elif code == Record.DATATYPE or code == Record.BOXTYPE:
        item[Field.TAG] += read_u16(data, at + 4)
    elif code == Record.SNAME:
        item[Field.NAME] = at + 4
    elif code == Record.COLROW:
        item[Field.COLUMNS] = at + 4
    elif code == Record.STRANS:
        item[Field.MIRRORED] = data[at + 4] >> 7
    elif code == Record.MAG:
        turn[0] = read_real(data, at + 4)
    elif code == Record.ANGLE:
        turn[1] = read_real(data, at + 4)
    elif code == Record.WIDTH:
        item[Field.WIDTH] = read_i32(data, at + 4)
    elif code == Record.PATHTYPE:
        item[Field.PATHTYPE] = read_i16(data, at + 4)
    elif code == Record.BGNEXTN:
        item[Field.BEGIN] = at + 4
    elif code == Record.ENDEXTN:
        item[Field.END] = at + 4
    elif _is_shape(code) or _is_reference(code):
        item[Field.KIND] = code


@kernel
def _read_path(data: Bytes, item: Int64s) -> tuple[int, int, int, int, int]:
    """Return the offset of a path's points, and its `PATH_SHAPE` as KLayout reads it."""
    width, kind = item[Field.WIDTH], item[Field.PATHTYPE]
    # References do not magnify a negative width; KLayout shortens its ends.
    reach = int(width / 2) if kind == 1 or kind == 2 else 0
    begin = read_i32(data, item[Field.BEGIN]) if item[Field.BEGIN] else reach
    end = read_i32(data, item[Field.END]) if item[Field.END] else reach
    return item[Field.XY], abs(width), begin, end, int(kind == 1)


@kernel
def _encode_turn(item: Int64s, turn: Floats) -> int:
    """Return the turn as a code of `PackedLayer.inst_turn`, -1 if it is odd."""
    quarters = turn[1] / 90.0
    if turn[0] != 1.0 or abs(quarters - round(quarters)) > 1e-9:
        return -1
    return int(round(quarters) % 4 + 4 * item[Field.MIRRORED])


@kernel
def _is_shape(code: int) -> bool:
    return bool(code == Record.BOUNDARY or code == Record.BOX or code == Record.PATH)


@kernel
def _is_reference(code: int) -> bool:
    return bool(code == Record.SREF or code == Record.AREF)


@kernel
def _count_points(data: Bytes, xy: int, closed: bool) -> int:
    """Return the number of points at `xy`, in this record and the XY records right after it.

    The last point of a `closed` line is not counted if it repeats the first.
    """
    first, points, end = xy, 0, _find_end(data, xy)
    while True:
        points += (end - xy) // 8
        if data[end + 2] != Record.XY:
            break
        xy, end = end + 4, end + read_u16(data, end)
    return points - int(closed and points > 1 and end > xy and is_same_point(data, first, end - 8))


@kernel
def _read_points(data: Bytes, xy: int, points: Int64s) -> None:
    """Fill `points` from this record and the XY records right after it."""
    end = _find_end(data, xy)
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
            corners = _count_points(data, xy, True) if path != _BOX else 4
        starts[shape + 1] = starts[shape] + corners
    points, longest = np.empty((starts[-1], 2), np.int64), -1
    for shape in range(len(shapes)):
        xy, path = shapes[shape, 2], shapes[shape, 3]
        corners = points[starts[shape] : starts[shape + 1]]
        if path >= 0:
            copy_rows(corners, 0, rings, ring_starts[path], len(corners))
        elif path != _BOX:
            _read_points(data, xy, corners)
        if len(corners) == 0:
            continue
        x_0, y_0, x_1, y_1 = _read_box(data, xy) if path == _BOX else _compute_box(corners)
        if path == _BOX:  # readers draw the box around its points
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
def _read_references(data: Bytes, placed: Int64s, cells: Int64s) -> Int64s:
    """Return the references that the walk found, with the columns `REFERENCE`."""
    names = np.empty((len(cells) + len(placed), 2), np.int64)
    copy_rows(names, 0, cells, 0, len(cells))
    for reference in range(len(placed)):
        name = placed[reference, 2]
        names[len(cells) + reference, 0] = name
        names[len(cells) + reference, 1] = _find_end(data, name) - name
    number = number_names(data, names)
    cell_of = np.full(len(number), -1, np.int64)
    for cell in range(len(cells)):
        cell_of[number[cell]] = cell
    found = np.zeros((len(placed), len(REFERENCE)), np.int64)
    for reference in range(len(placed)):
        owner, turn, _, xy, columns = placed[reference]
        made = found[reference]
        made[0], made[1], made[2] = owner, cell_of[number[len(cells) + reference]], turn
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
def _find_end(data: Bytes, at: int) -> int:
    """Return the end of a record, given the offset of its data."""
    return int(at - 4 + read_u16(data, at - 4))


@kernel
def _find_layer(wanted: Int64s, tag: int) -> int:
    for index in range(len(wanted)):
        if wanted[index] == tag:
            return index
    return -1


@kernel
def _append(table: Int64s, row: int, values: tuple[int, ...]) -> Int64s:
    """Append a row, to a copy of twice the rows if the table is full."""
    if row == len(table):
        bigger = np.empty((2 * len(table), table.shape[1]), table.dtype)
        copy_rows(bigger, 0, table, 0, row)
        table = bigger
    for column in range(len(values)):
        table[row, column] = values[column]
    return table
