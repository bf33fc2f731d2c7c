"""How far pictures lie from those of a training."""

from __future__ import annotations

import numpy as np
import pytest

from stages.contracts import Float32s
from stages.detector.models.familiarity import EXPECTED, count_unfamiliar, spread, summarize


def around(place: int, count: int, seed: int) -> Float32s:
    """Vectors of unit norm around one of three corners."""
    corners = np.eye(3, 16)
    noise = np.random.default_rng(seed).normal(0, 0.05, (count, 16))
    vectors = corners[place] + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_kind_that_was_never_seen_is_unfamiliar() -> None:
    seen = np.concatenate([around(0, 400, 0), around(1, 400, 1)])
    known = summarize(seen, np.concatenate([around(0, 500, 2), around(1, 500, 3)]))
    expected = 4000 * EXPECTED
    assert 0.5 * expected <= count_unfamiliar(known, around(0, 4000, 4)) <= 3 * expected
    assert count_unfamiliar(known, around(2, 100, 5)) == 100
    mixed = np.concatenate([around(0, 300, 6), around(2, 100, 7)])
    assert count_unfamiliar(known, mixed) == pytest.approx(100, abs=12)
    assert count_unfamiliar(known, np.empty((0, 16), np.float32)) == 0


def test_rows_are_spread_and_none_twice() -> None:
    rows = spread(1_000_003, 1000)
    assert len(np.unique(rows)) == 1000
    assert rows[-1] > 998_000
