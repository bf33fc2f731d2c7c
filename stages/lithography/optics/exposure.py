"""Exposure: the image at every corner of the process window, at any place of a field.

in       masks of a batch of fields
out      `Exposure`, splines through the images, and the levels above which they print
unit     a batch of fields
promise  corners of one focus share one image; a spline has the spectrum of its image
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

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
    images: Float32s
    """(b, pixels, pixels) the samples that the splines were fitted to."""
    corners: tuple[int, ...]
    """Indices of the process's corners of this focus."""
    levels: Floats
    """(corners,) intensity above which the resist prints at each."""

    def select(self, field: int) -> Self:
        """Return the exposure of one of the fields."""
        chosen = slice(field, field + 1)
        return replace(self, coef=self.coef[chosen], images=self.images[chosen])


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
    """Image masks at the corners of the process, or at some of them, each as if it were alone.

    Parameters
    ----------
    masks : b arrays (r, 4) or (r, 5) int64
        Rectangles in dbu from the field's corner, and the transmission there (1 if not given).
    """
    level = compute_threshold(process)
    with torch.no_grad():  # not inference mode: kernels are cached, and are also derived by
        clear = [compute_spectrum(_list_rects(mask, dbu_nm).to(device), field) for mask in masks]
        spectrum = transmit(torch.cat(clear), process)
        exposures = []
        for focus, indices in group_by_focus(process, corners).items():
            intensity = compute_image(spectrum, compute_kernels(process, focus, field), field)
            images = diffuse(intensity, field, process)
            coef = np.stack([fit_spline(image) for image in images])
            levels = np.array([level / process.corners[index].dose for index in indices])
            exposures.append(Exposure(coef, images.cpu().numpy(), tuple(indices), levels))
        return exposures


def _list_rects(mask: Int64s, dbu_nm: float) -> torch.Tensor:
    """Return the rectangles of a field, (1, r, 5) float64, in nm."""
    rects = np.ones((1, len(mask), 5))
    rects[0, :, :4] = mask[:, :4] * dbu_nm
    if mask.shape[1] == 5:
        rects[0, :, 4] = mask[:, 4]
    return torch.from_numpy(rects)


@lru_cache(maxsize=8)
def _make_fit(n: int) -> torch.Tensor:
    """Return the matrix from `n` samples along an axis to the coefficients, (`_FINER` n, n).

    It divides their spectrum by that of the B-spline, so that the spline has the spectrum of the
    samples.
    """
    fine, order = n * _FINER, np.arange(1 - n // 2, n // 2)
    step, weight = np.arange(fine), 1 / np.sinc(order / fine) ** 4 / n
    of_one = np.cos(2 * np.pi / fine * step[:, None] * order) @ weight
    fit = of_one[(step[:, None] - _FINER * step[:n]) % fine]
    return torch.from_numpy(fit.astype(np.float32))


def fit_spline(image: torch.Tensor) -> Float32s:
    """Return the cubic B-spline coefficients of a band-limited image, (n, n), finer by `_FINER`."""
    fit = _make_fit(len(image)).to(image.device)
    coefficients: Float32s = (fit @ image @ fit.T).cpu().numpy()
    return coefficients
