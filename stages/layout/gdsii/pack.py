"""The elements of a GDSII stream put together as packed layers, hierarchy kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.contracts import Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry.decompose import decompose
from stages.layout.gdsii.elements import REFERENCE, Elements
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from stages.layout.pack import LayerBuilder, place_copies

OWNER, CELL, TURN = (REFERENCE.index(name) for name in ("owner", "cell", "turn"))
PLACE, COUNT = slice(3, 5), slice(5, 7)
U, V = slice(7, 9), slice(9, 11)

MOST_COPIES = 10_000_000
"""Copies of one array that are written out."""


def find_placed_cells(elements: Elements) -> dict[int, list[int]]:
    """Return the structures that each structure places, each once."""
    cells = len(elements.names)
    known = elements.reference[elements.reference[:, CELL] >= 0]
    placed: dict[int, list[int]] = {number: [] for number in range(cells)}
    for pair in np.unique(known[:, OWNER] * cells + known[:, CELL]).tolist():
        placed[pair // cells].append(pair % cells)
    return placed


def pack_elements(
    elements: Elements, order: Sequence[int], layer: int, limits: ReadLimits = DEFAULT_LIMITS
) -> PackedLayer:
    """Return one layer of the structures of `order`.

    Parameters
    ----------
    elements
        What the file draws, and places; every turn by whole quarters.
    order
        Numbers of structures, each after all that it places; the last is the top.
    layer
        An index into the layers that the elements were asked of.

    Raises
    ------
    LayoutError
        Coordinates pass 32 bits, or shapes lie too dense.
    """
    points, starts, owner = _select_layer(elements, layer)
    rects, drawn_by, others = decompose(points, starts)
    by_cell = np.argsort(owner[drawn_by], kind="stable")
    rects, rect_starts = rects[by_cell], _find_ranges(owner[drawn_by][by_cell], len(elements.names))
    polygons: dict[int, list[Int64s]] = {}
    for other in others.tolist():
        corners = points[starts[other] : starts[other + 1]]
        if len(corners) > 2:  # two enclose nothing
            polygons.setdefault(int(owner[other]), []).append(corners)
    placements, placed_by_cell = convert_references(elements.reference)
    placed_starts = _find_ranges(placed_by_cell, len(elements.names))
    builder = LayerBuilder(limits.shapes_per_um2 * (elements.dbu_nm / 1000) ** 2)
    numbers = np.full(len(elements.names), -1)
    for cell in order:
        placed = placements[slice(*placed_starts[cell : cell + 2])]
        child = numbers[placed[:, 0]]
        placed = placed[child >= 0]  # others have nothing on this layer
        placed[:, 0] = child[child >= 0]
        own = rects[slice(*rect_starts[cell : cell + 2])]
        slanted = polygons.get(cell, [])
        if len(own) or slanted or len(placed) or cell == order[-1]:
            numbers[cell] = builder.add_cell(elements.names[cell], own, slanted, placed)
    return builder.build()


def _find_ranges(owner: Int64s, cells: int) -> Int64s:
    """Return where the rows of each cell begin, and the last end; owners ascend."""
    return np.searchsorted(owner, np.arange(cells + 1))


def _select_layer(elements: Elements, layer: int) -> tuple[Int64s, Int64s, Int64s]:
    """Return the corners of all shapes on a layer, where each begins, and who draws it."""
    points, starts = elements.point, elements.point_start
    owner, on = elements.shape[:, 0], elements.shape[:, 1] == layer
    if not on.all():
        corners = np.diff(starts)
        points = points[np.repeat(on, corners)]
        starts, owner = np.append(0, np.cumsum(corners[on])), owner[on]
    return points, starts, owner


def convert_references(references: Int64s) -> tuple[Int64s, Int64s]:
    """Return references as `PLACEMENT`, cells by their number in the file, and who places them."""
    references = references[references[:, CELL] >= 0]
    count, owner = references[:, COUNT], references[:, OWNER]
    placed = place_copies(references[:, CELL], references[:, TURN], references[:, PLACE])
    is_step = np.stack((references[:, U].any(axis=1), references[:, V].any(axis=1)), axis=1)
    placed[:, 4:6] = np.where(is_step, count, 1)  # copies in one place are one
    placed[:, 6:8], left_u = np.divmod(references[:, U], count[:, :1])
    placed[:, 8:10], left_v = np.divmod(references[:, V], count[:, 1:])
    stepped = ~(left_u.any(axis=1) | left_v.any(axis=1))
    if stepped.all():
        return placed, owner
    arrays = references[~stepped]
    places = [_compute_places(array) for array in arrays]
    copies = [
        place_copies(array[CELL], array[TURN], place)
        for array, place in zip(arrays, places, strict=True)
    ]
    owners = np.repeat(arrays[:, OWNER], [len(place) for place in places])
    owner = np.concatenate([owner[stepped], owners])
    by_cell = np.argsort(owner, kind="stable")
    return np.concatenate([placed[stepped], *copies])[by_cell], owner[by_cell]


def _compute_places(array: Int64s) -> Int64s:
    """Return the place of each copy of an array whose step is no whole dbu, each rounded."""
    columns, rows = array[COUNT]
    if columns * rows > MOST_COPIES:
        raise LayoutError(
            f"an array of {columns} x {rows} copies whose step is no whole number of dbu; written "
            f"out, at most {MOST_COPIES} are read: draw it on the grid of the database unit"
        )
    across = np.arange(columns)[:, None, None] * array[U] / columns
    up = np.arange(rows)[None, :, None] * array[V] / rows
    # As for a shape: half a dbu goes up, and 1e-6 swallows float noise.
    return np.floor(array[PLACE] + across + up + 0.5 + 1e-6).astype(np.int64).reshape(-1, 2)
