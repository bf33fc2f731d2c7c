"""Hopkins optics, scalar or vector: the kernels that turn a mask into an image.

in       a process, a focus, a square periodic field
out      `Kernels`, scaled such that the clear field has intensity 1
promise  every worker computes the same kernels from the same process

The transmission cross coefficients (TCC) are A^H A with A the shifted pupils, one row per source
point. Vector light has a row for each component of the field of a source point: intensities add up,
so all are rows of one TCC. `stages.lithography.optics.decomposition` makes kernels of the rows. The
intensity of the kernels that are left out is low and nearly uniform; its mean over the field
follows exactly from the diagonal of the remaining TCC, and is added as a constant.

A source point stands for a square cell of the source, so the pupil that it sees lets through the
share of the cell that is inside: with a sharp edge the image of a line depended by up to 1 % of the
threshold on how its frequencies, which are those of the field, lie to the lattice of points. That
share is right where one of two frequencies is at the edge. Where both are, on the diagonal, it
counts twice, and what is missing there is added to the light of the kernels that are left out.

H. H. Hopkins, Proc. R. Soc. A 217 (1953).
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stages.contracts import Floats
from stages.errors import ConfigError
from stages.kernel_folders import digest_of
from stages.lithography import process as process_module
from stages.lithography.optics import decomposition, vector
from stages.lithography.optics.decomposition import add_twins, find_first_of_twins, select_waves
from stages.lithography.optics.kernel_cache import load_or_compute
from stages.lithography.optics.vector import compute_field
from stages.lithography.process import KernelFile, Process, Source

Complexes = npt.NDArray[np.complex64]

GRID_PX = 128
"""Samples along a side of a field."""
_RINGS = 24
"""Cells of the source along its outer radius; with fewer, it is coherent across a field."""
_CODE = digest_of(
    Path(path)
    for path in (__file__, process_module.__file__, vector.__file__, decomposition.__file__)
)
"""The code that computes kernels: those on disk that other code computed are not used."""
_FINE = 8
"""Points along a side of the cell of a source point, to weight it by the lit area."""


@dataclass(frozen=True, slots=True)
class Field:
    """A square, periodic piece of the wafer, sampled at the coarsest step that is exact."""

    side_nm: float
    pixels: int
    band: int
    """Highest mask frequency that the pupil passes, in periods per side."""


def make_field(process: Process, side_nm: float | None = None) -> Field:
    """Return a field of `side_nm`, by default of `GRID_PX` samples at the coarsest exact step.

    Where the kernels come from a file, the field is that of the file.

    Raises
    ------
    ConfigError
        When the kernels of a file are sampled for a field of another side.
    """
    if process.kernels is not None:
        period_nm = process.kernels.period_nm
        if side_nm is not None and abs(side_nm - period_nm) > 1e-6 * period_nm:
            raise ConfigError(
                f"a field of {side_nm:g} nm is asked for, but kernels.file {process.kernels.file} "
                f"is for {period_nm:g} nm; use the field of the kernels"
            )
        band = read_kernel_band(process.kernels)
        return Field(period_nm, 4 * band + 4, band)
    step_nm = process.wavelength_nm / (4 * process.na)
    if side_nm is None:
        side_nm = GRID_PX * step_nm
    pixels = 2 * math.ceil(side_nm / step_nm / 2 - 1e-9)
    reach = (1 + process.source.sigma_out) * process.na / process.wavelength_nm * side_nm
    return Field(side_nm, pixels, min(math.floor(reach + 1e-9), pixels // 2 - 1))


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """The optics of one defocus, in the frequency domain; rows are y, -band to band."""

    waves: torch.Tensor
    """(k, 2 band + 1, 2 band + 1) complex64, most important first."""
    rest: torch.Tensor
    """(2 band + 1, 2 band + 1) float32, diagonal of the TCC less that of `waves`."""


def sample_source(source: Source, rings: int = _RINGS) -> tuple[Floats, Floats]:
    """Return the source as points, (s, 2) in shares of the pupil radius, and their weights (s,).

    They are the cells of a square lattice, by y, then x, each at the centroid of its brightness,
    which is inside the pupil; `rings` of them along the outer radius.
    """
    size = 2 * rings * _FINE
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(steps * source.sigma_out, steps * source.sigma_out)
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(y, x)) - source.axis_deg
    lit = (radius <= source.sigma_out) & (radius >= source.sigma_in)
    if source.shape in ("dipole", "quasar"):
        apart = 180.0 if source.shape == "dipole" else 90.0
        lit &= np.abs((angle + apart / 2) % apart - apart / 2) <= source.opening_deg / 2 + 1e-9
    bright = lit.astype(float)
    if source.map:
        pixels = np.array(source.map[::-1])
        at = (np.arange(size) * len(pixels)) // size
        bright = np.where(radius <= 1, pixels[np.ix_(at, at)], 0.0)

    def by_cell(values: Floats) -> Floats:
        cells: Floats = values.reshape(2 * rings, _FINE, 2 * rings, _FINE).mean(axis=(1, 3))
        return cells

    weight = by_cell(bright)
    chosen = weight > 0
    points = np.stack([by_cell(bright * at)[chosen] for at in (x, y)], axis=1)
    return points / weight[chosen, None], weight[chosen] / weight.sum()


def _cover_cells(
    fx: Floats, fy: Floats, point: tuple[float, float], process: Process, cell: float
) -> Floats:
    """Return how much of a source point's cell the pupil holds where frequencies shift it.

    All are in 1/nm. The pupil's edge is taken as straight and square to the cell, whose side is a
    share of its radius. Of a cell across the edge only the part inside is lit: unshifted, the pupil
    holds all of that.
    """
    radius = np.hypot(fx + point[0], fy + point[1]) / _cutoff(process)
    if not cell:
        return (radius <= 1).astype(float)
    lit = min(max((1 - math.hypot(*point) / _cutoff(process)) / cell + 0.5, 0.5), 1.0)
    share: Floats = np.clip(((1 - radius) / cell + 0.5) / lit, 0, 1)
    return share


def _compute_phase(fx: Floats, fy: Floats, process: Process, defocus_nm: float) -> Complexes:
    """Return the phase of a defocus at frequencies in 1/nm."""
    medium = process.refractive_index / process.wavelength_nm
    path = np.sqrt(np.maximum(medium**2 - (fx**2 + fy**2), 0)) - medium
    phase: Complexes = np.exp(2j * np.pi * defocus_nm * path)
    return phase


@lru_cache(maxsize=32)
def compute_kernels(process: Process, defocus_nm: float, field: Field) -> Kernels:
    """Return the fewest SOCS kernels that carry `process.energy`; the clear field has intensity 1.

    They are cached on disk, see `stages.lithography.optics.kernel_cache`.
    """
    if process.kernels is not None:
        return read_kernels(process.kernels, defocus_nm, field)
    about = process.as_dict()
    optics = ("wavelength_nm", "na", "refractive_index", "source", "energy")
    depends_on = {name: about[name] for name in optics} | {
        "resist_index": process.resist.refractive_index, "defocus_nm": defocus_nm,
        "side_nm": field.side_nm, "band": field.band, "rings": _RINGS, "code": _CODE,
    }  # fmt: skip
    arrays = load_or_compute(depends_on, lambda: _decompose(process, defocus_nm, field))
    return Kernels(torch.from_numpy(arrays["waves"]), torch.from_numpy(arrays["rest"]))


def select_strongest(kernels: Kernels, share: float) -> Kernels:
    """Return the fewest of some kernels that carry a share of the light; of the rest the mean."""
    power = kernels.waves.real.square() + kernels.waves.imag.square()
    energy = power.sum(dim=(1, 2))
    order = torch.argsort(-energy, stable=True)
    carried = torch.cumsum(energy[order], 0) / (energy.sum() + kernels.rest.sum())
    count = 1 + int((carried < share).sum())
    rest = kernels.rest + power[order[count:]].sum(dim=0)
    return Kernels(kernels.waves[order[:count]].contiguous(), rest)


def _decompose(process: Process, defocus_nm: float, field: Field) -> dict[str, Any]:
    """Decompose the TCC; where it is real, combine two kernels into each complex wave."""
    points, weights = sample_source(process.source)
    twins, cell = _count_twins(process), process.source.sigma_out / _RINGS
    first = find_first_of_twins(points, twins)
    rows = shift_pupils(points[first], weights[first], process, defocus_nm, field, cell)
    light = sum_light(points[first], weights[first], process, field, cell)
    seen = (np.abs(rows) ** 2).sum(axis=0, dtype=np.float64)
    seen, light = (add_twins(each[None], 0, twins)[0] for each in (seen, light))
    clear = light[field.band, field.band]
    rows, seen, light = rows / math.sqrt(clear), seen / clear, light / clear
    if process.is_vector and twins > 1:
        # Of a real mask an even source makes the same image on either side of focus: that of
        # the real part of the TCC, which has real kernels.
        rows = np.concatenate([rows.real, rows.imag] if defocus_nm else [rows.real])
    waves, rest = select_waves(rows, seen, twins, process.energy)
    return {"waves": waves, "rest": rest + (light - seen).astype(np.float32)}


def sum_light(
    points: Floats, weights: Floats, process: Process, field: Field, cell: float
) -> Floats:
    """Return what each frequency alone carries of the light, (2 band + 1, 2 band + 1)."""
    fx, fy = _list_frequencies(field)
    total = np.zeros(fx.shape)
    for (sx, sy), weight in zip((points * _cutoff(process)).tolist(), weights, strict=True):
        light = weight * _cover_cells(fx, fy, (sx, sy), process, cell)
        if process.is_vector:
            components = compute_field(fx + sx, fy + sy, (sx, sy), process)
            light *= np.square(components).sum(axis=0)
        total += light
    return total


def _count_twins(process: Process) -> int:
    """Return how many points of the source see the same pupil but for mirrors: 1, 2 or 4.

    Opposite points of an even source see it rotated by 180 degrees. Those of a source that is even
    in x and in y see it mirrored in x, in y, and in both. The components of a field may change
    their signs as well, which no TCC shows.
    """
    if not process.source.is_unchanged_when("half"):
        return 1
    return 4 if process.is_vector and process.source.is_unchanged_when("mirrored") else 2


def shift_pupils(
    points: Floats, weights: Floats, process: Process, defocus_nm: float, field: Field, cell: float
) -> Complexes:
    """Return A, the pupil shifted by each source point, (s c, 2 band + 1, 2 band + 1).

    Scalar light has one component, c = 1; those of vector light follow one another.

    Parameters
    ----------
    cell
        Side of the square of the source that a point stands for, as a share of the pupil's radius;
        0 for points that stand for themselves.
    """
    fx, fy = _list_frequencies(field)
    rows = []
    for (sx, sy), weight in zip((points * _cutoff(process)).tolist(), weights, strict=True):
        x, y = fx + sx, fy + sy
        bright = math.sqrt(weight) * _cover_cells(fx, fy, (sx, sy), process, cell)
        pupil = bright * _compute_phase(x, y, process, defocus_nm)
        components = compute_field(x, y, (sx, sy), process) if process.is_vector else 1.0
        rows.append((pupil[None] * components).astype(np.complex64))
    return np.concatenate(rows)


def _list_frequencies(field: Field) -> tuple[Floats, Floats]:
    """Return the frequencies of the mask that count, in 1/nm, each (2 band + 1, 2 band + 1)."""
    steps = np.arange(-field.band, field.band + 1) / field.side_nm
    fx, fy = np.meshgrid(steps, steps)
    return fx, fy


def _cutoff(process: Process) -> float:
    """Return the radius of the pupil, in 1/nm."""
    return process.na / process.wavelength_nm


@lru_cache(maxsize=8)
def read_kernel_band(source: KernelFile) -> int:
    """Return the highest mask frequency of the kernels of a file, in periods per side."""
    with np.load(source.file) as file:
        shape = file[source.sets[0].kernels].shape
    return int(shape[-1]) // 2


def read_kernels(source: KernelFile, defocus_nm: float, field: Field) -> Kernels:
    """Return the kernels of a file, scaled by their weights.

    Raises
    ------
    ConfigError
        When the file has changed, lacks an array, or holds one of another shape.
    """
    content = Path(source.file).read_bytes()
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise ConfigError(f"kernels.file {source.file} has changed; start again with the new file")
    (chosen,) = (each for each in source.sets if each.defocus_nm == defocus_nm)
    try:
        with np.load(io.BytesIO(content)) as file:
            waves, weights = file[chosen.kernels], file[chosen.weights]
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"kernels.file {source.file} cannot be used: {error}") from error
    side = 2 * field.band + 1
    if waves.ndim != 3 or waves.shape[1:] != (side, side) or weights.shape != waves.shape[:1]:
        raise ConfigError(
            f"kernels.file {source.file}: {chosen.kernels} is {waves.shape} and {chosen.weights} "
            f"{weights.shape}; they must be (k, {side}, {side}) and (k,)"
        )
    waves = np.sqrt(weights)[:, None, None] * waves
    if source.pixel_nm:
        # The mask's spectrum is that of its shapes; that of pixels taken at their centres is
        # larger by this, which belongs to such kernels.
        angle = np.pi * np.arange(-field.band, field.band + 1) * source.pixel_nm / field.side_nm
        pixels = 1 / np.sinc(angle / np.pi)
        waves = waves * (pixels[:, None] * pixels[None, :])
    rest = np.zeros((side, side), np.float32)
    return Kernels(torch.from_numpy(waves.astype(np.complex64)), torch.from_numpy(rest))
