"""Outlines of curved masks as polygons that keep the rules of the mask.

in       a function on nodes, positive on the mask
out      polygons on whole dbu; the rectangles that they are simulated with
promise  what lies in a box depends on the function around it, up to `compute_reach`, alone

Spaces under the least are filled and necks under the least width cut away, both by moving the
outline out and in: what is left has no corner sharper than half the least width. Necks that lie in
spaces filled again are widened. Then what is smaller than the least area is dropped, and corners
within the tolerance of a straight line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import contourpy
import numpy as np
import shapely
from shapely import Polygon

from stages.contracts import Box, Floats, Int64s, Shapes
from stages.geometry.staircase import cut_into_rects
from stages.lithography.process import Opc, Process

_TOLERANCE = 1 / 150
"""In wavelength / NA, where the process does not say."""
_TIMES = 6
"""Cutting a neck can leave a space under the least, and filling that a neck: that is widened, and
spaces filled again, so often at most."""
_SLACK_DBU = 0.5
"""Necks are widened where more than twice this is missing."""
_ARC = 8
"""Straight pieces of a quarter turn."""


@dataclass(frozen=True, slots=True)
class OutlineRules:
    """Rules of curved masks, in dbu."""

    width: float
    space: float
    area: float
    """Of a polygon, and of a hole."""
    tolerance: float

    @property
    def reach(self) -> int:
        """How far around a box its polygons depend on the function."""
        # A polygon of the least area and width is no longer than this; other lengths are shorter.
        moved = (_TIMES + 1) * (self.width + self.space)
        return int(moved + self.area / min(self.width, self.space)) + 1


def make_outline_rules(process: Process, opc: Opc, dbu_nm: float) -> OutlineRules:
    """Return the rules of a process."""
    resolution_nm = process.wavelength_nm / process.na
    curves, least_nm = opc.curves, opc.min_mask_width_nm
    tolerance_nm = curves.tolerance_nm or _TOLERANCE * resolution_nm
    return OutlineRules(
        # Dropped corners and whole dbu take at most these.
        width=least_nm / dbu_nm + 2 * tolerance_nm / dbu_nm + 2,
        space=opc.min_mask_space_nm / dbu_nm + 2 * tolerance_nm / dbu_nm + 2,
        area=(curves.min_area_nm2 or 2 * least_nm**2) / dbu_nm**2,
        tolerance=tolerance_nm / dbu_nm,
    )


def trace_outlines(x: Floats, y: Floats, levels: Floats, rules: OutlineRules) -> list[Polygon]:
    """Return the polygons where a function on nodes is positive, within the rules of the mask."""
    lines = contourpy.contour_generator(x, y, levels, fill_type=contourpy.FillType.OuterOffset)
    points, offsets = cast(tuple[list[Floats], list[Int64s]], lines.filled(0.0, np.inf))
    rough = []
    for mine, ends in zip(points, offsets, strict=True):
        outer, *holes = (mine[a:b] for a, b in pairwise(ends))
        rough.append(Polygon(outer, holes))
    shape = shapely.union_all(shapely.make_valid(np.array(rough, object)))
    shape = shapely.simplify(shape, rules.tolerance / 2)
    shape = _cut_necks(_fill_spaces(shape, rules.space), rules.width)
    for _ in range(_TIMES):
        shape = _fill_spaces(shape, rules.space)
        # Grown a little: sides that all but coincide take long to cut.
        wide = shapely.buffer(_cut_necks(shape, rules.width), _SLACK_DBU, quad_segs=_ARC)
        narrow = shapely.difference(shape, wide)
        if narrow.is_empty:
            break
        shape = shapely.union(shape, shapely.buffer(narrow, rules.width / 2, quad_segs=_ARC))
    kept = [_fill_holes(part, rules.area) for part in list_polygons(shape)]
    kept = [part for part in kept if part.area >= rules.area]
    return list_polygons(shapely.simplify(np.array(kept, object), rules.tolerance / 2))


def _fill_spaces(shape: shapely.Geometry, space: float) -> shapely.Geometry:
    return shapely.buffer(
        shapely.buffer(shape, space / 2, quad_segs=_ARC), -space / 2, quad_segs=_ARC
    )


def _cut_necks(shape: shapely.Geometry, width: float) -> shapely.Geometry:
    return shapely.buffer(
        shapely.buffer(shape, -width / 2, quad_segs=_ARC), width / 2, quad_segs=_ARC
    )


def cut_to_box(polygons: list[Polygon], box: Box) -> list[Polygon]:
    """Return the parts of polygons in a box, corners on whole dbu."""
    inside = shapely.intersection(np.array(polygons, object), shapely.box(*box.as_tuple()))
    return list_polygons(shapely.set_precision(inside, 1.0))


def cut_into_signed_rects(polygons: Sequence[Polygon], step_dbu: int) -> Int64s:
    """Return signed rectangles that sum to polygons, (r, 5): holes are taken away."""
    parts = [np.empty((0, 5), np.int64)]
    for sign in (1, -1):
        rings = [
            shapely.get_coordinates(ring)[:-1].astype(np.int64)
            for polygon in polygons
            for ring in ([polygon.exterior] if sign > 0 else polygon.interiors)
        ]
        starts = np.cumsum([0, *map(len, rings)])
        points = np.concatenate([np.empty((0, 2), np.int64), *rings])
        shapes = Shapes(np.empty((0, 4), np.int64), points, starts)
        parts.append(np.insert(cut_into_rects(shapes, step_dbu), 4, sign, axis=1))
    return np.concatenate(parts)


def clip_rects(rects: Int64s, box: Box) -> Int64s:
    """Return the parts of rectangles, (r, 4) or (r, 5), in a box."""
    low, high = np.array([box.x_min, box.y_min]), np.array([box.x_max, box.y_max])
    inside = rects.copy()
    inside[:, :2], inside[:, 2:4] = np.maximum(rects[:, :2], low), np.minimum(rects[:, 2:4], high)
    clipped: Int64s = inside[(inside[:, :2] < inside[:, 2:4]).all(axis=1)]
    return clipped


def _fill_holes(polygon: Polygon, area: float) -> Polygon:
    holes = [hole for hole in polygon.interiors if Polygon(hole).area >= area]
    return Polygon(polygon.exterior, holes)


def list_polygons(shapes: Any) -> list[Polygon]:
    """Return the polygons that shapes are made of."""
    parts = shapely.get_parts(shapely.get_parts(shapes))
    return [part for part in parts if isinstance(part, Polygon) and not part.is_empty]
