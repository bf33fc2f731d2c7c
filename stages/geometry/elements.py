"""What the structures of a checked GDSII stream draw and place, read straight from its bytes.

in: the bytes of a stream that `stages.geometry.records` has checked, the layers
out: `Elements`: corners, references and the places of paths, as arrays over all structures
unit: the file · promise: no element becomes an object, so that 10 million take a second

The kernel trusts the grammar, the sizes of records and the names, and looks at no bound twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit

from stages.contracts import Bytes, Int64s, Layer
from stages.geometry.gdsii import Record
from stages.geometry.names import numbered
from stages.geometry.stream import i16, i32, real, same_point, u16

OTHER_TURN = -1
"""Turn of a reference that is magnified, or not turned by whole quarters."""

REFERENCE = ("owner", "cell", "turn", "x", "y", "columns", "rows", "u_x", "u_y", "v_x", "v_y")
"""Columns of references, (n, 11) int64. u and v lead from the first to one past the last column
and row; `cell` is -1 where the file has no such structure."""

_FROM = 1024  # rows that tables begin with


@dataclass(frozen=True, slots=True)
class Elements:
    """All structures of a stream, in its order."""

    dbu_nm: float
    """Database unit, in nm."""
    names: tuple[str, ...]
    """Of the structures."""
    head: Int64s
    """(structures, 2) where BGNSTR begins, and where STRNAME ends, in bytes."""
    point: Int64s
    """(m, 2) corners of boundaries and boxes on the layers asked for, in dbu; the last is joined
    to the first."""
    point_start: Int64s
    """(shapes + 1,) shape `i` is ``point[point_start[i]:point_start[i + 1]]``."""
    shape: Int64s
    """(shapes, 2) its structure and layer, as an index into those asked for."""
    path: Int64s
    """(paths, 4) its structure and layer, where its record begins and where ENDEL ends."""
    reference: Int64s
    """(references, 11), see `REFERENCE`; in the order of their structures."""
    layers: tuple[Layer, ...]
    """All on which there is a boundary, box or path."""

    @property
    def quarter_turns(self) -> bool:
        """Whether every reference is turned by whole quarters, and none magnified."""
        return not (self.reference[:, REFERENCE.index("turn")] == OTHER_TURN).any()


def read_elements(data: Bytes, layers: Sequence[Layer]) -> Elements:
    """Return what the structures of a stream draw on `layers`, and what they place.

    Parameters
    ----------
    data
        (n,) a whole uncompressed GDSII file that has been checked.
    layers
        Each once.
    """
    wanted = np.array([layer.layer << 16 | layer.datatype for layer in layers], np.int64)
    dbu_m, cells, rows, tags = _walk(data, wanted)
    kind = rows[:, Column.KIND]
    shapes = rows[(kind == Record.BOUNDARY) | (kind == Record.BOX)]
    points, starts = _corners(data, shapes)
    path = [Column.OWNER, Column.LAYER, Column.BEGIN, Column.END]
    view = data.data
    names = (bytes(view[at : at + size]) for at, size in cells[:, 2:].tolist())
    return Elements(
        dbu_nm=dbu_m * 1e9,
        names=tuple(name.rstrip(b"\0").decode() for name in names),
        head=cells[:, :2],
        point=points,
        point_start=starts,
        shape=shapes[:, [Column.OWNER, Column.LAYER]],
        path=rows[kind == Record.PATH][:, path],
        reference=_references(data, rows[(kind == Record.SREF) | (kind == Record.AREF)], cells),
        layers=tuple(sorted(Layer(tag >> 16, tag & 65535) for tag in tags.tolist())),
    )


class Column(IntEnum):
    """What the walk keeps of an element; offsets are in bytes."""

    KIND, OWNER, LAYER, BEGIN, END, XY, XY_END, NAME, NAME_BYTES, TURN, COLUMNS, ROWS = range(12)


_WIDTH = len(Column)


@njit(cache=True)
def _walk(data: Bytes, wanted: Int64s) -> tuple[float, Int64s, Int64s, Int64s]:
    """Go through the records once.

    Returns the database unit in m; for each structure its head (see `Elements`) and where its name
    is, offset and bytes; references, and shapes and paths on the layers `wanted`, as `Column`s; and
    the layers of all shapes and paths, ``layer << 16 | datatype``.
    """
    cells, cell_count = np.empty((_FROM, 4), np.int64), 0
    rows, used = np.empty((_FROM, _WIDTH), np.int64), 0
    row, inside = rows[0], False
    mirrored, magnified, angle = False, False, 0.0
    dbu_m, last, begin, at = 0.0, -1, 0, 0
    tags = {last}  # a set that begins empty has no type
    while True:
        code, end = data[at + 2], at + u16(data, at)
        if code == Record.XY:
            row[Column.XY], row[Column.XY_END] = at + 4, end
        elif code == Record.LAYER:
            row[Column.LAYER] += u16(data, at + 4) << 16
        elif code == Record.DATATYPE or code == Record.BOXTYPE:
            row[Column.LAYER] += u16(data, at + 4)
        elif code == Record.ENDEL:
            inside, row[Column.END], kind = False, end, row[Column.KIND]
            if kind == Record.BOUNDARY or kind == Record.BOX or kind == Record.PATH:
                if row[Column.LAYER] != last:
                    last = int(row[Column.LAYER])
                    tags.add(last)
                row[Column.LAYER] = _index_of(wanted, row[Column.LAYER])
                used += row[Column.LAYER] >= 0
            elif kind == Record.SREF or kind == Record.AREF:
                row[Column.TURN] = _turn(mirrored, magnified, angle)
                used += 1
        elif code == Record.SNAME:
            row[Column.NAME], row[Column.NAME_BYTES] = at + 4, end - at - 4
        elif code == Record.COLROW:
            row[Column.COLUMNS], row[Column.ROWS] = i16(data, at + 4), i16(data, at + 6)
        elif code == Record.STRANS:
            mirrored = data[at + 4] & 128 != 0
        elif code == Record.MAG:
            magnified = real(data, at + 4) != 1.0
        elif code == Record.ANGLE:
            angle = real(data, at + 4)
        elif code == Record.BGNSTR:
            begin = at
        elif code == Record.STRNAME:
            cells = _roomy(cells, cell_count)
            head = cells[cell_count]
            head[0], head[1], head[2], head[3] = begin, end, at + 4, end - at - 4
            cell_count += 1
        elif code == Record.UNITS:
            dbu_m = real(data, at + 12)
        elif code == Record.ENDLIB:
            break
        elif not inside and _is_element(code):
            rows = _roomy(rows, used)
            row, inside = rows[used], True
            row[:] = 0
            row[Column.KIND], row[Column.OWNER], row[Column.BEGIN] = code, cell_count - 1, at
            row[Column.COLUMNS], row[Column.ROWS] = 1, 1
            mirrored, magnified, angle = False, False, 0.0
        at = end
    tags.remove(-1)
    return dbu_m, cells[:cell_count], rows[:used], np.array(list(tags), np.int64)


@njit(cache=True)
def _corners(data: Bytes, shapes: Int64s) -> tuple[Int64s, Int64s]:
    """Return the corners of shapes, none first and last, and where each shape begins."""
    starts = np.zeros(len(shapes) + 1, np.int64)
    for shape in range(len(shapes)):
        xy, end = shapes[shape, Column.XY], shapes[shape, Column.XY_END]
        closed = end - xy > 8 and same_point(data, xy, end - 8)
        starts[shape + 1] = starts[shape] + (end - xy) // 8 - closed
    points = np.empty((starts[-1], 2), np.int64)
    for shape in range(len(shapes)):
        xy = shapes[shape, Column.XY]
        for corner in range(starts[shape], starts[shape + 1]):
            points[corner, 0], points[corner, 1] = i32(data, xy), i32(data, xy + 4)
            xy += 8
    return points, starts


@njit(cache=True)
def _references(data: Bytes, rows: Int64s, cells: Int64s) -> Int64s:
    """Return `REFERENCE`s of the rows of references."""
    names = rows[:, Column.NAME : Column.NAME_BYTES + 1]
    number = numbered(data, np.concatenate((cells[:, 2:], names)))
    cell_of = np.full(len(number), -1, np.int64)
    for cell in range(len(cells)):
        cell_of[number[cell]] = cell
    found = np.zeros((len(rows), 11), np.int64)
    for reference in range(len(rows)):
        row, made = rows[reference], found[reference]
        xy = row[Column.XY]
        made[0], made[1] = row[Column.OWNER], cell_of[number[len(cells) + reference]]
        made[2], made[3], made[4] = row[Column.TURN], i32(data, xy), i32(data, xy + 4)
        made[5], made[6] = row[Column.COLUMNS], row[Column.ROWS]
        if row[Column.KIND] == Record.AREF:
            for axis in range(4):
                made[7 + axis] = i32(data, xy + 8 + 4 * axis) - made[3 + axis % 2]
    return found


@njit(cache=True)
def _is_element(code: int) -> bool:
    return bool(Record.BOUNDARY <= code <= Record.TEXT or code in (Record.NODE, Record.BOX))


@njit(cache=True)
def _turn(mirrored: bool, magnified: bool, angle: float) -> int:
    """Return the code of `PackedLayer.inst_turn`, or `OTHER_TURN`."""
    quarters = round(angle / 90.0)
    if magnified or abs(angle / 90.0 - quarters) > 1e-9:
        return OTHER_TURN
    return int(quarters) % 4 + (4 if mirrored else 0)


@njit(cache=True)
def _index_of(wanted: Int64s, tag: int) -> int:
    for index in range(len(wanted)):
        if wanted[index] == tag:
            return index
    return -1


@njit(cache=True)
def _roomy(table: Int64s, used: int) -> Int64s:
    """Return the table, or a copy of twice the rows where all are used."""
    if used < len(table):
        return table
    bigger = np.empty((2 * len(table), table.shape[1]), np.int64)
    bigger[:used] = table
    return bigger
