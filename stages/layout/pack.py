"""Build the flat arrays of one layer from its cells, children before parents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from stages.compiled import kernel
from stages.contracts import Int32s, Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry.window_query import turn_box
from stages.layout.limits import MOST_SHAPES_ANYWHERE, advise_raising
from stages.layout.spatial_index import compute_node_boxes, sort_spatially

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


class LayerBuilder:
    """Collects the cells of one layer, children before parents.

    Parameters
    ----------
    most_per_dbu2
        Most shapes per square dbu in a placement of over `MOST_SHAPES_ANYWHERE`.
    """

    def __init__(self, most_per_dbu2: float = math.inf) -> None:
        self.most_per_dbu2 = most_per_dbu2
        self.shapes: list[float] = []  # under each cell, arrays flattened
        self.cell_box = np.empty((1024, 4), np.int64)
        self.names: list[str] = []
        self.item_box: list[Int32s] = []
        self.item_ref: list[Int32s] = []
        self.node_box: list[Int32s] = []
        self.polygons: list[Int64s] = []
        self.placements: list[Int32s] = []
        self.placed = 0

    def add_cell(self, name: str, rects: Int64s, polygons: list[Int64s], placements: Int64s) -> int:
        """Add a cell and return its number; `placements` have the columns `PLACEMENT`.

        Raises
        ------
        LayoutError
            A coordinate passes 32 bits, or a placement is too dense.
        """
        polygon_boxes = [np.concatenate((p.min(axis=0), p.max(axis=0))) for p in polygons]
        slanted = np.array(polygon_boxes, np.int64).reshape(-1, 4)
        placed = compute_placed_boxes(self.cell_box, placements)
        below = self._count_placed_shapes(name, placements, placed)
        boxes = np.concatenate((rects, slanted, placed))
        refs = np.concatenate(
            [
                np.full(len(rects), -1),
                -2 - len(self.polygons) - np.arange(len(polygons)),
                self.placed + np.arange(len(placements)),
            ]
        )
        order = sort_spatially(boxes)
        boxes = boxes[order]
        _check_reach(name, max(_find_reach(boxes), _find_reach(placements[:, 2:4])))
        self.item_box.append(boxes.astype(np.int32))
        self.item_ref.append(refs[order].astype(np.int32))
        self.node_box.append(compute_node_boxes(boxes).astype(np.int32))
        self.polygons.extend(polygons)
        self.placements.append(placements.astype(np.int32))
        self.placed += len(placements)
        number = len(self.names)
        self.names.append(name)
        self.shapes.append(len(rects) + len(polygons) + below)
        if number == len(self.cell_box):
            self.cell_box = np.concatenate((self.cell_box, np.empty_like(self.cell_box)))
        self.cell_box[number] = 0
        if len(boxes):
            boxes[:, :2].min(0, out=self.cell_box[number, :2])
            boxes[:, 2:].max(0, out=self.cell_box[number, 2:])
        return number

    def _count_placed_shapes(self, name: str, placements: Int64s, boxes: Int64s) -> float:
        """Return the number of shapes under placements; refuse placements that are too dense."""
        if not len(placements):
            return 0.0
        shapes = np.array(self.shapes)[placements[:, 0]] * placements[:, 4:6].prod(axis=1)
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1).astype(float)
        dense = shapes > self.most_per_dbu2 * sides.prod(axis=1)
        if (bad := dense & (shapes > MOST_SHAPES_ANYWHERE)).any():
            first = int(bad.argmax())
            width, height = sides[first].astype(int).tolist()
            most = self.most_per_dbu2 * width * height
            raise LayoutError(
                f"cell {name!r} places {shapes[first]:.4g} shapes within {width} x {height} dbu; "
                f"the limit is {most:.4g} there: an array of overlapping copies, or the limit is "
                f"too low: {advise_raising('shapes_per_um2')}"
            )
        return float(shapes.sum())

    def build(self) -> PackedLayer:
        """Return all cells as flat arrays."""
        points = np.concatenate([np.empty((0, 2), np.int64), *self.polygons])
        placements = np.concatenate(self.placements)
        return PackedLayer(
            item_start=compute_starts(self.item_box),
            item_box=np.concatenate(self.item_box),
            item_ref=np.concatenate(self.item_ref),
            node_start=compute_starts(self.node_box),
            node_box=np.concatenate(self.node_box),
            point=points.astype(np.int32),
            point_start=compute_starts(self.polygons),
            inst_cell=placements[:, 0].copy(),
            inst_turn=placements[:, 1].astype(np.uint8),
            inst_place=placements[:, 2:].copy(),
            cell_box=self.cell_box[: len(self.names)].copy(),
        )


def _check_reach(name: str, reach_dbu: int) -> None:
    if reach_dbu > INT32_MAX:
        raise LayoutError(
            f"cell {name!r} reaches to {reach_dbu} dbu; coordinates must stay "
            f"within {INT32_MAX} (32-bit numbers): use a coarser database unit"
        )


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
