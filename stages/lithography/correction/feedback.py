"""Moving fragments against their edge placement errors, over the corners of the process window.

in       a view
out      moves in whole dbu
unit     a field
promise  the moves place edges no worse than the drawn mask does, at any damping and rounds

The cost is the mean over corners and fragments of the squared error, by length. A round moves each
fragment by a share of its mean error. One that makes the cost worse is taken back, and the share is
halved; rounds end when nothing is gained.

Rounds image the mask with the few strongest kernels, plus what all kernels add to the image of a
mask that is nearly right, which changes little from there.

N. Cobb, PhD thesis, University of California, Berkeley (1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from stages.contracts import Float32s, Floats, Int64s
from stages.lithography.correction.placement import measure_displacements
from stages.lithography.correction.views import View
from stages.lithography.optics.drawing import transform_drawing
from stages.lithography.optics.exposure import count_spline_px, fit_spline, group_by_focus
from stages.lithography.optics.imaging import compute_image
from stages.lithography.optics.kernels import Field, Kernels, compute_kernels
from stages.lithography.optics.resist import compute_threshold, diffuse
from stages.lithography.process import Process

_SHARE = 0.9
"""Share of the light of all kernels that the few strongest carry."""
_GAIN = 0.02
"""A round that takes less than this share off the cost is the last."""
_LEAST_DAMPING = 0.05
_ROUGH = 2
"""Rounds before the image of all kernels is computed."""
_CLEARLY = 0.5
"""A cost under this share of the drawn mask's is less without computing both exactly."""

Differences = Sequence["torch.Tensor | float"]


@dataclass(frozen=True, slots=True, eq=False)
class _Imaging:
    """The optics of one focus, with all kernels and with the few strongest."""

    all: Kernels
    few: Kernels
    levels: Floats
    """(corners,) intensity above which the resist prints."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """What measures the edge placement errors of one field."""

    view: View
    process: Process
    reach_dbu: float
    imagings: tuple[_Imaging, ...]

    def find_differences(self, moves: Floats | Int64s) -> list[torch.Tensor]:
        """Return by focus what all kernels add to the image of the few."""
        spectrum = self._transform(moves)
        return [
            compute_image(spectrum, each.all, self.view.field)
            - compute_image(spectrum, each.few, self.view.field)
            for each in self.imagings
        ]

    def measure(
        self, moves: Floats | Int64s, differences: Sequence[torch.Tensor | float]
    ) -> Floats:
        """Return the errors after moves, (corners, n) in dbu.

        Parameters
        ----------
        differences
            By focus, added to the image of the few kernels.
        """
        field, errors, spectrum = self.view.field, [], self._transform(moves)
        for each, difference in zip(self.imagings, differences, strict=True):
            image = compute_image(spectrum, each.few, field) + difference
            errors.append(self._locate(fit_spline(diffuse(image, field, self.process))[0], each))
        return np.concatenate(errors)

    def weigh(self, errors: Floats) -> float:
        """Return the cost of errors, in dbu² of the fragments that move."""
        b, free = self.view.boundary, self.view.free
        return float(((b.high - b.low) * np.square(errors).mean(axis=0))[free].sum())

    def _transform(self, moves: Floats | Int64s) -> torch.Tensor:
        picture = torch.from_numpy(self.view.draw_mask(moves).astype(np.float32))
        return transform_drawing(picture, self.view.field)[None]

    def _locate(self, coef: Float32s, imaging: _Imaging) -> Floats:
        b, levels, reach = self.view.boundary, imaging.levels, self.reach_dbu
        scale = count_spline_px(self.view.field) / self.view.side_dbu
        x, y = b.locate(b.control)
        out = np.empty((len(levels), len(b)))
        for flip, seen, at, along in ((False, coef, x, y), (True, coef.T, y, x)):
            of = np.flatnonzero(b.horizontal == flip)
            out[:, of] = measure_displacements(
                np.ascontiguousarray(seen), at[of], along[of], b.side[of], scale, levels, reach
            )
        return out


def make_placement(view: View, process: Process, reach_dbu: float) -> Placement:
    """Return what measures the edge placement errors of a view, at most `reach_dbu` either way."""
    return Placement(view, process, reach_dbu, _make_imagings(process, view.field))


def place_edges(placement: Placement, damping: float, rounds: int) -> Int64s:
    """Return how far fragments move, (n,) in whole dbu."""
    moves = drawn = np.zeros(len(placement.view.boundary), np.float64)
    rough = min(_ROUGH, rounds // 2)
    with torch.inference_mode():
        nothing: Differences = [0.0] * len(placement.imagings)
        moves, before = _make_rounds(placement, drawn, nothing, damping, rough)
        differences = placement.find_differences(moves)
        moves, _ = _make_rounds(placement, moves, differences, damping, rounds - rough)
        rounded = np.rint(moves).astype(np.int64)
        if placement.weigh(placement.measure(rounded, differences)) < _CLEARLY * before:
            return rounded
        after, before = (
            placement.weigh(placement.measure(each, placement.find_differences(each)))
            for each in (rounded, drawn)
        )
    return rounded if after < before else np.zeros_like(rounded)


def _make_rounds(
    placement: Placement, moves: Floats, differences: Differences, damping: float, rounds: int
) -> tuple[Floats, float]:
    """Return the moves after at most some rounds, and the cost before them."""
    errors = placement.measure(moves, differences)
    before = cost = placement.weigh(errors)
    for _ in range(rounds):
        ahead = placement.view.limit(moves - damping * errors.mean(axis=0))
        found = placement.measure(ahead, differences)
        then = placement.weigh(found)
        if then >= cost:
            damping /= 2
            if damping < _LEAST_DAMPING:
                break
            continue
        gained, cost, moves, errors = cost - then, then, ahead, found
        if gained < _GAIN * then:
            break
    return moves, before


@lru_cache(maxsize=8)
def _make_imagings(process: Process, field: Field) -> tuple[_Imaging, ...]:
    level, imagings = compute_threshold(process), []
    for focus, corners in group_by_focus(process).items():
        kernels = compute_kernels(process, focus, field)
        levels = np.array([level / process.corners[index].dose for index in corners])
        imagings.append(_Imaging(kernels, _select_strongest(kernels), levels))
    return tuple(imagings)


def _select_strongest(kernels: Kernels) -> Kernels:
    """Return the fewest kernels that carry `_SHARE` of the light of all; of the rest the mean."""
    power = kernels.waves.real.square() + kernels.waves.imag.square()
    energy = power.sum(dim=(1, 2))
    order = torch.argsort(-energy, stable=True)
    count = 1 + int((torch.cumsum(energy[order], 0) / energy.sum() < _SHARE).sum())
    chosen, others = order[:count], order[count:]
    return Kernels(kernels.waves[chosen].contiguous(), kernels.rest + power[others].sum(dim=0))
