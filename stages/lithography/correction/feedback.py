"""Moving fragments against their edge placement errors, over the corners of the process window.

in       a view
out      moves in whole dbu
unit     a field
promise  the moves place edges no worse than the drawn mask does, at any damping and rounds

The cost is the mean over corners and fragments of the squared error, by length. A round moves each
fragment by a share of its mean error. One that makes the cost worse is taken back, and the share is
halved; rounds end when little is gained. The first rounds look at nominal alone, which takes a third
of the time.

The image is that of the kernels that carry 0.9 of the light and the mean light of the others: their
contours lie 0.1 nm from those of all kernels where the edges are straight.

N. Cobb, PhD thesis, University of California, Berkeley (1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from stages.contracts import Float32s, Floats, Int64s
from stages.lithography.correction.placement import choose_nominal, measure_displacements
from stages.lithography.correction.views import View
from stages.lithography.optics.drawing import transform_drawing
from stages.lithography.optics.exposure import count_spline_px, fit_spline, group_by_focus
from stages.lithography.optics.imaging import compute_image
from stages.lithography.optics.kernels import (
    Field,
    Kernels,
    compute_kernels,
    select_strongest,
)
from stages.lithography.optics.resist import compute_threshold, diffuse
from stages.lithography.process import Corner, Process

_SHARE = 0.9
"""Share of the light that the kernels of the rounds carry."""
_FIRST = 0.5
"""Share of the rounds that look at nominal alone."""
_GAIN = 0.05
"""A round that takes less than this share off the cost is the last."""
_LEAST_DAMPING = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Imaging:
    """The optics of one focus."""

    kernels: Kernels
    levels: Floats
    """(corners,) intensity above which the resist prints."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """What measures the edge placement errors of one field."""

    view: View
    process: Process
    reach_dbu: float
    """Largest error that is told from larger ones."""

    def measure(self, moves: Floats | Int64s, corners: tuple[Corner, ...]) -> Floats:
        """Return the errors at corners after moves, (corners, n) in dbu."""
        view, errors = self.view, []
        picture = torch.from_numpy(view.draw_mask(moves).astype(np.float32))
        with torch.inference_mode():
            spectrum = transform_drawing(picture, view.field)[None]
            for each in _make_imagings(self.process, corners, view.field):
                image = compute_image(spectrum, each.kernels, view.field)
                coef = fit_spline(diffuse(image, view.field, self.process))[0]
                errors.append(self._locate(coef, each.levels))
        return np.concatenate(errors)

    def weigh(self, errors: Floats) -> float:
        """Return the cost of errors, in dbu² of the fragments that move."""
        b, free = self.view.boundary, self.view.free
        return float(((b.high - b.low) * np.square(errors).mean(axis=0))[free].sum())

    def _locate(self, coef: Float32s, levels: Floats) -> Floats:
        b, reach = self.view.boundary, self.reach_dbu
        scale = count_spline_px(self.view.field) / self.view.side_dbu
        x, y = b.locate(b.control)
        out = np.empty((len(levels), len(b)))
        for flip, seen, at, along in ((False, coef, x, y), (True, coef.T, y, x)):
            of = np.flatnonzero(b.horizontal == flip)
            out[:, of] = measure_displacements(
                np.ascontiguousarray(seen), at[of], along[of], b.side[of], scale, levels, reach
            )
        return out


def place_edges(placement: Placement, damping: float, rounds: int) -> Int64s:
    """Return how far fragments move, (n,) in whole dbu."""
    every, drawn = placement.process.corners, np.zeros(len(placement.view.boundary))
    first = round(_FIRST * rounds)
    moves = _make_rounds(placement, drawn, (choose_nominal(placement.process),), damping, first)
    moves = _make_rounds(placement, moves, every, damping, rounds - first)
    rounded = np.rint(moves).astype(np.int64)
    after, before = (placement.weigh(placement.measure(m, every)) for m in (rounded, drawn))
    return rounded if after < before else np.zeros_like(rounded)


def _make_rounds(
    placement: Placement,
    moves: Floats,
    corners: tuple[Corner, ...],
    damping: float,
    rounds: int,
) -> Floats:
    """Return the moves after at most some rounds that look at some corners."""
    errors = placement.measure(moves, corners)
    cost = placement.weigh(errors)
    for _ in range(rounds):
        ahead = placement.view.limit(moves - damping * errors.mean(axis=0))
        found = placement.measure(ahead, corners)
        then = placement.weigh(found)
        if then >= cost:
            damping /= 2
            if damping < _LEAST_DAMPING:
                break
            continue
        gained, cost, moves, errors = cost - then, then, ahead, found
        if gained < _GAIN * then:
            break
    return moves


@lru_cache(maxsize=16)
def _make_imagings(
    process: Process, corners: tuple[Corner, ...], field: Field
) -> tuple[_Imaging, ...]:
    level, imagings = compute_threshold(process), []
    for focus, indices in group_by_focus(process, corners).items():
        kernels = select_strongest(compute_kernels(process, focus, field), _SHARE)
        levels = np.array([level / process.corners[index].dose for index in indices])
        imagings.append(_Imaging(kernels, levels))
    return tuple(imagings)
