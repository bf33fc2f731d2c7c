"""Moving fragments against their edge placement errors, over the corners of the process window.

in       a view
out      moves in whole dbu
unit     a field
promise  the moves place edges no worse than the drawn mask does, at any damping and rounds

The cost is the mean over corners and fragments of the squared error, by length. A round moves each
fragment by a share of its mean error, at first `damping`, then as its error answered to the last
move. A round that makes the cost worse is taken back, and the shares are halved; rounds end when
little is gained. The first looks at nominal alone, which takes half the time.

The image is that of the kernels that carry 0.9 of the light and the mean light of the others: their
contours lie 0.1 nm from those of all kernels where the edges are straight.

N. Cobb, PhD thesis, University of California, Berkeley (1998).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from stages.contracts import Float32s, Floats, Int64s
from stages.lithography.correction.fragments import Bools
from stages.lithography.correction.placement import choose_nominal, measure_fragments
from stages.lithography.correction.views import View
from stages.lithography.optics.drawing import transform_drawing
from stages.lithography.optics.exposure import count_spline_px, fit_spline, group_by_focus
from stages.lithography.optics.imaging import compute_image_at_once, transmit
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
_NOMINAL = 1
"""Rounds that look at nominal alone."""
_GAIN = 0.17
"""A round that takes less than this times `damping` off the cost, as a share, is the last."""
_SETTLED = 0.15
"""Rounds end where the mean errors, which moves correct, have less than this share in the cost."""
_LEAST_SHARE = 0.05
"""Of an error; where fragments may move no more than that, rounds end."""
_WORTH = 0.95
"""A mask that costs more than this share of what the drawn one does is not used: it is measured at
the fragments' control points alone, and may be worse between them."""
_MOVED_DBU = 0.5
"""A fragment that moved less tells nothing of how errors answer to moves."""
_ROUNDING_DBU = 1.0
"""What rounding moves changes of errors, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class _Imaging:
    """The optics of one focus."""

    kernels: Kernels
    levels: Floats
    """(corners,) intensity above which the resist prints."""
    rows: list[int]
    """(corners,) which of the corners that are looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """What measures the edge placement errors of one field."""

    view: View
    process: Process
    reach_dbu: float
    """Largest error that is told from larger ones."""

    def measure(self, moves: Floats | Int64s, corners: tuple[Corner, ...]) -> Floats:
        """Return the errors at corners after moves, (corners, n) in dbu."""
        view, errors = self.view, np.empty((len(corners), len(self.view.boundary)))
        picture = torch.from_numpy(view.draw_mask(moves).astype(np.float32))
        with torch.no_grad():
            spectrum = transmit(transform_drawing(picture, view.field), self.process)
            for each in _make_imagings(self.process, corners, view.field):
                image = compute_image_at_once(spectrum, each.kernels, view.field)
                coef = fit_spline(diffuse(image[None], view.field, self.process)[0])
                errors[each.rows] = self._locate(coef, each.levels)
        return errors

    def weigh(self, errors: Floats) -> float:
        """Return the cost of errors, in dbu² of the fragments that move."""
        return self._weigh(errors, self.view.free)

    def weigh_core(self, errors: Floats) -> float:
        """Return the cost of errors of what moves in the field's core."""
        return self._weigh(
            errors, self.view.free & self.view.boundary.find_touching(self.view.core)
        )

    def _weigh(self, errors: Floats, chosen: Bools) -> float:
        b = self.view.boundary
        return float(((b.high - b.low) * np.square(errors).mean(axis=0))[chosen].sum())

    def _locate(self, coef: Float32s, levels: Floats) -> Floats:
        b, scale = self.view.boundary, count_spline_px(self.view.field) / self.view.side_dbu
        return measure_fragments(
            coef, b.horizontal, b.at, b.control, b.side, scale, levels, self.reach_dbu
        )


def place_edges(placement: Placement, damping: float, rounds: int) -> Int64s:
    """Return how far fragments move, (n,) in whole dbu."""
    every = placement.process.corners
    nominal = every.index(choose_nominal(placement.process))
    drawn = moves = np.zeros(len(placement.view.boundary))
    errors = placement.measure(drawn, every)
    most = _WORTH * placement.weigh_core(errors)
    shares = np.full_like(drawn, damping)
    for turn in range(rounds):
        mean = errors.mean(axis=0)
        if placement.weigh(mean[None]) < _SETTLED * placement.weigh(errors):
            break
        ahead = placement.view.limit(moves - shares * mean)
        found = placement.measure(ahead, every[nominal : nominal + 1] if turn < _NOMINAL else every)
        # Where only one of the two is of every corner, both are compared at nominal.
        then, now = found, errors
        if len(found) < len(errors):
            now = errors[nominal : nominal + 1]
        elif len(found) > len(errors):
            then = found[nominal : nominal + 1]
        gained = 1 - placement.weigh(then) / max(placement.weigh(now), 1e-12)
        if gained <= 0:
            shares = shares / 2
            if shares.max() < _LEAST_SHARE:
                break
            continue
        shares = _answer(shares, ahead - moves, (then - now).mean(axis=0), damping)
        moves, errors = ahead, found
        if turn > _NOMINAL and gained < _GAIN * damping:
            break
    rounded = np.rint(moves).astype(np.int64)
    if len(errors) < len(every) or _bound_cost(placement, errors) >= most:
        errors = placement.measure(rounded, every)
        if placement.weigh_core(errors) >= most:
            return np.zeros_like(rounded)
    return rounded


def _answer(shares: Floats, moved: Floats, changed: Floats, damping: float) -> Floats:
    """Return by which shares of their errors fragments move next."""
    tell = np.abs(moved) >= _MOVED_DBU
    answer = np.divide(changed, moved, out=np.full_like(moved, np.inf), where=tell)
    usual = np.clip(1 / np.maximum(answer, 0.1), damping / 2, 1.0)
    return np.where(tell, usual, shares)


def _bound_cost(placement: Placement, errors: Floats) -> float:
    """Return what moves cost at most in the core once they are rounded."""
    length = placement.weigh_core(np.ones((1, len(placement.view.boundary))))
    return (math.sqrt(placement.weigh_core(errors)) + _ROUNDING_DBU * math.sqrt(length)) ** 2


@lru_cache(maxsize=16)
def _make_imagings(
    process: Process, corners: tuple[Corner, ...], field: Field
) -> tuple[_Imaging, ...]:
    level, imagings = compute_threshold(process), []
    for focus, indices in group_by_focus(process, corners).items():
        kernels = select_strongest(compute_kernels(process, focus, field), _SHARE)
        levels = np.array([level / process.corners[index].dose for index in indices])
        rows = [corners.index(process.corners[index]) for index in indices]
        imagings.append(_Imaging(kernels, levels, rows))
    return tuple(imagings)
