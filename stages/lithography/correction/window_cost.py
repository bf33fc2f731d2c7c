"""What a mask costs over the process window, and how each point of the mask changes that.

in       a picture of the mask, see `stages.lithography.optics.drawing`; the target
out      the cost in dbu², its derivative by the picture
unit     a field
promise  the derivative is that of the cost as computed

The cost is the area where the nominal print differs from the target, squared in the grey of soft
edges, plus a share of the process variation band: what prints at some corner but not at another.
Soft edges give a print wherever light comes near the threshold, so that bars do not print either.

A. Poonawala and P. Milanfar, IEEE Trans. Image Process. 16, 774 (2007), for soft prints; the
derivative goes back through the transforms of SOCS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from stages.contracts import Floats, Int64s
from stages.lithography.correction.placement import choose_nominal
from stages.lithography.optics.drawing import DEGREE, draw_coverage, transform_drawing
from stages.lithography.optics.exposure import group_by_focus
from stages.lithography.optics.imaging import compute_image_at_once, transmit
from stages.lithography.optics.kernels import (
    Field,
    Kernels,
    compute_kernels,
    select_strongest,
)
from stages.lithography.optics.resist import compute_threshold, diffuse
from stages.lithography.process import Process

_SHARPNESS = 14.0
"""How steeply prints rise at the threshold: over intensities within a 14th of it."""


class Corrected(Protocol):
    """A field whose mask is corrected."""

    @property
    def field(self) -> Field:
        """The optics' field."""

    @property
    def side_dbu(self) -> int:
        """Its side."""

    @property
    def target(self) -> Int64s:
        """(r, 4) from the field's corner."""

    @property
    def margin_dbu(self) -> int:
        """Width of the border where nothing counts."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowCost:
    """The cost of the masks of one field."""

    field: Field
    process: Process
    target: torch.Tensor
    """(m, m) float32, covered share of each pixel of the print."""
    counted: torch.Tensor
    """(m, m) float32, weight of each pixel."""
    band_weight: float
    pixel_dbu2: float
    sharpness: float = _SHARPNESS
    degree: int = DEGREE
    """Of the B-spline that pictures of the mask are sampled with."""
    share: float = 1.0
    """Of the light that kernels carry; of the others the mean counts."""

    def measure(self, picture: Floats) -> float:
        """Return the cost of a mask."""
        with torch.no_grad():
            return float(self._compute(torch.from_numpy(picture.astype(np.float32))))

    def differentiate(self, picture: Floats) -> tuple[float, Floats]:
        """Return the cost of a mask, and its derivative by each pixel of the picture."""
        drawn = torch.from_numpy(picture.astype(np.float32)).requires_grad_()
        cost = self._compute(drawn)
        (gradient,) = torch.autograd.grad(cost, drawn)
        return float(cost.detach()), gradient.numpy().astype(np.float64)

    def _compute(self, picture: torch.Tensor) -> torch.Tensor:
        drawn = transform_drawing(picture, self.field, self.degree)
        spectrum = transmit(drawn, self.process)
        level, size = compute_threshold(self.process), self.target.shape[0]
        nominal = choose_nominal(self.process)
        prints = []
        mismatch = torch.zeros(())
        for focus, corners in group_by_focus(self.process).items():
            kernels = _choose_kernels(self.process, focus, self.field, self.share)
            image = compute_image_at_once(spectrum, kernels, self.field)
            image = resample(diffuse(image[None], self.field, self.process)[0], size)
            for corner in (self.process.corners[index] for index in corners):
                printed = torch.sigmoid(self.sharpness * (image * (corner.dose / level) - 1))
                prints.append(printed)
                if corner is nominal:
                    mismatch = ((printed - self.target).square() * self.counted).sum()
        every = torch.stack(prints)
        band = ((every.amax(0) - every.amin(0)) * self.counted).sum()
        return (mismatch + self.band_weight * band) * self.pixel_dbu2


@lru_cache(maxsize=8)
def _choose_kernels(process: Process, focus: float, field: Field, share: float) -> Kernels:
    kernels = compute_kernels(process, focus, field)
    return select_strongest(kernels, share) if share < 1 else kernels


def make_cost(view: Corrected, process: Process, band_weight: float) -> WindowCost:
    """Return the cost of the masks of a view."""
    size = 2 ** math.ceil(math.log2(3 * view.field.pixels))  # steps far under those of the image
    scale = size / view.side_dbu
    coverage = draw_coverage(np.insert(view.target * scale, 4, 1, axis=1), size)
    counted, margin = torch.zeros(size, size), round(view.margin_dbu * scale)
    counted[margin : size - margin, margin : size - margin] = 1
    target = torch.from_numpy(coverage.astype(np.float32))
    return WindowCost(view.field, process, target, counted, band_weight, scale**-2)


def resample(image: torch.Tensor, size: int) -> torch.Tensor:
    """Return a periodic, band-limited image, (n, n), at the centres of `size` x `size` pixels."""
    half = image.shape[-1] // 2
    order = torch.arange(1 - half, half)
    phase = torch.exp(1j * math.pi * order / size)
    spectrum = torch.fft.rfft2(image, norm="forward")[order % image.shape[-1], :half]
    spectrum = spectrum * phase[:, None] * phase[half - 1 :]
    wide = torch.zeros((size, size // 2 + 1), dtype=spectrum.dtype)
    wide[(order % size)[:, None], order[half - 1 :]] = spectrum
    return torch.fft.irfft2(wide, s=(size, size), norm="forward")
