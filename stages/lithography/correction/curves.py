"""Masks with curved outlines that print the target over the process window.

in       the target's rectangles around a window
out      polygons, and the signed rectangles that turn the target into them
unit     a field
promise  the mask at a place depends on the layout and the process alone, not on the window
         requested; that of a field is no worse than the target as a mask

Each field finds a function that is positive on its mask, see `level_set`. Where cores of fields
meet, these functions are blended, so that outlines go on from core to core; the polygons of a core
are those of the blended function, see `outlines`. A core whose mask would be no better than the
drawn one has the drawn one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import shapely
from shapely import Polygon

from stages.contracts import Box, Floats, Int64s
from stages.errors import ConfigError
from stages.geometry.union import merge
from stages.lithography.correction.level_set import (
    FINER,
    Canvas,
    cut_levels,
    draw_levels,
    find_levels,
)
from stages.lithography.correction.opc import require_opc
from stages.lithography.correction.outlines import (
    clip_rects,
    cut_into_signed_rects,
    cut_to_box,
    list_polygons,
    make_outline_rules,
    trace_outlines,
)
from stages.lithography.correction.views import FROZEN
from stages.lithography.correction.window_cost import make_cost
from stages.lithography.optics.drawing import draw
from stages.lithography.optics.fields import (
    Lattice,
    clip_to_field,
    compute_halo_nm,
    compute_slab_dbu,
    make_lattice,
    make_lattice_field,
)
from stages.lithography.optics.kernels import make_field
from stages.lithography.process import Process
from stages.threads import limit_threads

_BLEND = 0.25
"""Half the width, in the guard of fields, of where the functions of two are blended."""

Place = tuple[int, int]


def compute_curves_reach_nm(process: Process) -> float:
    """Return how far past a window its curved mask needs the target, in nm.

    The mask of a core is that of its field, blended with those of the fields around it.
    """
    return 2 * compute_halo_nm(process)


def find_curved_mask(
    target: Int64s, window: Box, dbu_nm: float, process: Process
) -> list[tuple[Box, list[Polygon]]]:
    """Return each core of a field that a window touches, and the polygons of its mask.

    Parameters
    ----------
    target : (n, 4) int64
        Disjoint rectangles of the target, in dbu, complete up to `compute_curves_reach_nm` outside
        the window.

    Raises
    ------
    ConfigError
        When the process has no `opc`, or its kernels are for a field that cannot be divided.
    """
    lattice, nodes = _make_lattice(process, dbu_nm)
    rules = make_outline_rules(process, require_opc(process), dbu_nm)
    field = make_lattice_field(lattice, process, dbu_nm)
    solved: dict[Place, _Solved] = {}

    def solve(place: Place) -> _Solved:
        if place not in solved:
            seen = merge(clip_to_field(target, place, lattice.side_dbu))
            margin = int(FROZEN * lattice.guard_dbu)
            canvas = Canvas(field, lattice.side_dbu, seen, margin, nodes)
            solved[place] = _solve(canvas, dbu_nm, process)
        return solved[place]

    found = []
    for place in lattice.list_places(window):
        core = lattice.locate_core(place)
        if solve(place).outlines is None:
            drawn = clip_rects(target, core)
            shape = shapely.union_all(shapely.box(*drawn.T))
            found.append((core, list_polygons(shape)))
        else:
            x, y, levels = _blend(place, lattice, nodes, rules.reach, solve)
            found.append((core, cut_to_box(trace_outlines(x, y, levels, rules), core)))
    return found


def find_curved_corrections(
    cores: Sequence[tuple[Box, Sequence[Polygon]]],
    target: Int64s,
    window: Box,
    dbu_nm: float,
    process: Process,
) -> Int64s:
    """Return the signed rectangles that turn the target into a curved mask in a window, (m, 5).

    They sum as those of `opc.find_corrections`.

    Parameters
    ----------
    cores
        Of `find_curved_mask`.
    """
    slab, parts = compute_slab_dbu(process, dbu_nm), [np.empty((0, 5), np.int64)]
    for core, polygons in cores:
        box = core.intersect(window)
        if box is not None:
            parts.append(np.insert(clip_rects(target, box), 4, -1, axis=1))
            parts.append(clip_rects(cut_into_signed_rects(polygons, slab), box))
    return np.concatenate(parts)


def correct_whole_by_curves(target: Int64s, dbu_nm: float, process: Process) -> list[Polygon]:
    """Return the mask of a whole, periodic layout: the field of the process's kernels."""
    field = make_field(process)
    side = round(field.side_nm / dbu_nm)
    canvas = Canvas(field, side, merge(target), 0, FINER * field.pixels)
    outlines = _solve(canvas, dbu_nm, process).outlines
    return (
        list_polygons(shapely.union_all(shapely.box(*target.T))) if outlines is None else outlines
    )


def correct_field_by_curves(
    target: Int64s, lattice: Lattice, dbu_nm: float, process: Process
) -> Int64s:
    """Return the curved mask of one field, as `opc.correct_field` does that of edges."""
    field = make_lattice_field(lattice, process, dbu_nm)
    margin = int(FROZEN * make_lattice(process, dbu_nm).guard_dbu)
    canvas = Canvas(field, lattice.side_dbu, merge(target), margin, FINER * field.pixels)
    outlines = _solve(canvas, dbu_nm, process).outlines
    if outlines is None:
        return np.insert(target, 4, 1, axis=1)
    return cut_into_signed_rects(outlines, compute_slab_dbu(process, dbu_nm))


@dataclass(frozen=True, slots=True, eq=False)
class _Solved:
    """The mask of one field."""

    levels: Floats
    """(n, n), see `find_levels`."""
    outlines: list[Polygon] | None
    """From the field's corner; None where the mask is the drawn one."""


def _solve(canvas: Canvas, dbu_nm: float, process: Process) -> _Solved:
    """Return the mask of a field: the drawn one where a curved one would cost no less."""
    opc, whole = require_opc(process), Box(0, 0, canvas.side_dbu, canvas.side_dbu)
    drawn = np.insert(canvas.target, 4, 1, axis=1)
    if not len(drawn):
        return _Solved(draw_levels(drawn, canvas), None)
    rules, slab = make_outline_rules(process, opc, dbu_nm), compute_slab_dbu(process, dbu_nm)

    def trace(levels: Floats) -> list[Polygon]:
        around = cut_levels(levels, canvas, whole.grow(rules.reach))
        return cut_to_box(trace_outlines(*around, rules), whole)

    def keep_rules(levels: Floats) -> Int64s:
        return cut_into_signed_rects(trace(levels), slab)

    with limit_threads(1):
        levels = find_levels(canvas, process, opc, keep_rules)
        outlines = trace(levels)
        cost = make_cost(canvas, process, opc.curves.band_weight)
        curved_cost, drawn_cost = (
            cost.measure(draw(rects / np.array([canvas.side_dbu] * 4 + [1]), canvas.field))
            for rects in (cut_into_signed_rects(outlines, slab), drawn)
        )
    if curved_cost < drawn_cost:
        return _Solved(levels, outlines)
    return _Solved(draw_levels(drawn, canvas), None)


def _make_lattice(process: Process, dbu_nm: float) -> tuple[Lattice, int]:
    """Return fields whose nodes lie on one lattice, and how many nodes they have along a side."""
    usual = make_lattice(process, dbu_nm)
    if process.kernels is None:
        step = max(1, round(process.wavelength_nm / process.na / (4 * FINER) / dbu_nm))
        nodes = scipy.fft.prev_fast_len(usual.side_dbu // step, real=True)
    else:
        most = FINER * make_field(process).pixels
        nodes = max(n for n in range(1, most + 1) if usual.side_dbu % n == 0)
        step = usual.side_dbu // nodes
        if 2 * nodes < most:
            raise ConfigError(
                f"fields of {usual.side_dbu} dbu, which the kernels of {process.name} are for, "
                f"cannot be divided into some {most} equal parts; use kernels of another period, "
                "or masks of edges"
            )
    guard = -(-usual.guard_dbu // step) * step
    return Lattice(step, nodes * step - 2 * guard, guard, nodes * step), nodes


def _blend(
    place: Place, lattice: Lattice, nodes: int, reach: int, solve: Callable[[Place], _Solved]
) -> tuple[Floats, Floats, Floats]:
    """Return x, y and the blended function on the nodes around the core of a field."""
    core, step = lattice.locate_core(place), lattice.pitch_dbu
    x, y = (
        np.arange((low - reach) // step, -(-(high + reach) // step) + 1) * step
        for low, high in ((core.x_min, core.x_max), (core.y_min, core.y_max))
    )
    across, up = (_weigh(at - low, lattice) for at, low in ((x, core.x_min), (y, core.y_min)))
    levels = np.zeros((len(y), len(x)))
    for i, j in itertools.product(range(3), range(3)):
        corner = (place[0] + (i - 1) * lattice.core_dbu, place[1] + (j - 1) * lattice.core_dbu)
        columns, rows = ((at - low) // step % nodes for at, low in zip((x, y), corner, strict=True))
        levels += up[j][:, None] * across[i] * solve(corner).levels[np.ix_(rows, columns)]
    return x.astype(float), y.astype(float), levels


def _weigh(at: Int64s, lattice: Lattice) -> tuple[Floats, Floats, Floats]:
    """Return how much the fields before, at and behind a core count, by the place from its start.

    Half each where two cores meet, all of one from `_BLEND` of the guard on.
    """
    width = 2 * _BLEND * lattice.guard_dbu
    before = np.clip(0.5 - at / width, 0, 1)
    behind = np.clip(0.5 + (at - lattice.core_dbu) / width, 0, 1)
    return before, 1 - before - behind, behind
