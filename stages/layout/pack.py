"""Build the flat arrays of one layer from its cells, children before parents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from stages.compiled import gil_free_kernel, kernel
from stages.contracts import Bytes, Floats, Int32s, Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry.growing import copy_rows
from stages.geometry.window_query import TURN_MATRIX
from stages.layout.limits import MOST_SHAPES_ANYWHERE, advise_raising
from stages.layout.spatial_index import count_nodes, fill_node_boxes, sort_spatially

INT32_MAX = 2**31 - 1

PLACEMENT = ("cell", "turn", "x", "y", "columns", "rows", "u_x", "u_y", "v_x", "v_y")
"""Columns of placements, (n, 10) int64: u is the step from column to column, v from row to row."""

NO_PLACEMENTS = np.empty((0, len(PLACEMENT)), np.int64)

Placed = tuple[Int32s, Bytes, Int32s]
"""``inst_cell``, ``inst_turn`` and ``inst_place`` of `PackedLayer`."""

Cell = TypeVar("Cell", int, str)


def order_children_first(
    top: Cell, placed: Mapping[Cell, Sequence[Cell]], name_of: Callable[[Cell], str]
) -> list[Cell]:
    """Return the cells under `top`, each after all its children, `top` last.

    Raises
    ------
    LayoutError
        A cell contains itself.
    """
    done: dict[Cell, None] = {}
    under_way = {top}
    stack = [(top, iter(placed[top]))]
    while stack:
        cell, children = stack[-1]
        child = next(children, None)
        if child is None:
            stack.pop()
            under_way.discard(cell)
            done[cell] = None
        elif child in under_way:
            raise LayoutError(
                f"cell {name_of(child)!r} contains itself (through {name_of(cell)!r}); "
                "a layout's references must not form a cycle"
            )
        elif child not in done:
            under_way.add(child)
            stack.append((child, iter(placed[child])))
    return list(done)


def place_copies(child: npt.ArrayLike, turn: npt.ArrayLike, places: Int64s) -> Int64s:
    """Return placements of single copies; `child` and `turn` are one value, or one per copy."""
    rows = np.zeros((len(places), len(PLACEMENT)), np.int64)
    rows[:, 0], rows[:, 1], rows[:, 2:4], rows[:, 4:6] = child, turn, places, 1
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class CellContents:
    """What cells hold on one layer: of each kind the rows of all cells, cell by cell."""

    rects: Int64s
    """(r, 4)"""
    rect_start: Int64s
    """(cells + 1,) cell `i` has ``rects[rect_start[i]:rect_start[i + 1]]``; so of the others."""
    corners: Int64s
    """(m, 2) of the shapes that are not rectilinear, each of which has some."""
    corner_start: Int64s
    """(polygons + 1,) polygon `i` has ``corners[corner_start[i]:corner_start[i + 1]]``."""
    polygon_start: Int64s
    placements: Int64s
    """(p, 10) columns `PLACEMENT`."""
    placement_start: Int64s
    placed_cell: Int64s
    """(p,) the first column, by itself: every layer goes through it."""


def build_layer(
    contents: CellContents, order: Int64s, names: Sequence[str], most_per_dbu2: float = math.inf
) -> tuple[PackedLayer, tuple[str, ...]]:
    """Return the cells of a layer as flat arrays, and their names; none without a shape.

    Parameters
    ----------
    order
        Numbers of cells, each after all its children; the last is the top, which is never left out.
    names
        Of all cells.
    most_per_dbu2
        Most shapes per square dbu in a placement of over `MOST_SHAPES_ANYWHERE`.

    Raises
    ------
    LayoutError
        A coordinate passes 32 bits, or a placement is too dense.
    """
    cells, number = _choose_cells(
        order, contents.rect_start, contents.polygon_start, contents.placed_cell,
        contents.placement_start,
    )  # fmt: skip
    item_start, item_box, item_ref, node_start, node_box, placed, cell_box, fault = _build_cells(
        cells, number, contents.rects, contents.rect_start, _bound_polygons(contents),
        contents.polygon_start, contents.placements, contents.placed_cell,
        contents.placement_start, most_per_dbu2,
    )  # fmt: skip
    kept = cells.tolist()
    if fault[0]:
        _refuse(names[kept[int(fault[1])]], fault[2:].tolist(), most_per_dbu2)
    point, point_start = _select_polygons(contents, cells)
    inst_cell, inst_turn, inst_place = placed
    packed = PackedLayer(
        item_start=item_start, item_box=item_box, item_ref=item_ref,
        node_start=node_start, node_box=node_box, point=point, point_start=point_start,
        inst_cell=inst_cell, inst_turn=inst_turn, inst_place=inst_place, cell_box=cell_box,
    )  # fmt: skip
    return packed, tuple(map(names.__getitem__, kept))


def _bound_polygons(contents: CellContents) -> Int64s:
    """Return the box of each polygon, (n, 4)."""
    corners, starts = contents.corners, contents.corner_start[:-1]
    if not len(starts):  # which `reduceat` refuses
        return np.empty((0, 4), np.int64)
    low, high = np.minimum.reduceat(corners, starts), np.maximum.reduceat(corners, starts)
    return np.concatenate((low, high), axis=1)


def _select_polygons(contents: CellContents, cells: Int64s) -> tuple[Int32s, Int64s]:
    """Return the corners of the polygons of some cells, and the offset of each polygon."""
    starts, of_cell = contents.corner_start, contents.polygon_start
    polygons = _list_ranges(of_cell[cells], of_cell[cells + 1] - of_cell[cells])
    count = starts[polygons + 1] - starts[polygons]
    corners = contents.corners[_list_ranges(starts[polygons], count)]
    return corners.astype(np.int32), np.append(0, np.cumsum(count))


def _list_ranges(first: Int64s, count: Int64s) -> Int64s:
    """Return the numbers of all ranges, one after the other."""
    before = np.cumsum(count) - count
    return np.repeat(first - before, count) + np.arange(count.sum())


class LayerBuilder:
    """Collects the cells of one layer, children before parents."""

    def __init__(self) -> None:
        self.rects: list[Int64s] = []
        self.polygons: list[Int64s] = []
        self.polygon_start = [0]
        self.placements: list[Int64s] = []
        self.names: list[str] = []

    def add_cell(self, name: str, rects: Int64s, polygons: list[Int64s], placements: Int64s) -> int:
        """Add a cell and return its number; `placements` have the columns `PLACEMENT`."""
        self.rects.append(rects)
        self.polygons.extend(polygons)
        self.polygon_start.append(len(self.polygons))
        self.placements.append(placements)
        self.names.append(name)
        return len(self.names) - 1

    def build(self) -> PackedLayer:
        """Return all cells as flat arrays; errors as `build_layer`."""
        placements = np.concatenate(self.placements)
        contents = CellContents(
            np.concatenate(self.rects), compute_starts(self.rects),
            np.concatenate([np.empty((0, 2), np.int64), *self.polygons]),
            compute_starts(self.polygons), np.array(self.polygon_start),
            placements, compute_starts(self.placements), placements[:, 0].copy(),
        )  # fmt: skip
        return build_layer(contents, np.arange(len(self.names)), self.names)[0]


def _refuse(name: str, fault: Sequence[float], most_per_dbu2: float) -> NoReturn:
    """Raise the error of a fault that `_build_cells` found in a cell."""
    shapes, width, height, reach_dbu = fault
    if not shapes:
        raise LayoutError(
            f"cell {name!r} reaches to {reach_dbu:.0f} dbu; coordinates must stay "
            f"within {INT32_MAX} (32-bit numbers): use a coarser database unit"
        )
    most = most_per_dbu2 * width * height
    raise LayoutError(
        f"cell {name!r} places {shapes:.4g} shapes within {width:.0f} x {height:.0f} dbu; "
        f"the limit is {most:.4g} there: an array of overlapping copies, or the limit is "
        f"too low: {advise_raising('shapes_per_um2')}"
    )


@gil_free_kernel
def _choose_cells(
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
def _build_cells(
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


def compute_starts(parts: Sequence[npt.NDArray[Any]]) -> Int64s:
    """Return the offset of each part in their concatenation, and its length."""
    return np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))
