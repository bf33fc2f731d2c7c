"""Measure the area of a packed layer through window queries.

in       a packed layer
out      the area of its merged region
promise  the result does not depend on how the layer is cut into windows
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from stages.contracts import Box, Floats, Int64s, PackedLayer, Shapes
from stages.geometry.union import merge
from stages.geometry.window_query import query, split_polygons

WINDOWS = 4096
"""Roughly the most windows that a layer is cut into."""

WINDOW_DBU = 100_000
"""Smallest side of a window."""


def compute_merged_area(layer: PackedLayer) -> float:
    """Return the merged area of a layer in dbu squared; an integer if it is rectilinear."""
    area, slanted = 0, 0.0
    for window in _cut_windows(layer):
        shapes = query(layer, window)
        if len(shapes.point_start) > 1:
            slanted += _compute_any_angle_area(shapes, window)
        else:
            area += int(_compute_areas(merge(_cut_rects(shapes.rects, window))).sum())
    return area + slanted if slanted else area


def _cut_windows(layer: PackedLayer) -> Iterator[Box]:
    """Yield boxes that cover a layer exactly once."""
    box = layer.box
    if box is None:
        return
    side = max(WINDOW_DBU, int((box.area / WINDOWS) ** 0.5))
    for y in range(box.y_min, box.y_max, side):
        for x in range(box.x_min, box.x_max, side):
            yield Box(x, y, min(x + side, box.x_max), min(y + side, box.y_max))


def _cut_rects(rects: Int64s, window: Box) -> Int64s:
    x_0, y_0, x_1, y_1 = window.as_tuple()
    return np.clip(rects, (x_0, y_0, x_0, y_0), (x_1, y_1, x_1, y_1))


def _compute_areas(rects: Int64s) -> Int64s:
    areas: Int64s = (rects[:, 2] - rects[:, 0]) * (rects[:, 3] - rects[:, 1])
    return areas


def _compute_any_angle_area(shapes: Shapes, window: Box) -> float:
    polygons = [face for ring in split_polygons(shapes) for face in _fill(ring)]
    boxes = shapely.box(*shapes.rects.T) if len(shapes.rects) else np.empty(0, object)
    region = shapely.union_all([*boxes, *polygons])
    return float(shapely.area(shapely.intersection(region, shapely.box(*window.as_tuple()))))


def _fill(ring: Int64s) -> Iterator[shapely.Polygon]:
    """Yield the faces of a ring that have non-zero winding."""
    polygon = shapely.Polygon(ring)
    if polygon.is_valid:
        yield polygon
        return
    line = shapely.LineString(np.concatenate([ring, ring[:1]]))
    faces = shapely.get_parts(shapely.polygonize([shapely.node(line)]))
    for face in faces:
        inside = shapely.get_coordinates(shapely.point_on_surface(face))[0]
        if _compute_winding(ring - inside):
            yield face


def _compute_winding(around: Floats) -> int:
    """Return the winding number of a ring, (corners, 2), about the origin."""
    x, y = around.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    side = x * next_y - next_x * y
    upward, downward = (y <= 0) & (next_y > 0), (y > 0) & (next_y <= 0)
    return int((upward & (side > 0)).sum() - (downward & (side < 0)).sum())
