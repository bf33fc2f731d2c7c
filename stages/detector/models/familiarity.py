"""How far pictures lie from those that a model was trained on.

in       vectors of pictures by `stages.detector.training.loop.likeness`
out      `Familiar`, which a checkpoint keeps; the share of other pictures that lie further out
promise  of pictures like those held out in training, `EXPECTED` lie further out

A model finds few hotspots among patterns of a kind that it never saw, and its scores do not show
it: they are low, as those of what prints. A picture is unfamiliar if the nearest of the training
pictures is further away than it is for all but one in a hundred of the pictures that were held out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.contracts import Float32s, Int64s

Float16s = npt.NDArray[np.float16]

KEPT = 2000
"""Training pictures whose vectors are kept."""
LOOKED_AT = 1000
"""Pictures of a scan that are looked at, and held-out ones that set the limit."""
EXPECTED = 0.01
"""Share of the held-out pictures that are further out than the limit."""
MANY = 0.05
"""Share of a scan's pictures from which it says that its model is out of its depth."""


@dataclass(frozen=True, slots=True, eq=False)
class Familiar:
    """What a model was trained on."""

    vectors: Float16s
    """(k, f), of unit norm."""
    limit: float
    """Distance from the nearest of them beyond which a picture is unfamiliar, of 0 to 2."""


def summarize(training: Float32s, held_out: Float32s) -> Familiar:
    """Return what a model was trained on, from vectors of both sets, (n, f)."""
    vectors = training.astype(np.float16)
    distance = _find_distances(vectors, held_out)
    return Familiar(vectors, round(float(np.quantile(distance, 1 - EXPECTED)), 6))


def count_unfamiliar(familiar: Familiar, vectors: Float32s) -> int:
    """Return how many pictures, (n, f), are unfamiliar."""
    if not len(vectors):
        return 0
    return int((_find_distances(familiar.vectors, vectors) > familiar.limit).sum())


def spread(total: int, count: int) -> Int64s:
    """Return at most `count` of `total` rows, evenly spread.

    Examples
    --------
    >>> spread(10, 4).tolist(), spread(2, 4).tolist()
    ([0, 2, 5, 7], [0, 1])
    """
    count = min(total, count)
    return np.arange(count, dtype=np.int64) * total // max(count, 1)


def _find_distances(known: Float16s, vectors: Float32s) -> Float32s:
    """Return how far the nearest of `known` is from each vector, (n,)."""
    likeness = vectors.astype(np.float64) @ known.astype(np.float64).T
    nearest: Float32s = np.sqrt(np.maximum(2 - 2 * likeness.max(1), 0)).astype(np.float32)
    return nearest
