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
from stages.layout.gdsii.corners import read_rects, read_shapes
from stages.layout.gdsii.index import StreamIndex
from stages.layout.gdsii.records import read_i16, read_i32, read_real
from stages.layout.limits import advise_raising
from stages.layout.references import escape_name

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
        """Return those of some shapes that are rectangles at a glance: none of what is read.

        As `stages.layout.gdsii.corners.read_rects` does.
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
        return read_rects(self.data, self.index.shape, chosen, self._limit_dbu)

    def read(self, chosen: Int64s) -> tuple[Int64s, Int64s]:
        """Return the corners of some shapes, and the offset of each; errors as `read_elements`."""
        shapes, limit = self.index.shape[chosen], self._limit_dbu
        of_path = shapes[:, 3] >= 0
        paths = self.index.path[shapes[of_path, 3]]
        shapes[of_path, 3] = np.arange(len(paths))
        points, starts, longest = read_shapes(self.data, shapes, paths, limit)
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
