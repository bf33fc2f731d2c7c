"""Resist: what is brighter than a threshold prints.

The threshold is not typed in: it is the intensity at the edge of the anchor's lines, so that at
nominal dose and focus the anchor prints to size. The drawn shapes are the clear part of the mask
and print as metal where intensity times dose is over the threshold (a constant-threshold model).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from stages.lithography.optics import GRID_PX, field_of, image, kernels, mask_spectrum
from stages.lithography.process import Process


@lru_cache(maxsize=32)
def threshold(process: Process) -> float:
    """Return the intensity, in shares of the clear field, at which the anchor prints to size."""
    line_nm, pitch_nm = process.anchor.line_nm, process.anchor.line_nm + process.anchor.space_nm
    coarsest_nm = GRID_PX * process.wavelength_nm / (4 * process.na)
    lines = max(1, math.floor(coarsest_nm / pitch_nm))
    field = field_of(process, lines * pitch_nm)
    rects = torch.zeros(1, lines, 4, dtype=torch.float64)
    rects[0, :, 0] = torch.arange(lines) * pitch_nm
    rects[0, :, 2] = rects[0, :, 0] + line_nm
    rects[0, :, 3] = field.side_nm
    # The first line begins at x = 0, which is a sample: no interpolation is needed.
    return float(image(mask_spectrum(rects, field), kernels(process, 0.0, field), field)[0, 0, 0])
