"""Defects: where the print differs from the drawn target by more than the process allows.

in       the target's rectangles, and those of the mask if it is not the target
out      `Defect` tuples
unit     a field
promise  a defect depends on the layout and the process alone, not on the window requested
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stages.contracts import Box, Defect, Floats, Int64s
from stages.geometry.union import find_runs_gaps_edges, merge, swap_xy
from stages.lithography.measure.connectivity import find_breaks
from stages.lithography.measure.sections import KINDS, Rules, measure
from stages.lithography.measure.slanted import measure_slanted
from stages.lithography.optics.exposure import Exposure, count_spline_px, expose
from stages.lithography.optics.fields import (
    Lattice,
    clip_to_field,
    make_disjoint,
    make_lattice,
    make_lattice_field,
)
from stages.lithography.process import Process

CELLS = 8
"""Cells along a side of a core; a defect longer than a cell is reported once per cell."""
_FAINT = 1e-6
_REACH = 3
"""Widths and spaces up to this many times the least are measured."""

NO_EDGES = np.empty((0, 4), np.int64)

Place = tuple[int, int]


def find_defects(
    target: Int64s,
    window: Box,
    dbu_nm: float,
    process: Process,
    mask: Int64s | None = None,
    device: str = "cpu",
    slanted: Int64s = NO_EDGES,
) -> tuple[Defect, ...]:
    """Simulate a window at every corner of the process and return its defects.

    Parameters
    ----------
    target : (n, 4) int64
        Disjoint rectangles of the target, in dbu, complete up to `compute_halo_nm` outside the
        window.
    window : Box
        Defects are returned whose place lies in it, half-open.
    dbu_nm : float
        Database unit of the layout.
    mask : (m, 4) or (m, 5) int64, optional
        Rectangles of the mask, and the transmission there, see `compute_spectrum`; the target by
        default.
    slanted : (k, 4) int64, optional
        Edges of the target that are measured across, see `list_slanted_edges`, in dbu.

    Returns
    -------
    tuple of Defect
        By y, then x, then kind. Failing samples of one kind that are near one another are one
        defect, at the place and corner where it is worst.
    """
    lattice = make_lattice(process, dbu_nm)
    field = make_lattice_field(lattice, process, dbu_nm)
    rules = make_rules(lattice, count_spline_px(field), dbu_nm, process)
    near = 3 * lattice.pitch_dbu
    side = max(1, lattice.core_dbu // (CELLS * lattice.pitch_dbu)) * lattice.pitch_dbu
    found: list[Defect] = []
    for place in lattice.list_places(window):
        # One field at a time, with its rectangles in canonical form: the same sums in another
        # order would differ in their last digits.
        local = merge(clip_to_field(target, place, lattice.side_dbu))
        shown = (
            local if mask is None else make_disjoint(clip_to_field(mask, place, lattice.side_dbu))
        )
        if len(local) or len(shown):
            exposures = expose([shown], field, dbu_nm, process, device=device)
            edges = find_edges_near(slanted, place, lattice.side_dbu)
            rows = find_failures(local, edges, exposures, rules)
            cell = (rows[:, 1:3] - lattice.guard_dbu) // side
            rows[:, 1:3] += place
            found += make_defects(rows[find_worst(rows, cell, near)], process)
    inside = (
        defect
        for defect in found
        if window.x_min <= defect.x_dbu < window.x_max
        and window.y_min <= defect.y_dbu < window.y_max
    )
    return tuple(sorted(inside, key=lambda defect: (defect.y_dbu, defect.x_dbu, defect.kind)))


def find_edges_near(edges: Int64s, place: Place, side_dbu: int) -> Int64s:
    """Return the edges whose boxes reach into a field, whole, from its corner."""
    local = edges - np.array(place * 2)
    low, high = np.minimum(local[:, :2], local[:, 2:]), np.maximum(local[:, :2], local[:, 2:])
    return local[((high >= 0) & (low <= side_dbu)).all(axis=1)]


def find_failures(
    target: Int64s, slanted: Int64s, exposures: Sequence[Exposure], rules: Rules
) -> Floats:
    """Return the failing samples of a field at every corner of the process.

    Parameters
    ----------
    target : (r, 4) int64
        Rectangles as `merge` returns them, in dbu from the field's corner.
    slanted : (k, 4) int64
        From `list_slanted_edges`, in dbu from the field's corner.
    exposures
        The images of the field.

    Returns
    -------
    (n, 5) float64
        Index into `KINDS`, x and y in dbu from the field's corner, index of the corner, severity.
    """
    return np.concatenate([_measure_focus(target, slanted, each, rules) for each in exposures])


def _measure_focus(target: Int64s, slanted: Int64s, exposure: Exposure, rules: Rules) -> Floats:
    coef, found = exposure.coef[0], []
    for flip in (False, True):
        runs, _, edges = find_runs_gaps_edges(swap_xy(target) if flip else target, 0)
        lattice = np.ascontiguousarray(coef.T) if flip else coef
        rows = measure(lattice, runs, edges, exposure.levels, rules)
        found.append(rows[:, [0, 2, 1, 3, 4]] if flip else rows)
        if not flip:
            breaks = find_breaks(coef, runs, exposure.levels, rules)
            breaks[:, 4] -= _FAINT  # where a line finds it as well, its place is the exact one
            found.append(breaks)
            if len(slanted):
                found.append(measure_slanted(coef, runs, slanted, exposure.levels, rules))
    rows = np.concatenate(found)
    rows[:, 3] = np.array(exposure.corners)[rows[:, 3].astype(int)]
    return rows


def make_rules(lattice: Lattice, pixels: int, dbu_nm: float, process: Process) -> Rules:
    """Return what is measured in the fields of a lattice, whose splines have `pixels` a side."""
    guard, end = lattice.guard_dbu, lattice.guard_dbu + lattice.core_dbu
    limits = process.limits
    return Rules(
        core=(guard, guard, end, end),
        scale=pixels / lattice.side_dbu,
        pitch=lattice.pitch_dbu,
        straight=math.ceil(limits.corner_nm / (lattice.pitch_dbu * dbu_nm)),
        width=round(_REACH * process.min_width_nm / dbu_nm),
        space=round(_REACH * process.min_space_nm / dbu_nm),
        line_end=round(process.sampling.line_end_nm / dbu_nm),
        pinch_share=limits.pinch_share,
        space_share=limits.space_share,
        epe=limits.epe_nm / dbu_nm,
        line_end_epe=limits.line_end_epe_nm / dbu_nm,
    )


def find_worst(rows: Floats, cell: npt.NDArray[Any], near_dbu: int) -> Int64s:
    """Return the worst of each group of samples of one kind that are near, in one cell; (g,).

    Parameters
    ----------
    rows : (n, 5) float64
        As of `find_failures`.
    cell : (n, c)
        Samples whose cells differ are never of one group.
    near_dbu
        Samples up to this apart are of one group, and so are those that others connect.
    """
    if not len(rows):
        return np.empty(0, np.int64)
    order = np.lexsort((rows[:, 3], rows[:, 1], rows[:, 2], -rows[:, 4]))
    kind = rows[order, 0]
    pairs = cKDTree(rows[order, 1:3]).query_pairs(near_dbu, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    same = (kind[a] == kind[b]) & (cell[order[a]] == cell[order[b]]).all(axis=1)
    links = coo_array((np.ones(same.sum()), (a[same], b[same])), shape=(len(rows), len(rows)))
    _, group = connected_components(links, directed=False)
    _, worst = np.unique(group, return_index=True)
    found: Int64s = order[worst]
    return found


def make_defects(rows: Floats, process: Process) -> list[Defect]:
    """Return samples as defects."""
    return [
        Defect(
            KINDS[int(kind)], int(x), int(y), process.corners[int(corner)].name, round(severity, 4)
        )
        for kind, x, y, corner, severity in rows.tolist()
    ]


def label_clips(
    x_dbu: Int64s, y_dbu: Int64s, core_dbu: int, defects: tuple[Defect, ...]
) -> npt.NDArray[np.bool_]:
    """Return which clips have a defect in their core, ``[centre - core/2, centre + core/2)``.

    Parameters
    ----------
    x_dbu, y_dbu : (n,) int64
        Centres of the clips.
    core_dbu : int
        Side of the core.
    """
    if not len(x_dbu) or not defects:
        return np.zeros(len(x_dbu), np.bool_)
    places = np.array([(defect.x_dbu, defect.y_dbu) for defect in defects], np.float64)
    # Places are whole, so a half-open box of them is all within (core - 1) / 2 of its middle one.
    middle = np.stack([x_dbu, y_dbu], axis=1) - core_dbu // 2 + (core_dbu - 1) / 2
    distance, _ = cKDTree(places).query(middle, p=np.inf, distance_upper_bound=core_dbu / 2)
    inside: npt.NDArray[np.bool_] = np.isfinite(distance)
    return inside
