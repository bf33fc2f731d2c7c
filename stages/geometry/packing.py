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

Placement = tuple[int, int, int, int, int, int, int, int, int, int]
"""Cell, turn, x, y, columns, rows, column step x, y, row step x, y."""


class LayerBuilder:
    """Collects the cells of one layer, children before parents."""

    def __init__(self) -> None:
        self.cell_box: list[Int64s] = []
        self.item_box: list[Int64s] = []
        self.item_ref: list[Int64s] = []
        self.node_box: list[npt.NDArray[np.int32]] = []
        self.polygons: list[Int64s] = []
        self.placements: list[Placement] = []

    def add_cell(
        self, name: str, rects: Int64s, polygons: list[Int64s], placements: list[Placement]
    ) -> int:
        """Add a cell and return its number."""
        polygon_boxes = [np.concatenate((p.min(axis=0), p.max(axis=0))) for p in polygons]
        placed_boxes = [self._placed_box(placement) for placement in placements]
        boxes = np.concatenate(
            [rects, np.array(polygon_boxes + placed_boxes, np.int64).reshape(-1, 4)]
        )
        refs = np.concatenate(
            [
                np.full(len(rects), -1),
                -2 - len(self.polygons) - np.arange(len(polygons)),
                len(self.placements) + np.arange(len(placements)),
            ]
        )
        places = [abs(value) for placement in placements for value in placement[2:4]]
        reach = max([*places, int(np.abs(boxes).max())]) if len(boxes) else 0
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
        self.placements.extend(placements)
        empty = np.zeros(4, np.int64)
        whole = np.concatenate((boxes[:, :2].min(0), boxes[:, 2:].max(0))) if len(boxes) else empty
        self.cell_box.append(whole)
        return len(self.cell_box) - 1

    def _placed_box(self, placement: Placement) -> Int64s:
        cell, turn, x, y, columns, rows, *steps = placement
        matrix = TURN_MATRIX[turn].reshape(2, 2)
        corners = self.cell_box[cell].reshape(2, 2) @ matrix.T + (x, y)
        far = np.array([i * np.array(steps[:2]) + j * np.array(steps[2:])
                        for i in (0, columns - 1) for j in (0, rows - 1)])  # fmt: skip
        return np.concatenate((corners.min(0) + far.min(0), corners.max(0) + far.max(0)))

    def packed(self) -> PackedLayer:
        """Return all cells as flat arrays."""
        points = np.concatenate([np.empty((0, 2), np.int64), *self.polygons])
        placements = np.array(self.placements, np.int64).reshape(-1, 10)
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
