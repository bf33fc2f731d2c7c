"""The model of a round: a logistic regression on a few features of each picture.

in       features of pictures, and of some how many of their clips were simulated and how many fail
out      `Head`: weights that turn features into the probability to fail
promise  the loss is convex and sums are made in one order: the same data give the same head

Each feature is cut at quantiles into pieces, on each of which the log odds may rise or fall: a
margin counts near its limit, and not far from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from stages.contracts import Float32s, Floats, Int64s

SHARES = (0.0, 0.002, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.998, 1.0)
"""Quantiles that a feature is cut at: densely near both ends, one of which is where clips fail."""
STRENGTH = 0.1
"""Of the penalty on the rise of the log odds over a piece."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A fitted model."""

    knots: Floats
    """(f, k) where the pieces of each feature end."""
    rises: Floats
    """(f * (k - 1),) of the log odds, over each piece."""
    bias: float

    def compute_chance(self, features: Float32s) -> Floats:
        """Return the probability of each picture to fail, (n,)."""
        chance: Floats = scipy.special.expit(self.compute_odds(features))
        return chance

    def compute_odds(self, features: Float32s) -> Floats:
        """Return the log odds of each picture to fail, (n,)."""
        odds = np.full(len(features), self.bias)
        for values, knots, rises in zip(
            features.T, self.knots, self.rises.reshape(len(self.knots), -1), strict=True
        ):
            # Knots may be equal where many pictures have one value: it lies past the last of them.
            at, first = np.unique(knots[::-1], return_index=True)
            height = np.append(0.0, np.cumsum(rises))[::-1][first]
            odds += np.interp(values.astype(np.float64), at, height)
        return odds


def place_knots(features: Float32s) -> Floats:
    """Return where to cut each feature, (f, k)."""
    knots: Floats = np.quantile(features.astype(np.float64), SHARES, axis=0).T
    return knots


def fit_head(features: Float32s, clips: Int64s, failing: Int64s, knots: Floats) -> Head:
    """Fit a head.

    Parameters
    ----------
    features
        (n, f) of pictures.
    clips, failing
        (n,) how many clips of each picture were simulated, and how many of them fail.
    knots
        From `place_knots`.
    """
    basis = _expand(features, knots)
    number, hot = clips.astype(np.float64), failing.astype(np.float64)

    def measure(at: Floats) -> tuple[float, Floats]:
        # einsum sums in one order, whatever number of threads the machine has.
        odds = np.einsum("nf,f->n", basis, at[:-1]) + at[-1]
        loss = (number * np.logaddexp(0, odds) - hot * odds).sum() + STRENGTH / 2 * at[:-1] @ at[
            :-1
        ]
        slope = number * scipy.special.expit(odds) - hot
        gradient = np.einsum("nf,n->f", basis, slope) + STRENGTH * at[:-1]
        return float(loss), np.append(gradient, slope.sum())

    bias = np.log((hot.sum() + 0.5) / (number.sum() - hot.sum() + 0.5))
    start = np.append(np.zeros(basis.shape[1]), bias)
    found = scipy.optimize.minimize(
        measure, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}
    )
    return Head(knots, found.x[:-1], float(found.x[-1]))


def _expand(features: Float32s, knots: Floats) -> Floats:
    """Return how much of each piece lies below the feature, 0 to 1, (n, f * (k - 1))."""
    low, width = knots[:, :-1], np.diff(knots, axis=1)
    part = (features[:, :, None].astype(np.float64) - low) / np.where(width > 0, width, 1.0)
    # A piece without width is no piece: nothing rises over it.
    return (np.clip(part, 0, 1) * (width > 0)).reshape(len(features), -1)
