"""Edge placement errors: how far outside a drawn edge its print lies.

in       an image as spline coefficients, places on drawn edges
out      signed distances along the normal
promise  contours are located on the spline itself, not on samples of it
"""

from __future__ import annotations

import math

import numpy as np

from stages.compiled import kernel
from stages.contracts import Box, Float32s, Floats, Int64s
from stages.geometry.union import find_edges, swap_xy
from stages.lithography.correction.fragments import Bools
from stages.lithography.optics.exposure import count_spline_px, expose
from stages.lithography.optics.fields import (
    Lattice,
    clip_to_field,
    make_lattice,
    make_lattice_field,
)
from stages.lithography.optics.splines import blend
from stages.lithography.process import Corner, Process

_STEP = 0.25
"""Distance, in steps of the spline, within which no contour is crossed twice."""
_REFINED = 4
"""Secant steps from there to the contour, at most."""
_CLOSE = 1e-3
"""Share of the last step within which the contour is located."""


@kernel
def _evaluate(line: Floats, place: float) -> float:
    """Return the spline with coefficients `line` at a place, 1 is the second coefficient's."""
    i = int(place)
    w_0, w_1, w_2, w_3 = blend(place - i)
    return w_0 * line[i - 1] + w_1 * line[i] + w_2 * line[i + 1] + w_3 * line[i + 2]


@kernel
def measure_displacements(
    coef: Float32s, x: Int64s, y: Int64s, side: Int64s, scale: float, levels: Floats, reach: float
) -> Floats:
    """Return how far contours lie outside vertical edges, in dbu, at most `reach` either way.

    Parameters
    ----------
    coef : (n, n) float32
        Cubic B-spline coefficients of the image, periodic.
    x, y : (k,) int64
        Places on edges, in dbu from the field's corner.
    side : (k,) int64
        +1 where the drawn interior lies at larger x.
    scale : float
        Spline steps in a dbu.
    levels : (c,) float64
        Intensities above which it prints.

    Returns
    -------
    (c, k) float64
    """
    n = coef.shape[0]
    far = reach * scale
    line = np.empty(2 * int(far + 1) + 6)
    out = np.empty((len(levels), len(x)))
    for k in range(len(x)):
        row = int(np.floor(y[k] * scale))
        w_0, w_1, w_2, w_3 = blend(y[k] * scale - row)
        row_0, row_1, row_2, row_3 = (row - 1) % n, row % n, (row + 1) % n, (row + 2) % n
        first = int(np.floor(x[k] * scale - far)) - 2
        j = first % n
        for i in range(len(line)):
            line[i] = (
                w_0 * coef[row_0, j] + w_1 * coef[row_1, j]
                + w_2 * coef[row_2, j] + w_3 * coef[row_3, j]
            )  # fmt: skip
            j = j + 1 if j + 1 < n else 0
        edge = x[k] * scale - first
        for c in range(len(levels)):
            out[c, k] = _locate(line, edge, side[k], levels[c], far) / scale
    return out


@kernel
def measure_fragments(
    coef: Float32s, horizontal: Bools, at: Int64s, along: Int64s, side: Int64s, scale: float,
    levels: Floats, reach: float,
) -> Floats:  # fmt: skip
    """Return what `measure_displacements` does, (c, k), of edges of either direction.

    Parameters
    ----------
    horizontal, at, along : (k,)
        Whether an edge lies along x; its y, or its x; and where along it it is measured.
    """
    out = np.empty((len(levels), len(at)))
    for lies in (False, True):
        of = np.flatnonzero(horizontal == lies)
        seen = np.ascontiguousarray(coef.T) if lies else coef
        found = measure_displacements(seen, at[of], along[of], side[of], scale, levels, reach)
        for c in range(len(levels)):
            for i in range(len(of)):
                out[c, of[i]] = found[c, i]
    return out


@kernel
def _locate(line: Floats, edge: float, side: int, level: float, far: float) -> float:
    """Return how far outside a place of a line its spline crosses a level, in steps."""
    here = _evaluate(line, edge) - level
    outside = here > 0
    ahead = -side if outside else side
    near, gone, there = 0.0, 0.0, here
    while gone < far and (there > 0) == outside:
        near, here = gone, there
        gone = min(gone + _STEP, far)
        there = _evaluate(line, edge + ahead * gone) - level
    if (there > 0) != outside:
        for _ in range(_REFINED):
            at = near + (gone - near) * here / (here - there)
            value = _evaluate(line, edge + ahead * at) - level
            if abs(value) < _CLOSE * abs(here - there):
                return at if outside else -at
            if (value > 0) == outside:
                near, here = at, value
            else:
                gone, there = at, value
        gone = near + (gone - near) * here / (here - there)
    return gone if outside else -gone


def choose_nominal(process: Process) -> Corner:
    """Return the corner of dose 1 in focus; the first corner if there is none."""
    exact = (each for each in process.corners if each.dose == 1 and each.defocus_nm == 0)
    return next(exact, process.corners[0])


def measure_edge_errors(
    target: Int64s,
    window: Box,
    dbu_nm: float,
    process: Process,
    mask: Int64s | None = None,
    lattice: Lattice | None = None,
    device: str = "cpu",
) -> tuple[Int64s, Floats]:
    """Return the edge placement errors of a window at nominal dose and focus.

    They are measured on straight edges, on lines at every pitch of the lattice, and in the middle
    of line ends.

    Parameters
    ----------
    target, mask
        As `find_defects`.
    lattice
        How the window is cut into fields; as the process says by default.

    Returns
    -------
    places : (n, 3) int64
        x and y in dbu, and 1 at a line end.
    errors_nm : (n,) float64
        Positive where the print lies outside the target.
    """
    lattice = lattice or make_lattice(process, dbu_nm)
    field = make_lattice_field(lattice, process, dbu_nm)
    scale = count_spline_px(field) / lattice.side_dbu
    straight = math.ceil(process.limits.corner_nm / (lattice.pitch_dbu * dbu_nm))
    line_end = round(process.sampling.line_end_nm / dbu_nm)
    reach = 2 * max(process.limits.epe_nm, process.limits.line_end_epe_nm) / dbu_nm
    masks = target if mask is None else mask
    rows: list[Floats] = [np.empty((0, 4))]
    for place in lattice.list_places(window):
        local, shift = clip_to_field(target, place, lattice.side_dbu), np.array(place)
        inside = lattice.locate_core(place).intersect(window)
        if inside is None or not len(local):
            continue
        (exposure,) = expose(
            [clip_to_field(masks, place, lattice.side_dbu)], field, dbu_nm, process,
            [choose_nominal(process)], device,
        )  # fmt: skip
        for flip in (False, True):
            seen = find_edges(swap_xy(local) if flip else local)
            points = choose_sample_points(seen, lattice.pitch_dbu, straight, line_end)
            xy = points[:, [1, 0]] if flip else points[:, :2]
            low, high = np.array(inside.as_tuple()).reshape(2, 2) - shift
            points, xy = (each[((xy >= low) & (xy < high)).all(axis=1)] for each in (points, xy))
            coef = exposure.coef[0].T if flip else exposure.coef[0]
            x, y, side = np.ascontiguousarray(points[:, :3].T)
            (errors,) = measure_displacements(
                np.ascontiguousarray(coef), x, y, side, scale, exposure.levels[:1], reach
            )
            rows.append(np.column_stack([xy + shift, points[:, 3], errors * dbu_nm]))
    every = np.concatenate(rows)
    return every[:, :3].astype(np.int64), every[:, 3]


def choose_sample_points(seen: Int64s, pitch_dbu: int, straight: int, line_end_dbu: int) -> Int64s:
    """Return where edges, (k, 6), are measured, (n, 4): x, y, side, 1 at the middle of a line end.

    Lines are at ``y = j * pitch_dbu + pitch_dbu // 2``; an edge must cross `straight` more of them
    either way.
    """
    half = pitch_dbu // 2
    first = -(-(seen[:, 1] - half) // pitch_dbu) + straight
    count = np.maximum(-(-(seen[:, 2] - half) // pitch_dbu) - straight - first, 0)
    edge = np.repeat(np.arange(len(seen)), count)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    on_lines = np.stack(
        [seen[edge, 0], line * pitch_dbu + half, seen[edge, 3], np.zeros_like(edge)], axis=1
    )
    is_end = (seen[:, 4] & seen[:, 5]).astype(bool)
    ends = seen[is_end & (seen[:, 2] - seen[:, 1] <= line_end_dbu)]
    middle = (ends[:, 1] + ends[:, 2]) // 2
    at_ends = np.stack([ends[:, 0], middle, ends[:, 3], np.ones_like(middle)], axis=1)
    return np.concatenate([on_lines, at_ends])
