"""Defects: where the print differs from the drawn target by more than the process allows.

in       the target's rectangles, and those of the mask if it is not the target
out      `Defect` tuples, and how far from its limit the worst place of each cell is
unit     a field
promise  defects and margins depend on the layout and the process alone, not on the window requested
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from stages.contracts import Box, Defect, Floats, Int64s
from stages.geometry.union import find_runs_gaps_edges, merge, swap_xy
from stages.lithography.measure.connectivity import find_breaks
from stages.lithography.measure.contacts import (
    ContactRules,
    find_contact_failures,
    make_contact_rules,
)
from stages.lithography.measure.margins import (
    CellMargins,
    gather_cells,
    make_worst,
    merge_cells,
    turn_worst,
)
from stages.lithography.measure.sections import KINDS, Rules, Worst, measure
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
_LINES = 4
"""Lines of measurement in a pitch of the lattice. Two leave 1 margin in 100 short by 3 %."""
_REACH = 3
"""Widths and spaces up to this many times the least are measured."""

NO_EDGES = np.empty((0, 4), np.int64)

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Checked:
    """What simulating a window found."""

    defects: tuple[Defect, ...]
    """By y, then x, then kind. Failing samples of one kind that are near one another are one
    defect, at the place and corner where it is worst."""
    margins: CellMargins
    """Of every sample in the window, whether it fails or not."""


def find_defects(
    target: Int64s,
    window: Box,
    dbu_nm: float,
    process: Process,
    mask: Int64s | None = None,
    slanted: Int64s = NO_EDGES,
) -> tuple[Defect, ...]:
    """Return the defects alone; see `check_window`."""
    side_dbu = max(window.width, window.height)
    return check_window(target, window, dbu_nm, process, side_dbu, mask, slanted).defects


def check_window(
    target: Int64s,
    window: Box,
    dbu_nm: float,
    process: Process,
    cell_dbu: int,
    mask: Int64s | None = None,
    slanted: Int64s = NO_EDGES,
) -> Checked:
    """Simulate a window at every corner of the process.

    Parameters
    ----------
    target : (n, 4) int64
        Disjoint rectangles of the target, in dbu, complete up to `compute_halo_nm` outside the
        window.
    window : Box
        Defects are returned whose place lies in it, half-open.
    dbu_nm : float
        Database unit of the layout.
    cell_dbu
        Side of the cells that margins are gathered in.
    mask : (m, 4) or (m, 5) int64, optional
        Rectangles of the mask, and the transmission there, see `compute_spectrum`; the target by
        default.
    slanted : (k, 4) int64, optional
        Edges of the target that are measured across, see `list_slanted_edges`, in dbu.
    """
    lattice = make_lattice(process, dbu_nm)
    field = make_lattice_field(lattice, process, dbu_nm)
    rules = make_rules(lattice, count_spline_px(field), dbu_nm, process)
    near = 3 * lattice.pitch_dbu
    side = max(1, lattice.core_dbu // (CELLS * lattice.pitch_dbu)) * lattice.pitch_dbu
    found: list[Defect] = []
    margins: list[CellMargins] = []
    for place in lattice.list_places(window):
        local, shown = _draw_field(target, mask, place, lattice.side_dbu)
        if len(local) or len(shown):
            exposures = expose([shown], field, dbu_nm, process)
            edges = find_edges_near(slanted, place, lattice.side_dbu)
            worst = make_worst(cell_dbu, lattice.locate_core(place), window, place)
            contacts = make_contact_rules(dbu_nm, process)
            rows = find_failures(local, edges, exposures, rules, worst, contacts)
            margins.append(gather_cells(worst, place))
            cell = (rows[:, 1:3] - lattice.guard_dbu) // side
            rows[:, 1:3] += place
            found += make_defects(rows[find_worst(rows, cell, near)], process)
    return Checked(_list_inside(window, found), merge_cells(margins))


def _draw_field(
    target: Int64s, mask: Int64s | None, place: Place, side_dbu: int
) -> tuple[Int64s, Int64s]:
    """Return target and mask of a field, its rectangles in canonical form.

    The same sums in another order would differ in their last digits.
    """
    local = merge(clip_to_field(target, place, side_dbu))
    if mask is None:
        return local, local
    return local, make_disjoint(clip_to_field(mask, place, side_dbu))


def _list_inside(window: Box, found: Iterable[Defect]) -> tuple[Defect, ...]:
    """Return the defects whose place lies in a window, the lowest first."""
    inside = (
        defect
        for defect in found
        if window.x_min <= defect.x_dbu < window.x_max
        and window.y_min <= defect.y_dbu < window.y_max
    )
    return tuple(sorted(inside, key=lambda defect: (defect.y_dbu, defect.x_dbu, defect.kind)))


def find_edges_near(edges: Int64s, place: Place, side_dbu: int) -> Int64s:
    """Return the edges whose boxes reach into a field, whole, from its corner."""
    if not len(edges):
        return NO_EDGES
    local = edges - np.array(place * 2)
    low, high = np.minimum(local[:, :2], local[:, 2:]), np.maximum(local[:, :2], local[:, 2:])
    return local[((high >= 0) & (low <= side_dbu)).all(axis=1)]


def find_failures(
    target: Int64s,
    slanted: Int64s,
    exposures: Sequence[Exposure],
    rules: Rules,
    worst: Worst,
    contacts: ContactRules | None,
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
    worst
        The margins of all samples are noted in it.
    contacts
        How shapes are measured as a whole, if they are contacts.

    Returns
    -------
    (n, 5) float64
        Index into `KINDS`, x and y in dbu from the field's corner, index of the corner, severity.
    """
    drawn = _Drawn(
        target, slanted, find_runs_gaps_edges(target, rules.space),
        find_runs_gaps_edges(swap_xy(target), rules.space),
    )  # fmt: skip
    return np.concatenate(
        [_measure_focus(drawn, each, rules, worst, contacts) for each in exposures]
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """What is drawn in a field: its runs, gaps and edges, as it lies and with x and y exchanged."""

    target: Int64s
    slanted: Int64s
    parts: tuple[Int64s, Int64s, Int64s]
    turned: tuple[Int64s, Int64s, Int64s]


def _measure_focus(
    drawn: _Drawn, exposure: Exposure, rules: Rules, worst: Worst, contacts: ContactRules | None
) -> Floats:
    coef, levels = exposure.coef[0], exposure.levels
    runs = drawn.parts[0]
    found = [measure(coef, *drawn.parts, levels, rules, worst)]
    breaks = find_breaks(coef, runs, levels, rules, worst)
    breaks[:, 4] -= _FAINT  # where a line finds it as well, its place is the exact one
    found.append(breaks)
    if len(drawn.slanted):
        found.append(measure_slanted(coef, runs, drawn.slanted, levels, rules, worst))
    turned = turn_worst(worst)
    rows = measure(np.ascontiguousarray(coef.T), *drawn.turned, levels, rules, turned)
    worst.margin[:] = turned.margin.transpose(0, 2, 1)
    found.append(rows[:, [0, 2, 1, 3, 4]])
    if contacts is not None:
        found.append(find_contact_failures(coef, drawn.target, levels, rules, contacts, worst))
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
        step=max(1, round(round(lattice.pitch_dbu * dbu_nm) // _LINES / dbu_nm)),
        straight=math.ceil(limits.corner_nm / dbu_nm),
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
    pairs = scipy.spatial.cKDTree(rows[order, 1:3]).query_pairs(near_dbu, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    same = (kind[a] == kind[b]) & (cell[order[a]] == cell[order[b]]).all(axis=1)
    links = scipy.sparse.coo_array(
        (np.ones(same.sum()), (a[same], b[same])), shape=(len(rows), len(rows))
    )
    _, group = scipy.sparse.csgraph.connected_components(links, directed=False)
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
    distance, _ = scipy.spatial.cKDTree(places).query(
        middle, p=np.inf, distance_upper_bound=core_dbu / 2
    )
    inside: npt.NDArray[np.bool_] = np.isfinite(distance)
    return inside
