"""The geometry around places: what lies in a square window around each of many.

in       packed layers, places in half dbu, half the side of the windows
out      `Windows` of each layer
unit     some places; their geometry is read, cut and merged in one go
promise  a window is the same whatever others are read with it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.compiled import brief_kernel
from stages.contracts import Box, Bytes, Int32s, Int64s, PackedLayer
from stages.geometry.growing import copy_rows, reserve_row
from stages.geometry.staircase import cut_slabs
from stages.geometry.union import sweep_rects
from stages.geometry.window_query import (
    MOST_PLACED,
    find_shapes,
    place_polygons,
    require_sparse,
)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The disjoint rectangles of one layer in windows around places."""

    rects: Int64s
    """(r, 4) in half dbu from the place of their window, one window after the other."""
    start: Int64s
    """(n + 1,) where those of each window begin."""

    def get(self, number: int) -> Int64s:
        """Return the rectangles of one window."""
        return self.rects[self.start[number] : self.start[number + 1]]


def read_windows(
    layers: Sequence[PackedLayer], places: Int64s, half: int, step: int
) -> list[Windows]:
    """Return the disjoint rectangles around places, by layer.

    Parameters
    ----------
    places
        (n, 2) in half dbu.
    half
        Half the side of a window.
    step
        Height of the slabs that any-angle polygons are cut into.

    Raises
    ------
    LayoutError
        When more shapes overlap a window than `query` takes.
    """
    found = []
    for layer in layers:
        rects, start, refused = _read_windows(
            layer.item_start, layer.item_box, layer.item_ref, layer.node_start, layer.node_box,
            layer.inst_cell, layer.inst_turn, layer.inst_place, layer.cell_box, layer.point,
            layer.point_start, np.ascontiguousarray(places[:, :2]), half, step, MOST_PLACED,
        )  # fmt: skip
        if refused >= 0:
            x, y = places[refused, :2].tolist()
            require_sparse(MOST_PLACED + 1, Box(x // 2, y // 2, x // 2, y // 2).grow(half // 2))
        found.append(Windows(rects, start))
    return found


def read_window(
    layers: Sequence[PackedLayer], place: tuple[int, int], half: int, step: int
) -> list[Int64s]:
    """Return the disjoint rectangles around one place, by layer, as `read_windows`."""
    windows = read_windows(layers, np.array([place], np.int64), half, step)
    return [each.rects for each in windows]


@brief_kernel
def _read_windows(
    item_start: Int64s,
    item_box: Int32s,
    item_ref: Int32s,
    node_start: Int64s,
    node_box: Int32s,
    inst_cell: Int32s,
    inst_turn: Bytes,
    inst_place: Int32s,
    cell_box: Int64s,
    point: Int32s,
    point_start: Int64s,
    places: Int64s,
    half: int,
    step: int,
    most: int,
) -> tuple[Int64s, Int64s, int]:
    """Return what `Windows` holds, and the first place with over `most` shapes, or -1."""
    found, used = np.empty((1024, 4), np.int64), 0
    start = np.zeros(len(places) + 1, np.int64)
    reach = half + 1  # a place may lie between two dbu
    for number in range(len(places)):
        x, y = places[number, 0], places[number, 1]
        window = np.array(
            [(x - reach) // 2, (y - reach) // 2, (x + reach + 1) // 2, (y + reach + 1) // 2]
        )
        rects, hits, placed = find_shapes(
            item_start, item_box, item_ref, node_start, node_box, inst_cell, inst_turn, inst_place,
            cell_box, window, most,
        )  # fmt: skip
        if placed > most:
            return found[:0].copy(), start, number
        for i in range(len(rects)):
            for side in range(4):
                rects[i, side] = 2 * rects[i, side] - places[number, side & 1]
        if len(hits) > 0:
            corners, corner_start = place_polygons(hits, point, point_start)
            for i in range(len(corners)):
                corners[i, 0], corners[i, 1] = 2 * corners[i, 0] - x, 2 * corners[i, 1] - y
            slabs = cut_slabs(corners, corner_start, step)
            every = np.empty((len(rects) + len(slabs), 4), np.int64)
            copy_rows(every, 0, rects, 0, len(rects))
            copy_rows(every, len(rects), slabs, 0, len(slabs))
            rects = every
        runs = sweep_rects(cut_window(rects, 0, 0, half), 0, False)[0]
        for i in range(len(runs)):
            found = reserve_row(found, used)
            copy_rows(found, used, runs, i, 1)
            used += 1
        start[number + 1] = used
    return found[:used].copy(), start, -1


@brief_kernel
def cut_window(rects: Int64s, x: int, y: int, half: int) -> Int64s:
    """Return rectangles from a place, cut to the window around it."""
    cut, used = np.empty((len(rects), 4), np.int64), 0
    for i in range(len(rects)):
        left, right = max(rects[i, 0] - x, -half), min(rects[i, 2] - x, half)
        low, high = max(rects[i, 1] - y, -half), min(rects[i, 3] - y, half)
        if left < right and low < high:
            cut[used, 0], cut[used, 1], cut[used, 2], cut[used, 3] = left, low, right, high
            used += 1
    return cut[:used].copy()
