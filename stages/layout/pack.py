"""Build the flat arrays of one layer from its cells, children before parents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from stages.compiled import gil_free_kernel, kernel
from stages.contracts import Floats, Int32s, Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry.growing import copy_rows
from stages.geometry.window_query import turn_box
from stages.layout.limits import MOST_SHAPES_ANYWHERE, advise_raising
from stages.layout.spatial_index import compute_node_boxes, count_nodes, sort_spatially

INT32_MAX = 2**31 - 1

PLACEMENT = ("cell", "turn", "x", "y", "columns", "rows", "u_x", "u_y", "v_x", "v_y")
"""Columns of placements, (n, 10) int64: u is the step from column to column, v from row to row."""

NO_PLACEMENTS = np.empty((0, len(PLACEMENT)), np.int64)

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
    polygons: Sequence[Int64s]
    """Corners of each shape that is not rectilinear, (m, 2)."""
    polygon_start: Int64s
    placements: Int64s
    """(p, 10) columns `PLACEMENT`."""
    placement_start: Int64s
    placed_cell: Int64s
    """(p,) the first column, by itself: every layer goes through it."""


def build_layer(
    contents: CellContents, order: Sequence[int], names: Sequence[str],
    most_per_dbu2: float = math.inf,
) -> tuple[PackedLayer, tuple[str, ...]]:  # fmt: skip
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
    boxes = [np.concatenate((p.min(axis=0), p.max(axis=0))) for p in contents.polygons]
    cells, number = _choose_cells(
        np.array(order, np.int64), contents.rect_start, contents.polygon_start,
        contents.placed_cell, contents.placement_start,
    )  # fmt: skip
    item_start, item_box, item_ref, node_start, node_box, placed, cell_box, fault = _build_cells(
        cells, number, contents.rects, contents.rect_start,
        np.array(boxes, np.int64).reshape(-1, 4), contents.polygon_start, contents.placements,
        contents.placed_cell, contents.placement_start, most_per_dbu2,
    )  # fmt: skip
    kept = cells.tolist()
    if fault[0]:
        _refuse(names[kept[int(fault[1])]], fault[2:].tolist(), most_per_dbu2)
    ranges = [range(*contents.polygon_start[cell : cell + 2]) for cell in kept]
    polygons = [contents.polygons[at] for each in ranges for at in each]
    points = np.concatenate([np.empty((0, 2), np.int64), *polygons])
    packed = PackedLayer(
        item_start=item_start, item_box=item_box, item_ref=item_ref,
        node_start=node_start, node_box=node_box,
        point=points.astype(np.int32), point_start=compute_starts(polygons),
        inst_cell=placed[:, 0].copy(), inst_turn=placed[:, 1].astype(np.uint8),
        inst_place=placed[:, 2:].copy(), cell_box=cell_box,
    )  # fmt: skip
    return packed, tuple(names[cell] for cell in kept)


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
            np.concatenate(self.rects), compute_starts(self.rects), self.polygons,
            np.array(self.polygon_start), placements, compute_starts(self.placements),
            placements[:, 0].copy(),
        )  # fmt: skip
        return build_layer(contents, range(len(self.names)), self.names)[0]


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
) -> tuple[Int64s, Int32s, Int32s, Int64s, Int32s, Int32s, Int64s, Floats]:  # fmt: skip
    """Return the arrays of `PackedLayer` but points, placements by column, and the first fault.

    A fault is whether there is one, the cell, and the shapes, width and height of a placement that
    is too dense, or the reach of the cell.
    """
    item_start, node_start, placed_start = _count_rows(
        cells, number, rect_start, slanted_start, placed_cell, placement_start
    )
    item_box, item_ref = np.empty((item_start[-1], 4), np.int32), np.empty(item_start[-1], np.int32)
    node_box = np.empty((node_start[-1], 4), np.int32)
    cell_box = np.zeros((len(cells), 4), np.int64)
    inst = np.empty((placed_start[-1], placements.shape[1]), np.int32)
    shapes, fault, polygon = np.zeros(len(cells)), np.zeros(6), 0
    for k in range(len(cells)):
        cell = cells[k]
        own, others = rect_start[cell + 1] - rect_start[cell], slanted_start[cell]
        more = slanted_start[cell + 1] - others
        inside = _select_placed(
            placements, placed_cell, placement_start[cell], placement_start[cell + 1], number,
            placed_start[k + 1] - placed_start[k],
        )  # fmt: skip
        boxes = np.empty((own + more + len(inside), 4), np.int64)
        copy_rows(boxes, 0, rects, rect_start[cell], own)
        copy_rows(boxes, own, slanted, others, more)
        around = compute_placed_boxes(cell_box, inside)
        copy_rows(boxes, own + more, around, 0, len(inside))
        shapes[k] = own + more + _count_placed(inside, around, shapes, most_per_dbu2, fault)
        reach = max(_find_reach(boxes), _find_reach(inside[:, 2:4]))
        if not fault[0] and reach > INT32_MAX:
            fault[0], fault[5] = 1, reach
        if fault[0]:
            fault[1] = k
            break
        order = sort_spatially(boxes)
        ordered = np.empty_like(boxes)
        for i in range(len(order)):
            row = order[i]
            copy_rows(ordered, i, boxes, row, 1)
            item_ref[item_start[k] + i] = (
                -1 if row < own else -2 - polygon - (row - own) if row < own + more
                else placed_start[k] + row - own - more
            )  # fmt: skip
        polygon += more
        copy_rows(item_box, item_start[k], ordered, 0, len(ordered))
        nodes = compute_node_boxes(ordered)
        copy_rows(node_box, node_start[k], nodes, 0, len(nodes))
        copy_rows(inst, placed_start[k], inside, 0, len(inside))
        _bound(ordered, cell_box[k])
    return item_start, item_box, item_ref, node_start, node_box, inst, cell_box, fault


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
def _count_placed(
    inside: Int64s, around: Int64s, shapes: Floats, most_per_dbu2: float, fault: Floats
) -> float:
    """Return the number of shapes under placements; note the first that is too dense."""
    total = 0.0
    for row in range(len(inside)):
        below = shapes[inside[row, 0]] * inside[row, 4] * inside[row, 5]
        width = float(max(around[row, 2] - around[row, 0], 1))
        height = float(max(around[row, 3] - around[row, 1], 1))
        dense = below > MOST_SHAPES_ANYWHERE and below > most_per_dbu2 * (width * height)
        if dense and not fault[0]:
            fault[0], fault[2], fault[3], fault[4] = 1, below, width, height
        total += below
    return total


@kernel
def _select_placed(
    placements: Int64s, placed_cell: Int64s, first: int, last: int, number: Int64s, count: int
) -> Int64s:
    """Return the placements of cells that are kept, by their new numbers."""
    inside, used = np.empty((count, placements.shape[1]), np.int64), 0
    for row in range(first, last):
        if number[placed_cell[row]] >= 0:
            copy_rows(inside, used, placements, row, 1)
            inside[used, 0] = number[placed_cell[row]]
            used += 1
    return inside


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
    for number in range(len(placements)):
        cell, turn, x, y, columns, rows, u_x, u_y, v_x, v_y = placements[number]
        box = turn_box(cell_box[cell], turn, x, y)
        for side in range(4):
            boxes[number, side] = box[side]
        for axis, u, v in ((0, u_x, v_x), (1, u_y, v_y)):
            for far in ((columns - 1) * u, (rows - 1) * v):
                boxes[number, axis] += min(far, 0)
                boxes[number, axis + 2] += max(far, 0)
    return boxes


def compute_starts(parts: Sequence[npt.NDArray[Any]]) -> Int64s:
    """Return the offset of each part in their concatenation, and its length."""
    return np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))
