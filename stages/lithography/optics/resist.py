"""Resist: diffusion blurs the image, and what is brighter than a threshold prints.

in       images of a batch of fields, a process
out      blurred images; the threshold

The threshold is calibrated: it is the intensity at the edge of the anchor's lines, so that at
nominal dose and focus the anchor prints to size. The drawn shapes are the clear part of the mask
and print as metal where intensity times dose is over the threshold (a constant-threshold model).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from stages.lithography.optics.imaging import compute_image, compute_spectrum, transmit
from stages.lithography.optics.kernels import GRID_PX, Field, compute_kernels, make_field
from stages.lithography.process import Anchor, Process


def diffuse(intensity: torch.Tensor, field: Field, process: Process) -> torch.Tensor:
    """Blur images, (b, n, n), with the Gaussian of the resist, a share of them with its tail."""
    resist = process.resist
    blurred = _blur(intensity, field, resist.diffusion_nm)
    if not resist.tail_share:
        return blurred
    far = _blur(intensity, field, resist.tail_nm)
    return (1 - resist.tail_share) * blurred + resist.tail_share * far


def _blur(intensity: torch.Tensor, field: Field, sigma_nm: float) -> torch.Tensor:
    if not sigma_nm:
        return intensity
    n = intensity.shape[-1]
    order = torch.fft.fftfreq(n, 1 / n, device=intensity.device) / field.side_nm
    passed = torch.exp(-2 * (math.pi * sigma_nm * order) ** 2)
    spectrum = torch.fft.rfft2(intensity) * passed[:, None] * passed[: n // 2 + 1]
    blurred: torch.Tensor = torch.fft.irfft2(spectrum, s=(n, n))
    return blurred


@lru_cache(maxsize=32)
def compute_threshold(process: Process) -> float:
    """Return the intensity above which the resist prints, as a share of the clear field."""
    if process.anchor is None:
        return process.resist.threshold
    pitch_nm = process.anchor.line_nm + process.anchor.space_nm
    coarsest_nm = GRID_PX * process.wavelength_nm / (4 * process.na)
    lines = max(1, math.floor(coarsest_nm / pitch_nm))
    field = make_field(process, lines * pitch_nm)
    spectrum = transmit(compute_spectrum(_draw_anchor(process.anchor, lines), field), process)
    printed = compute_image(spectrum, compute_kernels(process, 0.0, field), field)
    # At x = 0, y = 0, which is a sample, lies an edge: no interpolation is needed.
    return float(diffuse(printed, field, process)[0, 0, 0])


def _draw_anchor(anchor: Anchor, count: int) -> torch.Tensor:
    """Return the mask of `count` lines or rows of holes, (1, r, 5) in nm; field of their pitch.

    The first prints from x = 0, and holes are centred at y = 0.
    """
    pitch_nm = anchor.line_nm + anchor.space_nm
    width_nm = anchor.line_nm + 2 * anchor.bias_nm
    low_x = torch.arange(count, dtype=torch.float64) * pitch_nm - anchor.bias_nm
    low_y, height_nm = torch.zeros(1, dtype=torch.float64), count * pitch_nm
    if anchor.shape == "hole":
        low_y, height_nm = low_x - anchor.line_nm / 2, width_nm
    x, y = (each.ravel() for each in torch.meshgrid(low_x, low_y, indexing="xy"))
    return torch.stack([x, y, x + width_nm, y + height_nm, torch.ones_like(x)], dim=1)[None]
