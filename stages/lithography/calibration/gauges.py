"""Gauges: places of masks, conditions of exposure, and what an image says of them.

in       sections of masks, the dose and focus of each gauge, a process or its images
out      printed widths and spaces
unit     nm
promise  an image is measured by its Fourier series, between samples exactly
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from stages.contracts import Floats, Int64s
from stages.lithography.calibration.sections import (
    Section,
    Waves,
    measure_widths,
    place_samples,
)
from stages.lithography.optics.imaging import compute_image, compute_spectrum, transmit
from stages.lithography.optics.kernels import Field, compute_kernels, make_field
from stages.lithography.optics.resist import compute_threshold, diffuse
from stages.lithography.process import Process

_REACH = 0.8
"""How far past the drawn ends a contour is looked for, in wavelength / NA."""


def make_gauge_field(process: Process, largest_nm: float) -> Field:
    """Return the field of gauges: what is measured, with its guard."""
    if process.kernels is not None:
        return make_field(process)
    unit_nm = process.wavelength_nm / process.na
    steps = math.ceil((2 * (process.guard + _REACH) + largest_nm / unit_nm) * 4)
    return make_field(process, math.floor(-(-steps // 8) * 8 * unit_nm / 4))  # a fast transform


@dataclass(frozen=True, slots=True, eq=False)
class Gauges:
    """What is measured, and how it was exposed."""

    field: Field
    sections: Sequence[Section]
    places: Floats
    """(sections, samples) where profiles are sampled, from the middle."""
    waves: Waves
    """(sections, samples, pixels // 2 + 1) from Fourier coefficients to the samples."""
    section: Int64s
    """(g,) which section each gauge measures."""
    dose: Floats
    """(g,)"""
    focus_nm: Floats
    """(g,)"""

    def choose(self, gauges: npt.NDArray[np.bool_]) -> Gauges:
        """Return some of the gauges."""
        return Gauges(
            self.field, self.sections, self.places, self.waves, self.section[gauges],
            self.dose[gauges], self.focus_nm[gauges],
        )  # fmt: skip

    def measure(self, spectra: Waves, focus_nm: float, level: float) -> Floats:
        """Return the widths of the gauges of a focus, in order.

        Parameters
        ----------
        spectra : (sections, pixels // 2 + 1)
            Fourier coefficients of the image along each section, from its middle.
        level
            Intensity that prints at dose 1.
        """
        here = self.focus_nm == focus_nm
        section = self.section[here]
        seen, which = np.unique(section, return_inverse=True)
        profiles = (self.waves[seen] @ spectra[seen, :, None])[..., 0].real
        drawn = np.array([(each.low_nm, each.high_nm) for each in self.sections])
        metal = np.array([1 if each.metal else -1 for each in self.sections])
        return measure_widths(
            profiles[which], self.places[section], drawn[section], metal[section],
            level / self.dose[here],
        )  # fmt: skip


def gather_gauges(process: Process, field: Field, sections: Sequence[Section], section: Int64s,
                  dose: Floats, focus_nm: Floats) -> Gauges:  # fmt: skip
    """Return gauges whose contours are followed as far as a process's light needs."""
    places = place_samples(sections, _REACH * process.wavelength_nm / process.na)
    order = np.arange(field.pixels // 2 + 1)
    twice = np.where(order > 0, 2.0, 1.0)
    waves = twice * np.exp(2j * np.pi / field.side_nm * places[..., None] * order)
    return Gauges(field, sections, places, waves, section, dose, focus_nm)


def compute_masks(gauges: Gauges, process: Process) -> torch.Tensor:
    """Return the spectra of the masks of all sections, as drawn, not turned."""
    rects = np.zeros((len(gauges.sections), max(len(s.rects) for s in gauges.sections), 5))
    for row, section in zip(rects, gauges.sections, strict=True):
        order = [1, 0, 3, 2] if section.turned else [0, 1, 2, 3]
        row[: len(section.rects), :4], row[: len(section.rects), 4] = section.rects[:, order], 1
    return transmit(compute_spectrum(torch.from_numpy(rects), gauges.field), process)


def cut_images(images: torch.Tensor, gauges: Gauges) -> Waves:
    """Return the spectra along the sections of their images, (sections, n, n)."""
    turned = torch.tensor([section.turned for section in gauges.sections])
    along = torch.where(turned[:, None, None], images.transpose(1, 2), images)
    n = images.shape[-1]
    sign = 1 - 2 * (torch.arange(n) % 2)  # the section runs through the middle
    spectra = torch.fft.rfft2(along.double(), norm="forward") * sign[:, None] * sign[: n // 2 + 1]
    found: Waves = spectra.sum(1).numpy()
    return found


def simulate_gauges(process: Process, gauges: Gauges, focus_nm: float = 0.0) -> Floats:
    """Return the widths of gauges as the simulator prints them, (g,).

    Parameters
    ----------
    focus_nm
        Added to the focus of every gauge.
    """
    widths, masks = np.empty(len(gauges.dose)), compute_masks(gauges, process)
    level = compute_threshold(process)
    for focus in np.unique(gauges.focus_nm):
        at = float(focus) + focus_nm
        kernels = compute_kernels(process, abs(at) if process.even_in_focus else at, gauges.field)
        images = diffuse(compute_image(masks, kernels, gauges.field), gauges.field, process)
        widths[gauges.focus_nm == focus] = gauges.measure(
            cut_images(images, gauges), float(focus), level
        )
    return widths
