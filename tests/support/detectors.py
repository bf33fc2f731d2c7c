"""Clips that a detector can learn from in seconds, and a network that is small enough to."""

from __future__ import annotations

import numpy as np

from stages.contracts import Floats
from stages.detector.networks.shapes import DetectorConfig
from stages.detector.training.loop import LabelledClips

SMALL = DetectorConfig(stem=16, fine=(16,), coarse=(16,), embedding=8)


def covered(low: Floats, high: Floats) -> Floats:
    """Share of each of 64 pixels that lies between `low` and `high`, (n,) each, (n, 64)."""
    pixel = np.arange(64)
    inside = np.minimum(high[:, None], pixel + 1) - np.maximum(low[:, None], pixel)
    return np.clip(inside, 0, 1)


def two_bars(n: int, seed: int, hot_share: float = 0.2) -> LabelledClips:
    """Two bars with a gap between, by area coverage; a hotspot when it is under 3.5 pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < hot_share
    gap = np.where(labels, rng.uniform(2.6, 3.3, n), rng.uniform(3.7, 6, n))
    middle = rng.uniform(28, 36, n)
    bars = covered(middle - gap / 2 - 12, middle - gap / 2)
    bars += covered(middle + gap / 2, middle + gap / 2 + 12)
    along = covered(rng.uniform(0, 12, n), rng.uniform(52, 64, n))
    rasters = np.rint(255 * bars[:, :, None] * along[:, None, :])[:, None]
    return LabelledClips(rasters.astype(np.uint8), labels)
