"""Where the elements of a stream are, from the tables of a walk over it.

in: the `Tables` of one or more walks, one after the other · out: `StreamIndex`
unit: the file · promise: in which parts the stream was walked over makes no difference
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Int64s, Layer
from stages.geometry.growing import copy_rows
from stages.layout.gdsii.collect import EVERY_LAYER, Tables
from stages.layout.gdsii.records import find_end
from stages.layout.gdsii.summary import ShapeSummary


@dataclass(frozen=True, slots=True, eq=False)
class StreamIndex:
    """Where the elements of a stream are that passed the check; offsets are in bytes."""

    dbu_m: float
    """Database unit, in m."""
    structure: Int64s
    """(cells, 2) offset and length of the name."""
    shape: Int64s
    """(shapes, 4) on the layers that were asked for, or all: number of the structure, number of the
    layer, offset of the corners, row of `path`, -1 for a boundary and `BOX_ROW` for a box."""
    path: Int64s
    """(paths, 5) offset of the points, columns `PATH_SHAPE`."""
    reference: Int64s
    """(references, 6) number of the structure, turn as in `Elements`, number of the structure that
    is placed (-1 if there is none), offset of the place, of the columns (0 for none), and of the
    element."""
    odd: Int64s
    """(turns, 3) offset of the magnification and of the angle (0 for none), mirrored."""
    layers: tuple[Layer, ...]
    """All layers that have a boundary, box or path, sorted."""
    summary: ShapeSummary | None = None
    """`ShapeSummary` of the shapes, where that was asked for in their place."""


def encode_layers(layers: Sequence[Layer] | None) -> Int64s:
    """Return layers as a walk takes them; None for all.

    A layer past 16 bits, which no GDSII file has, becomes -2.
    """
    if layers is None:
        return np.array([EVERY_LAYER])
    tags = [
        -2 if max(layer.layer, layer.datatype) > 65535 else layer.layer << 16 | layer.datatype
        for layer in layers
    ]
    return np.array(tags, np.int64)


def cut_tables(tables: Tables, rows: Sequence[int]) -> Tables:
    """Return the first rows of each table."""
    cells, shapes, paths, placed, odd, tags = (
        table[:used] for table, used in zip(tables, rows, strict=True)
    )
    return cells, shapes, paths, placed, odd, tags


def join_tables(parts: list[Tables]) -> Tables:
    """Return the rows of all parts, which are let go: they are most of what a large file takes."""
    if len(parts) == 1:
        return parts.pop()
    of_each = [list(tables) for tables in zip(*parts, strict=True)]
    parts.clear()
    joined = []
    while of_each:
        joined.append(np.concatenate(of_each.pop()))
    tags, odd, placed, paths, shapes, cells = joined
    return cells, shapes, paths, placed, odd, tags


@kernel
def list_names(data: Bytes, tables: Tables) -> Int64s:
    """Return offset and length of the name of each structure, then of each reference."""
    cells, references = tables[0], tables[3]
    names = np.empty((len(cells) + len(references), 2), np.int64)
    copy_rows(names, 0, cells, 0, len(cells))
    for reference in range(len(references)):
        name = references[reference, 2]
        names[len(cells) + reference, 0] = name
        names[len(cells) + reference, 1] = find_end(data, name) - name
    return names


def index_tables(
    tables: Tables,
    number: Int64s,
    wanted: Int64s,
    dbu_m: float,
    summary: ShapeSummary | None = None,
) -> StreamIndex:
    """Return the index of a stream, which takes over the tables.

    Parameters
    ----------
    number
        Of each distinct name, for each structure and then each reference.
    wanted
        The layers that the walk was given.
    """
    cells, shapes, paths, placed, odd, tags = tables
    cell_of = np.full(len(number), -1, np.int64)
    cell_of[number[: len(cells)]] = np.arange(len(cells))
    placed[:, 2] = cell_of[number[len(cells) :]]
    present = np.unique(tags)
    if EVERY_LAYER in wanted:
        shapes[:, 1] = np.searchsorted(present, shapes[:, 1])
    layers = tuple(Layer(tag >> 16, tag & 65535) for tag in present.tolist())
    return StreamIndex(dbu_m, cells, shapes, paths, placed, odd, layers, summary)
