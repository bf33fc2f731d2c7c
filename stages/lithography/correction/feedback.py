"""Moving fragments against their edge placement errors, over the corners of the process window.

in       a view
out      moves in whole dbu
unit     a field
promise  a move depends on the layout near the fragment, in a field of any size; together the moves
         place edges no worse than the drawn mask does, at any damping and rounds

A round moves each fragment by a share of its mean error over the corners, at first `damping`, then
as its error answered to the last move. The first half of the rounds looks at nominal alone, which
takes half the time. All rounds are done, in every field: a decision that a field takes for all of
its fragments, such as to end early, makes what one of them does depend on all others.

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
from stages.lithography.correction.fragments import Boundary
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
_WORTH = 0.95
"""A mask that costs more than this share of what the drawn one does is not used: it is measured at
the fragments' control points alone, and may be worse between them."""
_CLEAR = 0.5
"""Where the last round began with less than this share of what the drawn mask costs at least, the
moves are not measured once more."""
_MOVED_DBU = 0.5
"""A fragment that moved less tells nothing of how errors answer to moves."""


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

    def weigh_core(self, errors: Floats) -> float:
        """Return the cost of errors, in dbu² of what moves in the field's core."""
        b = self.view.boundary
        chosen = self.view.free & b.find_touching(self.view.core)
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
    moves = before = np.zeros(len(placement.view.boundary))
    shares, then, costs = np.full_like(moves, damping), np.empty((0, len(moves))), []
    for turn in range(rounds):
        alone = turn < rounds // 2
        errors = placement.measure(moves, every[nominal : nominal + 1] if alone else every)
        costs.append(placement.weigh_core(errors) * len(errors))
        now = errors[nominal : nominal + 1] if len(errors) > len(then) else errors
        if turn:
            shares = _answer(shares, moves - before, (now - then).mean(axis=0), damping)
        before, then = moves, errors
        moves = placement.view.limit(moves - shares * errors.mean(axis=0))
    rounded = _round_apart(placement.view.boundary, moves)
    if costs[-1] < _CLEAR * costs[0] or _is_worth(placement, rounded):
        return rounded
    return np.zeros_like(rounded)


def _answer(shares: Floats, moved: Floats, changed: Floats, damping: float) -> Floats:
    """Return by which shares of their errors fragments move next."""
    tell = np.abs(moved) >= _MOVED_DBU
    answer = np.divide(changed, moved, out=np.full_like(moved, np.inf), where=tell)
    usual = np.clip(1 / np.maximum(answer, 0.1), damping / 2, 1.0)
    return np.where(tell, usual, shares)


def _round_apart(boundary: Boundary, moves: Floats) -> Int64s:
    """Return moves in whole dbu whose mean is near theirs where fragments move alike.

    The halves of an edge, neighbours along one, and edges across are rounded at other fractions.
    With one fraction for all, all four sides of a via went to the next dbu together, for
    differences of far less than a dbu: 4 % of its area.
    """
    first, last = boundary.anchor == boundary.low, boundary.anchor == boundary.high
    even = boundary.control // np.maximum(boundary.high - boundary.low, 1) % 2 == 0
    along = np.where(first | (even & ~last), 0.25, -0.25)
    across = np.where(boundary.horizontal, 0.125, -0.125)
    return np.rint(moves + along + across).astype(np.int64)


def _is_worth(placement: Placement, moves: Int64s) -> bool:
    """Return whether moves cost less than the drawn mask in the core."""
    after, drawn = (
        placement.weigh_core(placement.measure(each, placement.process.corners))
        for each in (moves, np.zeros_like(moves))
    )
    return after < _WORTH * drawn


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
