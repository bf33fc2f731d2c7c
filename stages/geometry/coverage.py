"""Exact area coverage of rectilinear regions: how much of each pixel a region covers.

Areas are summed as integers, in dbu squared, so that a picture depends only on the region, not on
how it is cut into rectangles. Any-angle polygons are added by `stages.geometry.polygons.coverage`.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Int64s
from stages.geometry.windows import bin_rects, find_rects_in_window

FULL = 255
"""Grey level of a fully covered pixel."""


@kernel
def _add_rect(area: Int64s, x_min: int, y_min: int, x_max: int, y_max: int, pixel_dbu: int) -> None:
    """Add a rectangle to (rows, columns) `area`; it lies within the picture, in its coordinates."""
    column_0, column_1 = x_min // pixel_dbu, (x_max - 1) // pixel_dbu
    row_0, row_1 = y_min // pixel_dbu, (y_max - 1) // pixel_dbu
    for row in range(row_0, row_1 + 1):
        height = min(y_max, (row + 1) * pixel_dbu) - max(y_min, row * pixel_dbu)
        if column_0 == column_1:
            area[row, column_0] += height * (x_max - x_min)
        else:
            area[row, column_0] += height * ((column_0 + 1) * pixel_dbu - x_min)
            whole = height * pixel_dbu
            for column in range(column_0 + 1, column_1):
                area[row, column] += whole
            area[row, column_1] += height * (x_max - column_1 * pixel_dbu)


@kernel
def compute_pixel_areas(
    rects: Int64s, x_dbu: int, y_dbu: int, pixel_dbu: int, columns: int, rows: int
) -> Int64s:
    """Return the covered area of each pixel, (rows, columns) in dbu squared.

    Parameters
    ----------
    rects : (n, 4) int64
        Disjoint rectangles in dbu (`stages.geometry.union.merge`).
    x_dbu, y_dbu : int
        Lower left corner of the picture.
    pixel_dbu : int
        Side of a pixel.
    columns, rows : int
        Size of the picture, in pixels.
    """
    area = np.zeros((rows, columns), np.int64)
    for i in range(rects.shape[0]):
        x_min, y_min = max(rects[i, 0] - x_dbu, 0), max(rects[i, 1] - y_dbu, 0)
        x_max = min(rects[i, 2] - x_dbu, columns * pixel_dbu)
        y_max = min(rects[i, 3] - y_dbu, rows * pixel_dbu)
        if x_min < x_max and y_min < y_max:
            _add_rect(area, x_min, y_min, x_max, y_max, pixel_dbu)
    return area


@kernel
def draw_windows(
    rects: Int64s, x_dbu: Int64s, y_dbu: Int64s, pixel_dbu: int, size_px: int
) -> Bytes:
    """Draw square windows of a rectilinear region.

    Parameters
    ----------
    rects : (r, 4) int64
        Disjoint rectangles in dbu: all that overlap any window.
    x_dbu, y_dbu : (n,) int64
        Lower left corners of the windows.
    pixel_dbu, size_px : int
        Side of a pixel in dbu, side of a window in pixels.

    Returns
    -------
    (n, size_px, size_px) uint8
        Covered share of each pixel, 255 for all of it, rounded to nearest.
    """
    size_dbu, whole = pixel_dbu * size_px, pixel_dbu * pixel_dbu
    pictures = np.zeros((x_dbu.shape[0], size_px, size_px), np.uint8)
    bins, local = bin_rects(rects, size_dbu), np.empty((64, 4), np.int64)
    area = np.zeros((size_px, size_px), np.int64)
    for n in range(x_dbu.shape[0]):
        local, count = find_rects_in_window(rects, bins, size_dbu, x_dbu[n], y_dbu[n], local)
        if not count:
            continue
        area[:] = 0
        for i in range(count):
            _add_rect(area, local[i, 0], local[i, 1], local[i, 2], local[i, 3], pixel_dbu)
        for i in range(size_px):
            for j in range(size_px):
                # Most pixels are empty or full; the division is the slowest part of this loop.
                if area[i, j] == whole:
                    pictures[n, i, j] = FULL
                elif area[i, j]:
                    pictures[n, i, j] = (2 * FULL * area[i, j] + whole) // (2 * whole)
    return pictures
