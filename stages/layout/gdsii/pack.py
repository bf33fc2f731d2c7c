"""Build packed layers from the elements of a file, keeping its hierarchy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.contracts import Int64s
from stages.errors import LayoutError
from stages.geometry.decompose import decompose
from stages.layout.gdsii.elements import REFERENCE, Elements
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from stages.layout.pack import LayerBuilder, place_copies

OWNER, CELL, TURN = (REFERENCE.index(name) for name in ("owner", "cell", "turn"))
PLACE, COUNT = slice(3, 5), slice(5, 7)
U, V = slice(7, 9), slice(9, 11)

MOST_COPIES = 10_000_000
"""Most copies that an array off the grid is flattened to."""


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
) -> LayerBuilder:
    """Collect one layer of the structures of `order`; those without a shape on it are left out.

    Parameters
    ----------
    elements
        Those of a file, without odd turns.
    order
        Numbers of structures, each after all its children; the last is the top.
    layer
        Index among the layers that were read.

    Raises
    ------
    LayoutError
        Coordinates pass 32 bits, or shapes are too dense.
    """
    points, starts, owner = _select_layer(elements, layer)
    rects, drawn_by, others = decompose(points, starts)
    by_cell = np.argsort(owner[drawn_by], kind="stable")
    rects, rect_starts = rects[by_cell], _find_ranges(owner[drawn_by][by_cell], len(elements.names))
    polygons: dict[int, list[Int64s]] = {}
    for other in others.tolist():
        corners = points[starts[other] : starts[other + 1]]
        if len(corners) > 2:  # two corners enclose nothing
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
    return builder


def _find_ranges(owner: Int64s, cells: int) -> Int64s:
    """Return the offset of each cell's rows, and their number; `owner` is sorted."""
    return np.searchsorted(owner, np.arange(cells + 1))


def _select_layer(elements: Elements, layer: int) -> tuple[Int64s, Int64s, Int64s]:
    """Return the corners of the shapes on a layer, the offset of each, and its structure."""
    points, starts = elements.point, elements.point_start
    owner, on = elements.shape[:, 0], elements.shape[:, 1] == layer
    if not on.all():
        corners = np.diff(starts)
        points = points[np.repeat(on, corners)]
        starts, owner = np.append(0, np.cumsum(corners[on])), owner[on]
    return points, starts, owner


def convert_references(references: Int64s) -> tuple[Int64s, Int64s]:
    """Return references as `PLACEMENT`, cells by number in the file, and their owners."""
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
    """Return the rounded place of each copy of an array whose step is no whole dbu."""
    columns, rows = array[COUNT]
    if columns * rows > MOST_COPIES:
        raise LayoutError(
            f"an array of {columns} x {rows} copies whose step is no whole number of dbu; written "
            f"out, at most {MOST_COPIES} are read: draw it on the grid of the database unit"
        )
    across = np.arange(columns)[:, None, None] * array[U] / columns
    up = np.arange(rows)[None, :, None] * array[V] / rows
    # Half a dbu is rounded up, as in shapes; 1e-6 absorbs float noise.
    return np.floor(array[PLACE] + across + up + 0.5 + 1e-6).astype(np.int64).reshape(-1, 2)
