"""Moving fragments down the gradient of what the mask costs over the process window.

in       a view, its cost, moves to begin with
out      moves in whole dbu
unit     a field
promise  the moves cost no more than those given, at any number of rounds

Steps are those of Adam: each fragment's gradient over its usual size. A few steps may climb, then
the best moves are taken up again with half the step.

G. Chen et al., "DiffOPC", ICCAD (2024), for edges; D. Kingma and J. Ba, ICLR (2015).
"""

from __future__ import annotations

import math

import numpy as np

from stages.contracts import Floats, Int64s
from stages.lithography.correction.views import View
from stages.lithography.correction.window_cost import WindowCost

_DECAYS = (0.8, 0.95)
"""How much of the mean gradient, and of the mean square, a round keeps."""
_PATIENCE = 6
"""Rounds without gain before the best moves are taken up again."""
_LAST = 0.1
"""Share of the first step that the last round takes."""
_TINY = 1e-3
"""Gradients under this share of the usual one hardly move."""


def descend(
    view: View, cost: WindowCost, given: Floats | Int64s, rounds: int, step_dbu: float
) -> Floats:
    """Return the best moves found, in dbu, not rounded.

    Parameters
    ----------
    given : (n,)
        Moves to begin with.
    step_dbu
        The first round moves fragments by about this.
    """
    moves = best = given.astype(np.float64)
    least = math.inf
    mean, square = np.zeros_like(moves), np.zeros_like(moves)
    since = stale = 0
    for turn in range(rounds):
        value, by_pixel = cost.differentiate(view.draw_mask(moves))
        if value < least:
            least, best, stale = value, moves, 0
        elif (stale := stale + 1) == _PATIENCE:
            moves, step_dbu, since, stale = best, step_dbu / 2, 0, 0
            mean, square = np.zeros_like(moves), np.zeros_like(moves)
            continue
        gradient = view.tie_halves(view.project_gradient(by_pixel, moves))
        gradient[~view.free] = 0
        since += 1
        mean += (1 - _DECAYS[0]) * (gradient - mean)
        square += (1 - _DECAYS[1]) * (gradient**2 - square)
        size = np.sqrt(square / (1 - _DECAYS[1] ** since))
        size += _TINY * math.sqrt(float(np.mean(size**2))) + 1e-300
        ahead = mean / (1 - _DECAYS[0] ** since) / size
        moves = view.limit(moves - step_dbu * _LAST ** (turn / rounds) * ahead)
    if cost.measure(view.draw_mask(moves)) < least:
        return moves
    return best


def round_moves(view: View, cost: WindowCost, given: Int64s, moves: Floats | Int64s) -> Int64s:
    """Return moves in whole dbu, or those given where these cost less."""
    rounded = np.rint(moves).astype(np.int64)
    worth = cost.measure(view.draw_mask(rounded)) < cost.measure(view.draw_mask(given))
    return rounded if worth else given
