"""Coarse pictures of a packed layer, for views in which most shapes are smaller than a pixel.

in       a packed layer and the area of all that it holds, a tile of square pixels
out      the share of each pixel that is covered
unit     a tile
promise  the time grows with the pixels, not with the shapes: what has a box of a few pixels is
         spread evenly over it, and never entered
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.compiled import kernel
from stages.contracts import Bytes, Floats, Int32s, Int64s, PackedLayer
from stages.geometry.coverage import FULL
from stages.geometry.growing import reserve_row
from stages.geometry.window_query import (
    FANOUT,
    MOST_PLACED,
    push_array,
    turn_box,
    turn_box_back,
)

SPREAD_PX = 9
"""Boxes of up to this area, in pixels, are not entered."""


@dataclass(frozen=True, slots=True, eq=False)
class Areas:
    """The area of all shapes, overlaps counted twice, in dbu squared."""

    item: Floats
    """(items,)"""
    node: Floats
    """(nodes,)"""
    cell: Floats
    """(cells,) children included."""


def sum_areas(layer: PackedLayer) -> Areas:
    """Return the area of every item, node and cell of a layer."""
    return Areas(
        *_sum_areas(
            layer.item_start, layer.item_box, layer.item_ref, layer.node_start, layer.node_box,
            layer.point, layer.point_start, layer.inst_cell, layer.inst_place,
        )
    )  # fmt: skip


def draw_overview(
    layer: PackedLayer, areas: Areas, x_dbu: int, y_dbu: int, pixel_dbu: int, size_px: int
) -> Bytes:
    """Return how much of each pixel is covered, (size_px, size_px), 255 for all of it.

    Overlaps of shapes count twice, up to 255. Row 0 is the lowest.
    """
    covered = _draw(
        layer.item_start, layer.item_box, layer.item_ref, layer.node_start, layer.node_box,
        layer.inst_cell, layer.inst_turn, layer.inst_place, layer.cell_box, areas.item, areas.node,
        areas.cell, np.array([x_dbu, y_dbu, pixel_dbu, size_px], np.int64),
    )  # fmt: skip
    share = covered * (FULL / pixel_dbu**2)
    # A wire that is thinner than a pixel by much must not vanish.
    drawn: Bytes = np.where(share > 0, np.clip(np.ceil(share), 1, FULL), 0).astype(np.uint8)
    return drawn


@kernel
def _sum_areas(
    item_start: Int64s,
    item_box: Int32s,
    item_ref: Int32s,
    node_start: Int64s,
    node_box: Int32s,
    point: Int32s,
    point_start: Int64s,
    inst_cell: Int32s,
    inst_place: Int32s,
) -> tuple[Floats, Floats, Floats]:
    cells = item_start.shape[0] - 1
    item = np.zeros(item_box.shape[0], np.float64)
    node = np.zeros(node_box.shape[0], np.float64)
    total = np.zeros(cells, np.float64)
    for cell in range(cells):  # children come first
        for at in range(item_start[cell], item_start[cell + 1]):
            ref = item_ref[at]
            if ref >= 0:
                copies = np.float64(inst_place[ref, 2]) * inst_place[ref, 3]
                item[at] = copies * total[inst_cell[ref]]
            elif ref == -1:
                wide = np.float64(item_box[at, 2]) - item_box[at, 0]
                item[at] = wide * (np.float64(item_box[at, 3]) - item_box[at, 1])
            else:
                item[at] = _measure_polygon(point, point_start[-2 - ref], point_start[-1 - ref])
            total[cell] += item[at]
        _sum_nodes(item[item_start[cell] : item_start[cell + 1]], node, node_start[cell])
    return item, node, total


@kernel
def _measure_polygon(point: Int32s, first: int, end: int) -> float:
    """Return the area of a polygon."""
    twice = 0.0
    for i in range(first, end):
        j = i + 1 if i + 1 < end else first
        twice += np.float64(point[i, 0]) * point[j, 1] - np.float64(point[j, 0]) * point[i, 1]
    return abs(twice) / 2


@kernel
def _sum_nodes(item: Floats, node: Floats, first: int) -> None:
    """Fill in the nodes of a cell, level after level, lowest first."""
    below, used = item, first
    while len(below) > FANOUT:
        count = (len(below) + FANOUT - 1) // FANOUT
        for i in range(len(below)):
            node[used + i // FANOUT] += below[i]
        below = node[used : used + count]
        used += count


@kernel
def _draw(
    item_start: Int64s,
    item_box: Int32s,
    item_ref: Int32s,
    node_start: Int64s,
    node_box: Int32s,
    inst_cell: Int32s,
    inst_turn: npt.NDArray[np.uint8],
    inst_place: Int32s,
    cell_box: Int64s,
    item_area: Floats,
    node_area: Floats,
    cell_area: Floats,
    tile: Int64s,
) -> Floats:
    """Return the covered area of each pixel of a tile: x, y, side of a pixel, pixels."""
    pixel, size = tile[2], tile[3]
    small = np.float64(SPREAD_PX) * pixel * pixel
    side = pixel * size
    window = np.array([tile[0], tile[1], tile[0] + side, tile[1] + side])
    grid = np.zeros((size, size), np.float64)
    stack, depth, entered = np.zeros((64, 4), np.int64), 1, 0  # cell, turn, x, y
    stack[0, 0] = item_start.shape[0] - 2  # the top cell is the last
    while depth > 0 and entered + depth <= MOST_PLACED:
        depth -= 1
        entered += 1
        frame = stack[depth].copy()
        cell, turn, x, y = frame[0], frame[1], frame[2], frame[3]
        if _is_small(cell_box[cell], small):
            _spread(grid, turn_box(cell_box[cell], turn, x, y), cell_area[cell], tile)
            continue
        local = turn_box_back(window, turn, x, y)
        first = item_start[cell]
        count = item_start[cell + 1] - first
        found, nodes = _find_large(first, count, item_box, node_start[cell], node_box, local, small)
        for at in nodes:
            _spread(grid, turn_box(node_box[at].astype(np.int64), turn, x, y), node_area[at], tile)
        for at in found:
            ref, box = item_ref[at], item_box[at].astype(np.int64)
            if ref < 0 or _is_small(box, small) or _is_fine(inst_place[ref], small):
                _spread(grid, turn_box(box, turn, x, y), item_area[at], tile)
            else:
                stack, depth = push_array(
                    stack, depth, inst_place[ref].astype(np.int64), inst_cell[ref],
                    inst_turn[ref], frame, cell_box[inst_cell[ref]], local, MOST_PLACED,
                )  # fmt: skip
    return grid


@kernel
def _is_small(box: Int64s, small: float) -> bool:
    return np.float64(box[2] - box[0]) * (box[3] - box[1]) <= small


@kernel
def _is_fine(place: Int32s, small: float) -> bool:
    """Return whether the steps of an array are small: it has several copies, and looks even."""
    along = np.float64(abs(place[4]) + abs(place[5]))
    across = np.float64(abs(place[6]) + abs(place[7]))
    return bool(place[2] * place[3] > 1 and max(along, across) ** 2 <= small)


@kernel
def _overlaps(box: Int32s, window: Int64s) -> bool:
    return box[0] < window[2] and box[2] > window[0] and box[1] < window[3] and box[3] > window[1]


@kernel
def _find_large(
    first: int,
    count: int,
    item_box: Int32s,
    node_first: int,
    node_box: Int32s,
    window: Int64s,
    small: float,
) -> tuple[Int64s, Int64s]:
    """Return the items of a cell in the window, and in place of many small ones their node."""
    sizes, offsets = np.zeros(12, np.int64), np.zeros(12, np.int64)
    levels, size, offset = 0, count, 0
    while size > FANOUT:
        size = (size + FANOUT - 1) // FANOUT
        sizes[levels], offsets[levels] = size, node_first + offset
        offset += size
        levels += 1
    kept, kept_count = np.empty((16, 1), np.int64), 0
    current = np.arange(sizes[levels - 1] if levels else count)
    for level in range(levels - 1, -1, -1):
        below = sizes[level - 1] if level else count
        children, found = np.empty(current.shape[0] * FANOUT, np.int64), 0
        for node in current:
            at = offsets[level] + node
            if not _overlaps(node_box[at], window):
                continue
            if _is_small(node_box[at].astype(np.int64), small):
                kept = reserve_row(kept, kept_count)
                kept[kept_count, 0] = at
                kept_count += 1
                continue
            for child in range(node * FANOUT, min((node + 1) * FANOUT, below)):
                children[found] = child
                found += 1
        current = children[:found]
    hits, found = np.empty(current.shape[0], np.int64), 0
    for item in current:
        if _overlaps(item_box[first + item], window):
            hits[found] = first + item
            found += 1
    return hits[:found], kept[:kept_count, 0].copy()


@kernel
def _spread(grid: Floats, box: Int64s, area: float, tile: Int64s) -> None:
    """Spread an area evenly over a box, as much of it as is in the tile."""
    pixel, size = tile[2], tile[3]
    whole = np.float64(box[2] - box[0]) * np.float64(box[3] - box[1])
    x_min, y_min = max(box[0] - tile[0], 0), max(box[1] - tile[1], 0)
    x_max, y_max = min(box[2] - tile[0], pixel * size), min(box[3] - tile[1], pixel * size)
    if whole <= 0 or x_min >= x_max or y_min >= y_max:
        return
    density = area / whole
    for row in range(y_min // pixel, (y_max - 1) // pixel + 1):
        height = min(y_max, (row + 1) * pixel) - max(y_min, row * pixel)
        for column in range(x_min // pixel, (x_max - 1) // pixel + 1):
            width = min(x_max, (column + 1) * pixel) - max(x_min, column * pixel)
            grid[row, column] += density * height * width
