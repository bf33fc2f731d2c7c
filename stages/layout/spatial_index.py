"""Spatial index of a cell's items: their order and the node boxes of `PackedLayer`."""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Int32s, Int64s
from stages.geometry.growing import copy_rows
from stages.geometry.sorting import sort_keys
from stages.geometry.window_query import FANOUT


@kernel
def sort_spatially(boxes: Int64s) -> Int64s:
    """Return an order in which neighbours are close: strips in x, by y within a strip.

    Sort-Tile-Recursive packing (Leutenegger, Lopez, Edgington: "STR: a simple and efficient
    algorithm for R-tree packing", ICDE 1997).
    """
    n = len(boxes)
    if n <= FANOUT:
        return np.arange(n)
    x, y = np.empty(n, np.int64), np.empty(n, np.int64)  # twice the centre
    for i in range(n):
        x[i], y[i] = boxes[i, 0] + boxes[i, 2], boxes[i, 1] + boxes[i, 3]
    order = sort_keys(x)
    strips = int(np.ceil(np.sqrt(n / FANOUT)))
    per_strip = FANOUT * int(np.ceil(n / FANOUT / strips))
    for first in range(0, n, per_strip):
        strip = order[first : first + per_strip].copy()
        keys = np.empty(len(strip), np.int64)
        for k in range(len(strip)):
            keys[k] = y[strip[k]]
        by_y = sort_keys(keys)
        for k in range(len(strip)):
            order[first + k] = strip[by_y[k]]
    return order


@kernel
def count_nodes(items: int) -> int:
    """Return the number of nodes over so many items."""
    count, level = 0, items
    while level > FANOUT:
        level = (level + FANOUT - 1) // FANOUT
        count += level
    return count


@kernel
def fill_node_boxes(boxes: Int32s, nodes: Int32s) -> None:
    """Write the node boxes over sorted item boxes into `nodes`: by level, the lowest first."""
    below, used = boxes, 0
    while len(below) > FANOUT:
        begin = used
        for first in range(0, len(below), FANOUT):
            copy_rows(nodes, used, below, first, 1)
            for child in range(first + 1, min(first + FANOUT, len(below))):
                nodes[used, 0] = min(nodes[used, 0], below[child, 0])
                nodes[used, 1] = min(nodes[used, 1], below[child, 1])
                nodes[used, 2] = max(nodes[used, 2], below[child, 2])
                nodes[used, 3] = max(nodes[used, 3], below[child, 3])
            used += 1
        below = nodes[begin:used]
