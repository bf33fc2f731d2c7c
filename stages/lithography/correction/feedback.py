"""Moving fragments against their edge placement errors, over the corners of the process window.

in       a view
out      moves in whole dbu
unit     a field
promise  the moves place edges no worse than the drawn mask does, at any damping and rounds

The cost is the mean over corners and fragments of the squared error, by length. A round moves each
fragment by a share of its mean error. One that makes the cost worse is taken back, and the share is
halved; rounds end when nothing is gained.

Rounds image the mask with the few strongest kernels, plus the difference to all kernels at the mask
where that was last computed, which changes little. The first and the last image take all.

N. Cobb, PhD thesis, University of California, Berkeley (1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as init

import numpy as np
import torch

from stages.contracts import Float32s, Floats, Int64s
from stages.lithography.correction.placement import measure_displacements
from stages.lithography.correction.views import View
from stages.lithography.optics.drawing import transform_drawing
from stages.lithography.optics.exposure import count_spline_px, fit_spline, group_by_focus
from stages.lithography.optics.imaging import compute_image
from stages.lithography.optics.kernels import Kernels, compute_kernels
from stages.lithography.optics.resist import compute_threshold, diffuse
from stages.lithography.process import Process

_SHARE = 0.9
"""Share of the light of all kernels that the few strongest carry."""
_GAIN = 0.02
"""A round that takes less than this share off the cost is the last."""
_LEAST_DAMPING = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Imaging:
    """The optics of one focus, with all kernels and with the few strongest."""

    all: Kernels
    few: Kernels
    levels: Floats
    """(corners,) intensity above which the resist prints."""


@dataclass(slots=True, eq=False)
class Placement:
    """Edge placement errors of one field after moves."""

    view: View
    process: Process
    reach_dbu: float
    imagings: list[_Imaging]
    differences: list[torch.Tensor] = init(default_factory=list)
    """By focus, from the image of the few kernels to that of all, as last computed."""

    def measure(self, moves: Floats | Int64s, *, exact: bool) -> Floats:
        """Return the errors, (corners, n) in dbu; the image is `exact`, or by the few kernels."""
        field = self.view.field
        picture = torch.from_numpy(self.view.draw_mask(moves).astype(np.float32))
        errors = []
        with torch.inference_mode():
            spectrum = transform_drawing(picture, field)[None]
            few = [compute_image(spectrum, each.few, field) for each in self.imagings]
            if exact:
                every = [compute_image(spectrum, each.all, field) for each in self.imagings]
                self.differences = [a - b for a, b in zip(every, few, strict=True)]
            for image, difference, each in zip(few, self.differences, self.imagings, strict=True):
                coef = fit_spline(diffuse(image + difference, field, self.process))[0]
                errors += [self._locate(coef, level) for level in each.levels]
        return np.stack(errors)

    def weigh(self, errors: Floats) -> float:
        """Return the cost of errors, in dbu² of the fragments that move."""
        b, free = self.view.boundary, self.view.free
        return float(((b.high - b.low) * np.square(errors).mean(axis=0))[free].sum())

    def _locate(self, coef: Float32s, level: float) -> Floats:
        b = self.view.boundary
        scale = count_spline_px(self.view.field) / self.view.side_dbu
        x, y = b.locate(b.control)
        out, reach = np.empty(len(b)), self.reach_dbu
        up, lies = np.flatnonzero(~b.horizontal), np.flatnonzero(b.horizontal)
        out[up] = measure_displacements(coef, x[up], y[up], b.side[up], scale, level, reach)
        turned = np.ascontiguousarray(coef.T)
        out[lies] = measure_displacements(
            turned, y[lies], x[lies], b.side[lies], scale, level, reach
        )
        return out


def make_placement(view: View, process: Process, reach_dbu: float) -> Placement:
    """Return what measures the edge placement errors of a view, at most `reach_dbu` either way."""
    level, imagings = compute_threshold(process), []
    for focus, corners in group_by_focus(process).items():
        kernels = compute_kernels(process, focus, view.field)
        levels = np.array([level / process.corners[index].dose for index in corners])
        imagings.append(_Imaging(kernels, _select_strongest(kernels), levels))
    return Placement(view, process, reach_dbu, imagings)


def place_edges(placement: Placement, damping: float, rounds: int) -> Int64s:
    """Return how far fragments move, (n,) in whole dbu."""
    view = placement.view
    moves = np.zeros(len(view.boundary))
    errors = placement.measure(moves, exact=True)
    drawn = cost = placement.weigh(errors)
    for turn in range(rounds):
        ahead = view.limit(moves - damping * errors.mean(axis=0))
        found = placement.measure(ahead, exact=turn == 1)
        then = placement.weigh(found)
        if then >= cost:
            damping /= 2
            if damping < _LEAST_DAMPING:
                break
            continue
        gained = cost - then
        moves, errors, cost = ahead, found, then
        if gained < _GAIN * then:
            break
    rounded = np.rint(moves).astype(np.int64)
    if placement.weigh(placement.measure(rounded, exact=True)) < drawn:
        return rounded
    return np.zeros_like(rounded)


def _select_strongest(kernels: Kernels) -> Kernels:
    """Return the fewest kernels that carry `_SHARE` of the light of all."""
    energy = kernels.waves.abs().square().sum(dim=(1, 2))
    order = torch.argsort(-energy, stable=True)
    share = torch.cumsum(energy[order], 0) / energy.sum()
    count = 1 + int((share < _SHARE).sum())
    return Kernels(kernels.waves[order[:count]].contiguous(), torch.zeros_like(kernels.rest))
