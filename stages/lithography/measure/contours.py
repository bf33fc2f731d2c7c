"""Printed contours: where images cross the level at which the resist prints.

in       the images of fields that tile a window
out      polygons in dbu of the layout
unit     a window
promise  a vertex lies where the splines cross the level, within about a tenth of a nm, before it
         is rounded to whole dbu; there is no seam between fields
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import contourpy
import numpy as np
import scipy
import shapely
from shapely import Polygon

from stages.contracts import Box, Float32s, Floats, Int64s
from stages.lithography.optics.splines import blend

_FINER = 4
"""Lattice steps, along which contours are first traced, in a step of the spline."""
_NEWTON_STEPS = 2
_SLACK_DBU = 0.3
"""Largest distance from the outline of a vertex that is dropped."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The images of the fields that tile a window, row after row."""

    cores: Sequence[Box]
    """The core of each field, cut to the window."""
    places: Sequence[tuple[int, int]]
    """The corner of each field, in dbu."""
    coef: Sequence[Sequence[Float32s]]
    """Splines of each field, one per focus, see `Exposure`; none where nothing is drawn."""
    scale: float
    """Spline steps in a dbu."""


Condition = Sequence[tuple[int, float]]
"""Corners of the process: index of the focus, and the level above which it prints."""


def trace_contours(
    images: Images, at: Condition, where: Literal["any", "all"] = "any"
) -> list[Polygon]:
    """Return the contours of the print at any, or at all, of some corners, in whole dbu."""
    x = _make_axis(images, "x_min", "x_max")
    y = _make_axis(images, "y_min", "y_max")
    values = np.zeros((len(y), len(x)))
    for core, place, coef in zip(images.cores, images.places, images.coef, strict=True):
        if len(coef):
            columns = slice(*np.searchsorted(x, (core.x_min, core.x_max + 0.5)))
            rows = slice(*np.searchsorted(y, (core.y_min, core.y_max + 0.5)))
            across = _compute_weights((x[columns] - place[0]) * images.scale, len(coef[0]))
            up = _compute_weights((y[rows] - place[1]) * images.scale, len(coef[0]))
            parts = [up @ coef[focus] @ across.T / level for focus, level in at]
            values[rows, columns] = _combine(parts, where)
    lines = contourpy.contour_generator(x, y, values, fill_type=contourpy.FillType.OuterOffset)
    points, offsets = cast(tuple[list[Floats], list[Int64s]], lines.filled(1.0, np.inf))
    if not points:
        return []
    moved = _move_to_level(np.concatenate(points), images, at, where, (x[0], y[0], x[-1], y[-1]))
    first = np.cumsum([0, *map(len, points)])
    polygons = []
    for start, ends in zip(first, offsets, strict=False):
        outer, *holes = (moved[start + a : start + b] for a, b in pairwise(ends))
        polygons.append(Polygon(outer, holes))
    fewer = shapely.simplify(np.array(polygons, object), _SLACK_DBU)
    return _split_polygons(shapely.set_precision(shapely.make_valid(fewer), 1.0))


def find_band(outer: Sequence[Polygon], inner: Sequence[Polygon]) -> list[Polygon]:
    """Return the process variation band: what prints at any corner less what prints at all."""
    tree = shapely.STRtree(inner)
    cut = [
        shapely.difference(polygon, shapely.union_all([inner[i] for i in tree.query(polygon)]))
        for polygon in outer
    ]
    return _split_polygons(shapely.set_precision(np.array(cut, object), 1.0))


def _split_polygons(shapes: Sequence[shapely.Geometry]) -> list[Polygon]:
    parts = shapely.get_parts(shapely.get_parts(shapes))
    return [part for part in parts if isinstance(part, Polygon) and not part.is_empty]


def _make_axis(images: Images, low: str, high: str) -> Floats:
    """Return the lattice along one axis: evenly spaced in each field, field borders included."""
    spans = sorted({(getattr(core, low), getattr(core, high)) for core in images.cores})
    parts = [
        np.linspace(a, b, max(1, math.ceil((b - a) * images.scale * _FINER)), endpoint=False)
        for a, b in spans
    ]
    places: Floats = np.append(np.concatenate(parts), spans[-1][1])
    return places


def _combine(values: Sequence[Floats], where: str) -> Floats:
    """Return the intensity over its level at the brightest, or the darkest, corner."""
    chosen: Floats = np.max(values, axis=0) if where == "any" else np.min(values, axis=0)
    return chosen


def _compute_weights(places: Floats, size: int) -> Floats:
    """Return the matrix from coefficients to values at `places`, in steps of the spline."""
    first = np.floor(places).astype(int)
    weights = np.zeros((len(places), size))
    for offset, part in enumerate(blend.py_func(places - first), -1):
        weights[np.arange(len(places)), (first + offset) % size] += part
    return weights


def _move_to_level(
    points: Floats,
    images: Images,
    at: Condition,
    where: str,
    limits: tuple[float, float, float, float],
) -> Floats:
    """Move vertices along the gradient onto the level; those on the window's edge do not move."""
    low, high = np.array(limits[:2]), np.array(limits[2:])
    inside = ((points > low) & (points < high)).all(axis=1)
    moved = points.copy()
    free = points[inside]
    field = _locate_field(free, images)
    delta = 0.25 / images.scale
    for _ in range(_NEWTON_STEPS):
        height = _compute_height(free, field, images, at, where) - 1
        slope = np.stack(
            [
                _compute_height(free + d, field, images, at, where)
                - _compute_height(free - d, field, images, at, where)
                for d in ((delta, 0.0), (0.0, delta))
            ],
            axis=1,
        ) / (2 * delta)
        steep = np.maximum((slope**2).sum(axis=1), 1e-12)[:, None]
        step = height[:, None] * slope / steep
        limit = 0.5 / (_FINER * images.scale)
        free = np.clip(free - np.clip(step, -limit, limit), low, high)
    moved[inside] = free
    return moved


def _locate_field(points: Floats, images: Images) -> Int64s:
    """Return the field whose core holds each point."""
    rights = np.array(sorted({core.x_max for core in images.cores}))
    tops = np.array(sorted({core.y_max for core in images.cores}))
    column = np.minimum(np.searchsorted(rights, points[:, 0], side="right"), len(rights) - 1)
    row = np.minimum(np.searchsorted(tops, points[:, 1], side="right"), len(tops) - 1)
    field: Int64s = row * len(rights) + column
    return field


def _compute_height(
    points: Floats, field: Int64s, images: Images, at: Condition, where: str
) -> Floats:
    """Return the intensity over its level at each point."""
    height = np.zeros(len(points))
    for index in np.unique(field):
        mine = field == index
        coef = images.coef[index]
        if len(coef):
            local = (points[mine] - images.places[index]) * images.scale
            every = {
                focus: scipy.ndimage.map_coordinates(
                    coef[focus], (local[:, 1], local[:, 0]), order=3, prefilter=False,
                    mode="grid-wrap", output=np.float64,
                )
                for focus in {focus for focus, _ in at}
            }  # fmt: skip
            height[mine] = _combine([every[focus] / level for focus, level in at], where)
    return height
