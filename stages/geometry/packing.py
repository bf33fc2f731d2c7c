"""Cells put together into the flat arrays of one layer, children before parents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.contracts import Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry.index import node_boxes, spatial_order
from stages.geometry.walk import TURN_MATRIX

INT32_MAX = 2**31 - 1

PLACEMENT = ("cell", "turn", "x", "y", "columns", "rows", "u_x", "u_y", "v_x", "v_y")
"""Columns of placements, (n, 10) int64: u is the step from column to column, v from row to row."""


NO_PLACEMENTS = np.empty((0, len(PLACEMENT)), np.int64)


class LayerBuilder:
    """Collects the cells of one layer, children before parents."""

    def __init__(self) -> None:
        self.cell_box: list[Int64s] = []
        self.item_box: list[Int64s] = []
        self.item_ref: list[Int64s] = []
        self.node_box: list[npt.NDArray[np.int32]] = []
        self.polygons: list[Int64s] = []
        self.placements: list[Int64s] = []
        self.placed = 0

    def add_cell(self, name: str, rects: Int64s, polygons: list[Int64s], placements: Int64s) -> int:
        """Add a cell and return its number; `placements` have the columns `PLACEMENT`."""
        polygon_boxes = [np.concatenate((p.min(axis=0), p.max(axis=0))) for p in polygons]
        boxes = np.concatenate(
            [
                rects,
                np.array(polygon_boxes, np.int64).reshape(-1, 4),
                self._placed_boxes(placements),
            ]
        )
        refs = np.concatenate(
            [
                np.full(len(rects), -1),
                -2 - len(self.polygons) - np.arange(len(polygons)),
                self.placed + np.arange(len(placements)),
            ]
        )
        reach = int(max(np.abs(placements[:, 2:4]).max(initial=0), np.abs(boxes).max(initial=0)))
        if reach > INT32_MAX:
            raise LayoutError(
                f"cell {name!r} reaches to {reach} dbu; coordinates must stay "
                f"within {INT32_MAX}, the 32-bit range of GDSII: use a coarser database unit"
            )
        order = spatial_order(boxes.astype(np.int32))
        self.item_box.append(boxes[order])
        self.item_ref.append(refs[order])
        self.node_box.append(node_boxes(boxes[order].astype(np.int32)))
        self.polygons.extend(polygons)
        self.placements.append(placements)
        self.placed += len(placements)
        empty = np.zeros(4, np.int64)
        whole = np.concatenate((boxes[:, :2].min(0), boxes[:, 2:].max(0))) if len(boxes) else empty
        self.cell_box.append(whole)
        return len(self.cell_box) - 1

    def _placed_boxes(self, placements: Int64s) -> Int64s:
        """Return the box that all copies of each placement fill, (n, 4)."""
        cells, which = np.unique(placements[:, 0], return_inverse=True)
        box = np.array([self.cell_box[cell] for cell in cells], np.int64).reshape(-1, 4)[which]
        a, b, c, d = TURN_MATRIX[placements[:, 1]].T
        x, y = box[:, 0::2].T, box[:, 1::2].T  # (2, n) each
        corner_x, corner_y = a * x + b * y, c * x + d * y
        columns, rows, *steps = placements[:, 4:].T
        spans = []
        for place, corner, u, v in (
            (placements[:, 2], corner_x, *steps[0::2]), (placements[:, 3], corner_y, *steps[1::2]),
        ):  # fmt: skip
            far = np.stack([(columns - 1) * u, (rows - 1) * v])
            low = place + corner.min(axis=0) + np.minimum(far, 0).sum(axis=0)
            high = place + corner.max(axis=0) + np.maximum(far, 0).sum(axis=0)
            spans.append((low, high))
        (x_0, x_1), (y_0, y_1) = spans
        return np.stack((x_0, y_0, x_1, y_1), axis=1)

    def packed(self) -> PackedLayer:
        """Return all cells as flat arrays."""
        points = np.concatenate([np.empty((0, 2), np.int64), *self.polygons])
        placements = np.concatenate([NO_PLACEMENTS, *self.placements])
        return PackedLayer(
            item_start=starts_of(self.item_box),
            item_box=np.concatenate(self.item_box).astype(np.int32),
            item_ref=np.concatenate(self.item_ref).astype(np.int32),
            node_start=starts_of(self.node_box),
            node_box=np.concatenate(self.node_box).astype(np.int32),
            point=points.astype(np.int32),
            point_start=starts_of(self.polygons),
            inst_cell=placements[:, 0].astype(np.int32),
            inst_turn=placements[:, 1].astype(np.uint8),
            inst_place=np.ascontiguousarray(placements[:, 2:]).astype(np.int32),
            cell_box=np.array(self.cell_box, np.int64),
        )


def starts_of(parts: Sequence[npt.NDArray[Any]]) -> Int64s:
    """Return where each part begins once they are put together, and where the last ends."""
    return np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))
