"""What the structures of a checked GDSII stream draw and place, read straight from its bytes.

in: the bytes of a stream that `stages.layout.gdsii_check` has checked, the layers
out: `Elements`: corners, references and the places of paths, as arrays over all structures
unit: the file · promise: no element becomes an object, so that 10 million take a second

The kernel trusts the grammar, the sizes of records and the names, and looks at no bound twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Int64s, Layer
from stages.layout.gdsii_grammar import Record
from stages.layout.gdsii_names import numbered
from stages.layout.gdsii_walk import i16, i32, real, same_point, u16

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
    dbu_m, cells, shapes, paths, placed, tags = _walk(data, wanted)
    points, starts = _corners(data, shapes)
    view = data.data
    names = (bytes(view[at : at + size]) for at, size in cells[:, 2:].tolist())
    return Elements(
        dbu_nm=dbu_m * 1e9,
        names=tuple(name.rstrip(b"\0").decode() for name in names),
        head=cells[:, :2],
        point=points,
        point_start=starts,
        shape=shapes[:, :2],
        path=paths,
        reference=_references(data, placed, cells),
        layers=tuple(sorted(Layer(tag >> 16, tag & 65535) for tag in tags.tolist())),
    )


class Seen(IntEnum):
    """What the walk remembers of an element; offsets are in bytes, 0 where there is none."""

    KIND, BEGIN, TAG, XY, NAME, COLUMNS, QUARTERS, MIRRORED, OTHER_TURN = range(9)


_SEEN = len(Seen)


@kernel
def _walk(data: Bytes, wanted: Int64s) -> tuple[float, Int64s, Int64s, Int64s, Int64s, Int64s]:
    """Go through the records once. Owners are structures, by their number; offsets are in bytes.

    What comes back:

    - the database unit in m;
    - for each structure its head (see `Elements`), where its name is, and of how many bytes;
    - for each shape on the layers `wanted` its owner, its layer, and where its corners are;
    - for each path on them what `Elements` says of it;
    - for each reference its owner, its turn, and where its name, place and columns are, 0 for none;
    - the layers of all shapes and paths, ``layer << 16 | datatype``.
    """
    cells, cell_count = np.empty((_FROM, 4), np.int64), 0
    shapes, shape_count = np.empty((_FROM, 3), np.int64), 0
    paths, path_count = np.empty((_FROM, 4), np.int64), 0
    placed, placed_count = np.empty((_FROM, 5), np.int64), 0
    seen = np.zeros(_SEEN, np.int64)
    dbu_m, last, begin, at = 0.0, -1, 0, 0
    tags = {last}  # a set that begins empty has no type
    while True:
        code, end, owner = data[at + 2], at + u16(data, at), cell_count - 1
        if code == Record.ENDLIB:
            break
        if code == Record.UNITS:
            dbu_m = real(data, at + 12)
        elif code == Record.BGNSTR:
            begin = at
        elif code == Record.STRNAME:
            cells = _put(cells, cell_count, (begin, end, at + 4, end - at - 4))
            cell_count += 1
        elif code != Record.ENDEL:
            _take(data, at, code, seen)
        elif _is_reference(seen[Seen.KIND]):
            its = (owner, _turn(seen), seen[Seen.NAME], seen[Seen.XY], seen[Seen.COLUMNS])
            placed = _put(placed, placed_count, its)
            placed_count += 1
        elif _is_shape(seen[Seen.KIND]):
            if seen[Seen.TAG] != last:
                last = seen[Seen.TAG]
                tags.add(last)
            layer = _index_of(wanted, last)
            if layer >= 0 and seen[Seen.KIND] == Record.PATH:
                paths = _put(paths, path_count, (owner, layer, seen[Seen.BEGIN], end))
                path_count += 1
            elif layer >= 0:
                shapes = _put(shapes, shape_count, (owner, layer, seen[Seen.XY]))
                shape_count += 1
        if code == Record.ENDEL:
            seen[:] = 0
        at = end
    tags.remove(-1)
    return (
        dbu_m, cells[:cell_count], shapes[:shape_count], paths[:path_count],
        placed[:placed_count], np.array(list(tags), np.int64),
    )  # fmt: skip


@kernel
def _take(data: Bytes, at: int, code: int, seen: Int64s) -> None:
    """Remember what a record says of the element that it is in, or begins."""
    if code == Record.XY:
        seen[Seen.XY] = at + 4
    elif code == Record.LAYER:
        seen[Seen.TAG] += u16(data, at + 4) << 16
    elif code == Record.DATATYPE or code == Record.BOXTYPE:
        seen[Seen.TAG] += u16(data, at + 4)
    elif code == Record.SNAME:
        seen[Seen.NAME] = at + 4
    elif code == Record.COLROW:
        seen[Seen.COLUMNS] = at + 4
    elif code == Record.STRANS:
        seen[Seen.MIRRORED] = data[at + 4] >> 7
    elif code == Record.MAG:
        seen[Seen.OTHER_TURN] |= real(data, at + 4) != 1.0
    elif code == Record.ANGLE:
        turn = real(data, at + 4) / 90.0
        seen[Seen.QUARTERS] = round(turn) % 4
        seen[Seen.OTHER_TURN] |= abs(turn - round(turn)) > 1e-9
    elif _is_shape(code) or _is_reference(code):
        seen[Seen.KIND], seen[Seen.BEGIN] = code, at


@kernel
def _turn(seen: Int64s) -> int:
    """Return the code of `PackedLayer.inst_turn`, or `OTHER_TURN`."""
    if seen[Seen.OTHER_TURN]:
        return OTHER_TURN
    return int(seen[Seen.QUARTERS] + 4 * seen[Seen.MIRRORED])


@kernel
def _is_shape(code: int) -> bool:
    return bool(code == Record.BOUNDARY or code == Record.BOX or code == Record.PATH)


@kernel
def _is_reference(code: int) -> bool:
    return bool(code == Record.SREF or code == Record.AREF)


@kernel
def _corners(data: Bytes, shapes: Int64s) -> tuple[Int64s, Int64s]:
    """Return the corners of shapes, none first and last, and where each shape begins."""
    starts = np.zeros(len(shapes) + 1, np.int64)
    for shape in range(len(shapes)):
        xy = shapes[shape, 2]
        end = _end(data, xy)
        closed = end - xy > 8 and same_point(data, xy, end - 8)
        starts[shape + 1] = starts[shape] + (end - xy) // 8 - closed
    points = np.empty((starts[-1], 2), np.int64)
    for shape in range(len(shapes)):
        xy = shapes[shape, 2]
        for corner in range(starts[shape], starts[shape + 1]):
            points[corner, 0], points[corner, 1] = i32(data, xy), i32(data, xy + 4)
            xy += 8
    return points, starts


@kernel
def _references(data: Bytes, placed: Int64s, cells: Int64s) -> Int64s:
    """Return `REFERENCE`s of what the walk found placed."""
    names = np.empty((len(cells) + len(placed), 2), np.int64)
    names[: len(cells)] = cells[:, 2:]
    for reference in range(len(placed)):
        name = placed[reference, 2]
        names[len(cells) + reference, 0] = name
        names[len(cells) + reference, 1] = _end(data, name) - name
    number = numbered(data, names)
    cell_of = np.full(len(number), -1, np.int64)
    for cell in range(len(cells)):
        cell_of[number[cell]] = cell
    found = np.zeros((len(placed), len(REFERENCE)), np.int64)
    for reference in range(len(placed)):
        owner, turn, _, xy, columns = placed[reference]
        made = found[reference]
        made[0], made[1], made[2] = owner, cell_of[number[len(cells) + reference]], turn
        made[3], made[4], made[5], made[6] = i32(data, xy), i32(data, xy + 4), 1, 1
        if columns:
            made[5], made[6] = i16(data, columns), i16(data, columns + 2)
            for axis in range(4):
                made[7 + axis] = i32(data, xy + 8 + 4 * axis) - made[3 + axis % 2]
    return found


@kernel
def _end(data: Bytes, at: int) -> int:
    """Return where the data end that begin `at`, right after the head of their record."""
    return int(at - 4 + u16(data, at - 4))


@kernel
def _index_of(wanted: Int64s, tag: int) -> int:
    for index in range(len(wanted)):
        if wanted[index] == tag:
            return index
    return -1


@kernel
def _put(table: Int64s, row: int, values: tuple[int, ...]) -> Int64s:
    """Write a row after the last, into a copy of twice the rows where all are used."""
    if row == len(table):
        bigger = np.empty((2 * len(table), table.shape[1]), np.int64)
        bigger[:row] = table
        table = bigger
    for column in range(len(values)):
        table[row, column] = values[column]
    return table
