"""Which placed cells hold the shapes in a window.

in       a packed layer, windows
out      `Frames`: per window the placed cells that are entered, and which of them own a shape there
unit     a layer
promise  equal to what writing out the whole hierarchy says
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.compiled import brief_kernel, kernel
from stages.contracts import Box, Bytes, Int32s, Int64s, PackedLayer
from stages.geometry.growing import reserve_row
from stages.geometry.window_query import (
    MOST_PLACED,
    TURN_MATRIX,
    TURN_PRODUCTS,
    find_items,
    push_array,
    require_sparse,
    turn_box_back,
)

Node = tuple[str, int, int, int]
"""A placed cell: name, turn, and place of its origin in the top cell."""
Chain = tuple[Node, ...]
"""A placed cell and all that it is placed in, the top cell first."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Placed cells, each after the one that it is placed in."""

    window: Int64s
    """(n,) in order."""
    cell: Int64s
    """(n,) number of the cell in its layer."""
    turn: Int64s
    """(n,) as `PackedLayer.inst_turn`, of the top cell's coordinates."""
    x_dbu: Int64s
    """(n,) its origin, in coordinates of the top cell."""
    y_dbu: Int64s
    parent: Int64s
    """(n,) the frame that it is placed in; -1 for the top cell."""
    owns: npt.NDArray[np.bool_]
    """(n,) whether a shape of its own overlaps the window."""

    def list_chains(self, names: Sequence[str]) -> list[Chain]:
        """Return each placed cell with all that it is placed in, (n,).

        Parameters
        ----------
        names
            Of the cells of the layer.
        """
        made: list[Chain] = []
        rows = zip(
            self.cell.tolist(), self.turn.tolist(), self.x_dbu.tolist(), self.y_dbu.tolist(),
            self.parent.tolist(), strict=True,
        )  # fmt: skip
        for cell, turn, x, y, parent in rows:
            above = made[parent] if parent >= 0 else ()
            made.append((*above, (names[cell], turn, x, y)))
        return made


def find_frames(layer: PackedLayer, windows: Int64s) -> Frames:
    """Return the placed cells that hold the shapes in each of the (n, 4) windows, in dbu.

    A shape that only touches a window is not in it.

    Raises
    ------
    LayoutError
        When more cells overlap a window than `query` takes.
    """
    rows, refused = _walk(
        layer.item_start, layer.item_box, layer.item_ref, layer.node_start, layer.node_box,
        layer.point, layer.point_start, layer.inst_cell, layer.inst_turn, layer.inst_place,
        layer.cell_box, windows, MOST_PLACED,
    )  # fmt: skip
    if refused >= 0:
        require_sparse(MOST_PLACED + 1, Box(*windows[refused].tolist()))
    window, cell, turn, x, y, parent, owns = rows.T
    return Frames(window, cell, turn, x, y, parent, owns > 0)


@brief_kernel
def _walk(
    item_start: Int64s,
    item_box: Int32s,
    item_ref: Int32s,
    node_start: Int64s,
    node_box: Int32s,
    point: Int32s,
    point_start: Int64s,
    inst_cell: Int32s,
    inst_turn: Bytes,
    inst_place: Int32s,
    cell_box: Int64s,
    windows: Int64s,
    most: int,
) -> tuple[Int64s, int]:
    """Return the columns of `Frames`, and the first window with over `most` cells, or -1."""
    rows, used = np.empty((1024, 7), np.int64), 0
    stack = np.zeros((64, 5), np.int64)  # cell, turn, x, y, parent
    for number in range(windows.shape[0]):
        stack[0, 0], stack[0, 4] = item_start.shape[0] - 2, -1
        stack[0, 1] = stack[0, 2] = stack[0, 3] = 0
        depth, before = 1, used
        while depth > 0:
            if used - before + depth > most:
                return rows[:used].copy(), number
            depth -= 1
            frame = stack[depth].copy()
            cell = frame[0]
            local = turn_box_back(windows[number], frame[1], frame[2], frame[3])
            first = item_start[cell]
            found = find_items(
                first, item_start[cell + 1] - first, item_box, node_start[cell], node_box, local
            )
            rows, me = reserve_row(rows, used), used
            rows[me, 0], rows[me, 6] = number, 0
            for column in range(5):
                rows[me, 1 + column] = frame[column]
            used += 1
            for item in found:
                ref = item_ref[item]
                if ref == -1:
                    rows[me, 6] = 1
                elif ref < -1:
                    polygon = point[point_start[-2 - ref] : point_start[-1 - ref]]
                    if rows[me, 6] == 0 and _reaches_into(polygon, local):
                        rows[me, 6] = 1
                else:
                    pushed = depth
                    stack, depth = push_array(
                        stack, depth, inst_place[ref].astype(np.int64), inst_cell[ref],
                        inst_turn[ref], frame, cell_box[inst_cell[ref]], local, most,
                    )  # fmt: skip
                    for child in range(pushed, depth):
                        stack[child, 4] = me
    return rows[:used].copy(), -1


@kernel
def _reaches_into(polygon: Int32s, box: Int64s) -> bool:
    """Return whether a polygon and a box have an area in common."""
    middle_x, middle_y = box[0] + box[2], box[1] + box[3]  # twice
    winding = 0
    for i in range(polygon.shape[0]):
        x_0, y_0 = np.int64(polygon[i - 1, 0]), np.int64(polygon[i - 1, 1])
        x_1, y_1 = np.int64(polygon[i, 0]), np.int64(polygon[i, 1])
        if _crosses(x_0, y_0, x_1, y_1, box):
            return True
        # Which side of the edge the middle of the box is on.
        side = (x_1 - x_0) * (middle_y - 2 * y_0) - (y_1 - y_0) * (middle_x - 2 * x_0)
        if 2 * y_0 <= middle_y < 2 * y_1 and side > 0:
            winding += 1
        elif 2 * y_1 <= middle_y < 2 * y_0 and side < 0:
            winding -= 1
    return winding != 0  # no edge enters the box: all of it is inside, or nothing


@kernel
def _crosses(x_0: int, y_0: int, x_1: int, y_1: int, box: Int64s) -> bool:
    """Return whether an edge has a point inside the box, its border left out."""
    if (
        max(x_0, x_1) <= box[0] or min(x_0, x_1) >= box[2]
        or max(y_0, y_1) <= box[1] or min(y_0, y_1) >= box[3]
    ):  # fmt: skip
        return False
    above = below = False
    for x in (box[0], box[2]):
        for y in (box[1], box[3]):
            side = (x_1 - x_0) * (y - y_0) - (y_1 - y_0) * (x - x_0)
            above, below = above or side > 0, below or side < 0
    return above and below


def count_placements(layer: PackedLayer) -> Int64s:
    """Return how often each cell is placed below the top cell, arrays written out, (cells,)."""
    cells = len(layer.item_start) - 1
    owner = np.repeat(np.arange(cells), np.diff(layer.item_start))
    placed = np.asarray(layer.item_ref) >= 0
    instance = layer.item_ref[placed]
    parent, child = owner[placed], layer.inst_cell[instance]
    copies = layer.inst_place[instance, 2].astype(np.int64) * layer.inst_place[instance, 3]
    total = np.zeros(cells, np.int64)
    total[-1] = 1
    bounds = np.searchsorted(parent, np.arange(cells + 1))
    for cell in range(cells - 1, -1, -1):  # parents come after their children
        part = slice(bounds[cell], bounds[cell + 1])
        np.add.at(total, child[part], total[cell] * copies[part])
    return total


def count_flat(layer: PackedLayer) -> int:
    """Return the rectangles, and corners of polygons, below the top cell, arrays written out."""
    cells = len(layer.item_start) - 1
    owner = np.repeat(np.arange(cells), np.diff(layer.item_start))
    size = np.zeros(len(layer.item_ref), np.int64)
    size[layer.item_ref == -1] = 1
    is_polygon = layer.item_ref < -1
    size[is_polygon] = np.diff(layer.point_start)[-2 - layer.item_ref[is_polygon]]
    return int((size * count_placements(layer)[owner]).sum())


def list_placements(layer: PackedLayer, cell: int) -> Int64s:
    """Return where a cell is placed below the top cell, arrays written out.

    Returns
    -------
    (n, 3) int64
        Turn, and place of its origin, in coordinates of the top cell.
    """
    cells = len(layer.item_start) - 1
    owner = np.repeat(np.arange(cells), np.diff(layer.item_start))
    placed = np.asarray(layer.item_ref) >= 0
    instance, parent = layer.item_ref[placed], owner[placed]
    found = {cells - 1: np.zeros((1, 3), np.int64)}

    def list_of(child: int) -> Int64s:
        if child not in found:
            parts = [np.empty((0, 3), np.int64)]
            for at in np.flatnonzero(layer.inst_cell[instance] == child).tolist():
                parts.append(_combine(list_of(int(parent[at])), layer, int(instance[at])))
            found[child] = np.concatenate(parts)
        return found[child]

    every = list_of(cell)
    return every[np.lexsort((every[:, 0], every[:, 1], every[:, 2]))]


def _combine(outer: Int64s, layer: PackedLayer, instance: int) -> Int64s:
    """Return the placements of an instance's array in each placement of its parent."""
    x, y, columns, rows, dx, dy, ex, ey = layer.inst_place[instance].astype(np.int64)
    i, j = (each.ravel() for each in np.indices((columns, rows)))
    at = np.column_stack([x + i * dx + j * ex, y + i * dy + j * ey])
    matrix = TURN_MATRIX[outer[:, 0]].reshape(-1, 2, 2)
    moved = np.einsum("pij,nj->pni", matrix, at) + outer[:, None, 1:]
    turn = TURN_PRODUCTS[outer[:, 0], int(layer.inst_turn[instance])]
    return np.column_stack([np.repeat(turn, len(at)), moved.reshape(-1, 2)])
