"""Fields: the squares of the layout that are imaged one by one.

in       a process, a database unit, a window
out      the places of the fields, and the rectangles in each
promise  the cores of fields tile the plane from the layout's origin, whatever the window

A field is periodic, so its image is wrong near its edge: only its core counts, which lies
`guard_dbu` inside. All lengths are whole multiples of `pitch_dbu`, so that the lines along which
slanted edges are measured lie at the same places of the layout in every field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.contracts import Box, Int64s
from stages.geometry.union import merge, sweep
from stages.lithography.optics.kernels import GRID_PX, Field, make_field
from stages.lithography.process import Process

PITCHES = 9
"""Pitches of a lattice in a wavelength / NA."""
FURTHER = 0.5
"""How much further geometry matters where the mask is corrected, in wavelength / NA: a fragment at
the end of the light's reach is corrected by what lies beyond it."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """How the layout is cut into fields; all in dbu."""

    pitch_dbu: int
    core_dbu: int
    guard_dbu: int
    side_dbu: int

    def list_places(self, window: Box) -> list[tuple[int, int]]:
        """Return the corners of the fields whose cores overlap a window, by y, then x."""
        core, guard = self.core_dbu, self.guard_dbu
        return [
            (x - guard, y - guard)
            for y in range(window.y_min // core * core, window.y_max, core)
            for x in range(window.x_min // core * core, window.x_max, core)
        ]

    def locate_core(self, place: tuple[int, int]) -> Box:
        """Return the core of the field with its corner at `place`."""
        x, y = place[0] + self.guard_dbu, place[1] + self.guard_dbu
        return Box(x, y, x + self.core_dbu, y + self.core_dbu)


def compute_guard_nm(process: Process, *, corrected: bool = False) -> float:
    """Return how far past its core a field sees the geometry, at least, in nm.

    Where the mask is corrected it is `FURTHER` more, unless the kernels of a file give the field.
    """
    further = FURTHER if corrected and process.kernels is None else 0.0
    return (process.guard + further) * process.wavelength_nm / process.na


def make_lattice(process: Process, dbu_nm: float, *, corrected: bool = False) -> Lattice:
    """Return the lattice of fields that simulates a region with the least work, or corrects it."""
    resolution_nm = process.wavelength_nm / process.na
    pitch = max(1, round(round(resolution_nm / PITCHES) / dbu_nm))
    guard_dbu = math.ceil(compute_guard_nm(process, corrected=corrected) / dbu_nm / pitch) * pitch
    if process.kernels is not None:
        side = round(process.kernels.period_nm / dbu_nm)
    else:
        side = math.floor(GRID_PX * resolution_nm / 4 / dbu_nm)
    return Lattice(pitch, (side - 2 * guard_dbu) // pitch * pitch, guard_dbu, side)


def make_lattice_around(process: Process, dbu_nm: float, core_dbu: int) -> Lattice:
    """Return the smallest fields whose cores hold a box of side `core_dbu`, wherever it lies."""
    large = make_lattice(process, dbu_nm)
    core = -(-core_dbu // large.pitch_dbu) * large.pitch_dbu + large.pitch_dbu
    if process.kernels is not None or core > large.core_dbu:
        return large
    return Lattice(large.pitch_dbu, core, large.guard_dbu, core + 2 * large.guard_dbu)


def make_lattice_field(lattice: Lattice, process: Process, dbu_nm: float) -> Field:
    """Return the optical field that the fields of a lattice are imaged in."""
    if process.kernels is not None:
        return make_field(process)
    return make_field(process, lattice.side_dbu * dbu_nm)


def compute_halo_nm(process: Process) -> float:
    """Return how far past a window its simulation needs the geometry, in nm.

    A window is simulated in the whole fields that it touches: that is a field's core and guard.
    """
    return GRID_PX * process.wavelength_nm / process.na / 4


def compute_slab_dbu(process: Process, dbu_nm: float) -> int:
    """Return the height of the slabs that slanted shapes are cut into: finer than light sees."""
    return max(1, round(process.wavelength_nm / process.na / 70 / dbu_nm))


def clip_to_field(rects: Int64s, place: tuple[int, int], side_dbu: int) -> Int64s:
    """Cut rectangles, (r, 4) or more columns, to a field; coordinates from its corner."""
    x, y = place
    near = (rects[:, 0] < x + side_dbu) & (rects[:, 2] > x)
    near &= (rects[:, 1] < y + side_dbu) & (rects[:, 3] > y)
    local = rects[near].copy()
    local[:, :4] = np.clip(local[:, :4] - (x, y, x, y), 0, side_dbu)
    return local


def make_disjoint(signed: Int64s) -> Int64s:
    """Return rectangles that sum to 0 or 1 everywhere, (n, 4) or signed (n, 5), as disjoint ones.

    The result depends on the sum alone, not on how it is cut into rectangles.
    """
    if signed.shape[1] == 4:
        return merge(signed)
    sides = np.concatenate([signed[:, [0, 1, 3, 4]], signed[:, [2, 1, 3, 4]]])
    sides[len(signed) :, 3] *= -1
    runs: Int64s = sweep(sides, 0, False)[0]
    return runs
