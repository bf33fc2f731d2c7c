"""Looks: random samples of the clips that nobody simulated, each drawn afresh and used once.

in       the chance of each open clip to fail, the hotspots that are known, what is to be certified
out      how many clips to draw of each stratum; after they were simulated, recall and its bound
unit     one look
promise  the bounds of all looks of a run hold at once, but for a probability of `ERROR`; a recall
         that was certified is that of all clips simulated by then

A look's sample is drawn after everything before it was decided, and from what is open then, so its
bound is wrong with the look's own share of `ERROR` at most, whatever was learned before. What a
look finds is known from then on: a later look is of what remains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from stages.audit.estimate import Sampled, bound_missed
from stages.contracts import Floats, Int64s
from stages.errors import ConfigError

ERROR = 0.05
"""Probability that any bound of a run is wrong."""
FIRST = 0.04
"""Share of it that the first look spends; each later one half of what is left."""
EDGES = (1e-5, 1e-4, 1e-3, 1e-2)
"""Limits of the strata: chance of a clip to fail, by the model of the round."""
LEAST_CHANCE = 1e-6
"""Chance that no clip is thought to be below: what a model calls impossible is drawn, too."""
PASSES = 0.8
"""Probability that a look is planned to certify with, if the chances are right."""
MOST_HITS = 1
"""Most hotspots that a look is planned to find: chances near 0 are guesses, and a look that fails
is no loss, as its clips are known afterwards."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is to be certified."""

    recall: float
    """Share of the hotspots that must be known, by the estimate of a look."""
    within: float
    """How far the lower bound may lie under it."""

    def __post_init__(self) -> None:
        if not 0 < self.within < self.recall < 1:
            raise ConfigError(
                f"a recall of {self.recall:g} within {self.within:g} cannot be certified; give a "
                "recall under 1, and less than that for its distance from the bound"
            )

    @property
    def low(self) -> float:
        """Least lower bound that certifies."""
        return self.recall - self.within

    def allow(self, known: float) -> float:
        """Return how many missed hotspots the bound may name where so many are known."""
        return known * (1 - self.low) / self.low


@dataclass(frozen=True, slots=True)
class Stated:
    """What a look says."""

    recall: float
    """Share of the hotspots that is known after the look; unbiased."""
    low: float
    """Lower bound; 0 where no hotspot was found, but 1 where there can be none."""

    def meets(self, aim: Aim) -> bool:
        """Return whether this certifies."""
        return self.recall >= aim.recall and self.low >= aim.low


def share_error(look: int) -> float:
    """Return the probability that the bound of a look is wrong; looks count from 0.

    Examples
    --------
    >>> [round(share_error(look), 6) for look in range(4)]
    [0.04, 0.005, 0.0025, 0.00125]
    """
    return FIRST if look == 0 else (ERROR - FIRST) / 2**look


def state_recall(strata: Sequence[Sampled], known: int, look: int) -> Stated:
    """Return the recall after a look.

    Parameters
    ----------
    strata
        The clips that were open before it; `Sampled.missed` are the hotspots that it found.
    known
        Hotspots that were known before it.
    """
    sampled = [each for each in strata if each.clips]
    found = known + sum(each.missed for each in sampled)
    most = known + (bound_missed(sampled, share_error(look)) if sampled else 0)
    if not found:
        return Stated(1.0, 0.0 if most else 1.0)
    every = known + sum(each.clips * each.missed / each.drawn for each in sampled)
    return Stated(found / every, found / most)


def place_by_chance(chance: Floats) -> Int64s:
    """Return the stratum of each clip, (n,)."""
    return np.searchsorted(EDGES, chance, side="right").astype(np.int64)


def plan_look(
    sizes: Int64s, chances: Floats, known: int, aim: Aim, look: int, most: int
) -> Int64s | None:
    """Return how many clips to draw of each stratum so that the look certifies.

    Of all numbers of clips the least with which it does so if it finds no more hotspots than
    `PASSES` of such looks do, up to `MOST_HITS`; where that is more than `most`, so many: the bound
    is then as good as it can be. In proportion to the size of a stratum and the deviation of a
    verdict there (Neyman 1934).

    Parameters
    ----------
    sizes, chances : (strata,)
        Open clips, and their mean chance to fail.

    Returns
    -------
    (strata,) int64, or None where not even one of each stratum may be drawn.
    """
    sizes, chances = sizes.astype(np.int64), np.maximum(chances, LEAST_CHANCE)
    low, high = int((sizes > 0).sum()), min(most, int(sizes.sum()))
    if high < low or not high:
        return None
    while low < high:
        clips = (low + high) // 2
        drawn = _allocate(sizes, chances, clips)
        enough = _would_certify(drawn, sizes, chances, known, aim, look)
        low, high = (low, clips) if enough else (clips + 1, high)
    return _allocate(sizes, chances, high)


def _allocate(sizes: Int64s, chances: Floats, clips: int) -> Int64s:
    """Return a number of clips for each stratum, `clips` together at most; one at least."""
    weight = sizes * np.sqrt(chances * (1 - chances))
    drawn = np.zeros(len(sizes), np.int64)
    rest, open_to = clips, sizes > 0
    while open_to.any():  # a stratum that is drawn whole leaves the rest to the others
        share = np.where(open_to, weight, 0) * rest / weight[open_to].sum()
        full = open_to & (share >= sizes)
        if not full.any():
            drawn[open_to] = np.maximum(1, share[open_to].astype(np.int64))
            break
        drawn[full] = sizes[full]
        rest, open_to = max(rest - int(sizes[full].sum()), 0), open_to & ~full
    drawn[np.argmax(drawn)] -= max(int(drawn.sum()) - clips, 0)  # those of strata with one clip
    return drawn


def _would_certify(
    drawn: Int64s, sizes: Int64s, chances: Floats, known: int, aim: Aim, look: int
) -> bool:
    expected = drawn * chances
    hits = min(int(scipy.stats.poisson.ppf(PASSES, expected.sum())), MOST_HITS)
    # All hits in the stratum where most are expected.
    each = np.minimum(hits * (np.arange(len(drawn)) == np.argmax(expected)), drawn)
    strata = [
        Sampled(size, clips, missed=hit)
        for size, clips, hit in zip(sizes.tolist(), drawn.tolist(), each.tolist(), strict=True)
    ]
    return state_recall(strata, known, look).meets(aim)


def estimate_price(clips: int, hotspots: float, aim: Aim) -> int:
    """Return how many clips a first look takes that finds nothing, of so many open ones.

    Examples
    --------
    Where 2,000 hotspots are known, 62 missed ones may be left: 5 % of the clips.

    >>> estimate_price(500_000, 2_000, Aim(0.99, 0.02))
    26020
    """
    allowed = aim.allow(hotspots)
    return min(math.ceil(-math.log(FIRST) * clips / max(allowed, 1e-9)), clips)
