"""Resist: what is brighter than a threshold prints, after diffusion has blurred it.

The threshold is not typed in: it is the intensity at the edge of the anchor's lines, so that at
nominal dose and focus the anchor prints to size. The drawn shapes are the clear part of the mask
and print as metal where intensity times dose is over the threshold (a constant-threshold model).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from stages.lithography.optics.imaging import image, mask_spectrum
from stages.lithography.optics.kernels import GRID_PX, Field, field_of, kernels
from stages.lithography.process import Process


def diffused(intensity: torch.Tensor, field: Field, process: Process) -> torch.Tensor:
    """Blur images, (b, n, n), by the Gaussian of the resist."""
    sigma_nm = process.resist.diffusion_nm
    if not sigma_nm:
        return intensity
    n = intensity.shape[-1]
    order = torch.fft.fftfreq(n, 1 / n, device=intensity.device) / field.side_nm
    passed = torch.exp(-2 * (math.pi * sigma_nm * order) ** 2)
    spectrum = torch.fft.rfft2(intensity) * passed[:, None] * passed[: n // 2 + 1]
    blurred: torch.Tensor = torch.fft.irfft2(spectrum, s=(n, n))
    return blurred


@lru_cache(maxsize=32)
def threshold(process: Process) -> float:
    """Return the intensity, in shares of the clear field, over which the resist prints."""
    if process.anchor is None:
        return process.resist.threshold
    line_nm, pitch_nm = process.anchor.line_nm, process.anchor.line_nm + process.anchor.space_nm
    coarsest_nm = GRID_PX * process.wavelength_nm / (4 * process.na)
    lines = max(1, math.floor(coarsest_nm / pitch_nm))
    field = field_of(process, lines * pitch_nm)
    rects = torch.zeros(1, lines, 5, dtype=torch.float64)
    rects[..., 4] = 1
    rects[0, :, 0] = torch.arange(lines) * pitch_nm
    rects[0, :, 2] = rects[0, :, 0] + line_nm
    rects[0, :, 3] = field.side_nm
    printed = image(mask_spectrum(rects, field), kernels(process, 0.0, field), field)
    # The first line begins at x = 0, which is a sample: no interpolation is needed.
    return float(diffused(printed, field, process)[0, 0, 0])
