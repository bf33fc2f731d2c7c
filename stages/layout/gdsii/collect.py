"""Collect what the elements of a GDSII stream say, record by record, for `walk`.

in: the records of a stream, each after its check · out: rows of tables · unit: the record
promise: rows hold offsets into the stream; no corner is read
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from stages.compiled import borrowing_kernel
from stages.contracts import Bytes, Int64s
from stages.layout.gdsii.grammar import Record
from stages.layout.gdsii.records import read_i16, read_i32, read_real, read_u16, read_u32

BOUNDARY_ROW, BOX_ROW = -1, -2
"""In place of a path's row, in the row of a BOUNDARY and of a BOX."""
EVERY_LAYER = -1
"""In place of the wanted layers: shapes of all, their layers as in `Field.TAG`."""
KNOWN_SLOTS = 256
"""Slots of the last layers seen, a power of two."""
_BOUNDARY, _LAYER, _DATATYPE, _ENDEL = 0x00040800, 0x00060D02, 0x00060E02, 0x00041100
"""The first four bytes of records: their size, record type and data type."""
_XY = 0x1003
"""Record type and data type, after the size."""


class Field(IntEnum):
    """Fields of the element being read; offsets are in bytes, 0 if absent.

    The last ones are counts of rows so far.
    """

    KIND, TAG, XY, NAME, COLUMNS, MIRRORED, WIDTH, PATHTYPE, BEGIN, END = range(10)
    MAG, ANGLE, CELLS, PATHS, TURNS = range(10, 15)


FIELDS = len(Field)

Tables = tuple[Int64s, Int64s, Int64s, Int64s, Int64s, Int64s]
"""What a part of a walk collected; owners are numbers of structures, offsets are in bytes.

- structures: offset and length of the name;
- shapes on the layers that are wanted: owner, layer, offset of the corners, row among paths;
- paths on them: offset of the points, columns `PATH_SHAPE`;
- references: owner, turn, offset of the name, of the place, and of the columns (0 for none), byte
  of the element;
- odd turns: offset of the magnification and of the angle (0 for none), mirrored;
- layers of all shapes and paths, ``layer << 16 | datatype``, some of them repeatedly."""


def make_tables(rows: int) -> Tables:
    """Return tables with room for so many rows."""
    cells, shapes, paths, placed, odd, tags = (
        np.empty((rows, columns), np.int64) for columns in (2, 4, 5, 6, 3, 1)
    )
    return cells, shapes, paths, placed, odd, tags


@borrowing_kernel
def collect_record(
    data: Bytes, at: int, end: int, item: Int64s, cells: Int64s, rows: Int64s
) -> None:
    """Store the value of a record in the fields of its element, or that it names a structure."""
    code = data[at + 2]
    if code == Record.STRNAME:
        item[Field.CELLS] += 1
        _append(cells, rows, 0, (at + 4, end - at - 4))
    elif code == Record.XY:
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
        item[Field.MAG] = at + 4
    elif code == Record.ANGLE:
        item[Field.ANGLE] = at + 4
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


@borrowing_kernel
def _encode_path(data: Bytes, item: Int64s) -> tuple[int, int, int, int, int]:
    """Return the offset of a path's points, and its `PATH_SHAPE` as KLayout reads it."""
    width, kind = item[Field.WIDTH], item[Field.PATHTYPE]
    # References do not magnify a negative width; KLayout shortens its ends.
    reach = int(width / 2) if kind == 1 or kind == 2 else 0
    begin = read_i32(data, item[Field.BEGIN]) if item[Field.BEGIN] else reach
    end = read_i32(data, item[Field.END]) if item[Field.END] else reach
    return item[Field.XY], abs(width), begin, end, int(kind == 1)


@borrowing_kernel
def _encode_turn(data: Bytes, item: Int64s) -> int:
    """Return the turn as a code of `PackedLayer.inst_turn`, -1 if it is odd."""
    scale = read_real(data, item[Field.MAG]) if item[Field.MAG] else 1.0
    quarters = read_real(data, item[Field.ANGLE]) / 90.0 if item[Field.ANGLE] else 0.0
    if scale != 1.0 or abs(quarters - round(quarters)) > 1e-9:
        return -1
    return int(round(quarters) % 4 + 4 * item[Field.MIRRORED])


@borrowing_kernel
def _is_shape(code: int) -> bool:
    """Return whether a record begins an element that is drawn."""
    return bool(code == Record.BOUNDARY or code == Record.BOX or code == Record.PATH)


@borrowing_kernel
def _is_reference(code: int) -> bool:
    """Return whether a record begins a reference."""
    return bool(code == Record.SREF or code == Record.AREF)


@borrowing_kernel
def collect_element(
    data: Bytes, start: int, item: Int64s, wanted: Int64s, known: Int64s, tables: Tables,
    rows: Int64s,
) -> None:  # fmt: skip
    """Write what the fields of an element say into a row, and clear them.

    `known` has, in slots, layers that were seen lately, and their numbers.
    """
    _, shapes, paths, placed, odd, tags = tables
    kind, owner, xy = item[Field.KIND], item[Field.CELLS] - 1, item[Field.XY]
    if _is_shape(kind):
        layer = _find_layer(item[Field.TAG], wanted, known, tags, rows)
        row = BOX_ROW if kind == Record.BOX else BOUNDARY_ROW
        if kind == Record.PATH and layer >= 0:
            row = item[Field.PATHS]
            item[Field.PATHS] += 1
            _append(paths, rows, 2, _encode_path(data, item))
        if layer >= 0:
            _append(shapes, rows, 1, (owner, layer, xy, row))
    elif _is_reference(kind):
        turn = _encode_turn(data, item)
        if turn < 0:
            turns = (item[Field.MAG], item[Field.ANGLE], item[Field.MIRRORED])
            _append(odd, rows, 4, turns)
            item[Field.TURNS] += 1
            turn = -item[Field.TURNS]
        _append(placed, rows, 3, (owner, turn, item[Field.NAME], xy, item[Field.COLUMNS], start))
    item[: Field.CELLS] = 0


@borrowing_kernel
def collect_plain(
    data: Bytes, at: int, limit: int, item: Int64s, known: Int64s, shapes: Int64s, rows: Int64s
) -> int:
    """Collect the elements from `at` that need no check record by record; return where they end.

    These are BOUNDARY of LAYER, DATATYPE, XY and ENDEL only, closed, of three corners or more, no
    longer than `limit`, and of a layer in `known`: most of a layout. One kernel for all of them, as
    numba counts references to arrays at each call.
    """
    while rows[1] < len(shapes) and at + 24 <= len(data):
        size = read_u16(data, at + 16)
        end = at + 16 + size
        if (
            read_u32(data, at) != _BOUNDARY or read_u32(data, at + 4) != _LAYER
            or read_u32(data, at + 10) != _DATATYPE or read_u16(data, at + 18) != _XY
            or size < 36 or size % 8 != 4 or end + 4 > len(data)
            or read_u32(data, end) != _ENDEL
        ):  # fmt: skip
            break
        x_0, y_0 = read_i32(data, at + 20), read_i32(data, at + 24)
        x_1, y_1 = x_0, y_0
        if read_i32(data, end - 8) != x_0 or read_i32(data, end - 4) != y_0:
            break
        for point in range(at + 28, end - 8, 8):
            x, y = read_i32(data, point), read_i32(data, point + 4)
            x_0, y_0, x_1, y_1 = min(x, x_0), min(y, y_0), max(x, x_1), max(y, y_1)
        tag = (read_u16(data, at + 8) << 16) + read_u16(data, at + 14)
        slot = _find_slot(tag)
        if max(x_1 - x_0, y_1 - y_0) > limit or known[slot, 0] != tag:
            break
        if known[slot, 1] >= 0:
            row = rows[1]
            shapes[row, 0], shapes[row, 1] = item[Field.CELLS] - 1, known[slot, 1]
            shapes[row, 2], shapes[row, 3] = at + 20, BOUNDARY_ROW
            rows[1] = row + 1
        at = end + 4
    return at


@borrowing_kernel
def _find_slot(tag: int) -> int:
    return (tag * 31 + (tag >> 16)) & (KNOWN_SLOTS - 1)


@borrowing_kernel
def _find_layer(tag: int, wanted: Int64s, known: Int64s, tags: Int64s, rows: Int64s) -> int:
    """Return the number of a layer, -1 if it is not wanted, and note it in `tags`."""
    slot = _find_slot(tag)
    if known[slot, 0] != tag:
        _append(tags, rows, 5, (tag,))
        known[slot, 0], known[slot, 1] = tag, _number_layer(tag, wanted)
    return int(known[slot, 1])


@borrowing_kernel
def _number_layer(tag: int, wanted: Int64s) -> int:
    if len(wanted) and wanted[0] == EVERY_LAYER:
        return tag
    for index in range(len(wanted)):
        if wanted[index] == tag:
            return index
    return -1


@borrowing_kernel
def _append(table: Int64s, rows: Int64s, number: int, values: tuple[int, ...]) -> None:
    """Append a row to the table of that number."""
    for column in range(len(values)):
        table[rows[number], column] = values[column]
    rows[number] += 1
