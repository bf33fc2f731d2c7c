"""Estimating how many hotspots a scan missed, from a stratified sample of clips.

in       per stratum: its clips, how many of them were simulated, how many of those are hotspots
out      recall and the number of missed hotspots, each with an interval of 95 %
promise  the number is unbiased; the interval holds for rare events, where no approximation by a
         normal distribution does; a stratum whose clips were all simulated adds no uncertainty

Number the clips of a stratum at random, its hotspots first. A sample of n clips with x hotspots
then says: the number of hotspots lies between the x-th and the (x + 1)-th sampled number. Those
two random positions are the lower and the upper confidence distribution; their quantiles are the
limits of Clopper and Pearson for a finite population. Distributions of strata are melded (Fay,
Proschan and Brittain, Biometrics 2015): lower ones are added, and for the upper limit one stratum
takes its upper one, whichever gives the larger limit, as for directly standardised rates (Fay and
Feuer, Statistics in Medicine 1997).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from stages.contracts import Floats
from stages.errors import ConfigError

LEVEL = 0.95
"""Probability that an interval holds the truth."""
FEWER, MORE = 0.01, 0.04
"""Probabilities that fewer hotspots are missed than an interval says, and more: ``1 - LEVEL``
divided so that intervals from few hits are short, as those of Crow and Gardner (Biometrika 1959)
are. It lowers the upper limit for no hit from 3.7 to 3.2 times a clip's weight."""

_POINTS = 1 << 14
"""Most places at which a distribution is computed: a thousandth of its width apart."""
_SUMS = 1 << 15
"""Most values of a sum of distributions."""
_DEVIATIONS = 25
"""Standard deviations to both sides of its mean: an exponential tail of 1e-11 is left out."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A stratum after its sample was simulated."""

    clips: int
    drawn: int
    found: int = 0
    """Hotspots among the drawn clips that the scan found."""
    missed: int = 0
    """Hotspots among the drawn clips that it missed."""
    may_find: bool = False
    """Whether any of its clips may be found; else `found` is 0 and not uncertain."""
    may_miss: bool = True
    """Whether any of its clips may be missed; else `missed` is 0 and not uncertain."""

    def __post_init__(self) -> None:
        if not 0 <= self.found + self.missed <= self.drawn <= self.clips:
            raise ConfigError(
                f"{self.found + self.missed} hotspots in {self.drawn} of {self.clips} clips is "
                "impossible; give at most as many hotspots as drawn clips, and of those as clips"
            )
        if self.clips and not self.drawn:
            raise ConfigError(
                f"no clip of a stratum of {self.clips} was drawn; draw one or more of each stratum"
            )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an audit says, with intervals of `LEVEL`."""

    found: float
    """Hotspots that the scan found; exact where they are known."""
    missed: float
    """Hotspots that it missed; unbiased."""
    missed_low: int
    missed_high: int
    recall: float | None
    """Share of the hotspots that the scan found; None where there seem to be none."""
    recall_low: float | None
    recall_high: float | None


def estimate_recall(strata: Sequence[Sampled], known: int = 0) -> Estimate:
    """Return recall and missed hotspots of a scan.

    Parameters
    ----------
    strata
        Everything that was sampled.
    known
        Hotspots that the scan found and that no stratum holds, since all of them are known.

    Examples
    --------
    One clip in ten of 1,000 simulated and no hotspot among them, where the scan found 200:

    >>> said = estimate_recall([Sampled(1000, 100)], known=200)
    >>> said.missed, said.missed_high, said.recall, round(said.recall_low, 3)
    (0.0, 30, 1.0, 0.87)
    """
    missed = [(each.clips, each.drawn, each.missed) for each in strata if each.may_miss]
    found = [(each.clips, each.drawn, each.found) for each in strata if each.may_find]
    m, f = (sum(size * hits / drawn for size, drawn, hits in part) for part in (missed, found))
    f += known
    least, most = _add_lower(missed), _add_upper(missed)
    low, high = _find_quantile(least, FEWER), max(_find_quantile(law, 1 - MORE) for law in most)
    if not f + m:
        return Estimate(f, m, low, high, None, None, None)
    worst = min(_divide(_add_lower(found), known, law, MORE) for law in most)
    best = max(_divide(law, known, least, 1 - FEWER) for law in _add_upper(found))
    return Estimate(f, m, low, high, f / (f + m), worst, best)


def bound_missed(strata: Sequence[Sampled], error: float) -> int:
    """Return how many hotspots are missed at most, but for a probability of `error`."""
    missed = [(each.clips, each.drawn, each.missed) for each in strata if each.may_miss]
    return max(_find_quantile(law, 1 - error) for law in _add_upper(missed))


@dataclass(frozen=True, slots=True, eq=False)
class _Law:
    """A distribution on whole numbers that are `step` apart, from 0."""

    step: int
    share: Floats


Counted = tuple[int, int, int]
"""Clips of a stratum, drawn ones, hotspots among those."""
Places = tuple[Floats, Floats]
"""Numbers and the share of each, (n,)."""


def _place_hits(clips: int, drawn: int, rank: int) -> Places:
    """Return where the `rank`-th smallest of `drawn` of the numbers 1 to `clips` may lie.

    Rank 0 lies at 0, the one after the last at ``clips + 1``.
    """
    if not 1 <= rank <= drawn:
        return np.array([0.0 if rank < 1 else clips + 1.0]), np.ones(1)
    scale = (clips + 1) / (drawn + 1)
    mean = rank * scale
    spread = math.sqrt(
        rank * (drawn + 1 - rank) * scale * (clips - drawn) / (drawn + 1) / (drawn + 2)
    )
    first = max(rank, math.floor(mean - _DEVIATIONS * spread))
    last = min(clips - drawn + rank, math.ceil(mean + _DEVIATIONS * spread))
    places = np.arange(first, last + 1, 1 + (last - first) // _POINTS, dtype=np.float64)
    logs = _log_choose(places - 1, rank - 1) + _log_choose(clips - places, drawn - rank)
    shares = np.exp(logs - logs.max())
    return places, shares / shares.sum()


def _log_choose(n: Floats, k: int) -> Floats:
    chosen: Floats = scipy.special.gammaln(n + 1) - scipy.special.gammaln(n - k + 1)
    return chosen


def _add_lower(strata: Sequence[Counted]) -> _Law:
    """Return the lower confidence distribution of the hotspots of all strata."""
    places = [_place_hits(*each) for each in strata]
    step = _choose_step(places)
    return _Law(step, _convolve([_spread(each, step, np.floor) for each in places]))


def _add_upper(strata: Sequence[Counted]) -> list[_Law]:
    """Return the upper confidence distributions: one for each stratum that takes its upper one."""
    places = [_place_hits(clips, drawn, hits + 1) for clips, drawn, hits in strata]
    upper = [(at - 1, share) for at, share in places]
    step = _choose_step(upper)
    lower = [_spread(_place_hits(*each), step, np.ceil) for each in strata]
    return [
        _Law(step, _convolve([*lower[:at], _spread(each, step, np.ceil), *lower[at + 1 :]]))
        for at, each in enumerate(upper)
    ] or [_Law(1, np.ones(1))]


def _choose_step(parts: Sequence[Places]) -> int:
    """Return how far apart the numbers of a sum are, so that there are not too many."""
    return 1 + int(sum(places[-1] for places, _ in parts)) // _SUMS


def _spread(part: Places, step: int, rounded: Callable[[Floats], Floats]) -> Floats:
    """Return the shares of a distribution by multiples of a step."""
    places, shares = part
    return np.bincount(rounded(places / step).astype(np.int64), shares).astype(np.float64)


def _convolve(parts: Sequence[Floats]) -> Floats:
    """Return the distribution of a sum of independent numbers."""
    size = 1 + sum(len(part) - 1 for part in parts)
    product = np.ones(1, np.complex128)
    for part in parts:
        product = product * np.fft.rfft(part, fast := scipy.fft.next_fast_len(size, real=True))
    whole = np.fft.irfft(product, fast)[:size] if parts else product.real
    return np.maximum(whole, 0.0)


def _find_quantile(law: _Law, share: float) -> int:
    """Return the least number at or below which lies this share of a distribution."""
    below = np.cumsum(law.share)
    return int(np.searchsorted(below, share * below[-1])) * law.step


def _divide(found: _Law, known: int, missed: _Law, share: float) -> float:
    """Return a quantile of found / (found + missed), where `known` more are found."""
    hits = known + found.step * np.arange(len(found.share))
    at_least = np.append(np.cumsum(missed.share[::-1])[::-1], 0.0) / missed.share.sum()
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        recall = (low + high) / 2
        least = np.ceil(hits * (1 - recall) / recall / missed.step)
        below = at_least[np.minimum(least, len(missed.share)).astype(np.int64)]
        low, high = (recall, high) if found.share @ below < share else (low, recall)
    return round(high, 8)
