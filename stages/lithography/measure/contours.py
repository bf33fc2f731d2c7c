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
import shapely
from shapely import Polygon

from stages.compiled import kernel
from stages.contracts import Box, Float32s, Floats, Int64s
from stages.lithography.optics.splines import blend

_FINER = 4
"""Lattice steps, along which contours are first traced, in a step of the spline."""
_NEWTON_STEPS = 2
_FLAT = 1e-10
"""Least square of a slope, per step of the spline, that a vertex is moved along."""
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
    fewer = shapely.simplify(np.array(polygons, object), _SLACK_DBU, preserve_topology=False)
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
    inside = np.flatnonzero(((points > low) & (points < high)).all(axis=1))
    field, moved = _locate_field(points[inside], images), points.copy()
    focus, level = np.array([each for each, _ in at]), np.array([level for _, level in at])
    for index in np.unique(field):
        if len(images.coef[index]):
            mine = inside[field == index]
            coef, place = np.stack(images.coef[index]), np.array(images.places[index])
            local = (points[mine] - place) * images.scale
            box = (low - place) * images.scale, (high - place) * images.scale
            _climb(local, coef, focus, level, where == "any", box)
            moved[mine] = local / images.scale + place
    return moved


def _locate_field(points: Floats, images: Images) -> Int64s:
    """Return the field whose core holds each point."""
    rights = np.array(sorted({core.x_max for core in images.cores}))
    tops = np.array(sorted({core.y_max for core in images.cores}))
    column = np.minimum(np.searchsorted(rights, points[:, 0], side="right"), len(rights) - 1)
    row = np.minimum(np.searchsorted(tops, points[:, 1], side="right"), len(tops) - 1)
    field: Int64s = row * len(rights) + column
    return field


@kernel
def _climb(
    points: Floats, coef: Float32s, focus: Int64s, level: Floats, brightest: bool,
    box: tuple[Floats, Floats],
) -> None:  # fmt: skip
    """Move points of one field, (m, 2) in steps of the spline, onto the level, within a box.

    Parameters
    ----------
    coef : (f, n, n) float32
        Splines of the field, one per focus.
    focus, level : (c,)
        Of each corner of the process.
    brightest
        Whether the brightest corner counts at each point, or the darkest.
    """
    most = 0.5 / _FINER
    low, high = box
    for p in range(len(points)):
        for _ in range(_NEWTON_STEPS):
            height, along, up = _evaluate(coef[focus[0]], points[p], level[0])
            for c in range(1, len(focus)):
                other, x, y = _evaluate(coef[focus[c]], points[p], level[c])
                if (other > height) == brightest:
                    height, along, up = other, x, y
            share = (1 - height) / max(along * along + up * up, _FLAT)
            for axis, slope in enumerate((along, up)):
                step = min(max(share * slope, -most), most)
                points[p, axis] = min(max(points[p, axis] + step, low[axis]), high[axis])


@kernel
def _evaluate(coef: Float32s, point: Floats, level: float) -> tuple[float, float, float]:
    """Return the intensity over its level at a point, and its derivatives by x and y."""
    n, column, row = len(coef), int(np.floor(point[0])), int(np.floor(point[1]))
    across, across_slope = blend(point[0] - column), _blend_slopes(point[0] - column)
    upward, upward_slope = blend(point[1] - row), _blend_slopes(point[1] - row)
    value = along = up = 0.0
    for j in range(4):
        line, rise = 0.0, 0.0
        y = (row + j - 1) % n
        for i in range(4):
            here = coef[y, (column + i - 1) % n]
            line += across[i] * here
            rise += across_slope[i] * here
        value += upward[j] * line
        along += upward[j] * rise
        up += upward_slope[j] * line
    return value / level, along / level, up / level


@kernel
def _blend_slopes(t: float) -> tuple[float, float, float, float]:
    """Return the derivatives of what `blend` returns, by `t`."""
    s = 1 - t
    return -s * s / 2, t * (1.5 * t - 2), s * (2 - 1.5 * s), t * t / 2
