"""Exact area coverage: how much of each pixel a region covers.

Rectilinear regions are summed in whole dbu squared, so that a picture depends on the region
alone. Any other polygon goes through shapely's union and the signed-area sum of its edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from stages.compiled import kernel
from stages.contracts import Bytes, Floats, Int64s
from stages.geometry.windows import bin_rects, rects_in_window

FULL = 255
"""Grey level of a pixel that is covered wholly."""


@kernel
def _add_rect(area: Int64s, x_min: int, y_min: int, x_max: int, y_max: int, pixel_dbu: int) -> None:
    """Add a rectangle, in dbu from the picture's corner and within it, to ``(rows, columns)``."""
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
def cover(rects: Int64s, x_dbu: int, y_dbu: int, pixel_dbu: int, columns: int, rows: int) -> Int64s:
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
        Disjoint rectangles in dbu, all that touch any of the windows.
    x_dbu, y_dbu : (n,) int64
        Lower left corners of the windows.
    pixel_dbu, size_px : int
        Side of a pixel in dbu, side of a window in pixels.

    Returns
    -------
    (n, size_px, size_px) uint8
        Share of each pixel that is covered, 255 is all, rounded to nearest.
    """
    size_dbu, whole = pixel_dbu * size_px, pixel_dbu * pixel_dbu
    pictures = np.zeros((x_dbu.shape[0], size_px, size_px), np.uint8)
    bins, local = bin_rects(rects, size_dbu), np.empty((64, 4), np.int64)
    area = np.zeros((size_px, size_px), np.int64)
    for n in range(x_dbu.shape[0]):
        local, count = rects_in_window(rects, bins, size_dbu, x_dbu[n], y_dbu[n], local)
        if not count:
            continue
        area[:] = 0
        for i in range(count):
            _add_rect(area, local[i, 0], local[i, 1], local[i, 2], local[i, 3], pixel_dbu)
        for i in range(size_px):
            for j in range(size_px):
                # Most pixels are empty or full; a division takes longer than all else here.
                if area[i, j] == whole:
                    pictures[n, i, j] = FULL
                elif area[i, j]:
                    pictures[n, i, j] = (2 * FULL * area[i, j] + whole) // (2 * whole)
    return pictures


@kernel
def _add_edges(cover_px: Floats, x: Floats, y: Floats) -> None:
    """Add the signed area to the right of each edge of a ring, per pixel, before the sum over x.

    Coordinates are in pixels within the picture. Each edge is cut at the pixel borders; a piece
    within one pixel adds its area to that pixel and the rest of its height to all further right
    (the accumulation buffer known from font rasterisers).
    """
    rows, columns = cover_px.shape[0], cover_px.shape[1] - 1
    for i in range(len(x) - 1):
        x_0, y_0, x_1, y_1 = x[i], y[i], x[i + 1], y[i + 1]
        if y_0 == y_1:
            continue
        sign = 1.0
        if y_0 > y_1:
            x_0, y_0, x_1, y_1, sign = x_1, y_1, x_0, y_0, -1.0
        slope = (x_1 - x_0) / (y_1 - y_0)
        for row in range(max(int(np.floor(y_0)), 0), min(int(np.ceil(y_1)), rows)):
            low, high = max(y_0, float(row)), min(y_1, row + 1.0)
            if high <= low:
                continue
            a, b = x_0 + slope * (low - y_0), x_0 + slope * (high - y_0)
            left, right = min(a, b), max(a, b)
            height = high - low
            first = min(max(int(np.floor(left)), 0), columns - 1)
            last = min(max(int(np.ceil(right)) - 1, first), columns - 1)
            for column in range(first, last + 1):
                if last == first:
                    share, middle = 1.0, (left + right) / 2
                else:
                    low_x, high_x = max(left, float(column)), min(right, column + 1.0)
                    share, middle = (high_x - low_x) / (right - left), (low_x + high_x) / 2
                part = sign * height * share
                cover_px[row, column] += part * (column + 1 - middle)
                cover_px[row, column + 1] += part * (middle - column)


def draw_window_any_angle(
    rects: Int64s,
    polygons: list[npt.NDArray[np.int64]],
    x_dbu: int,
    y_dbu: int,
    pixel_dbu: int,
    size_px: int,
) -> Bytes:
    """Draw one square window that any-angle polygons reach into, (size_px, size_px) uint8.

    Parameters
    ----------
    rects : (n, 4) int64
        The rectangles as they are in the layout, in dbu; they may overlap.
    polygons : list of (m, 2) int64
        The other polygons, in dbu.
    x_dbu, y_dbu, pixel_dbu, size_px : int
        As in `draw_windows`.
    """
    size_dbu = pixel_dbu * size_px
    # One order, whatever tile they were read for: the union of floats depends on it.
    rects = rects[np.lexsort(rects.T)]
    polygons = sorted(polygons, key=lambda corners: corners.tolist())
    parts = [*shapely.box(*(rects.T.astype(float))), *(_valid(corners) for corners in polygons)]
    window = shapely.box(x_dbu, y_dbu, x_dbu + size_dbu, y_dbu + size_dbu)
    region = shapely.intersection(shapely.union_all(parts), window)
    sums = np.zeros((size_px, size_px + 1))
    for polygon in shapely.get_parts(shapely.normalize(region)):
        if polygon.geom_type != "Polygon":
            continue
        polygon = shapely.geometry.polygon.orient(polygon, sign=-1.0)
        for ring in (polygon.exterior, *polygon.interiors):
            corners = np.asarray(ring.coords)
            _add_edges(
                sums, (corners[:, 0] - x_dbu) / pixel_dbu, (corners[:, 1] - y_dbu) / pixel_dbu
            )
    covered = np.cumsum(sums[:, :-1], axis=1)
    # 1e-6 of a grey level swallows the rounding of floats before it can decide a tie.
    return np.floor(np.clip(covered, 0.0, 1.0) * FULL + 0.5 + 1e-6).astype(np.uint8)


def _valid(corners: npt.NDArray[np.int64]) -> shapely.Geometry:
    """Return a polygon's region; one that crosses itself is where its winding is not zero."""
    polygon = shapely.Polygon(corners)
    if polygon.is_valid:
        return polygon
    return shapely.make_valid(polygon, method="structure", keep_collapsed=False)
