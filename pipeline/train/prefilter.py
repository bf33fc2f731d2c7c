"""Teaching a small network what a detector comes near to flagging, so that it may look first.

in       what the detector says of the patterns that it learnt from, and of validation patterns
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
from stages.detector.network import Network
from stages.detector.prefilter import Prefilter, PrefilterConfig
from stages.detector.thresholds import rounded
from stages.detector.training import LabelledClips, score

PREFILTER_LOSS = 0.001
"""Share of the hotspots that a prefilter may send away, of those that are flagged."""

NEAR = 0.5
"""Half of what a prefilter learns from scores so much of the threshold, or more."""

SOFTENED = 1.5
"""What the log odds over the threshold are divided by: an answer of yes or no says less of a
pattern than how far it is from either (Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural
Network", 2015)."""


def fit_prefilter(
    learn: Callable[[LabelledClips], Network],
    training: tuple[Patterns, Float32s],
    validation: tuple[Patterns, Float32s],
    threshold: float,
) -> Prefilter | None:
    """Teach a prefilter, and set the score under which it sends patterns away.

    None where the detector flags nothing, or comes near to flagging everything.

    Parameters
    ----------
    learn
        Returns a prefilter, learnt from clips.
    training, validation
        Patterns with the detector's score of each.
    threshold
        Score that the detector flags from.
    """
    patterns, scores = training
    checked, validation_scores = validation
    near, flagged = scores >= NEAR * threshold, validation_scores >= threshold
    if near.all() or not near.any() or not checked.hot[flagged].any():
        return None
    network = learn(LabelledClips(patterns.raster, near, taught=_taught(scores, threshold)))
    first = score(network, checked.raster)
    # A few hotspots of validation are a narrow base: those that were learnt from must be kept, too.
    learnt = score(network, patterns.raster)
    cuts = (
        _may_lose(first[flagged], checked.hot[flagged], checked),
        _may_lose(learnt[scores >= threshold], patterns.hot[scores >= threshold], patterns),
    )
    reject_below = rounded(min(cuts), math.floor)
    return Prefilter(
        config=cast(PrefilterConfig, network.config), weights=network.cpu().state_dict(),
        reject_below=reject_below,
        lost=float(checked.hot[flagged & (first < reject_below)].sum() / checked.hot.sum()),
        passed=float((first >= reject_below).mean()),
    )  # fmt: skip


def _taught(scores: Float32s, threshold: float) -> Float32s:
    """Return what a prefilter learns to answer: one half at the threshold."""
    odds = logit(np.clip(scores.astype(np.float64), 1e-9, 1 - 1e-7)) - logit(threshold)
    taught: Float32s = expit(odds / SOFTENED).astype(np.float32)
    return taught


def _may_lose(first: Float32s, hot: np.ndarray, among: Patterns) -> float:
    """Return the highest score of the prefilter under which few enough hotspots lie."""
    found = np.sort(np.repeat(first, hot))
    return float(found[math.floor(PREFILTER_LOSS * among.hot.sum())]) if len(found) else 1.0
