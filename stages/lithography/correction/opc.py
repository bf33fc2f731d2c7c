"""Model-based optical proximity correction: a mask whose nominal print has the target's edges.

in       the target's rectangles around a window
out      signed rectangles that turn the target into the mask
unit     a field
promise  the mask at a place depends on the layout and the process alone, not on the window
         requested, nor on the order of the rectangles or how they are cut

The fragments of a field's boundary move against their edge placement errors, by a share of each at
a time, and the field is imaged again; at the end the moves are rounded to whole dbu. A field
corrects the fragments that its core owns, see `fragments`. Slanted edges, which are represented by
fine steps, do not move.

N. Cobb, PhD thesis, University of California, Berkeley (1998).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.contracts import Box, Float32s, Floats, Int64s
from stages.errors import ConfigError
from stages.lithography.correction.fragments import Bools, Boundary, Rules, cut_boundary
from stages.lithography.correction.placement import choose_nominal, measure_displacements
from stages.lithography.correction.scatter_bars import place_scatter_bars
from stages.lithography.optics.exposure import count_spline_px, expose
from stages.lithography.optics.fields import (
    Lattice,
    clip_to_field,
    compute_halo_nm,
    make_lattice,
    make_lattice_field,
)
from stages.lithography.optics.kernels import Field
from stages.lithography.process import Opc, Process

_BATCH = 16
"""Fields that an accelerator images together; on a CPU core one at a time is fastest."""
_FROZEN = 0.25
"""Share of a field's guard, from its border, where nothing moves: the image is wrong there."""
_STEPS = 16
"""Fractions of a dbu in which moves are imaged before the final rounding, so that they settle."""

Place = tuple[int, int]


def compute_reach_nm(process: Process) -> float:
    """Return how far past a window its correction needs the target, in nm."""
    return compute_halo_nm(process)


def correct(
    target: Int64s, window: Box, dbu_nm: float, process: Process, device: str = "cpu"
) -> Int64s:
    """Return a mask that is corrected in a window, and equals the target elsewhere.

    Parameters and errors as `find_corrections`.

    Returns
    -------
    (m, 5) int64
        Signed rectangles, see `compute_spectrum`: x_min, y_min, x_max, y_max in dbu and +1 or -1.
        Their sum is 1 on the mask and 0 off it.
    """
    changes = find_corrections(target, window, dbu_nm, process, device)
    return np.concatenate([np.insert(target, 4, 1, axis=1), changes])


def find_corrections(
    target: Int64s, window: Box, dbu_nm: float, process: Process, device: str = "cpu"
) -> Int64s:
    """Return the rectangles that OPC adds to the target, and removes from it, in a window.

    Each belongs to one place: the rectangles of windows that tile an area are those of the area.

    Parameters
    ----------
    target : (n, 4) int64
        Disjoint rectangles of the target, in dbu, complete up to `compute_reach_nm` outside the
        window.
    window : Box
        Fragments move that are anchored in this half-open box: by the corner that they meet, or
        by their middle. They reach past it by half their length and the furthest move.
    dbu_nm : float
        Database unit of the layout; the mask's edges lie on whole dbu.

    Returns
    -------
    (m, 5) int64
        Signed rectangles.

    Raises
    ------
    ConfigError
        When the process has no `opc`, or one whose lengths contradict each other.
    """
    opc = _require_opc(process)
    lattice = make_lattice(process, dbu_nm)
    rules = make_rules(process, dbu_nm)
    near = _select_near(window.grow(math.ceil(compute_reach_nm(process) / dbu_nm)), target)
    boundary = cut_boundary(near, rules)
    bars = place_scatter_bars(boundary, near, rules, opc, dbu_nm)
    mask = np.concatenate([np.insert(near, 4, 1, axis=1), np.insert(bars, 4, 1, axis=1)])
    field = make_lattice_field(lattice, process, dbu_nm)
    moves, margin = np.zeros(len(boundary), np.int64), int(_FROZEN * lattice.guard_dbu)
    places, together = lattice.list_places(window), 1 if device == "cpu" else _BATCH
    for first in range(0, len(places), together):
        batch = places[first : first + together]
        views = [_make_view(mask, boundary, place, lattice, margin) for place in batch]
        views = [view for view in views if len(view.members)]
        for view, moved in zip(
            views, _move_fragments(views, field, lattice, dbu_nm, process, device), strict=True
        ):
            moves[view.members[view.owned]] = moved[view.owned]
    chosen = np.flatnonzero(boundary.find_owned(window))
    x, y = (bars[:, axis] + bars[:, axis + 2] >> 1 for axis in (0, 1))
    mine = (x >= window.x_min) & (x < window.x_max) & (y >= window.y_min) & (y < window.y_max)
    changes = boundary.select(chosen).make_rects(moves[chosen])
    return np.concatenate([changes, np.insert(bars[mine], 4, 1, axis=1)])


def correct_field(
    target: Int64s, lattice: Lattice, dbu_nm: float, process: Process, device: str = "cpu"
) -> Int64s:
    """Return the mask of one field whose target is known in the field alone.

    Every fragment moves but those next to the border, where the image is wrong.

    Parameters
    ----------
    target : (n, 4) int64
        Disjoint rectangles, in dbu from the field's corner, cut to the field.
    lattice
        Side, guard and core of the field.

    Returns
    -------
    (m, 5) int64
        Signed rectangles, as of `correct`.
    """
    rules, opc = make_rules(process, dbu_nm), _require_opc(process)
    boundary = cut_boundary(target, rules)
    bars = place_scatter_bars(boundary, target, rules, opc, dbu_nm)
    mask = np.insert(np.concatenate([target, bars]), 4, 1, axis=1)
    field = make_lattice_field(lattice, process, dbu_nm)
    margin = int(_FROZEN * make_lattice(process, dbu_nm).guard_dbu)
    view = _make_view(mask, boundary, (0, 0), lattice, margin)
    (moves,) = _move_fragments([view], field, lattice, dbu_nm, process, device)
    return np.concatenate([mask, boundary.select(view.members).make_rects(moves)])


def make_rules(process: Process, dbu_nm: float) -> Rules:
    """Return the lengths that cut and limit fragments, in dbu.

    Raises
    ------
    ConfigError
        When the process has no `opc`, or one whose lengths contradict each other.
    """
    opc = _require_opc(process)
    least_nm = max(opc.min_mask_width_nm, opc.min_mask_space_nm)
    guard = make_lattice(process, dbu_nm).guard_dbu
    for name, value, least in (
        ("corner_nm", opc.corner_nm, least_nm),
        ("fragment_nm", opc.fragment_nm, 2 * least_nm),
    ):
        if value < least:
            raise ConfigError(
                f"opc.{name} is {value:g} but pieces of the mask may be as narrow as min_mask_width"
                f"_nm and min_mask_space_nm; it must be at least {least:g}"
            )
    if 2 * (opc.corner_nm + 2 * opc.fragment_nm) > guard * dbu_nm:
        raise ConfigError(
            f"opc.fragment_nm is {opc.fragment_nm:g} and corner_nm {opc.corner_nm:g}, too long for "
            f"fields that see {guard * dbu_nm:g} nm past their core; make them shorter"
        )
    return Rules(
        corner=round(opc.corner_nm / dbu_nm),
        fragment=round(opc.fragment_nm / dbu_nm),
        longest=guard * 3 // 4,
        line_end=round(process.sampling.line_end_nm / dbu_nm),
        move=math.floor(opc.max_move_nm / dbu_nm),
        width=math.ceil(opc.min_mask_width_nm / dbu_nm),
        space=math.ceil(opc.min_mask_space_nm / dbu_nm),
    )


def _require_opc(process: Process) -> Opc:
    if process.opc is None:
        raise ConfigError(
            f"process {process.name} has no table opc; add it, or do not correct the mask"
        )
    return process.opc


def _select_near(box: Box, rects: Int64s) -> Int64s:
    near = (rects[:, 0] < box.x_max) & (rects[:, 2] > box.x_min)
    return rects[near & (rects[:, 1] < box.y_max) & (rects[:, 3] > box.y_min)]


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """The fragments of one field."""

    mask: Int64s
    """(r, 5) before fragments move, in steps from the field's corner."""
    place: Place
    members: Int64s
    """(n,) which fragments."""
    boundary: Boundary
    """These fragments, from the field's corner."""
    owned: Bools
    """Which of them the field corrects."""
    free: Bools
    """Which of them move."""

    def move_mask(self, moves: Floats, lattice: Lattice) -> Int64s:
        """Return the mask after moves in dbu, (r, 5) in steps."""
        changes = self.boundary.make_rects(np.rint(moves * _STEPS).astype(np.int64), _STEPS)
        return np.concatenate(
            [self.mask, clip_to_field(changes, (0, 0), lattice.side_dbu * _STEPS)]
        )

    def measure_errors(self, coef: Float32s, scale: float, level: float, reach: float) -> Floats:
        """Return the edge placement error at each control point, in dbu."""
        x, y = self.boundary.locate(self.boundary.control)
        lies, side = self.boundary.horizontal, self.boundary.side
        errors, turned = np.empty(len(lies)), np.ascontiguousarray(coef.T)
        errors[~lies] = measure_displacements(
            coef, x[~lies], y[~lies], side[~lies], scale, level, reach
        )
        errors[lies] = measure_displacements(
            turned, y[lies], x[lies], side[lies], scale, level, reach
        )
        return errors


def _make_view(
    mask: Int64s, boundary: Boundary, place: Place, lattice: Lattice, margin: int
) -> _View:
    x, y = place
    side = lattice.side_dbu
    members = np.flatnonzero(boundary.find_touching(Box(x, y, x + side, y + side)))
    seen = boundary.select(members)
    owned = seen.find_owned(lattice.locate_core(place))
    seen = seen.shift(-x, -y)
    x_at, y_at = seen.locate(seen.control)
    free = (np.minimum(x_at, y_at) >= margin) & (np.maximum(x_at, y_at) < side - margin)
    steps = np.array([_STEPS, _STEPS, _STEPS, _STEPS, 1])
    return _View(clip_to_field(mask, place, side) * steps, place, members, seen, owned, free)


def _move_fragments(
    views: list[_View],
    field: Field,
    lattice: Lattice,
    dbu_nm: float,
    process: Process,
    device: str,
) -> list[Int64s]:
    """Return how far the fragments of each field have moved after all iterations."""
    opc = _require_opc(process)
    reach = 2 * opc.max_move_nm / dbu_nm
    scale = count_spline_px(field) / lattice.side_dbu
    moves = [np.zeros(len(view.members)) for view in views]
    for _ in range(opc.iterations if views else 0):
        masks = [view.move_mask(moved, lattice) for view, moved in zip(views, moves, strict=True)]
        (exposure,) = expose(
            masks, field, dbu_nm / _STEPS, process, [choose_nominal(process)], device
        )
        for coef, view, moved in zip(exposure.coef, views, moves, strict=True):
            errors = view.measure_errors(coef, scale, exposure.levels[0], reach)
            moved -= opc.damping * np.where(view.free, errors, 0)
            np.clip(moved, -view.boundary.inward, view.boundary.outward, out=moved)
    return [np.rint(moved).astype(np.int64) for moved in moves]
