"""The model of a round: the best fit, the same from the same data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from stages.audit.refit import SHARES, Head, _expand, fit_head, place_knots

RNG = np.random.default_rng(5)
X = np.column_stack([
    RNG.normal(size=4000), np.where(RNG.random(4000) < 0.7, 1.6, RNG.random(4000)),
]).astype(np.float32)  # fmt: skip
"""Two features; most pictures have one value of the second."""


def test_a_fit_finds_what_fails() -> None:
    hot = X[:, 0] > 1.2
    head = fit_head(X, np.full(len(X), 3), 3 * hot, place_knots(X))
    chance = head.compute_chance(X)
    assert chance[hot].min() > 0.3
    assert chance[X[:, 0] < 1].max() < 0.1
    assert chance.sum() == pytest.approx(hot.sum(), rel=0.02)


def test_the_order_of_the_pictures_hardly_matters_and_the_same_order_not_at_all() -> None:
    hot = (X[:, 0] > 1.2).astype(int)
    one, knots = np.ones(len(X), int), place_knots(X)
    first, again = (fit_head(X, one, hot, knots) for _ in range(2))
    assert np.array_equal(first.rises, again.rises)
    back = fit_head(X[::-1], one, hot[::-1], knots)
    assert np.allclose(back.compute_chance(X), first.compute_chance(X), atol=2e-2)


def test_odds_are_those_of_the_pieces() -> None:
    knots = place_knots(X)
    assert (np.diff(knots[1]) == 0).any()  # a piece without width
    rises = np.random.default_rng(1).normal(size=2 * (len(SHARES) - 1))
    width = np.diff(knots, axis=1).ravel()
    head = Head(knots, np.where(width > 0, rises, 0.0), 0.25)
    expected = _expand(X, knots) @ rises + 0.25
    assert np.allclose(head.compute_odds(X), expected, atol=1e-9)
    assert np.allclose(head.compute_chance(X), expit(expected))


def test_clips_without_hotspots_have_low_chances() -> None:
    head = fit_head(X, np.ones(len(X), int), np.zeros(len(X), int), place_knots(X))
    assert head.compute_chance(X).max() < 1e-2
