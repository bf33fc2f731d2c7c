"""An OASIS file as packed layers, hierarchy kept.

in: the bytes of an OASIS file, the layers, the top cell
out: `PackedLayout`, `LayoutInfo`, or the boxes of shapes · unit: the file
promise: the same region as the file draws; arrays and repetitions stay folded
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stages.contracts import Bytes, Int64s, Layer, PackedLayout
from stages.layout.flatten import Outlines, flatten, write_out_odd
from stages.layout.gdsii_elements import REFERENCE, Elements
from stages.layout.gdsii_pack import pack_elements, placed_by, placements_of
from stages.layout.info import (
    CONTEXT_CELL,
    EVERY_TOP,
    LayoutInfo,
    choose_top,
    nine_digits,
    require_layers,
)
from stages.layout.oasis_elements import elements_of
from stages.layout.oasis_read import OasisFile, read_file
from stages.layout.pack import children_first, placed_boxes

GAP_UM = 10
"""Between top cells side by side."""
_UNPACKED_BYTES = 64 << 30


def pack_oasis(
    data: Bytes, layers: Sequence[Layer], cell: str | None, unpacked_bytes: int = _UNPACKED_BYTES
) -> PackedLayout:
    """Read `layers` under one top cell; arguments and errors as `builder.pack_layout`."""
    file, elements, kept, top = _open(data, layers, cell, unpacked_bytes)
    quarters = elements.reference[elements.reference[:, _TURN] >= 0]
    placed = placed_by(replace(elements, reference=quarters))
    order = children_first(top, placed, elements.names.__getitem__)
    elements, outlines = write_out_odd(elements, file.odd, frozenset(order))
    packed = tuple(pack_elements(elements, outlines, order, kept.index(one)) for one in layers)
    return PackedLayout(
        elements.names[top], nine_digits(file.dbu_nm), tuple(layers), packed, file.warnings,
        elements.layers,
    )  # fmt: skip


def oasis_boxes(
    data: Bytes, layers: Sequence[Layer], cell: str | None, unpacked_bytes: int = _UNPACKED_BYTES
) -> list[Int64s]:
    """Return the box of each shape of each layer, (n, 4) in dbu; arguments as `pack_oasis`."""
    file, elements, kept, top = _open(data, layers, cell, unpacked_bytes)
    found: list[list[Int64s]] = [[] for _ in kept]
    for layer, corners in flatten(elements, file.odd, top):
        found[layer].append(np.concatenate((corners.min(axis=0), corners.max(axis=0))))
    none = np.empty((0, 4), np.int64)
    return [np.array(found[kept.index(layer)] or none) for layer in layers]


def describe_oasis(data: Bytes, unpacked_bytes: int = _UNPACKED_BYTES) -> LayoutInfo:
    """Return cells, tops, layers with counts, extent and dbu of a file."""
    file = read_file(data, None, unpacked_bytes)
    elements = elements_of(file, tuple(file.layers))
    elements, outlines = write_out_odd(elements, file.odd)
    tops, to_um = top_cells(elements), file.dbu_nm / 1000
    boxes = _cell_boxes(elements, outlines)
    extents = {elements.names[top]: boxes[top] * to_um for top in tops}
    return LayoutInfo(
        dbu_nm=nine_digits(file.dbu_nm),
        cells=file.names,
        top_cells=tuple(elements.names[top] for top in tops),
        layers={str(layer): count for layer, count in sorted(file.layers.items())},
        instances=len(file.placed),
        extents_um={
            name: (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
            for name, box in extents.items()
        },
        warnings=file.warnings,
    )


def top_cells(elements: Elements) -> list[int]:
    """Return the cells that no other cell places; the one of KLayout's context is none."""
    placed = placed_by(elements)
    context = [number for number, name in enumerate(elements.names) if name == CONTEXT_CELL]
    inside = {child for owner, some in placed.items() if owner not in context for child in some}
    return [number for number in placed if number not in inside and number not in context]


_OWNER, _CELL, _TURN = (REFERENCE.index(name) for name in ("owner", "cell", "turn"))


def _open(
    data: Bytes, layers: Sequence[Layer], cell: str | None, unpacked_bytes: int
) -> tuple[OasisFile, Elements, tuple[Layer, ...], int]:
    """Return the file, its elements, on which layers they are, and the number of the top cell."""
    # Top cells stand apart by all that they draw, whatever is scanned.
    asked = None if cell == EVERY_TOP else tuple(dict.fromkeys(layers))
    file = read_file(data, asked, unpacked_bytes)
    kept = tuple(file.layers) if asked is None else asked
    elements = elements_of(file, kept)
    tops = top_cells(elements)
    if asked is None:
        require_layers(layers, elements.layers)
        apart, outlines = write_out_odd(elements, file.odd)
        boxes = _cell_boxes(apart, outlines)
        return file, _side_by_side(elements, tops, boxes, file.dbu_nm), kept, len(elements.names)
    name = choose_top(file.names, [file.names[top] for top in tops], cell)
    require_layers(layers, elements.layers)
    return file, elements, kept, file.names.index(name)


def _side_by_side(
    elements: Elements, tops: Sequence[int], boxes: Int64s, dbu_nm: float
) -> Elements:
    """Return the elements with a last cell that places all `tops` in a square grid."""
    boxes = boxes[list(tops)]
    sides = (boxes[:, 2:] - boxes[:, :2]).max(initial=0)
    pitch = int(sides) + round(GAP_UM * 1000 / dbu_nm)
    columns = math.isqrt(max(len(tops) - 1, 0)) + 1
    slots = np.arange(len(tops))
    placed = np.zeros((len(tops), len(REFERENCE)), np.int64)
    placed[:, _OWNER], placed[:, _CELL] = len(elements.names), tops
    placed[:, 3:5] = np.stack((slots % columns, slots // columns), axis=1) * pitch - boxes[:, :2]
    placed[:, 5:7] = 1
    return replace(
        elements,
        names=(*elements.names, EVERY_TOP),
        reference=np.concatenate((elements.reference, placed)),
    )


def _cell_boxes(elements: Elements, outlines: Outlines) -> Int64s:
    """Return the box of each cell, (cells, 4) in dbu, zeros of an empty one."""
    cells = len(elements.names)
    boxes = np.zeros((cells, 4), np.int64)
    drawn = np.zeros(cells, np.bool_)

    def widen(cell: int, box: Int64s) -> None:
        low, high = boxes[cell, :2], boxes[cell, 2:]
        boxes[cell, :2] = np.minimum(low, box[:2]) if drawn[cell] else box[:2]
        boxes[cell, 2:] = np.maximum(high, box[2:]) if drawn[cell] else box[2:]
        drawn[cell] = True

    point_at = elements.point_start[np.searchsorted(elements.shape[:, 0], np.arange(cells + 1))]
    for cell in np.flatnonzero(np.diff(point_at)).tolist():
        corners = elements.point[point_at[cell] : point_at[cell + 1]]
        widen(cell, np.concatenate((corners.min(axis=0), corners.max(axis=0))))
    for cell, _, corners in outlines:
        widen(cell, np.concatenate((corners.min(axis=0), corners.max(axis=0))))
    placed, owner = placements_of(elements.reference)
    placed_at = np.searchsorted(owner, np.arange(cells + 1))
    children, done = placed_by(elements), np.zeros(cells, np.bool_)
    for top in range(cells):
        if done[top]:
            continue
        for cell in children_first(top, children, elements.names.__getitem__):
            if not done[cell]:
                done[cell] = True
                inside = placed[placed_at[cell] : placed_at[cell + 1]]
                for box in placed_boxes(boxes, inside[drawn[inside[:, 0]]]):
                    widen(cell, box)
    return boxes
