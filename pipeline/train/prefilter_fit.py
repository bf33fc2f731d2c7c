"""Fitting a prefilter: a small network that rejects what a detector is far from flagging.

in       the detector's scores of its training patterns and of validation patterns
out      a `Prefilter`, or None where none is of use
promise  of the hotspots that the detector flags, the prefilter rejects at most a share of
         `PREFILTER_LOSS`, in validation as in training
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
from scipy.special import expit, logit

from pipeline.train.training_set import Patterns
from stages.contracts import Float32s
from stages.detector.networks.network import Network
from stages.detector.networks.prefilter import Prefilter
from stages.detector.networks.shapes import PrefilterConfig
from stages.detector.training.loop import LabelledClips, score
from stages.detector.training.thresholds import Bools, round_share

PREFILTER_LOSS = 0.001
"""Share of the hotspots that a prefilter may reject although the detector flags them."""

NEAR = 0.5
"""Patterns of at least this share of the threshold make up half of each training batch."""

TEMPERATURE = 1.5
"""Divisor of the log odds of the soft targets, which say more of a pattern than a label does
(Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015)."""


def fit_prefilter(
    fit: Callable[[LabelledClips], Network],
    training: tuple[Patterns, Float32s],
    validation: tuple[Patterns, Float32s],
    threshold: float,
) -> Prefilter | None:
    """Fit a prefilter, and choose the score below which it rejects patterns.

    None where the detector flags nothing, or nearly everything.

    Parameters
    ----------
    fit
        Trains a prefilter on clips.
    training, validation
        Patterns with the detector's score of each.
    threshold
        Score from which the detector flags a clip.
    """
    patterns, scores = training
    checked, checked_scores = validation
    near, flagged = scores >= NEAR * threshold, checked_scores >= threshold
    if near.all() or not near.any() or not checked.hotspots[flagged].any():
        return None
    targets = soften(scores, threshold)
    network = fit(LabelledClips(patterns.raster, near, soft_targets=targets))
    first = score(network, checked.raster)
    # The few hotspots of a validation set are a narrow base: the training set limits the loss too.
    cuts = (
        _choose_cut(first, flagged, checked),
        _choose_cut(score(network, patterns.raster), scores >= threshold, patterns),
    )
    reject_below = round_share(min(cuts), math.floor)
    return Prefilter(
        config=cast(PrefilterConfig, network.config), weights=network.get_arrays(),
        reject_below=reject_below,
        lost=float(
            checked.hotspots[flagged & (first < reject_below)].sum() / checked.hotspots.sum()
        ),
        passed=float((first >= reject_below).mean()),
    )  # fmt: skip


def soften(scores: Float32s, threshold: float) -> Float32s:
    """Return the soft targets that scores make, (p,): one half at the threshold."""
    odds = logit(np.clip(scores.astype(np.float64), 1e-9, 1 - 1e-7)) - logit(threshold)
    targets: Float32s = expit(odds / TEMPERATURE).astype(np.float32)
    return targets


def _choose_cut(scores: Float32s, flagged: Bools, patterns: Patterns) -> float:
    """Return the highest score of the prefilter below which few enough flagged hotspots lie."""
    of_hotspots = np.sort(np.repeat(scores[flagged], patterns.hotspots[flagged]))
    allowed = math.floor(PREFILTER_LOSS * patterns.hotspots.sum())
    return float(of_hotspots[allowed]) if len(of_hotspots) else 1.0
