"""Merge the shapes around windows, and find the rectangles in each by bins as large as a window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from stages.compiled import brief_kernel, kernel
from stages.contracts import Int64s, Shapes
from stages.geometry.growing import reserve_row
from stages.geometry.union import merge

Bins = tuple[Int64s, Int64s, Int64s]
"""What `bin_rects` returns."""


def cut_to_windows(rects: Int64s, left: Int64s, bottom: Int64s, size_dbu: int) -> Int64s:
    """Clip rectangles to the box around all windows: a strap may cross the whole chip."""
    if not len(left):
        return rects[:0]
    low = np.array([left.min(), bottom.min()] * 2)
    high = np.array([left.max(), bottom.max()] * 2) + size_dbu
    cut = np.clip(rects, low, high)
    return cut[(cut[:, 0] < cut[:, 2]) & (cut[:, 1] < cut[:, 3])]


def merge_in_windows(shapes: Shapes, left: Int64s, bottom: Int64s, size_dbu: int) -> Shapes:
    """Return the shapes with disjoint rectangles, of those in the box around all windows."""
    return replace(shapes, rects=merge(cut_to_windows(shapes.rects, left, bottom, size_dbu)))


def find_touched_windows(
    boxes: Int64s, left: Int64s, bottom: Int64s, size_dbu: int
) -> npt.NDArray[np.bool_]:
    """Return which square windows any of the boxes overlaps, (n,) bool."""
    found = np.zeros(len(left), bool)
    for x_min, y_min, x_max, y_max in boxes:
        found |= (
            (left < x_max)
            & (left + size_dbu > x_min)
            & (bottom < y_max)
            & (bottom + size_dbu > y_min)
        )
    return found


@brief_kernel
def bin_rects(rects: Int64s, pitch_dbu: int) -> tuple[Int64s, Int64s, Int64s]:
    """Sort rectangles into square bins of `pitch_dbu`; each is in every bin that it overlaps.

    Returns
    -------
    grid : (4,) int64
        Lower left corner in dbu, columns and rows of bins.
    start : (bins + 1,) int64
    member : (entries,) int64
        Rectangles of bin `b`, row-major, are ``member[start[b]:start[b + 1]]``.
    """
    grid = np.zeros(4, np.int64)
    if rects.shape[0] == 0:
        return grid, np.zeros(1, np.int64), np.zeros(0, np.int64)
    grid[0], grid[1] = rects[:, 0].min(), rects[:, 1].min()
    grid[2] = (rects[:, 2].max() - grid[0] - 1) // pitch_dbu + 1
    grid[3] = (rects[:, 3].max() - grid[1] - 1) // pitch_dbu + 1
    start = np.zeros(grid[2] * grid[3] + 1, np.int64)
    member = np.zeros(0, np.int64)
    for filling in range(2):
        for i in range(rects.shape[0]):
            for row in range(
                (rects[i, 1] - grid[1]) // pitch_dbu, (rects[i, 3] - grid[1] - 1) // pitch_dbu + 1
            ):
                for column in range(
                    (rects[i, 0] - grid[0]) // pitch_dbu,
                    (rects[i, 2] - grid[0] - 1) // pitch_dbu + 1,
                ):
                    b = row * grid[2] + column
                    if filling:
                        member[start[b]] = i
                    start[b] += 1
        if filling:  # each start has advanced to the end of its bin: shift them back
            for b in range(len(start) - 1, 0, -1):
                start[b] = start[b - 1]
            start[0] = 0
        else:
            entries = 0
            for b in range(len(start)):
                start[b], entries = entries, entries + start[b]
            member = np.empty(entries, np.int64)
    return grid, start, member


@kernel
def find_rects_in_window(
    rects: Int64s, bins: Bins, size_dbu: int, x_dbu: int, y_dbu: int, local: Int64s
) -> tuple[Int64s, int]:
    """Write the rectangles of a square window, clipped to it, to the first rows of `local`.

    Parameters
    ----------
    rects : (r, 4) int64
    bins
        `bin_rects` of them, with the pitch of a window.
    size_dbu, x_dbu, y_dbu : int
        Side and lower left corner of the window.
    local : (k, 4) int64
        Grown if it is too small.

    Returns
    -------
    local : (k, 4) int64
        In dbu from the window's corner.
    count : int
        Number of rows written.
    """
    grid, start, member = bins
    count = 0
    column_0 = max((x_dbu - grid[0]) // size_dbu, 0)
    row_0 = max((y_dbu - grid[1]) // size_dbu, 0)
    column_1 = min((x_dbu + size_dbu - 1 - grid[0]) // size_dbu, grid[2] - 1)
    row_1 = min((y_dbu + size_dbu - 1 - grid[1]) // size_dbu, grid[3] - 1)
    for row in range(row_0, row_1 + 1):
        for column in range(column_0, column_1 + 1):
            b = row * grid[2] + column
            for k in range(start[b], start[b + 1]):
                r = rects[member[k]]
                # A rectangle is in every bin that it overlaps: take it from the first.
                if max((r[0] - grid[0]) // size_dbu, column_0) != column or (
                    max((r[1] - grid[1]) // size_dbu, row_0) != row
                ):
                    continue
                x_min, y_min = max(r[0] - x_dbu, 0), max(r[1] - y_dbu, 0)
                x_max, y_max = min(r[2] - x_dbu, size_dbu), min(r[3] - y_dbu, size_dbu)
                if x_min < x_max and y_min < y_max:
                    local = reserve_row(local, count)
                    local[count, 0], local[count, 1] = x_min, y_min
                    local[count, 2], local[count, 3] = x_max, y_max
                    count += 1
    return local, count
