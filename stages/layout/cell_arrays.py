"""The kernels that build the cells of one layer as flat arrays, children before parents.

in       shapes and placements of cells, one cell after the other
out      the cells that hold anything, and the arrays of `PackedLayer` that they fill
promise  the arrays depend on the cells alone; a cell that is too large or too crowded is named
"""

from __future__ import annotations

import numpy as np

from stages.compiled import gil_free_kernel, kernel
from stages.contracts import Bytes, Floats, Int32s, Int64s
from stages.geometry.growing import copy_rows
from stages.geometry.window_query import TURN_MATRIX
from stages.layout.limits import MOST_SHAPES_ANYWHERE
from stages.layout.spatial_index import count_nodes, fill_node_boxes, sort_spatially

INT32_MAX = 2**31 - 1
Placed = tuple[Int32s, Bytes, Int32s]
"""``inst_cell``, ``inst_turn`` and ``inst_place`` of `PackedLayer`."""


@gil_free_kernel
def choose_cells(
    order: Int64s, rect_start: Int64s, polygon_start: Int64s, placed_cell: Int64s,
    placement_start: Int64s,
) -> tuple[Int64s, Int64s]:  # fmt: skip
    """Return the cells of `order` with a shape in or under them, and the top; and their numbers.

    The number of a cell that is left out is -1.
    """
    kept, used = np.empty(len(order), np.int64), 0
    number = np.full(len(rect_start) - 1, -1, np.int64)
    for at in range(len(order)):
        cell = order[at]
        holds = at == len(order) - 1 or rect_start[cell] < rect_start[cell + 1]
        holds |= polygon_start[cell] < polygon_start[cell + 1]
        row = placement_start[cell]
        while not holds and row < placement_start[cell + 1]:
            holds |= number[placed_cell[row]] >= 0
            row += 1
        if holds:
            kept[used], number[cell] = cell, used
            used += 1
    return kept[:used].copy(), number


@gil_free_kernel
def build_cells(
    cells: Int64s, number: Int64s, rects: Int64s, rect_start: Int64s, slanted: Int64s,
    slanted_start: Int64s, placements: Int64s, placed_cell: Int64s, placement_start: Int64s,
    most_per_dbu2: float,
) -> tuple[Int64s, Int32s, Int32s, Int64s, Int32s, Placed, Int64s, Floats]:  # fmt: skip
    """Return the arrays of `PackedLayer` but points, in its order, and the first fault.

    A fault is whether there is one, the cell, and the shapes, width and height of a placement that
    is too dense, or the reach of the cell.
    """
    item_start, node_start, placed_start = _count_rows(
        cells, number, rect_start, slanted_start, placed_cell, placement_start
    )
    item_box, item_ref = np.empty((item_start[-1], 4), np.int32), np.empty(item_start[-1], np.int32)
    node_box = np.empty((node_start[-1], 4), np.int32)
    cell_box = np.zeros((len(cells), 4), np.int64)
    placed = _make_placed(placed_start[-1])
    every_box = np.empty((_find_most(item_start), 4), np.int64)
    shapes, fault, polygon = np.zeros(len(cells)), np.zeros(6), 0
    for k in range(len(cells)):
        cell, first = cells[k], item_start[k]
        own, others = rect_start[cell + 1] - rect_start[cell], slanted_start[cell]
        drawn = own + slanted_start[cell + 1] - others
        boxes = every_box[: item_start[k + 1] - first]
        copy_rows(boxes, 0, rects, rect_start[cell], own)
        copy_rows(boxes, own, slanted, others, drawn - own)
        rows = placement_start[cell], placement_start[cell + 1], placed_start[k]
        below, reach = _place_cells(
            placements, placed_cell, rows, number, cell_box, shapes, most_per_dbu2,
            boxes[drawn:], placed, fault,
        )  # fmt: skip
        shapes[k] = drawn + below
        reach = max(reach, _find_reach(boxes))
        if not fault[0] and reach > INT32_MAX:
            fault[0], fault[5] = 1, reach
        if fault[0]:
            fault[1] = k
            break
        order = sort_spatially(boxes)
        for i in range(len(order)):
            row = order[i]
            copy_rows(item_box, first + i, boxes, row, 1)
            item_ref[first + i] = (
                -1 if row < own else -2 - polygon - (row - own) if row < drawn
                else placed_start[k] + row - drawn
            )  # fmt: skip
        polygon += drawn - own
        ordered = item_box[first : item_start[k + 1]]
        fill_node_boxes(ordered, node_box[node_start[k] : node_start[k + 1]])
        _bound(ordered, cell_box[k])
    return item_start, item_box, item_ref, node_start, node_box, placed, cell_box, fault


@kernel
def _find_most(starts: Int64s) -> int:
    """Return the number of items of the cell that has most of them."""
    most = 0
    for k in range(len(starts) - 1):
        most = max(most, starts[k + 1] - starts[k])
    return most


@kernel
def _make_placed(count: int) -> Placed:
    return np.empty(count, np.int32), np.empty(count, np.uint8), np.empty((count, 8), np.int32)


@kernel
def _place_cells(
    placements: Int64s, placed_cell: Int64s, rows: tuple[int, int, int], number: Int64s,
    cell_box: Int64s, shapes: Floats, most_per_dbu2: float, boxes: Int64s, placed: Placed,
    fault: Floats,
) -> tuple[float, int]:  # fmt: skip
    """Write the placements of a cell that place what is kept, and the boxes around their copies.

    `rows` are the first of its placements, the end of them, and the row where they are written to.
    Returns the number of shapes below and the largest coordinate of a place; notes the first
    placement that is too dense.
    """
    inst_cell, inst_turn, inst_place = placed
    first, last, to = rows
    total, reach, used = 0.0, 0, 0
    for row in range(first, last):
        cell = number[placed_cell[row]]
        if cell < 0:
            continue
        box = _bound_placement(cell_box, cell, placements, row)
        for side in range(4):
            boxes[used, side] = box[side]
        inst_cell[to + used], inst_turn[to + used] = cell, placements[row, 1]
        for column in range(8):
            inst_place[to + used, column] = placements[row, 2 + column]
        below = shapes[cell] * placements[row, 4] * placements[row, 5]
        if below > MOST_SHAPES_ANYWHERE and not fault[0]:
            width, height = float(max(box[2] - box[0], 1)), float(max(box[3] - box[1], 1))
            if below > most_per_dbu2 * (width * height):
                fault[0], fault[2], fault[3], fault[4] = 1, below, width, height
        total += below
        reach = max(reach, abs(placements[row, 2]), abs(placements[row, 3]))
        used += 1
    return total, reach


@kernel
def _count_rows(
    cells: Int64s, number: Int64s, rect_start: Int64s, slanted_start: Int64s, placed_cell: Int64s,
    placement_start: Int64s,
) -> tuple[Int64s, Int64s, Int64s]:  # fmt: skip
    """Return the offsets of the items, the nodes and the placements of each cell that is kept."""
    item_start, node_start = np.zeros(len(cells) + 1, np.int64), np.zeros(len(cells) + 1, np.int64)
    placed_start = np.zeros(len(cells) + 1, np.int64)
    for k in range(len(cells)):
        cell, placed = cells[k], 0
        for row in range(placement_start[cell], placement_start[cell + 1]):
            placed += number[placed_cell[row]] >= 0
        items = placed + rect_start[cell + 1] - rect_start[cell]
        items += slanted_start[cell + 1] - slanted_start[cell]
        item_start[k + 1] = item_start[k] + items
        placed_start[k + 1] = placed_start[k] + placed
        node_start[k + 1] = node_start[k] + count_nodes(items)
    return item_start, node_start, placed_start


@kernel
def _bound(boxes: Int64s, box: Int64s) -> None:
    """Write the box around `boxes` into `box`; leave it if there are none."""
    for row in range(len(boxes)):
        for side in range(2):
            low, high = boxes[row, side], boxes[row, side + 2]
            box[side] = low if row == 0 else min(box[side], low)
            box[side + 2] = high if row == 0 else max(box[side + 2], high)


@kernel
def _find_reach(coordinates: Int64s) -> int:
    """Return the largest absolute coordinate, 0 if there are none."""
    reach = np.int64(0)
    for row in range(coordinates.shape[0]):
        for column in range(coordinates.shape[1]):
            reach = max(reach, abs(coordinates[row, column]))
    return int(reach)


@kernel
def compute_placed_boxes(cell_box: Int64s, placements: Int64s) -> Int64s:
    """Return the box around all copies of each placement, (n, 4)."""
    boxes = np.empty((len(placements), 4), np.int64)
    for row in range(len(placements)):
        box = _bound_placement(cell_box, placements[row, 0], placements, row)
        for side in range(4):
            boxes[row, side] = box[side]
    return boxes


@kernel
def _bound_placement(
    cell_box: Int64s, cell: int, placements: Int64s, row: int
) -> tuple[int, int, int, int]:
    """Return the box around all copies of a placement of that cell."""
    turn, x, y = placements[row, 1], placements[row, 2], placements[row, 3]
    a, b = TURN_MATRIX[turn, 0], TURN_MATRIX[turn, 1]
    c, d = TURN_MATRIX[turn, 2], TURN_MATRIX[turn, 3]
    left, low, right, high = (
        cell_box[cell, 0], cell_box[cell, 1], cell_box[cell, 2], cell_box[cell, 3]
    )  # fmt: skip
    x_0, y_0 = a * left + b * low, c * left + d * low
    x_1, y_1 = a * right + b * high, c * right + d * high
    columns, rows = placements[row, 4] - 1, placements[row, 5] - 1
    u_x, u_y = columns * placements[row, 6], columns * placements[row, 7]
    v_x, v_y = rows * placements[row, 8], rows * placements[row, 9]
    return (
        x + min(x_0, x_1) + min(u_x, 0) + min(v_x, 0),
        y + min(y_0, y_1) + min(u_y, 0) + min(v_y, 0),
        x + max(x_0, x_1) + max(u_x, 0) + max(v_x, 0),
        y + max(y_0, y_1) + max(u_y, 0) + max(v_y, 0),
    )
