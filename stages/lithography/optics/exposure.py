"""Exposure: the image at every corner of the process window, at any place of a field.

in       masks of a batch of fields
out      `Exposure`, splines through the images, and the levels above which they print
unit     a batch of fields
promise  corners of one focus share one image; a spline has the spectrum of its image
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from stages.contracts import Float32s, Floats, Int64s
from stages.lithography.optics.imaging import compute_image, compute_spectrum, transmit
from stages.lithography.optics.kernels import Field, compute_kernels
from stages.lithography.optics.resist import compute_threshold, diffuse
from stages.lithography.process import Corner, Process

_FINER = 2
"""Spline steps in a step of the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """The images of a batch of fields at one focus."""

    coef: Float32s
    """(b, n, n) cubic B-spline coefficients on a periodic lattice, row 0 at the field's y = 0."""
    corners: tuple[int, ...]
    """Indices of the process's corners of this focus."""
    levels: Floats
    """(corners,) intensity above which the resist prints at each."""


def count_spline_px(field: Field) -> int:
    """Return the side of the spline's lattice."""
    return _FINER * field.pixels


def group_by_focus(
    process: Process, corners: Sequence[Corner] | None = None
) -> dict[float, list[int]]:
    """Return the indices of the corners, or of some of them, whose images are the same."""
    # With an even source, a real mask has the same image on either side of focus.
    even = process.even_in_focus
    by_focus: dict[float, list[int]] = defaultdict(list)
    for index, corner in enumerate(process.corners):
        if corners is None or corner in corners:
            by_focus[abs(corner.defocus_nm) if even else corner.defocus_nm].append(index)
    return by_focus


def expose(
    masks: Sequence[Int64s],
    field: Field,
    dbu_nm: float,
    process: Process,
    corners: Sequence[Corner] | None = None,
    device: str = "cpu",
) -> list[Exposure]:
    """Image masks at the corners of the process, or at some of them.

    Parameters
    ----------
    masks : b arrays (r, 4) or (r, 5) int64
        Rectangles in dbu from the field's corner, and the transmission there (1 if not given).
    """
    level = compute_threshold(process)
    with torch.no_grad():  # not inference mode: kernels are cached, and are also derived by
        clear = compute_spectrum(_pad(masks, dbu_nm).to(device), field)
        spectrum = transmit(clear, process)
        exposures = []
        for focus, indices in group_by_focus(process, corners).items():
            intensity = compute_image(spectrum, compute_kernels(process, focus, field), field)
            levels = np.array([level / process.corners[index].dose for index in indices])
            coef = fit_spline(diffuse(intensity, field, process))
            exposures.append(Exposure(coef, tuple(indices), levels))
        return exposures


def _pad(masks: Sequence[Int64s], dbu_nm: float) -> torch.Tensor:
    """Stack rectangles of several fields, (b, r, 5) float64 in nm, padded with empty ones."""
    longest = max(len(mask) for mask in masks)
    every = np.zeros((len(masks), longest, 5))
    for row, mask in zip(every, masks, strict=True):
        row[: len(mask), :4] = mask[:, :4] * dbu_nm
        row[: len(mask), 4] = mask[:, 4] if mask.shape[1] == 5 else 1
    return torch.from_numpy(every)


@lru_cache(maxsize=8)
def _shape_splines(n: int) -> torch.Tensor:
    """Return the transform of the B-splines, at the frequencies of `rfft2`."""
    shape = torch.sinc(torch.fft.fftfreq(n, 1 / n) / (n * _FINER)) ** 4
    return shape[:, None] * shape[: n // 2 + 1].abs()


def fit_spline(intensity: torch.Tensor) -> Float32s:
    """Return the cubic B-spline coefficients of band-limited images, finer by `_FINER`.

    The spectrum is divided by that of the B-spline, so that the spline has the image's spectrum.
    """
    n = intensity.shape[-1]
    fine, half = n * _FINER, n // 2
    spectrum = torch.fft.rfft2(intensity, norm="forward") / _shape_splines(n).to(intensity.device)
    shape_fine = (*intensity.shape[:-2], fine, fine // 2 + 1)
    wide = torch.zeros(shape_fine, dtype=spectrum.dtype, device=intensity.device)
    wide[..., :half, :half] = spectrum[..., :half, :half]
    wide[..., 1 - half :, :half] = spectrum[..., half + 1 :, :half]
    coefficients: Float32s = torch.fft.irfft2(wide, s=(fine, fine), norm="forward").cpu().numpy()
    return coefficients
