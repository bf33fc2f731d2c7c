"""New pictures near known ones."""

from __future__ import annotations

import numpy as np
import pytest

from stages.detector.training import perturb as module
from stages.detector.training.perturb import SHIFT_PX, ZOOM, perturb


def squares(count: int, side: int = 48) -> np.ndarray:
    """Pictures of two layers with a square in the middle, each of its own grey."""
    rasters = np.zeros((count, 2, side, side), np.uint8)
    grey = np.linspace(100, 250, count).astype(np.uint8)
    rasters[:, :, side // 4 : -side // 4, side // 4 : -side // 4] = grey[:, None, None, None]
    return rasters


def test_the_same_generator_gives_the_same_pictures_in_batches_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rasters = squares(7)
    made = perturb(rasters, np.random.default_rng(1))
    monkeypatch.setattr(module, "BATCH", 2)
    np.testing.assert_array_equal(made, perturb(rasters, np.random.default_rng(1)))
    assert (made != perturb(rasters, np.random.default_rng(2))).any()
    assert (made.shape, made.dtype) == (rasters.shape, np.uint8)


def test_pictures_are_moved_and_scaled_no_further_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MIXED", 0.0)
    rasters = squares(60)
    made = perturb(rasters, np.random.default_rng(0)).astype(float)
    side, grey = rasters.shape[3], rasters.max(axis=(1, 2, 3)).astype(float)
    width = made[:, 0, side // 2].sum(axis=1) / grey
    assert (abs(width / (side / 2) - 1) <= ZOOM / (1 - ZOOM) + 0.02).all()
    assert np.ptp(width) > ZOOM * side / 4
    column = (made[:, 1].sum(axis=1) * np.arange(side)).sum(axis=1) / made[:, 1].sum(axis=(1, 2))
    moved = abs(column - (side - 1) / 2)
    assert SHIFT_PX / 2 < moved.max() <= SHIFT_PX * (1 + 2 * ZOOM)


def test_a_mixed_picture_has_one_part_of_each_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MIXED", 1.0), ("ZOOM", 0.0), ("SHIFT_PX", 0.0)):
        monkeypatch.setattr(module, name, value)
    rasters = squares(40)
    made = perturb(rasters, np.random.default_rng(0))
    greys = [set(np.unique(one)) - {0} for one in made]
    known = set(np.unique(rasters)) - {0}
    assert all(found <= known and 1 <= len(found) <= 2 for found in greys)
    assert sum(len(found) == 2 for found in greys) > 10
    columns = made[:, 0, 24, 12:36].astype(int)  # through the squares: one step at most
    assert ((np.diff(columns, axis=1) != 0).sum(axis=1) <= 1).all()
