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
def _add_rect(
    area: Int64s, widths: Int64s, x_min: int, y_min: int, x_max: int, y_max: int, pixel_dbu: int
) -> None:
    """Add a rectangle to (rows, columns) `area`; it lies within the picture, in its coordinates.

    Columns are unsigned: only then are several added at once, as none may count from the end.
    `widths`, (columns,), is room to compute in.
    """
    column_0, column_1 = x_min // pixel_dbu, (x_max - 1) // pixel_dbu
    first, end = np.uint64(column_0), np.uint64(column_1 + 1)
    for column in range(first, end):
        widths[column] = pixel_dbu
    widths[column_0] -= x_min - column_0 * pixel_dbu
    widths[column_1] -= (column_1 + 1) * pixel_dbu - x_max
    for row in range(y_min // pixel_dbu, (y_max - 1) // pixel_dbu + 1):
        height = min(y_max, (row + 1) * pixel_dbu) - max(y_min, row * pixel_dbu)
        line = area[row]
        for column in range(first, end):
            line[column] += height * widths[column]


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
    area, widths = np.zeros((rows, columns), np.int64), np.empty(columns, np.int64)
    for i in range(rects.shape[0]):
        x_min, y_min = max(rects[i, 0] - x_dbu, 0), max(rects[i, 1] - y_dbu, 0)
        x_max = min(rects[i, 2] - x_dbu, columns * pixel_dbu)
        y_max = min(rects[i, 3] - y_dbu, rows * pixel_dbu)
        if x_min < x_max and y_min < y_max:
            _add_rect(area, widths, x_min, y_min, x_max, y_max, pixel_dbu)
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
    area, widths = np.zeros((size_px, size_px), np.int64), np.empty(size_px, np.int64)
    columns, share = np.uint64(size_px), 0.5 / whole
    for n in range(x_dbu.shape[0]):
        local, count = find_rects_in_window(rects, bins, size_dbu, x_dbu[n], y_dbu[n], local)
        if not count:
            continue
        for i in range(count):
            _add_rect(area, widths, local[i, 0], local[i, 1], local[i, 2], local[i, 3], pixel_dbu)
        for i in range(size_px):
            line, picture = area[i], pictures[n, i]
            for j in range(columns):
                # (2 * FULL * area + whole) // (2 * whole): with the half, what is divided is never
                # near a multiple, so that the rounding of the product does not matter.
                picture[j] = np.int64((2 * FULL * line[j] + whole + 0.5) * share)
                line[j] = 0
    return pictures
