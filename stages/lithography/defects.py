"""Defects: where the print differs from the drawn target by more than the process allows.

in: the target's rectangles in and around a window; out: `Defect` of the window.
unit: fields, squares of the layout whose cores tile the plane from the layout's origin.
promise: a defect depends on the layout and the process alone, not on the window asked for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stages.contracts import Box, Defect, Float32s, Floats, Int64s
from stages.geometry.union import runs_gaps_edges, transposed
from stages.lithography.optics import GRID_PX, Field, field_of, image, kernels, mask_spectrum
from stages.lithography.process import Process
from stages.lithography.resist import threshold
from stages.lithography.sections import KINDS, Rules, measure

_FINER = 2
"""Spline steps in a step of the image."""
_CELLS = 8
"""Cells along a side of a core; a defect longer than a cell is reported once per cell."""
_GUARD = 3.2
"""What a field sees past its core, in wavelength / NA."""
_REACH = 3
"""Widths and spaces up to this many times the least are measured."""


@dataclass(frozen=True, slots=True)
class _Lattice:
    """How the layout is cut: all in dbu, so that it is the same for every window."""

    pitch_dbu: int
    cell_dbu: int
    core_dbu: int
    guard_dbu: int

    @property
    def side_dbu(self) -> int:
        return self.core_dbu + 2 * self.guard_dbu


def _lattice(process: Process, dbu_nm: float) -> _Lattice:
    resolution_nm = process.wavelength_nm / process.na
    side_dbu = math.floor(GRID_PX * resolution_nm / 4 / dbu_nm)
    pitch_dbu = max(1, round(round(resolution_nm / 9) / dbu_nm))
    core_dbu = side_dbu - 2 * math.ceil(_GUARD * resolution_nm / dbu_nm)
    cell_dbu = core_dbu // (_CELLS * pitch_dbu) * pitch_dbu
    core_dbu = _CELLS * cell_dbu
    return _Lattice(pitch_dbu, cell_dbu, core_dbu, (side_dbu - core_dbu) // 2)


def halo_nm(process: Process) -> float:
    """Return how far past a window `find_defects` needs the geometry, in nm.

    A window is simulated in the whole fields that it touches, so this is a field's core and what
    the optics see past it. Windows that are large, or end on multiples of `core_nm`, waste least.
    """
    return GRID_PX * process.wavelength_nm / process.na / 4


def core_nm(process: Process, dbu_nm: float = 1.0) -> float:
    """Return the pitch of the fields, in nm."""
    return _lattice(process, dbu_nm).core_dbu * dbu_nm


def find_defects(
    rects: Int64s, window: Box, dbu_nm: float, process: Process, device: str = "cpu"
) -> tuple[Defect, ...]:
    """Simulate a window at every corner of the process and return what fails there.

    Parameters
    ----------
    rects : (n, 4) int64
        Disjoint rectangles of the target in dbu, complete up to `halo_nm` outside the window.
    window : Box
        Defects are returned whose place lies in it, half-open.
    dbu_nm : float
        Database unit of the layout.

    Returns
    -------
    tuple of Defect
        In order of y, then x, then kind. Failing samples that are near one another and of one
        kind are one defect, at the place and corner where it is worst.
    """
    lattice = _lattice(process, dbu_nm)
    field = field_of(process, lattice.side_dbu * dbu_nm)
    found: list[Defect] = []
    for x_dbu, y_dbu, local in _fields(rects, window, lattice):
        rows = _failures(local, lattice, field, dbu_nm, process, device)
        if len(rows):
            rows[:, 1:3] += x_dbu, y_dbu
            found += _merged(rows, lattice, process)
    inside = [
        defect
        for defect in found
        if window.x_min <= defect.x_dbu < window.x_max
        and window.y_min <= defect.y_dbu < window.y_max
    ]
    return tuple(sorted(inside, key=lambda defect: (defect.y_dbu, defect.x_dbu, defect.kind)))


def _fields(rects: Int64s, window: Box, lattice: _Lattice) -> Iterator[tuple[int, int, Int64s]]:
    """Yield the corner of each field with geometry, and that geometry clipped, from the corner."""
    core, side, guard = lattice.core_dbu, lattice.side_dbu, lattice.guard_dbu
    for y_dbu in range(window.y_min // core * core - guard, window.y_max - guard, core):
        band = rects[(rects[:, 1] < y_dbu + side) & (rects[:, 3] > y_dbu)]
        for x_dbu in range(window.x_min // core * core - guard, window.x_max - guard, core):
            near = band[(band[:, 0] < x_dbu + side) & (band[:, 2] > x_dbu)]
            if len(near):
                yield x_dbu, y_dbu, np.clip(near - (x_dbu, y_dbu, x_dbu, y_dbu), 0, side)


def _spline(intensity: torch.Tensor) -> Float32s:
    """Return the cubic B-spline coefficients of a band-limited image, finer by `_FINER`.

    The spectrum is divided by that of the B-spline, so the spline has the image's own spectrum.
    """
    n = intensity.shape[-1]
    fine, half = n * _FINER, n // 2
    spectrum = torch.fft.rfft2(intensity, norm="forward")
    order = torch.fft.fftfreq(n, 1 / n, device=intensity.device)
    shape = torch.sinc(order / fine) ** 4
    spectrum = spectrum / (shape[:, None] * shape[: half + 1].abs()[None, :])
    wide = torch.zeros(fine, fine // 2 + 1, dtype=spectrum.dtype, device=intensity.device)
    wide[:half, :half] = spectrum[:half, :half]
    wide[1 - half :, :half] = spectrum[half + 1 :, :half]
    coefficients: Float32s = torch.fft.irfft2(wide, s=(fine, fine), norm="forward").cpu().numpy()
    return coefficients


def _failures(
    rects: Int64s, lattice: _Lattice, field: Field, dbu_nm: float, process: Process, device: str
) -> Floats:
    """Return the failing samples of a field: kind, x, y in dbu, index of the corner, severity."""
    runs, _, edges = runs_gaps_edges(rects, 0)
    runs_t, _, edges_t = runs_gaps_edges(transposed(rects), 0)
    outlines = torch.from_numpy(runs[None] * dbu_nm).to(device)
    spectrum = mask_spectrum(outlines, field)
    level = threshold(process)
    by_focus: dict[float, list[int]] = defaultdict(list)
    for index, corner in enumerate(process.corners):
        # The image of a real mask is the same on either side of focus.
        by_focus[abs(corner.defocus_nm)].append(index)
    found = []
    for defocus_nm, corners in by_focus.items():
        coef = _spline(image(spectrum, kernels(process, defocus_nm, field), field)[0])
        levels = np.array([level / process.corners[index].dose for index in corners])
        rules = _rules(lattice, len(coef), dbu_nm, process)
        for flip in (False, True):
            rows = (
                measure(np.ascontiguousarray(coef.T), runs_t, edges_t, levels, rules)
                if flip
                else measure(coef, runs, edges, levels, rules)
            )
            rows[:, 3] = np.array(corners)[rows[:, 3].astype(int)]
            found.append(rows[:, [0, 2, 1, 3, 4]] if flip else rows)
    return np.concatenate(found)


def _rules(lattice: _Lattice, pixels: int, dbu_nm: float, process: Process) -> Rules:
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


def _merged(rows: Floats, lattice: _Lattice, process: Process) -> list[Defect]:
    """Join failing samples of one kind that are near and in one cell; keep the worst of each."""
    order = np.lexsort((rows[:, 3], rows[:, 1], rows[:, 2], -rows[:, 4]))
    rows = rows[order]
    places = rows[:, 1:3]
    pairs = cKDTree(places).query_pairs(3 * lattice.pitch_dbu, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    cell = places // lattice.cell_dbu
    same = (rows[a, 0] == rows[b, 0]) & (cell[a] == cell[b]).all(axis=1)
    links = coo_array((np.ones(same.sum()), (a[same], b[same])), shape=(len(rows), len(rows)))
    _, group = connected_components(links, directed=False)
    _, worst = np.unique(group, return_index=True)
    return [
        Defect(
            KINDS[int(kind)], int(x), int(y), process.corners[int(corner)].name, round(severity, 4)
        )
        for kind, x, y, corner, severity in rows[worst].tolist()
    ]


def label_clips(
    x_dbu: Int64s, y_dbu: Int64s, core_dbu: int, defects: tuple[Defect, ...]
) -> npt.NDArray[np.bool_]:
    """Say of each clip whether a defect lies in its core, ``[centre - core/2, centre + core/2)``.

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
