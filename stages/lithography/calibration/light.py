"""Light for any source and focus: images of the gauges, tabulated once by source ring and focus.

in       a process, the sections of its gauges, the foci and sources asked for
out      profiles of the image along every section
promise  profiles are smooth in sigma, focus and blur, which kernels cut at a share of the energy
         are not; the pupils are those that the kernels are made of

The image is a sum over source points, so that of an annulus is an integral over its radius: images
are computed for rings of the source, and a source is a weighting of rings. In focus an image is a
smooth function of the phase that it adds to the pupil, and is interpolated between Chebyshev nodes.
The blur of the resist is a product with the image's spectrum, of which the table holds what the
section sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from stages.contracts import Floats
from stages.lithography.calibration.sections import Section, Waves
from stages.lithography.optics.imaging import compute_spectrum, transmit
from stages.lithography.optics.kernels import Field, sample_source, shift_pupils
from stages.lithography.process import Process

_RINGS = 96
"""Rings of the pupil's radius."""
_ANGLES = 300
"""Points of the pupil's outermost ring; smaller ones have fewer, in proportion."""
_FOCI = 5
"""Chebyshev nodes; an odd source in focus needs both sides and twice as many."""
_FAINT = 1e-5
"""Frequencies of a mask that are weaker than this are none: a grating has one direction."""


@dataclass(frozen=True, slots=True)
class Rings:
    """Points of a source, ring after ring."""

    points: Floats
    """(s, 2) in shares of the pupil's radius."""
    weights: Floats
    """(s,) of sum 1 in each ring."""
    start: tuple[int, ...]
    """First point of each ring, and the number of points."""
    radius: Floats
    """Of each ring; none for a map, which is one ring."""

    def weigh(self, sigma_in: float, sigma_out: float) -> Floats:
        """Return the weight of each ring in a source from `sigma_in` to `sigma_out`."""
        if not len(self.radius):
            return np.ones(1)
        inside = np.clip([sigma_in, sigma_out], self.radius[0], self.radius[-1])
        low = np.clip(self.radius[:-1], *inside)
        high = np.clip(self.radius[1:], *inside)
        # Between rings the image is linear in the radius; light is in proportion to r dr.
        area, moment = (high**2 - low**2) / 2, (high**3 - low**3) / 3
        above = (moment - self.radius[:-1] * area) / np.diff(self.radius)
        weights = np.append(area - above, 0.0)
        weights[1:] += above
        result: Floats = weights / weights.sum()
        return result

    def keep_quarter(self) -> Rings:
        """Return the points of positive x and y, in place of all."""
        kept = (self.points > 0).all(axis=1)
        counts = np.add.reduceat(kept, self.start[:-1])
        weights = self.weights[kept]
        weights /= np.repeat(np.add.reduceat(self.weights * kept, self.start[:-1]), counts)
        start = tuple(int(n) for n in np.cumsum([0, *counts]))
        return Rings(self.points[kept], weights, start, self.radius)


def cut_into_rings(process: Process, low: float, high: float) -> Rings:
    """Return rings that sources of the process's shape between two radii are made of."""
    source = process.source
    if source.shape == "map":
        points, weights = sample_source(source)
        return Rings(points, weights, (0, len(points)), np.empty(0))
    low = max(low, 1 / _RINGS)  # the points of a ring lie apart
    radius = np.linspace(low, high, max(3, math.ceil((high - low) * _RINGS) + 1))
    poles = {"dipole": 2, "quasar": 4}.get(source.shape, 1)
    opening = 360.0 if poles == 1 else source.opening_deg
    places, counts = [], []
    for r in radius:
        each = 4 * math.ceil((_ANGLES * r + 8) * opening / 360 / 4)
        steps = ((np.arange(each) + 0.5) / each - 0.5) * opening
        angle = np.radians(source.axis_deg + (steps + np.arange(poles)[:, None] * 360 / poles))
        places.append(r * np.stack([np.cos(angle).ravel(), np.sin(angle).ravel()], axis=1))
        counts.append(each * poles)
    start = tuple(int(n) for n in np.cumsum([0, *counts]))
    weights = np.repeat(1 / np.array(counts), counts)
    return Rings(np.concatenate(places), weights, start, radius)


@dataclass(frozen=True, slots=True)
class Foci:
    """Nodes in focus, and how to interpolate between them."""

    even: bool
    """Whether both sides of focus are alike."""
    largest_nm: float

    @property
    def nodes_nm(self) -> Floats:
        """Chebyshev nodes, of the square of the focus where it is even."""
        count = _FOCI if self.even else 2 * _FOCI
        cosine = np.cos((np.arange(count) + 0.5) * np.pi / count)
        nodes: Floats = np.sqrt((1 + cosine) / 2) if self.even else cosine
        return nodes * self.largest_nm

    def weigh(self, focus_nm: float) -> Floats:
        """Return the weight of each node in the image at a focus."""
        nodes, at = self.nodes_nm / self.largest_nm, focus_nm / self.largest_nm
        if self.even:
            nodes, at = nodes**2, at**2
        apart = nodes[:, None] - nodes
        np.fill_diagonal(apart, 1.0)
        off = np.tile(at - nodes, (len(nodes), 1))
        np.fill_diagonal(off, 1.0)
        weights: Floats = (off / apart).prod(axis=1)
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Sections of one kind of mask, with what they see of the images' spectra."""

    sections: npt.NDArray[np.int64]
    """(m,) which of all sections."""
    spectra: torch.Tensor
    """(foci, rings, m, across, along), from the lowest frequency."""


class Light:
    """The tables of a set of sections; profiles come out of it."""

    def __init__(self, process: Process, field: Field, sections: Sequence[Section],
                 rings: Rings, foci: Foci) -> None:  # fmt: skip
        self.field, self.rings, self.foci, self.count = field, rings, foci, len(sections)
        self.tables = _tabulate(process, field, sections, rings, foci)
        self.clear = _compute_clear(process, field, rings)
        self._shine = lru_cache(maxsize=2)(self._weigh_rings)

    def _weigh_rings(self, sigma_in: float, sigma_out: float) -> list[Waves]:
        shares = self.rings.weigh(sigma_in, sigma_out)
        weights = torch.from_numpy((shares / (shares @ self.clear)).astype(np.complex64))
        return [torch.tensordot(weights, each.spectra, ([0], [1])).numpy() for each in self.tables]

    def compute_spectra(self, sigma: tuple[float, float], focus_nm: float) -> list[Waves]:
        """Return what each section sees of the image at a focus, by table."""
        weights = self.foci.weigh(focus_nm).astype(np.float32)
        return [np.tensordot(weights, each, 1) for each in self._shine(*sigma)]

    def blur(self, spectra: Sequence[Waves], blurs: Sequence[tuple[float, float]]) -> Waves:
        """Return the profiles' spectra, (sections, along): a sum of shares of Gaussian blurs.

        `blurs` are standard deviations in nm and shares.
        """
        found = np.zeros((self.count, self.field.pixels // 2 + 1), np.complex128)
        order = np.arange(self.field.pixels // 2 + 1)
        for table, spectrum in zip(self.tables, spectra, strict=True):
            for sigma_nm, share in blurs:
                damped = np.exp(-2 * (np.pi * sigma_nm * order / self.field.side_nm) ** 2)
                across = damped[: spectrum.shape[1]]
                found[table.sections] += share * damped * np.einsum("c,mca->ma", across, spectrum)
        return found


def _tabulate(process: Process, field: Field, sections: Sequence[Section], rings: Rings,
              foci: Foci) -> list[Table]:  # fmt: skip
    """Compute the tables, apart for each kind of mask, see `_Kind`."""
    masks = [_transform(section, field, process) for section in sections]
    source = process.source
    even = source.is_unchanged_when("mirrored") and source.is_unchanged_when("half")
    kinds: dict[_Kind, list[int]] = {}
    for index, (mask, section) in enumerate(zip(masks, sections, strict=True)):
        varying = mask.abs()
        varying[field.band] = 0
        mirrored = even and all((mask - mask.flip(axis)).abs().max() < _FAINT for axis in (0, 1))
        kind = _Kind(float(varying.max()) < _FAINT, section.turned, mirrored)
        kinds.setdefault(kind, []).append(index)
    spectra: dict[_Kind, list[torch.Tensor]] = {kind: [] for kind in kinds}
    for mirrored in {kind.mirrored for kind in kinds}:
        seen = rings.keep_quarter() if mirrored else rings
        for focus_nm in foci.nodes_nm:
            shifted = shift_pupils(seen.points, seen.weights, process, float(focus_nm), field, 0)
            for kind, members in kinds.items():
                if kind.mirrored == mirrored:
                    found = [
                        _see(torch.from_numpy(shifted), masks[index], kind, field, seen)
                        for index in members
                    ]
                    spectra[kind].append(torch.stack(found, dim=1))
    return [Table(np.array(kinds[kind]), torch.stack(each)) for kind, each in spectra.items()]


class _Kind(NamedTuple):
    """What spares work on a section."""

    flat: bool
    """The mask changes along the section alone, as a grating does."""
    turned: bool
    mirrored: bool
    """Mask and source are unchanged when mirrored either way: a quarter of the source tells all."""


def _compute_clear(process: Process, field: Field, rings: Rings) -> Floats:
    """Return the intensity of the clear field under each ring: 1 of scalar light."""
    field = Field(field.side_nm, 2, 0)
    straight = shift_pupils(rings.points, rings.weights, process, 0.0, field, 0)
    by_point = (np.abs(straight) ** 2).reshape(len(rings.points), -1).sum(axis=1, dtype=np.float64)
    clear: Floats = np.add.reduceat(by_point, rings.start[:-1])
    return clear


def _transform(section: Section, field: Field, process: Process) -> torch.Tensor:
    """Return the spectrum of a section's mask, (2 band + 1, 2 band + 1)."""
    rects = np.ones((1, len(section.rects), 5))
    rects[0, :, :4] = section.rects
    return transmit(compute_spectrum(torch.from_numpy(rects), field)[0], process)


def _see(rows: torch.Tensor, mask: torch.Tensor, kind: _Kind, field: Field,
         rings: Rings) -> torch.Tensor:  # fmt: skip
    """Return the images' spectra for a section through the middle, (rings, across, along).

    Both signs of a frequency across look alike there, and are added.
    """
    kept = slice(field.band, field.band + 1) if kind.flat else slice(None)
    rows = (rows.transpose(1, 2) if kind.turned else rows)[:, kept]
    mask = mask[kept]
    n = field.pixels
    size = (1 if kind.flat else n, n)
    images = []
    components = len(rows) // len(rings.points)
    for start, end in pairwise(components * first for first in rings.start):
        # Frequency -band is put in the place of 0: that gives the wave a phase, not an intensity.
        waves = torch.fft.ifft2(rows[start:end] * mask, s=size, norm="forward")
        images.append((waves.real.square() + waves.imag.square()).sum(0))
    spectra = torch.fft.rfft2(torch.stack(images), norm="forward")
    sign = 1 - 2 * (torch.arange(n) % 2)
    spectra = spectra * sign[: n // 2 + 1] * sign[: size[0], None]
    half = size[0] // 2
    folded = spectra[:, : half + 1].clone()
    folded[:, 1:half] += spectra[:, half + 1 :].flip(1)
    found: torch.Tensor = folded.real + 0j if kind.mirrored else folded
    return found
