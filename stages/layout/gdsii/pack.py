"""Build packed layers from the elements of a file, keeping its hierarchy."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import numpy as np

from stages.compiled import interpreting_up_to
from stages.contracts import Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry.decompose import decompose
from stages.layout.gdsii.corners import MOST_SHAPES
from stages.layout.gdsii.elements import REFERENCE, Elements, gather_shapes
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from stages.layout.pack import CellContents, build_layer, place_copies
from stages.layout.references import find_first_uses
from stages.threads import count_processors

OWNER, CELL, TURN = (REFERENCE.index(name) for name in ("owner", "cell", "turn"))
PLACE, COUNT = slice(3, 5), slice(5, 7)
U, V, STEPS = slice(7, 9), slice(9, 11), slice(7, 11)

Placements = tuple[Int64s, Int64s, Int64s]
"""As in `CellContents`: the placements, where those of each structure begin, and their cells."""

MOST_COPIES = 10_000_000
"""Most copies that an array off the grid is flattened to."""


def find_placed_cells(elements: Elements) -> dict[int, list[int]]:
    """Return the structures that each structure places, each once."""
    cells = len(elements.names)
    owner, cell = elements.reference[:, OWNER].copy(), elements.reference[:, CELL].copy()
    first = find_first_uses(owner, cell, cells)
    placed: dict[int, list[int]] = {number: [] for number in range(cells)}
    for pair in np.sort(owner[first] * cells + cell[first]).tolist():
        placed[pair // cells].append(pair % cells)
    return placed


def collect_placements(elements: Elements) -> Placements:
    """Return what structures place; arrays off the grid are written out."""
    placements, placed_by = convert_references(elements.reference)
    return placements, _find_ranges(placed_by, len(elements.names)), placements[:, 0].copy()


def pack_layers(
    elements: Elements, placed: Placements, order: Sequence[int], layers: Sequence[int],
    limits: ReadLimits = DEFAULT_LIMITS,
) -> list[tuple[PackedLayer, tuple[str, ...]]]:  # fmt: skip
    """Return layers of the structures of `order`, packed, and the names of those with a shape.

    Parameters
    ----------
    elements
        Those of a file, without odd turns; of its references nothing is asked.
    placed
        What the structures place.
    order
        Numbers of structures, each after all its children; the last is the top.
    layers
        Indices among the layers that were read.

    Raises
    ------
    LayoutError
        Coordinates pass 32 bits, or shapes are too dense.
    """
    shapes, layer_of = _sort_shapes(elements.shape)
    numbers = np.array(order, np.int64)
    most_per_dbu2 = limits.shapes_per_um2 * (elements.dbu_nm / 1000) ** 2

    def pack(layer: int) -> tuple[PackedLayer, tuple[str, ...]]:
        chosen = shapes[slice(*np.searchsorted(layer_of, (layer, layer + 1)))]
        contents = _collect_contents(elements, chosen, placed)
        return build_layer(contents, numbers, elements.names, most_per_dbu2)

    with (
        interpreting_up_to(len(placed[0]) + max(len(elements.point), 4 * len(elements.shape))),
        ThreadPoolExecutor(count_processors()) as pool,
    ):
        first = list(map(pack, layers[:1]))  # numba must not compile in two threads at once
        rest = [pool.submit(copy_context().run, pack, layer) for layer in layers[1:]]
        return first + [packed.result() for packed in rest]


def _collect_contents(elements: Elements, chosen: Int64s, placed: Placements) -> CellContents:
    """Return chosen shapes, those of a layer, by structure, with the placements."""
    cells = len(elements.names)
    rects, drawn_by, corners, counts, polygon_of = [], [], [], [], []
    for first in range(0, max(len(chosen), 1), MOST_SHAPES):
        part = chosen[first : first + MOST_SHAPES]
        of_part, drawn, polygons, count, which = _cut_shapes(elements, part)
        rects.append(of_part)
        drawn_by.append(elements.shape[part[drawn], 0])
        polygon_of.append(elements.shape[part[which], 0])
        corners.append(polygons)
        counts.append(count)
    return CellContents(
        _join(rects), _find_ranges(_join(drawn_by), cells),
        _join(corners), np.append(0, np.cumsum(_join(counts))),
        _find_ranges(_join(polygon_of), cells), *placed,
    )  # fmt: skip


def _cut_shapes(
    elements: Elements, chosen: Int64s
) -> tuple[Int64s, Int64s, Int64s, Int64s, Int64s]:
    """Return the rectangles of chosen shapes, and the number of the shape that each is part of.

    Then the corners of the shapes that are not rectilinear, the count of each, and their numbers.
    """
    rects, drawn, rest = elements.read_rects(chosen)
    points, starts = elements.read(chosen[rest])
    parts, part_of, others = decompose(points, starts)
    if len(parts):
        at = np.searchsorted(drawn, rest[part_of])
        rects, drawn = np.insert(rects, at, parts, axis=0), np.insert(drawn, at, rest[part_of])
    others = others[np.diff(starts)[others] > 2]  # two corners enclose nothing
    polygons, polygon_starts = gather_shapes(points, starts, others)
    return rects, drawn, polygons, np.diff(polygon_starts), rest[others]


def _sort_shapes(shape: Int64s) -> tuple[Int64s, Int64s]:
    """Return the numbers of shapes, by layer and then by owner, and the layer of each."""
    owner, layer = shape.T
    if layer.max(initial=0) < 2**15:
        layer = layer.astype(np.int16)  # which numpy sorts digit by digit
    if (owner[1:] >= owner[:-1]).all():  # as in the order of a file
        order = np.argsort(layer, kind="stable")
    else:
        order = np.lexsort((owner, layer))
    return order, layer[order]


def _join(parts: list[Int64s]) -> Int64s:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _find_ranges(owner: Int64s, cells: int) -> Int64s:
    """Return the offset of each cell's rows, and their number; `owner` is sorted."""
    return np.searchsorted(owner, np.arange(cells + 1))


def convert_references(references: Int64s) -> tuple[Int64s, Int64s]:
    """Return references as `PLACEMENT`, cells by number in the file, and their owners."""
    known = references[:, CELL] >= 0
    if not known.all():
        references = references[known]
    owner = references[:, OWNER]
    placed = place_copies(references[:, CELL], references[:, TURN], references[:, PLACE])
    steps = np.flatnonzero(references[:, STEPS].any(axis=1))  # else copies in one place: one
    arrays = references[steps]
    count, u, v = arrays[:, COUNT], arrays[:, U], arrays[:, V]
    placed[steps, 4:6] = np.where(np.stack((u.any(axis=1), v.any(axis=1)), axis=1), count, 1)
    step_u, left_u = np.divmod(u, count[:, :1])
    step_v, left_v = np.divmod(v, count[:, 1:])
    placed[steps, 6:] = np.concatenate((step_u, step_v), axis=1)
    is_odd = left_u.any(axis=1) | left_v.any(axis=1)
    if not is_odd.any():
        return placed, owner
    places = [_compute_places(array) for array in arrays[is_odd]]
    copies = [
        place_copies(array[CELL], array[TURN], place)
        for array, place in zip(arrays[is_odd], places, strict=True)
    ]
    owners = np.repeat(owner[steps[is_odd]], [len(place) for place in places])
    owner = np.concatenate([np.delete(owner, steps[is_odd]), owners])
    by_cell = np.argsort(owner, kind="stable")
    placed = np.concatenate([np.delete(placed, steps[is_odd], axis=0), *copies])
    return placed[by_cell], owner[by_cell]


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
