"""What fixes are measured with: the process, small and large fields, and what fails in them.

in       the disjoint rectangles around a place
out      the samples that fail, by limits that are `SAFETY` tighter, or as a scan finds them
unit     a field
promise  what fails depends on the geometry in the field alone
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.contracts import Floats, Int64s, Shapes
from stages.fixes.rules import DesignRules
from stages.geometry.signature import sign_windows
from stages.lithography.clip_window import (
    compute_reach_nm,
    find_clip_failures,
    make_window,
    read_window,
    turn_back,
)
from stages.lithography.optics.fields import Lattice, clip_to_field
from stages.lithography.process import Corner, Process

SAFETY = 0.03
"""Share by which the limits of failure are drawn tighter for a fix: more than what a verdict
depends on how fields are cut."""
NEAR, WHOLE, FURTHEST = 1.0, 1.5, 0.3
"""Half the length of the longest stretch of a long edge, how far whole edges reach, and the longest
move, in wavelength / NA."""
BESIDE = 0.5
"""How far beyond what changes the small fields are judged, in wavelength / NA."""
OWN = 0.75
"""What fails within this of a place is mended with it, in wavelength / NA."""


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Everything that a search needs but the geometry; lengths in dbu."""

    process: Process
    """With limits that are `SAFETY` tighter."""
    scanned: Process
    """With its own limits."""
    opc: str
    dbu_nm: float
    rules: DesignRules
    step: int
    """Moves are whole multiples of this."""
    near: Lattice
    """Fields that are searched in."""
    far: Lattice
    """Fields that a fix is verified in."""

    @property
    def hardest(self) -> tuple[Corner, ...]:
        """The corners furthest out of focus, where nearly all fails that fails at any."""
        corners = self.process.corners
        furthest = max(abs(corner.defocus_nm) for corner in corners)
        return tuple(corner for corner in corners if abs(corner.defocus_nm) == furthest)

    @property
    def place(self) -> Int64s:
        """What is mended with the place in the middle of a field, (1, 4)."""
        return np.array([[-1, -1, 1, 1]]) * self.to_dbu(OWN)

    @property
    def reach(self) -> int:
        """How far around the place the geometry must be complete."""
        return -(-self.far.side_dbu // 2)

    @property
    def same_dbu(self) -> int:
        """How far apart samples of one place may be before and after a change."""
        return 3 * self.far.pitch_dbu

    @property
    def effect(self) -> int:
        """How far from what is changed something else may print."""
        return self.far.core_dbu // 2 - self.to_dbu(WHOLE + FURTHEST)

    def to_dbu(self, resolutions: float) -> int:
        """Return a length that is given in wavelength / NA."""
        return round(resolutions * self.process.wavelength_nm / self.process.na / self.dbu_nm)


def make_bench(
    process: Process, opc: str, dbu_nm: float, rules: DesignRules, step_dbu: int
) -> Bench:
    """Return the fields and limits that fixes of a layout are searched with.

    Raises
    ------
    ConfigError
        When the process's kernels are for fields that are too small.
    """
    resolution_nm = process.wavelength_nm / process.na
    changed_nm = (WHOLE + FURTHEST) * resolution_nm
    near_nm = changed_nm + BESIDE * resolution_nm
    far_nm = changed_nm + compute_reach_nm(process, opc)
    near, far = (
        make_window(process, dbu_nm, 2 * math.ceil(half_nm / dbu_nm), opc)
        for half_nm in (near_nm, far_nm)
    )
    return Bench(_tighten(process), process, opc, dbu_nm, rules, step_dbu, near, far)


def _tighten(process: Process) -> Process:
    limits = process.limits
    return replace(
        process,
        limits=replace(
            limits,
            pinch_share=min(limits.pinch_share * (1 + SAFETY), 1),
            space_share=min(limits.space_share * (1 + SAFETY), 1),
            epe_nm=limits.epe_nm * (1 - SAFETY),
            line_end_epe_nm=limits.line_end_epe_nm * (1 - SAFETY),
        ),
    )


def simulate(rects: Int64s, bench: Bench) -> Floats:
    """Return the failing samples, (n, 5), of `Bench.far` at every corner, in dbu from the middle.

    Parameters
    ----------
    rects : (n, 4) int64
        Disjoint rectangles, in dbu from the middle of the window.
    """
    return simulate_fields([rects], bench, bench.far, bench.process.corners)[0]


def simulate_core(rects: Int64s, bench: Bench, core_dbu: int) -> Floats:
    """Return the failing samples, (n, 5), of a core as a scan simulates its clip.

    Parameters
    ----------
    rects : (n, 4) int64
        Disjoint rectangles, in dbu from the middle of the core.
    """
    process, dbu_nm, none = bench.scanned, bench.dbu_nm, np.empty((0, 2), np.int64)
    window = make_window(process, dbu_nm, core_dbu, bench.opc)
    corner, side = -(core_dbu // 2) - window.guard_dbu, window.side_dbu
    shapes = Shapes(clip_to_field(rects, (corner, corner), side), none, np.zeros(1, np.int64))
    zero = np.zeros(1, np.int64)
    symmetry = int(sign_windows([shapes], zero, zero, side, process.symmetries)[1][0])
    target, _ = read_window(shapes, (0, 0), window, symmetry, process, dbu_nm)
    (samples,) = find_clip_failures([target], window, dbu_nm, process, bench.opc)
    samples[:, 1:3] = turn_back(samples[:, 1:3], symmetry, side) + corner
    return samples


def simulate_fields(
    many: Sequence[Int64s], bench: Bench, window: Lattice, corners: Sequence[Corner]
) -> list[Floats]:
    """Return the failing samples, (n, 5) of each field, in dbu from the middle.

    Parameters
    ----------
    many
        Of each field its disjoint rectangles, (r, 4) int64, in dbu from the middle.
    window
        `Bench.near` or `Bench.far`.
    """
    corner = -(window.core_dbu // 2) - window.guard_dbu
    local = [clip_to_field(rects, (corner, corner), window.side_dbu) for rects in many]
    found = find_clip_failures(local, window, bench.dbu_nm, bench.process, bench.opc, corners)
    for samples in found:
        samples[:, 1:3] += corner
    return found
