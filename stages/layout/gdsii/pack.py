"""Build packed layers from the elements of a file, keeping its hierarchy."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import numpy as np

from stages.compiled import gil_free_kernel, interpreting_up_to
from stages.contracts import Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry.decompose import decompose
from stages.geometry.growing import copy_rows
from stages.layout.gdsii.elements import MOST_SHAPES, REFERENCE, Elements, UnreadElements
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from stages.layout.pack import CellContents, build_layer, place_copies
from stages.threads import count_processors

OWNER, CELL, TURN = (REFERENCE.index(name) for name in ("owner", "cell", "turn"))
PLACE, COUNT = slice(3, 5), slice(5, 7)
U, V = slice(7, 9), slice(9, 11)

Placements = tuple[Int64s, Int64s, Int64s]
"""As in `CellContents`: the placements, where those of each structure begin, and their cells."""

MOST_COPIES = 10_000_000
"""Most copies that an array off the grid is flattened to."""


def find_placed_cells(elements: Elements) -> dict[int, list[int]]:
    """Return the structures that each structure places, each once."""
    cells = len(elements.names)
    owner, cell = elements.reference[:, OWNER], elements.reference[:, CELL]
    placed: dict[int, list[int]] = {number: [] for number in range(cells)}
    for pair in np.unique((owner * cells + cell)[cell >= 0]).tolist():
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
    layer_of = elements.shape[:, 1].astype(np.int32)  # by itself: each layer goes through it
    most_per_dbu2 = limits.shapes_per_um2 * (elements.dbu_nm / 1000) ** 2

    def pack(layer: int) -> tuple[PackedLayer, tuple[str, ...]]:
        contents = _collect_contents(elements, np.flatnonzero(layer_of == layer), placed)
        return build_layer(contents, order, elements.names, most_per_dbu2)

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
    owner = elements.shape[chosen, 0]
    by_cell = chosen[_sort_stably(owner)]
    rects, drawn_by, polygons, polygon_of = [], [], list[Int64s](), []
    for first in range(0, max(len(chosen), 1), MOST_SHAPES):
        part = by_cell[first : first + MOST_SHAPES]
        points, starts = _read_corners(elements, part)
        of_part, drawn, others = decompose(points, starts)
        others = others[np.diff(starts)[others] > 2]  # two corners enclose nothing
        rects.append(of_part)
        drawn_by.append(elements.shape[part[drawn], 0])
        polygon_of.append(elements.shape[part[others], 0])
        polygons += [points[starts[at] : starts[at + 1]].copy() for at in others.tolist()]
    return CellContents(
        _join(rects), _find_ranges(_join(drawn_by), cells),
        polygons, _find_ranges(_join(polygon_of), cells), *placed,
    )  # fmt: skip


def _sort_stably(owner: Int64s) -> Int64s | slice:
    """Return what sorts by owner; in the order of a file they are sorted."""
    return slice(None) if (np.diff(owner) >= 0).all() else np.argsort(owner, kind="stable")


def _join(parts: list[Int64s]) -> Int64s:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_corners(elements: Elements, chosen: Int64s) -> tuple[Int64s, Int64s]:
    """Return the corners of chosen shapes, and the offset of each."""
    if isinstance(elements, UnreadElements):
        return elements.read(chosen)
    return _gather_shapes(elements.point, elements.point_start, chosen)


@gil_free_kernel
def _gather_shapes(points: Int64s, starts: Int64s, chosen: Int64s) -> tuple[Int64s, Int64s]:
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


def _find_ranges(owner: Int64s, cells: int) -> Int64s:
    """Return the offset of each cell's rows, and their number; `owner` is sorted."""
    return np.searchsorted(owner, np.arange(cells + 1))


def convert_references(references: Int64s) -> tuple[Int64s, Int64s]:
    """Return references as `PLACEMENT`, cells by number in the file, and their owners."""
    known = references[:, CELL] >= 0
    if not known.all():
        references = references[known]
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
