"""Which clips to simulate next, so that a detector learns the most from them.

in: scores and embeddings of patterns; out: the patterns to label, the most telling first.
promise: the same scores, the same choice; no pattern twice.

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
"""So many of the most uncertain are looked at for each that is chosen."""


def uncertainty(scores: Float32s, threshold: float) -> Float32s:
    """Return how near each score is to the threshold, (n,): 1 at it, 0 at certainty.

    Examples
    --------
    >>> uncertainty(np.array([0.0, 0.1, 0.2, 0.6, 1.0], np.float32), 0.2).round(2).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    below = scores / max(threshold, 1e-12)
    above = (1 - scores) / max(1 - threshold, 1e-12)
    found: Float32s = np.where(scores < threshold, below, above).astype(np.float32)
    return found


def candidates(scores: Float32s, threshold: float, count: int) -> Int64s:
    """Return the most uncertain patterns, `CANDIDATES` times as many as are asked for, in order.

    Raises
    ------
    UsageError
        When there are not so many as are asked for.
    """
    if not 0 < count <= len(scores):
        raise UsageError(
            f"--select is {count} but the scan has {len(scores)} patterns; choose from 1 to "
            f"{len(scores)}"
        )
    most_certain_last = np.argsort(-uncertainty(scores, threshold), kind="stable")
    return np.sort(most_certain_last[: CANDIDATES * count])


def choose(
    scores: Float32s, places: npt.NDArray[np.floating], threshold: float, count: int
) -> Int64s:
    """Return the patterns to label, (count,): uncertain ones, far from those chosen before.

    Parameters
    ----------
    scores, places : (n,), (n, f)
        What the detector says, and its features, of unit norm: the embedding will not do, as it
        draws all that is alike in its verdict to one point.
    threshold
        Score from which a pattern is a hotspot.
    count
        How many to choose, n at most.
    """
    doubt = uncertainty(scores, threshold).astype(np.float64)
    places = np.asarray(places, np.float64)
    distance = np.full(len(scores), 2.0)  # of unit vectors, none is larger
    chosen: list[int] = []
    for _ in range(count):
        worth = doubt * distance
        worth[chosen] = -1.0
        chosen.append(int(np.argmax(worth)))
        apart = np.sqrt(np.maximum(2 - 2 * places @ places[chosen[-1]], 0))
        distance = np.minimum(distance, apart)
    return np.array(chosen, np.int64)
