"""What the structures of a checked GDSII stream draw and place, read straight from its bytes.

in: the bytes of a stream that `stages.geometry.records` has checked, the layers
out: `Elements`: corners, references and the places of paths, as arrays over all structures
unit: the file · promise: no element becomes an object, so that 10 million take a second

The kernel trusts the grammar, the sizes of records and the names, and looks at no bound twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    wanted = np.array([_tag(layer.layer, layer.datatype) for layer in layers], np.int64)
    dbu_m, cells, points, starts, shapes, paths, placed, tags = _read(data, wanted)
    view = data.data
    names = tuple(
        bytes(view[at : at + size]).rstrip(b"\0").decode() for at, size in cells[:, 2:].tolist()
    )
    return Elements(
        dbu_m * 1e9, names, cells[:, :2], points, starts, shapes, paths, placed,
        tuple(sorted(Layer(tag >> 16, tag & 65535) for tag in tags.tolist())),
    )  # fmt: skip


@njit(cache=True)
def _read(
    data: Bytes, wanted: Int64s
) -> tuple[float, Int64s, Int64s, Int64s, Int64s, Int64s, Int64s, Int64s]:
    cells, used_cells = np.empty((_FROM, 4), np.int64), 0
    points, used_points = np.empty((_FROM, 2), np.int64), 0
    shapes, used_shapes = np.empty((_FROM, 3), np.int64), 0
    paths, used_paths = np.empty((_FROM, 4), np.int64), 0
    placed, used_placed = np.empty((_FROM, 13), np.int64), 0
    dbu_m, last_tag = 0.0, -1
    tags = {last_tag}  # a set that begins empty has no type
    at, begin, kind, tag, xy, points_end, name, name_bytes = 0, 0, 0, 0, 0, 0, 0, 0
    columns, rows, mirrored, magnified, angle = 1, 1, False, False, 0.0
    while True:
        code, end = data[at + 2], at + u16(data, at)
        if code == Record.XY:
            xy, points_end = at + 4, end
        elif code == Record.LAYER:
            tag = u16(data, at + 4) * 65536 + tag % 65536
        elif code == Record.DATATYPE or code == Record.BOXTYPE:
            tag = tag // 65536 * 65536 + u16(data, at + 4)
        elif code == Record.ENDEL:
            if kind == Record.BOUNDARY or kind == Record.BOX or kind == Record.PATH:
                if tag != last_tag:
                    tags.add(tag)
                    last_tag = tag
                layer = _index_of(wanted, tag)
                if layer >= 0 and kind == Record.PATH:
                    paths = _roomy(paths, used_paths, 1)
                    row = paths[used_paths]
                    row[0], row[1], row[2], row[3] = used_cells - 1, layer, begin, end
                    used_paths += 1
                elif layer >= 0:
                    closed = points_end - xy > 8 and same_point(data, xy, points_end - 8)
                    corners = (points_end - xy) // 8 - (1 if closed else 0)
                    points = _roomy(points, used_points, corners)
                    shapes = _roomy(shapes, used_shapes, 1)
                    row = shapes[used_shapes]
                    row[0], row[1], row[2] = used_points, used_cells - 1, layer
                    for corner in range(corners):
                        points[used_points + corner, 0] = i32(data, xy + 8 * corner)
                        points[used_points + corner, 1] = i32(data, xy + 8 * corner + 4)
                    used_shapes += 1
                    used_points += corners
            elif kind == Record.SREF or kind == Record.AREF:
                placed = _roomy(placed, used_placed, 1)
                row = placed[used_placed]
                row[0], row[2] = used_cells - 1, _turn(mirrored, magnified, angle)
                row[3], row[4] = i32(data, xy), i32(data, xy + 4)
                row[5:11] = 0
                row[5], row[6] = columns, rows
                if kind == Record.AREF:
                    for axis in range(4):
                        row[7 + axis] = i32(data, xy + 8 + 4 * axis) - row[3 + axis % 2]
                row[11], row[12] = name, name_bytes
                used_placed += 1
            kind = 0
        elif code == Record.SNAME:
            name, name_bytes = at + 4, end - at - 4
        elif code == Record.COLROW:
            columns, rows = i16(data, at + 4), i16(data, at + 6)
        elif code == Record.STRANS:
            mirrored = data[at + 4] & 128 != 0
        elif code == Record.MAG:
            magnified = real(data, at + 4) != 1.0
        elif code == Record.ANGLE:
            angle = real(data, at + 4)
        elif code == Record.BGNSTR:
            begin = at
        elif code == Record.STRNAME:
            cells = _roomy(cells, used_cells, 1)
            row = cells[used_cells]
            row[0], row[1], row[2], row[3] = begin, end, at + 4, end - at - 4
            used_cells += 1
        elif code == Record.UNITS:
            dbu_m = real(data, at + 12)
        elif code == Record.ENDLIB:
            break
        elif code != Record.ENDSTR and kind == 0 and _is_element(code):
            begin, kind, tag = at, code, 0
            columns, rows, mirrored, magnified, angle = 1, 1, False, False, 0.0
        at = end
    cells, placed = cells[:used_cells], placed[:used_placed]
    _resolve(data, cells, placed)
    starts = np.empty(used_shapes + 1, np.int64)
    starts[:used_shapes], starts[used_shapes] = shapes[:used_shapes, 0], used_points
    tags.remove(-1)
    return (
        dbu_m, cells, points[:used_points], starts, shapes[:used_shapes, 1:], paths[:used_paths],
        placed[:, :11], np.array(list(tags), np.int64),
    )  # fmt: skip


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
def _resolve(data: Bytes, cells: Int64s, placed: Int64s) -> None:
    """Write into each reference which structure it names, -1 for none."""
    number = numbered(data, np.concatenate((cells[:, 2:], placed[:, 11:])))
    cell_of = np.full(len(number), -1, np.int64)
    for cell in range(len(cells)):
        cell_of[number[cell]] = cell
    for reference in range(len(placed)):
        placed[reference, 1] = cell_of[number[len(cells) + reference]]


@njit(cache=True)
def _index_of(wanted: Int64s, tag: int) -> int:
    for index in range(len(wanted)):
        if wanted[index] == tag:
            return index
    return -1


@njit(cache=True)
def _roomy(table: Int64s, used: int, more: int) -> Int64s:
    """Return the table, or a copy of twice the rows, with room for `more` after those `used`."""
    if used + more <= len(table):
        return table
    bigger = np.empty((max(2 * len(table), used + more), table.shape[1]), np.int64)
    bigger[:used] = table[:used]
    return bigger


def _tag(layer: int, datatype: int) -> int:
    return layer << 16 | datatype
