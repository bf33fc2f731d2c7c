"""Turn the elements of a file into packed layers, shape boxes, or the facts of ``hotscan info``.

in: `Elements` of either format, and the top cell
out: `PackedLayout`, boxes, `LayoutInfo` · unit: the file
promise: the same region as in the file; arrays stay folded
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from stages.compiled import interpreting_up_to
from stages.contracts import Int64s, Layer, PackedLayout
from stages.layout.cell_arrays import compute_placed_boxes
from stages.layout.flatten import Flattener, flatten_odd_references
from stages.layout.gdsii.elements import REFERENCE, Elements
from stages.layout.gdsii.pack import (
    collect_placements,
    convert_references,
    find_placed_cells,
    pack_layers,
)
from stages.layout.gdsii.summary import bound_shapes, make_empty_boxes, widen
from stages.layout.info import (
    CONTEXT_CELL,
    EVERY_TOP,
    LayoutInfo,
    choose_top,
    require_layers,
    round_dbu,
)
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from stages.layout.pack import order_children_first

GAP_UM = 10
"""Distance between top cells placed side by side."""

OWNER, CELL, TURN = (REFERENCE.index(name) for name in ("owner", "cell", "turn"))


def choose_layers(layers: Sequence[Layer], cell: str | None) -> tuple[Layer, ...] | None:
    """Return the layers to read, each once; None for all.

    Top cells are placed side by side by their extent on all layers, so those need all.
    """
    return None if cell == EVERY_TOP else tuple(dict.fromkeys(layers))


def assemble(
    elements: Elements, read: Sequence[Layer], layers: Sequence[Layer], cell: str | None,
    warnings: Sequence[str] = (), limits: ReadLimits = DEFAULT_LIMITS,
) -> PackedLayout:  # fmt: skip
    """Return `layers` under one top cell.

    Parameters
    ----------
    read
        The layers that were read.
    layers, cell, warnings, limits
        As `stages.layout.builder.pack_layout` takes them.
    """
    elements, top = _choose_top(elements, layers, cell)
    order = order_children_first(top, find_placed_cells(elements), elements.names.__getitem__)
    quarters = flatten_odd_references(elements, frozenset(order))
    if quarters is not elements:
        order = order_children_first(top, find_placed_cells(quarters), elements.names.__getitem__)
    placed = collect_placements(quarters)
    # Half a gigabyte in a file of two: let go, where the caller does not hold it.
    elements = quarters = replace(quarters, reference=quarters.reference[:0].copy())
    built = pack_layers(quarters, placed, order, [read.index(layer) for layer in layers], limits)
    return PackedLayout(
        elements.names[top], round_dbu(elements.dbu_nm), tuple(layers),
        tuple(layer for layer, _ in built), tuple(warnings), elements.layers,
        tuple(names for _, names in built),
    )  # fmt: skip


def compute_shape_boxes(
    elements: Elements, read: Sequence[Layer], layers: Sequence[Layer], cell: str | None
) -> list[Int64s]:
    """Return the box of each shape of each layer, (n, 4) in dbu; arguments as `assemble`."""
    elements, top = _choose_top(elements, layers, cell)
    found: list[list[Int64s]] = [[np.empty((0, 4), np.int64)] for _ in read]
    for layer, corners, count in Flattener(elements).walk(top):
        boxes = bound_shapes(corners, count)
        for number in np.unique(layer).tolist():
            found[number].append(boxes[(layer == number) & (count > 0)])
    every = [np.concatenate(boxes) for boxes in found]
    return [every[read.index(layer)] for layer in layers]


def describe(
    elements: Elements, counts: Mapping[Layer, int], cells: int, warnings: Sequence[str] = (),
    drawn: Int64s | None = None,
) -> LayoutInfo:  # fmt: skip
    """Return cells, tops, layers with counts, extent and dbu of a file, all layers read.

    Parameters
    ----------
    counts
        Shapes as drawn.
    cells
        Number of cells in the file; `elements` may list more, after these.
    drawn
        (cells, 4) the box around the shapes of each cell, where `elements` have none of them.
    """
    tops, to_um = find_top_cells(elements), elements.dbu_nm / 1000
    boxes = _compute_cell_boxes(flatten_odd_references(elements), drawn) * to_um
    return LayoutInfo(
        dbu_nm=round_dbu(elements.dbu_nm),
        cells=elements.names[:cells],
        top_cells=tuple(elements.names[top] for top in tops),
        layers={str(layer): count for layer, count in sorted(counts.items())},
        instances=int((elements.reference[:, CELL] < cells).sum()),
        extents_um={elements.names[top]: tuple(boxes[top].tolist()) for top in tops},
        warnings=tuple(warnings),
    )


def find_top_cells(elements: Elements) -> list[int]:
    """Return the cells that no other cell places, other than KLayout's context cell."""
    placed = find_placed_cells(elements)
    context = [number for number, name in enumerate(elements.names) if name == CONTEXT_CELL]
    inside = {
        child for owner, children in placed.items() if owner not in context for child in children
    }
    return [number for number in placed if number not in inside and number not in context]


def _choose_top(
    elements: Elements, layers: Sequence[Layer], cell: str | None
) -> tuple[Elements, int]:
    """Return the elements, with one more cell if all tops are requested, and the top's number."""
    tops = find_top_cells(elements)
    if cell == EVERY_TOP:
        require_layers(layers, elements.layers)
        return _place_side_by_side(elements, tops), len(elements.names)
    name = choose_top(elements.names, [elements.names[top] for top in tops], cell)
    require_layers(layers, elements.layers)
    return elements, elements.names.index(name)


def _place_side_by_side(elements: Elements, tops: Sequence[int]) -> Elements:
    """Append a cell that places all `tops` in a square grid."""
    boxes = _compute_cell_boxes(flatten_odd_references(elements))[list(tops)]
    pitch = int((boxes[:, 2:] - boxes[:, :2]).max(initial=0))
    pitch += round(GAP_UM * 1000 / elements.dbu_nm)
    columns = math.isqrt(max(len(tops) - 1, 0)) + 1
    slots = np.arange(len(tops))
    placed = np.zeros((len(tops), len(REFERENCE)), np.int64)
    placed[:, OWNER], placed[:, CELL] = len(elements.names), tops
    placed[:, 3:5] = np.stack((slots % columns, slots // columns), axis=1) * pitch - boxes[:, :2]
    placed[:, 5:7] = 1
    return replace(
        elements,
        names=(*elements.names, EVERY_TOP),
        reference=np.concatenate((elements.reference, placed)),
    )


def _compute_cell_boxes(elements: Elements, drawn: Int64s | None = None) -> Int64s:
    """Return the box of each cell, (cells, 4) in dbu, zeros if empty; no odd turns."""
    cells = len(elements.names)
    boxes = make_empty_boxes(cells)
    if drawn is not None:
        boxes[:] = drawn
    else:
        counts = np.diff(elements.point_start)
        has = counts > 0
        widen(boxes, elements.shape[has, 0], bound_shapes(elements.point, counts)[has])
    placed, owner = convert_references(elements.reference)
    placed_at = np.searchsorted(owner, np.arange(cells + 1))
    children, done = find_placed_cells(elements), np.zeros(cells, np.bool_)
    for top in range(cells):
        if done[top]:
            continue
        for cell in order_children_first(top, children, elements.names.__getitem__):
            if not done[cell]:
                done[cell] = True
                inside = placed[placed_at[cell] : placed_at[cell + 1]]
                inside = inside[boxes[inside[:, 0], 0] <= boxes[inside[:, 0], 2]]
                with interpreting_up_to(len(placed)):
                    around = compute_placed_boxes(boxes, inside)
                widen(boxes, np.full(len(around), cell), around)
    boxes[boxes[:, 0] > boxes[:, 2]] = 0
    return boxes
