"""Pictures of prints: target, mask and contours of a small window, as parts of an SVG.

In: shapes in dbu, a window. Out: the ``d`` of SVG paths, y downward, in units of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely

from stages.contracts import Box, Float32s, Floats, Int64s


def rects_path(rects: Int64s, window: Box, side: float) -> str:
    """Return the path of the rectangles' parts in a window that is drawn `side` units wide."""
    x_0, y_0, x_1, y_1 = window.as_tuple()
    cut = np.clip(rects[:, :4], (x_0, y_0, x_0, y_0), (x_1, y_1, x_1, y_1))
    cut = cut[(cut[:, 0] < cut[:, 2]) & (cut[:, 1] < cut[:, 3])]
    corners = cut[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    return "".join(_ring(points.astype(float), window, side) for points in corners)


def polygons_path(polygons: Iterable[shapely.Polygon], window: Box, side: float) -> str:
    """Return the path of polygons with their holes; fill it by the even-odd rule."""
    return "".join(
        _ring(shapely.get_coordinates(ring)[:-1], window, side)
        for polygon in polygons
        for ring in (polygon.exterior, *polygon.interiors)
    )


def place(x_dbu: float, y_dbu: float, window: Box, side: float) -> tuple[float, float]:
    """Return a place of the layout in units of the picture."""
    scale = side / window.width
    return round((x_dbu - window.x_min) * scale, 2), round((window.y_max - y_dbu) * scale, 2)


def likeliest(adds: Float32s, clip_px: int, core_px: int) -> tuple[float, float] | None:
    """Return where in the core a verdict comes from, in pixels right of and above its centre.

    The middle of what speaks for a hotspot there, each place weighed by the square of what it adds
    to the log odds; None where nothing does.

    Parameters
    ----------
    adds : (rows, columns) float32
        What each place of the clip adds, row 0 at the lowest y.
    clip_px, core_px : int
        Sides of clip and core.
    """
    rows, columns = (np.arange(n) + 0.5 for n in adds.shape)
    y, x = rows * clip_px / len(rows) - clip_px / 2, columns * clip_px / len(columns) - clip_px / 2
    high, wide = (clip_px / n for n in adds.shape)
    inside = (np.abs(y) < (core_px + high) / 2)[:, None] & (np.abs(x) < (core_px + wide) / 2)
    weight = np.where(inside, np.maximum(adds, 0), 0).astype(np.float64) ** 2
    total = weight.sum()
    if total == 0:
        return None
    return float((weight * x).sum() / total), float((weight * y[:, None]).sum() / total)


def _ring(points: Floats, window: Box, side: float) -> str:
    """Return a closed path."""
    scale = side / window.width
    drawn = np.round((points - (window.x_min, window.y_max)) * (scale, -scale), 2)
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in drawn.tolist()) + "Z"
