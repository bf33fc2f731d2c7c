"""Choose the clips to simulate next: those whose labels help the detector most.

in: scores and features of patterns; out: the patterns to label, most informative first.
promise: the same scores give the same choice; no pattern is chosen twice.

Uncertainty and diversity, as in Yang, Li, Tabrizian, Chen, Yu: "Bridging the Gap Between Layout
Pattern Sampling and Hotspot Detection via Batch Active Learning", TCAD 2020; here their product,
taken greedily.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stages.contracts import Float32s, Int64s
from stages.errors import UsageError

CANDIDATES = 20
"""Uncertain patterns that are considered for each one chosen."""


def uncertainty(scores: Float32s, threshold: float) -> Float32s:
    """Return how close each score is to the threshold, (n,): 1 at the threshold, 0 at 0 and 1.

    Examples
    --------
    >>> uncertainty(np.array([0.0, 0.1, 0.2, 0.6, 1.0], np.float32), 0.2).round(2).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    below = scores / max(threshold, 1e-12)
    above = (1 - scores) / max(1 - threshold, 1e-12)
    found: Float32s = np.where(scores < threshold, below, above).astype(np.float32)
    return found


def preselect(scores: Float32s, threshold: float, count: int) -> Int64s:
    """Return the `CANDIDATES * count` most uncertain patterns, in ascending order.

    Raises
    ------
    UsageError
        When `count` is not between 1 and the number of patterns.
    """
    if not 0 < count <= len(scores):
        raise UsageError(
            f"--count is {count} but the scan has {len(scores)} patterns; choose from 1 to "
            f"{len(scores)}"
        )
    most_certain_last = np.argsort(-uncertainty(scores, threshold), kind="stable")
    return np.sort(most_certain_last[: CANDIDATES * count])


def choose(
    scores: Float32s, features: npt.NDArray[np.floating], threshold: float, count: int
) -> Int64s:
    """Return the patterns to label, (count,): uncertain ones, far from those already chosen.

    Parameters
    ----------
    scores, features : (n,), (n, f)
        The detector's scores and its features, of unit norm: pooled features tell kinds of failures
        from each other better than the embedding does.
    threshold
        Score from which a pattern is a hotspot.
    count
        How many to choose, at most n.
    """
    doubt = uncertainty(scores, threshold).astype(np.float64)
    features = np.asarray(features, np.float64)
    distance = np.full(len(scores), 2.0)  # the largest distance of two unit vectors
    chosen: list[int] = []
    for _ in range(count):
        worth = doubt * distance
        worth[chosen] = -1.0
        chosen.append(int(np.argmax(worth)))
        to_last = np.sqrt(np.maximum(2 - 2 * features @ features[chosen[-1]], 0))
        distance = np.minimum(distance, to_last)
    return np.array(chosen, np.int64)
