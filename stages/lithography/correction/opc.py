"""Model-based optical proximity correction: a mask that prints the target over the process window.

in       the target's rectangles around a window
out      signed rectangles that turn the target into the mask
unit     a field
promise  the mask at a place depends on the layout and the process alone, not on the window
         requested, nor on the order of the rectangles or how they are cut; it is no worse than
         the target as a mask

The fragments of a field's boundary move against their edge placement errors, see `feedback`, and
then, where the process asks for it, down the gradient of what prints wrongly, see `descent`. Every
field decides by itself, from what lies inside it, and corrects the fragments that its core owns,
see `fragments`. Slanted edges, which are represented by fine steps, do not move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from stages.contracts import Box, Int64s
from stages.errors import ConfigError
from stages.lithography.correction.descent import descend, round_moves
from stages.lithography.correction.feedback import Placement, place_edges
from stages.lithography.correction.fragments import Boundary, Rules, cut_boundary
from stages.lithography.correction.model_bars import is_inside, make_bar_rules, place_model_bars
from stages.lithography.correction.scatter_bars import place_scatter_bars
from stages.lithography.correction.views import View, add_bars, make_view, make_whole_view
from stages.lithography.correction.window_cost import make_cost
from stages.lithography.optics.fields import (
    Lattice,
    make_lattice,
    make_lattice_field,
)
from stages.lithography.optics.kernels import make_field
from stages.lithography.process import Opc, Process
from stages.threads import limit_threads

_LOOK = 0.25
"""Share of the rounds of descent before bars are placed."""
_STEP = 1 / 50
"""First step of the descent, in wavelength / NA."""
_LEAST_GAIN = 2e-3
"""What a bar must take off the cost, in (wavelength / NA)²."""


def correct(target: Int64s, window: Box, dbu_nm: float, process: Process) -> Int64s:
    """Return a mask that is corrected in a window, and equals the target elsewhere.

    Parameters and errors as `find_corrections`.

    Returns
    -------
    (m, 5) int64
        Signed rectangles, see `compute_spectrum`: x_min, y_min, x_max, y_max in dbu and +1 or -1.
        Their sum is 1 on the mask and 0 off it.
    """
    changes = find_corrections(target, window, dbu_nm, process)
    return np.concatenate([np.insert(target, 4, 1, axis=1), changes])


def find_corrections(target: Int64s, window: Box, dbu_nm: float, process: Process) -> Int64s:
    """Return the rectangles that OPC adds to the target, and removes from it, in a window.

    Each belongs to one place: the rectangles of windows that tile an area are those of the area.

    Parameters
    ----------
    target : (n, 4) int64
        Disjoint rectangles of the target, in dbu, complete up to `compute_halo_nm` outside the
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
    opc = require_opc(process)
    lattice = make_lattice(process, dbu_nm, corrected=True)
    rules = make_rules(process, dbu_nm)
    places = lattice.list_places(window)
    near = _select_near(_enclose_fields(places, lattice), target)
    boundary = cut_boundary(near, rules)
    bars = place_scatter_bars(boundary, near, rules, opc, dbu_nm)
    field = make_lattice_field(lattice, process, dbu_nm)
    moves, found = np.zeros(len(boundary), np.int64), []
    for place in places:
        seen = Box(*place, place[0] + lattice.side_dbu, place[1] + lattice.side_dbu)
        members = np.flatnonzero(boundary.find_touching(seen))
        if not len(members):
            continue
        here = boundary.select(members)
        view = make_view(near, bars, here, place, lattice, field, lattice.guard_dbu)
        with limit_threads(1):
            moved, added = _correct_view(view, rules, dbu_nm, process)
        owned = here.find_owned(lattice.locate_core(place))
        moves[members[owned]] = moved[owned]
        found.append(added.locate(place, lattice.locate_core(place), window))
    chosen = np.flatnonzero(boundary.find_owned(window))
    mine = np.insert(bars[is_inside(bars, window)], 4, 1, axis=1)
    return np.concatenate([boundary.select(chosen).make_rects(moves[chosen]), mine, *found])


def correct_whole(target: Int64s, dbu_nm: float, process: Process) -> Int64s:
    """Return the mask of a whole, periodic layout: the field of the process's kernels.

    Parameters, errors and result as `correct`.
    """
    rules, field = make_rules(process, dbu_nm), make_field(process)
    boundary = cut_boundary(target, rules)
    view = make_whole_view(target, boundary, round(field.side_nm / dbu_nm), field)
    with limit_threads(1):
        moves, added = _correct_view(view, rules, dbu_nm, process)
    changes = boundary.make_rects(moves)
    whole = view.core.grow(view.side_dbu)
    every = added.locate((0, 0), whole, whole)
    return np.concatenate([np.insert(target, 4, 1, axis=1), changes, every])


def correct_field(target: Int64s, lattice: Lattice, dbu_nm: float, process: Process) -> Int64s:
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
    rules, opc = make_rules(process, dbu_nm), require_opc(process)
    boundary = cut_boundary(target, rules)
    bars = place_scatter_bars(boundary, target, rules, opc, dbu_nm)
    field = make_lattice_field(lattice, process, dbu_nm)
    guard = make_lattice(process, dbu_nm).guard_dbu
    whole = Box(0, 0, lattice.side_dbu, lattice.side_dbu)
    members = np.flatnonzero(boundary.find_touching(whole))
    here = boundary.select(members)
    view = make_view(target, bars, here, (0, 0), lattice, field, guard)
    with limit_threads(1):
        moves, added = _correct_view(view, rules, dbu_nm, process)
    drawn = np.insert(np.concatenate([target, bars]), 4, 1, axis=1)
    return np.concatenate([drawn, here.make_rects(moves), added.locate((0, 0), whole, whole)])


def make_rules(process: Process, dbu_nm: float) -> Rules:
    """Return the lengths that cut and limit fragments, in dbu.

    Raises
    ------
    ConfigError
        When the process has no `opc`, or one whose lengths contradict each other.
    """
    opc = require_opc(process)
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


def require_opc(process: Process) -> Opc:
    """Return how the masks of a process are corrected, or say that it does not tell."""
    if process.opc is None:
        raise ConfigError(
            f"process {process.name} has no table opc; add it, or do not correct the mask"
        )
    return process.opc


def _enclose_fields(places: list[tuple[int, int]], lattice: Lattice) -> Box:
    """Return a box of fields, grown such that edges cut at its border end outside the fields."""
    low, high = np.min(places, axis=0), np.max(places, axis=0) + lattice.side_dbu
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).grow(lattice.guard_dbu)


def _select_near(box: Box, rects: Int64s) -> Int64s:
    near = (rects[:, 0] < box.x_max) & (rects[:, 2] > box.x_min)
    return rects[near & (rects[:, 1] < box.y_max) & (rects[:, 3] > box.y_min)]


@dataclass(frozen=True, slots=True, eq=False)
class _Bars:
    """The bars that a field places by model, from its corner."""

    rects: Int64s
    boundary: Boundary
    moves: Int64s

    def locate(self, place: tuple[int, int], core: Box, window: Box) -> Int64s:
        """Return, in the layout, the signed rectangles of the bars in a core and a window."""
        rects, boundary = self.rects + np.array([*place, *place]), self.boundary.shift(*place)
        inside = is_inside(rects, core) & is_inside(rects, window)
        chosen = np.flatnonzero(boundary.find_owned(core) & boundary.find_owned(window))
        changes = boundary.select(chosen).make_rects(self.moves[chosen])
        return np.concatenate([np.insert(rects[inside], 4, 1, axis=1), changes])


def _correct_view(
    view: View, rules: Rules, dbu_nm: float, process: Process
) -> tuple[Int64s, _Bars]:
    """Return the moves of a view's fragments, and the bars that it places by model."""
    opc = require_opc(process)
    placement = Placement(view, process, 2 * opc.max_move_nm / dbu_nm)
    moves = place_edges(placement, opc.damping, opc.iterations)
    nothing = np.empty((0, 4), np.int64)
    bars = _Bars(nothing, cut_boundary(nothing, rules), np.empty(0, np.int64))
    if not opc.descent:
        return moves, bars
    resolution_dbu = process.wavelength_nm / process.na / dbu_nm
    cost, step = make_cost(view, process, opc.band_weight), _STEP * resolution_dbu
    moves = round_moves(view, cost, np.zeros_like(moves), moves)
    look = round(_LOOK * opc.descent) if opc.bar_nm and not opc.bar_distance_nm else opc.descent
    moved = descend(view, cost, moves, look, step)
    moves = round_moves(view, cost, moves, moved)
    if look == opc.descent:
        return moves, bars
    wide, least = round(opc.bar_nm / dbu_nm), _LEAST_GAIN * resolution_dbu**2
    bar_rules = make_bar_rules(rules, wide)
    rects = place_model_bars(view, cost, moved, wide, bar_rules, least)
    bars = _Bars(rects, cut_boundary(rects, bar_rules), np.empty(0, np.int64))
    barred = add_bars(view, rects, bars.boundary)
    start = np.concatenate([moved, np.zeros(len(bars.boundary))])
    every = np.rint(descend(barred, cost, start, opc.descent - look, step)).astype(np.int64)
    if cost.measure(barred.draw_mask(every)) >= cost.measure(view.draw_mask(moves)):
        return moves, replace(bars, rects=nothing, boundary=cut_boundary(nothing, rules))
    return every[: len(moves)], replace(bars, moves=every[len(moves) :])
