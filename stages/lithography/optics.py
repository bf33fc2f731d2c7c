"""Scalar Hopkins imaging by FFT on the smallest grid that holds the image exactly.

in: rectangles of a square, periodic field; out: intensity, clear field 1.
unit: a batch of fields; promise: the clear field images as 1, the dark field as 0.

An image has no frequency over 2 NA / wavelength, so a step of wavelength / (4 NA) samples it
exactly. The mask is not band-limited: its Fourier coefficients are taken from the rectangles
themselves, in closed form, and only those that the pupil can pass are ever computed.

The transmission cross coefficients are decomposed (SOCS) through the Gram matrix of the source
points: with A the shifted pupils, one row per source point, TCC = A^H A, and the eigenvectors of
A A^H, which is small, give the kernels. The light of the kernels that are left out is faint and
even; its mean over the field is known exactly, from the diagonal of what is left of the TCC, and
is added as a constant.

H. H. Hopkins, Proc. R. Soc. A 217 (1953); N. Cobb, PhD thesis, Berkeley (1998), for SOCS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from stages.contracts import Floats
from stages.lithography.process import Process, Source

GRID_PX = 128
"""Samples along a side of a field."""
ENERGY = 0.955
"""Share of the TCC's trace that the kernels carry; `Kernels.rest` stands for the others."""
_RINGS = 12
"""Source points along its outer radius."""
_FINE = 8
"""Points along a side of the cell of a source point, to weigh it by the area that is lit."""


@dataclass(frozen=True, slots=True)
class Field:
    """A square, periodic piece of the wafer, sampled as coarsely as the image allows."""

    side_nm: float
    pixels: int
    band: int
    """Highest mask frequency that the pupil passes, in periods per side."""


def field_of(process: Process, side_nm: float | None = None) -> Field:
    """Return a field of `side_nm`, by default of `GRID_PX` samples at the coarsest exact step."""
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


def source_points(source: Source) -> tuple[Floats, Floats]:
    """Return the source as points, (s, 2) in shares of the pupil radius, and their weights (s,).

    They are the cells of a square lattice, weighed by their lit area, and symmetric about 0.
    """
    size = 2 * _RINGS * _FINE
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(steps * source.sigma_out, steps * source.sigma_out)
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(y, x)) - source.axis_deg
    lit = (radius <= source.sigma_out) & (radius >= source.sigma_in)
    if source.shape in ("dipole", "quasar"):
        apart = 180.0 if source.shape == "dipole" else 90.0
        lit &= np.abs((angle + apart / 2) % apart - apart / 2) <= source.opening_deg / 2

    def by_cell(values: Floats) -> Floats:
        cells: Floats = values.reshape(2 * _RINGS, _FINE, 2 * _RINGS, _FINE).mean(axis=(1, 3))
        return cells

    weight, x, y = by_cell(lit.astype(float)), by_cell(x), by_cell(y)
    chosen = weight > 0
    points = np.stack([x[chosen], y[chosen]], axis=1)
    return points, weight[chosen] / weight.sum()


def _pupil(fx: Floats, fy: Floats, process: Process, defocus_nm: float) -> Floats:
    """Return the complex pupil at frequencies in 1/nm: a disc with the phase of defocus."""
    squared = fx**2 + fy**2
    medium = process.refractive_index / process.wavelength_nm
    inside = squared <= (process.na / process.wavelength_nm) ** 2
    path = np.sqrt(np.where(inside, medium**2 - squared, medium**2)) - medium
    pupil: Floats = np.where(inside, np.exp(2j * np.pi * defocus_nm * path), 0)
    return pupil


@lru_cache(maxsize=32)
def kernels(process: Process, defocus_nm: float, field: Field, energy: float = ENERGY) -> Kernels:
    """Return the fewest SOCS kernels that carry `energy`; the clear field has intensity 1."""
    cutoff = process.na / process.wavelength_nm
    steps = np.arange(-field.band, field.band + 1) / field.side_nm
    fx, fy = np.meshgrid(steps, steps)
    points, weights = source_points(process.source)
    shifted = np.stack(
        [
            math.sqrt(weight) * _pupil(fx + sx, fy + sy, process, defocus_nm).ravel()
            for (sx, sy), weight in zip(points * cutoff, weights, strict=True)
        ]
    ).astype(np.complex64)  # (s, frequencies)
    values, vectors = np.linalg.eigh((shifted @ shifted.conj().T).astype(np.complex128))
    values, vectors = values[::-1], vectors[:, ::-1]
    count = 1 + int(np.searchsorted(np.cumsum(values) / values.sum(), energy))
    while count < len(values) and values[count] > 0.999 * values[count - 1]:
        count += 1  # kernels of equal weight are turns of one another: keep the symmetry
    waves = vectors[:, :count].conj().T.astype(np.complex64) @ shifted
    rest = (np.abs(shifted) ** 2).sum(axis=0) - (np.abs(waves) ** 2).sum(axis=0)
    return Kernels(
        torch.from_numpy(waves.reshape(-1, *fx.shape)),
        torch.from_numpy(np.maximum(rest, 0).reshape(fx.shape)),
    )


def mask_spectrum(rects: torch.Tensor, field: Field) -> torch.Tensor:
    """Return the Fourier coefficients of disjoint rectangles, exactly.

    Parameters
    ----------
    rects : (b, r, 4) float64
        x_min, y_min, x_max, y_max in nm from the field's corner; pad with zeros.

    Returns
    -------
    (b, 2 band + 1, 2 band + 1) complex64
        Coefficient 0 is the covered share of the field.
    """
    ends = (rects / field.side_nm).to(torch.float32)
    order = torch.arange(field.band + 1, device=rects.device, dtype=torch.float32)

    def transform(lo: torch.Tensor, hi: torch.Tensor) -> torch.Tensor:
        """Return the coefficients 0..band of the interval [lo, hi), (b, r, band + 1)."""
        length, middle = (hi - lo)[..., None], ((hi + lo) / 2)[..., None]
        return torch.polar(length * torch.sinc(order * length), -2 * math.pi * order * middle)

    x, y = transform(ends[..., 0], ends[..., 2]), transform(ends[..., 1], ends[..., 3])
    both = torch.cat([x[..., 1:].flip(-1).conj(), x], dim=-1)  # (b, r, 2 band + 1)
    upper = y.transpose(1, 2) @ both  # (b, band + 1, 2 band + 1), frequencies y >= 0
    lower = upper[:, 1:].flip(1, 2).conj()  # the mask is real
    return torch.cat([lower, upper], dim=1)


def image(spectrum: torch.Tensor, optics: Kernels, field: Field) -> torch.Tensor:
    """Return the intensity of a mask, (b, pixels, pixels) float32, row 0 at the field's y = 0."""
    n, device = field.pixels, spectrum.device
    rest = (spectrum.abs().square() * optics.rest.to(device)).sum(dim=(1, 2))
    intensity = rest[:, None, None].repeat(1, n, n)
    for kernel in optics.waves.to(device):
        # Frequency -band goes where 0 belongs: the wave gets a phase, its intensity does not.
        wave = torch.fft.ifft2(spectrum * kernel, s=(n, n), norm="forward")
        intensity.addcmul_(wave.real, wave.real).addcmul_(wave.imag, wave.imag)
    return intensity
