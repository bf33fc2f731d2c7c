"""Drawing a random sample of clips, in strata by score, with known probabilities.

in       the score of each clip, and whether the scan flagged it; a number of clips to draw
out      the stratum of each clip, the number to draw of each stratum, the clips drawn
unit     a whole scan, or any part of it
promise  which clips are drawn depends on the seed, their places and their strata alone: not on the
         order of the clips, nor on tiles or workers; a larger sample contains the smaller one
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.contracts import Float32s, Int64s

UInt64s = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Stratum:
    """A kind of clips, and how often a scan is expected to be wrong about one."""

    name: str
    flagged: bool
    """Whether the scan flags its clips."""
    expected: float
    """Guessed share of the hotspots among its clips. It decides how many of them are drawn, and
    so how wide the interval is; a wrong guess makes no estimate wrong."""


EDGES = (-math.inf, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, math.inf)
"""Limits of the strata: log odds of a score, less those of the threshold."""

# What was simulated in full (docs/decisions/0024-audit.md): among the clips that are not flagged,
# the share of hotspots falls by a quarter with each unit of the log odds.
STRATA = (
    Stratum("rejected", False, 0.0004),
    Stratum("odds under 1/400 of the threshold's", False, 0.004),
    Stratum("odds 1/400 to 1/55", False, 0.007),
    Stratum("odds 1/55 to 1/7", False, 0.012),
    Stratum("odds 1/7 to 1", False, 0.02),
    Stratum("flagged, odds 1 to 7", True, 0.08),
    Stratum("flagged, odds 7 to 55", True, 0.4),
    Stratum("flagged, odds over 55", True, 0.9),
    Stratum("no score", False, 0.01),
)
"""By rising score; `place_in_strata` returns indices into them.

*Rejected* has the score 0: by the prefilter, or by a detector that is sure. *No score*: sampling
never drew the place, or its unit failed.
"""
REJECTED, LOWEST, NO_SCORE = 0, 1, len(STRATA) - 1

MISSED_SHARE = 0.3
"""Guessed share of the hotspots that a scan misses. The flagged clips are drawn less the smaller it
is: an error in what was found moves recall by this much."""


def place_in_strata(score: Float32s, flagged: npt.NDArray[np.bool_], threshold: float) -> Int64s:
    """Return the stratum of each clip, (n,), an index into `STRATA`.

    Parameters
    ----------
    score
        (n,) probability of a hotspot, NaN where there is none.
    flagged
        (n,) whether the scan flags the clip; decides where it disagrees with the score.
    threshold
        Lowest score that is flagged.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.log(score) - np.log1p(-score.astype(np.float64))
        over = odds - (math.log(threshold) - math.log1p(-threshold) if 0 < threshold < 1 else 0.0)
    place = LOWEST + np.searchsorted(EDGES[1:-1], over, side="right")
    first = next(number for number, each in enumerate(STRATA) if each.flagged)
    place = np.where(flagged, np.maximum(place, first), np.minimum(place, first - 1))
    place = np.where((score == 0) & ~flagged, REJECTED, place)
    return np.where(np.isnan(score), NO_SCORE, place).astype(np.int64)


def allocate(sizes: Sequence[int], clips: int) -> Int64s:
    """Return how many clips to draw of each stratum.

    In proportion to its size and to the deviation of a verdict there (Neyman 1934), at least one
    and at most all; with more clips no stratum gets fewer.

    Parameters
    ----------
    sizes
        Clips of each of `STRATA`; 0 where none may be drawn.
    clips
        Number of clips to draw. All are drawn where there are fewer, and one of each stratum
        where there are more strata.

    Examples
    --------
    >>> allocate([10_000, 0, 0, 100, 100, 0, 0, 0, 0], 300).tolist()
    [266, 0, 0, 15, 19, 0, 0, 0, 0]
    """
    filled = [number for number, size in enumerate(sizes) if size]
    drawn = np.zeros(len(sizes), np.int64)
    # Each seat goes to the stratum that has the best claim to one more.
    claims = [(-math.inf, number) for number in filled]
    for _ in range(min(max(clips, len(filled)), sum(sizes))):
        _, number = heapq.heappop(claims)
        drawn[number] += 1
        if drawn[number] < sizes[number]:
            claim = (drawn[number] + 0.5) / (sizes[number] * _compute_weight(STRATA[number]))
            heapq.heappush(claims, (claim, number))
    return drawn


def _compute_weight(stratum: Stratum) -> float:
    share = stratum.expected
    return math.sqrt(share * (1 - share)) * (MISSED_SHARE if stratum.flagged else 1.0)


def rank_clips(x_dbu: Int64s, y_dbu: Int64s, seed: int) -> UInt64s:
    """Return a random number for each clip, (n,), from its place and the seed.

    The clips of a stratum with the least numbers are its sample: without replacement, every set of
    clips with the same probability.
    """
    mixed = _mix(np.full(len(x_dbu), seed, np.uint64))
    mixed = _mix(mixed ^ x_dbu.astype(np.uint64))
    return _mix(mixed ^ y_dbu.astype(np.uint64))


def _mix(values: UInt64s) -> UInt64s:
    """Return 64 mixed bits for 64 (splitmix64: Steele, Lea and Flood, OOPSLA 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def choose_first(rank: UInt64s, stratum: Int64s, drawn: Int64s) -> npt.NDArray[np.bool_]:
    """Return which clips are drawn, (n,): of each stratum those with the least numbers."""
    chosen = np.zeros(len(rank), bool)
    for number, count in enumerate(drawn.tolist()):
        members = np.flatnonzero(stratum == number)
        if count < len(members):
            members = members[np.argpartition(rank[members], count)[:count]]
        chosen[members] = True
    return chosen
