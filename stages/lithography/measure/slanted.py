"""Printed widths, spaces and edges of slanted and curved shapes, measured across their edges.

in: an image as spline coefficients, the drawn runs, the slanted edges; out: a row per failing
sample. unit: one field; promise: no sample outside the field's core; none where no edge is slanted.

A line across the edge, wherever this crosses one of the lines at every pitch: upright ones for flat
edges, level ones for steep. A sample counts only where the drawn edge goes on as far either way as
`sections` asks for; it may bend by a quarter of the way.
"""

from __future__ import annotations

import math

import numpy as np

from stages.compiled import kernel
from stages.contracts import Float32s, Floats, Int64s, Shapes
from stages.geometry.windows import Bins, bin_rects
from stages.lithography.measure.sections import (
    EPE,
    FINE,
    Line,
    Rules,
    Worst,
    blend32,
    judge_edge,
    judge_extent,
)

_BEND = 0.25
"""How far a straight edge may leave its tangent, of the way along it."""
_NEAR = 0.25
"""How far from an edge its two sides can be distinguished, in pitches: past its drawn steps."""

Place = tuple[float, float]


def list_slanted_edges(shapes: Shapes) -> Int64s:
    """Return the edges that are neither level nor upright, (k, 4): x, y of the left end, right end.

    Examples
    --------
    >>> none, corners = np.empty((0, 4), np.int64), np.array([[0, 0], [9, 0], [0, 5]])
    >>> list_slanted_edges(Shapes(none, corners, np.array([0, 3]))).tolist()
    [[0, 5, 9, 0]]
    """
    if not len(shapes.points):
        return np.empty((0, 4), np.int64)
    following = np.arange(1, len(shapes.points) + 1)
    following[shapes.point_start[1:] - 1] = shapes.point_start[:-1]
    ends = shapes.points[following]
    slanted = (shapes.points != ends).all(axis=1)
    edges = np.concatenate((shapes.points[slanted], ends[slanted]), axis=1)
    backward = edges[:, 0] > edges[:, 2]
    edges[backward] = edges[backward][:, [2, 3, 0, 1]]
    return np.unique(edges, axis=0)


@kernel
def measure_slanted(
    coef: Float32s, runs: Int64s, edges: Int64s, levels: Floats, rules: Rules, worst: Worst
) -> Floats:
    """Measure one field across its slanted edges and return the samples that fail.

    Parameters
    ----------
    edges : (k, 4) int64
        From `list_slanted_edges`, in dbu from the field's corner.
    coef, runs, levels, worst
        As in `stages.lithography.measure.sections.measure`.

    Returns
    -------
    (f, 5) float64
        As of `measure`.
    """
    bins = bin_rects(runs, rules.pitch)
    found = np.empty((16, 5)), 0
    far = max(rules.width, rules.space)
    for e in range(len(edges)):
        steep = abs(edges[e, 3] - edges[e, 1]) >= edges[e, 2] - edges[e, 0]
        a, b = (1, 0) if steep else (0, 1)  # along which axis it is followed, and the other
        low, high = min(edges[e, a], edges[e, a + 2]), max(edges[e, a], edges[e, a + 2])
        low, high = max(low, rules.core[a] - far), min(high, rules.core[a + 2] + far)
        slope = (edges[e, b + 2] - edges[e, b]) / (edges[e, a + 2] - edges[e, a])
        first = -((rules.pitch // 2 - low) // rules.pitch)
        for j in range(first, -((rules.pitch // 2 - high) // rules.pitch)):
            along = j * rules.pitch + rules.pitch // 2
            across = edges[e, b] + (along - edges[e, a]) * slope
            at = (across, float(along)) if steep else (float(along), across)
            tangent = (slope, 1.0) if steep else (1.0, slope)
            length = math.sqrt(1.0 + slope * slope)
            normal = (tangent[1] / length, -tangent[0] / length)
            inward = _is_covered(runs, bins, rules.pitch, at, normal, -_NEAR * rules.pitch, 0.0)
            if not inward:
                normal = (-normal[0], -normal[1])
            found = _check_sample(coef, runs, bins, at, normal, levels, rules, worst, found)
    return found[0][: found[1]]


@kernel
def _is_covered(
    runs: Int64s, bins: Bins, pitch: int, at: Place, normal: Place, out: float, along: float
) -> bool:
    """Say whether the place so far outward, and along the edge, of one on it is metal."""
    x = at[0] + out * normal[0] - along * normal[1]
    y = at[1] + out * normal[1] + along * normal[0]
    grid, start, member = bins
    column, row = int((x - grid[0]) // pitch), int((y - grid[1]) // pitch)
    if column < 0 or column >= grid[2] or row < 0 or row >= grid[3]:
        return False
    for k in range(start[row * grid[2] + column], start[row * grid[2] + column + 1]):
        x_0, y_0, x_1, y_1 = runs[member[k]]
        if x_0 <= x < x_1 and y_0 <= y < y_1:
            return True
    return False


@kernel
def _goes_on(
    runs: Int64s, bins: Bins, rules: Rules, at: Place, normal: Place, away: float, metal: bool
) -> bool:
    """Say whether what lies from an edge to `away` outward of it is the same along it."""
    near = _NEAR * rules.pitch
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        along = share * rules.straight
        slack = near + _BEND * abs(along)
        if abs(away) > 2 * slack:
            for out in (math.copysign(slack, away), away / 2, away - math.copysign(slack, away)):
                if _is_covered(runs, bins, rules.pitch, at, normal, out, along) != metal:
                    return False
        elif _is_covered(runs, bins, rules.pitch, at, normal, away / 2, along) != metal:
            return False
    return True


@kernel
def _is_straight(runs: Int64s, bins: Bins, rules: Rules, at: Place, normal: Place) -> bool:
    """Say whether an edge goes on either way, metal inward and space outward."""
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        along = share * rules.straight
        slack = _NEAR * rules.pitch + _BEND * abs(along)
        if not _is_covered(runs, bins, rules.pitch, at, normal, -slack, along):
            return False
        if _is_covered(runs, bins, rules.pitch, at, normal, slack, along):
            return False
    return True


@kernel
def _measure_drawn(
    runs: Int64s, bins: Bins, pitch: int, at: Place, normal: Place, way: int, limit: int
) -> float:
    """Return how far metal (`way` -1) or space (1) goes on from an edge, 0 past `limit`."""
    for step in range(int(_NEAR * pitch) + 1, limit + 2):
        if _is_covered(runs, bins, pitch, at, normal, float(way * step), 0.0) == (way > 0):
            return step - 0.5
    return 0.0


@kernel
def _trace_across(
    coef: Float32s, at: Place, normal: Place, scale: float, middle: int, profile: Float32s
) -> None:
    """Write the image along a normal, `FINE` samples a step; the edge is at sample `middle`."""
    n = coef.shape[0]
    for i in range(len(profile)):
        out = (i - middle) / (scale * FINE)
        u, v = (at[0] + out * normal[0]) * scale, (at[1] + out * normal[1]) * scale
        column, row = int(np.floor(u)), int(np.floor(v))
        across, up = blend32(u - column), blend32(v - row)
        value = np.float32(0.0)
        for k in range(4):
            line = coef[(row - 1 + k) % n]
            part = np.float32(0.0)
            for m in range(4):
                part += across[m] * line[(column - 1 + m) % n]
            value += up[k] * part
        profile[i] = value


@kernel
def _is_in_core(rules: Rules, x: float, y: float) -> bool:
    x, y = np.floor(x), np.floor(y)
    core = rules.core
    return bool(core[0] <= x < core[2] and core[1] <= y < core[3])


@kernel
def _check_sample(
    coef: Float32s, runs: Int64s, bins: Bins, at: Place, normal: Place, levels: Floats,
    rules: Rules, worst: Worst, found: tuple[Floats, int],
) -> tuple[Floats, int]:  # fmt: skip
    """Measure the edge at a place, the width inward and the space outward of it."""
    if not _is_straight(runs, bins, rules, at, normal):
        return found
    fine = rules.scale * FINE
    middle = int((max(rules.width, rules.space) + 2 * rules.epe) * fine) + 8
    profile = np.empty(2 * middle + 1, np.float32)
    _trace_across(coef, at, normal, rules.scale, middle, profile)
    if _is_in_core(rules, at[0], at[1]):
        line = Line(profile, int(np.floor(at[1])), levels)
        found, _ = judge_edge(line, EPE, float(middle), at[0], -1, rules, worst, found)
    for way in (-1, 1):
        limit = rules.width if way < 0 else rules.space
        drawn = _measure_drawn(runs, bins, rules.pitch, at, normal, way, limit)
        x, y = at[0] + way * drawn / 2 * normal[0], at[1] + way * drawn / 2 * normal[1]
        if (
            drawn > 0.0
            and _is_in_core(rules, x, y)
            and _goes_on(runs, bins, rules, at, normal, way * drawn, way < 0)
        ):
            line = Line(profile, int(np.floor(y)), levels)
            low = middle + min(0.0, way * drawn) * fine
            high = middle + max(0.0, way * drawn) * fine
            found, _ = judge_extent(line, low, high, x, drawn, way < 0, rules, worst, found)
    return found
