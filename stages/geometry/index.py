"""Spatial order and node boxes of a cell's items, as `PackedLayer` describes them."""

from __future__ import annotations

import numpy as np

from stages.contracts import Int64s
from stages.geometry.walk import FANOUT


def spatial_order(boxes: Int64s) -> Int64s:
    """Return the order that puts neighbours together: strips in x, within a strip by y.

    Sort-Tile-Recursive packing (Leutenegger, Lopez, Edgington: "STR: a simple and efficient
    algorithm for R-tree packing", ICDE 1997).
    """
    n = len(boxes)
    if n <= FANOUT:
        return np.arange(n, dtype=np.int64)
    centre = boxes[:, :2] + boxes[:, 2:]  # twice the centre: only order matters
    strips = int(np.ceil(np.sqrt(n / FANOUT)))
    per_strip = FANOUT * int(np.ceil(n / FANOUT / strips))
    strip = np.empty(n, np.int64)
    strip[np.argsort(centre[:, 0], kind="stable")] = np.arange(n) // per_strip
    order: Int64s = np.lexsort((centre[:, 0], centre[:, 1], strip))
    return order


def node_boxes(boxes: Int64s) -> Int64s:
    """Return the boxes of all nodes over ordered item boxes, level after level, lowest first."""
    levels = []
    while len(boxes) > FANOUT:
        starts = np.arange(0, len(boxes), FANOUT)
        low = np.minimum.reduceat(boxes[:, :2], starts, axis=0)
        high = np.maximum.reduceat(boxes[:, 2:], starts, axis=0)
        boxes = np.concatenate((low, high), axis=1)
        levels.append(boxes)
    return np.concatenate(levels) if levels else np.empty((0, 4), np.int64)
