"""Build the flat arrays of one layer from its cells, children before parents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from stages.contracts import Int32s, Int64s, PackedLayer
from stages.errors import LayoutError
from stages.layout.cell_arrays import INT32_MAX, build_cells, choose_cells
from stages.layout.limits import advise_raising

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
    cells, number = choose_cells(
        order, contents.rect_start, contents.polygon_start, contents.placed_cell,
        contents.placement_start,
    )  # fmt: skip
    item_start, item_box, item_ref, node_start, node_box, placed, cell_box, fault = build_cells(
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
    """Raise the error of a fault that `build_cells` found in a cell."""
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


def compute_starts(parts: Sequence[npt.NDArray[Any]]) -> Int64s:
    """Return the offset of each part in their concatenation, and its length."""
    return np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))
