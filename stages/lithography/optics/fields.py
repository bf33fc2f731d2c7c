"""Fields: the squares of the layout that are imaged one by one.

in: a process, a database unit, a window; out: where the fields lie and what is drawn in each.
promise: the cores of fields tile the plane from the layout's origin, whatever the window.

A field is periodic, so the edge of what it shows is wrong: it answers for its core alone, which
lies `guard_dbu` inside. All lengths are whole numbers of `pitch_dbu`, the distance of the lines
that are measured: these lie at the same places of the layout in every field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.contracts import Box, Int64s
from stages.geometry.union import merge, sweep
from stages.lithography.optics.kernels import GRID_PX, Field, field_of
from stages.lithography.process import Process

_GUARD = 3.2
"""What a field sees past its core, in wavelength / NA."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """How the layout is cut into fields; all in dbu."""

    pitch_dbu: int
    core_dbu: int
    guard_dbu: int
    side_dbu: int

    def places(self, window: Box) -> list[tuple[int, int]]:
        """Return the corners of the fields whose cores reach into a window, by y, then x."""
        core, guard = self.core_dbu, self.guard_dbu
        return [
            (x - guard, y - guard)
            for y in range(window.y_min // core * core, window.y_max, core)
            for x in range(window.x_min // core * core, window.x_max, core)
        ]

    def core_of(self, place: tuple[int, int]) -> Box:
        """Return the core of the field with its corner at `place`."""
        x, y = place[0] + self.guard_dbu, place[1] + self.guard_dbu
        return Box(x, y, x + self.core_dbu, y + self.core_dbu)


def lattice_of(process: Process, dbu_nm: float) -> Lattice:
    """Return the fields that simulate a region with the least work."""
    resolution_nm = process.wavelength_nm / process.na
    pitch = max(1, round(round(resolution_nm / 9) / dbu_nm))
    guard = math.ceil(_GUARD * resolution_nm / dbu_nm / pitch) * pitch
    if process.kernels is not None:
        side = round(process.kernels.period_nm / dbu_nm)
    else:
        side = math.floor(GRID_PX * resolution_nm / 4 / dbu_nm)
    return Lattice(pitch, (side - 2 * guard) // pitch * pitch, guard, side)


def around(process: Process, dbu_nm: float, core_dbu: int) -> Lattice:
    """Return the smallest fields whose cores hold a box of `core_dbu`, wherever it lies."""
    large = lattice_of(process, dbu_nm)
    core = -(-core_dbu // large.pitch_dbu) * large.pitch_dbu + large.pitch_dbu
    if process.kernels is not None or core > large.core_dbu:
        return large
    return Lattice(large.pitch_dbu, core, large.guard_dbu, core + 2 * large.guard_dbu)


def field_for(lattice: Lattice, process: Process, dbu_nm: float) -> Field:
    """Return the field of optics that a lattice's fields are imaged in."""
    if process.kernels is not None:
        return field_of(process)
    return field_of(process, lattice.side_dbu * dbu_nm)


def halo_nm(process: Process) -> float:
    """Return how far past a window its simulation needs the geometry, in nm.

    A window is simulated in the whole fields that it touches, so this is a field's core and what
    the optics see past it.
    """
    return GRID_PX * process.wavelength_nm / process.na / 4


def reach_nm(process: Process, core_nm: float) -> float:
    """Return how far past a box of `core_nm` its own field needs the geometry, see `around`."""
    resolution_nm = process.wavelength_nm / process.na
    if process.kernels is not None:
        return process.kernels.period_nm
    return min((_GUARD + 1) * resolution_nm, halo_nm(process)) if core_nm else halo_nm(process)


def clipped(rects: Int64s, place: tuple[int, int], side_dbu: int) -> Int64s:
    """Return what of the rectangles, (r, 4) or more columns, lies in a field, from its corner."""
    x, y = place
    near = (rects[:, 0] < x + side_dbu) & (rects[:, 2] > x)
    near &= (rects[:, 1] < y + side_dbu) & (rects[:, 3] > y)
    local = rects[near].copy()
    local[:, :4] = np.clip(local[:, :4] - (x, y, x, y), 0, side_dbu)
    return local


def disjoint(signed: Int64s) -> Int64s:
    """Return rectangles that sum to 0 or 1 everywhere, (n, 4) or signed (n, 5), as disjoint ones.

    The answer depends on what they sum to, not on how it is cut.
    """
    if signed.shape[1] == 4:
        return merge(signed)
    sides = np.concatenate([signed[:, [0, 1, 3, 4]], signed[:, [2, 1, 3, 4]]])
    sides[len(signed) :, 3] *= -1
    runs: Int64s = sweep(sides, 0)[0]
    return runs
