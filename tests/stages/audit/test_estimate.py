"""What an audit says: unbiased, exact for one stratum, and true in 95 of 100 cases."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import hypergeom

from stages.audit.estimate import FEWER, LEVEL, MORE, Estimate, Sampled, estimate_recall
from stages.errors import ConfigError

Stratum = tuple[int, int, int, bool]
"""Clips, hotspots, drawn clips, and whether the scan flags them."""


def test_the_estimate_is_unbiased_over_every_sample() -> None:
    missed, flagged = (1, 0, 0, 1, 0), (1, 0, 1)
    said = [
        estimate_recall([
            Sampled(5, 2, missed=sum(a)),
            Sampled(3, 1, found=sum(b), may_find=True, may_miss=False),
        ])
        for a, b in product(combinations(missed, 2), combinations(flagged, 1))
    ]  # fmt: skip
    assert np.mean([each.missed for each in said]) == pytest.approx(sum(missed))
    assert np.mean([each.found for each in said]) == pytest.approx(sum(flagged))


@pytest.mark.parametrize(("clips", "drawn"), [(30, 7), (30, 29), (200, 12)])
def test_limits_of_one_stratum_invert_the_exact_test(clips: int, drawn: int) -> None:
    every = np.arange(clips + 1)
    for hits in range(drawn + 1):
        said = estimate_recall([Sampled(clips, drawn, missed=hits)])
        fewer, more = (
            hypergeom.sf(hits - 1, clips, every, drawn), hypergeom.cdf(hits, clips, every, drawn)
        )  # fmt: skip
        assert said.missed_low == every[fewer >= FEWER - 1e-12].min()
        assert said.missed_high == every[more >= MORE - 1e-12].max()
    assert pytest.approx(1 - LEVEL) == FEWER + MORE


def test_equal_strata_are_as_good_as_one() -> None:
    one = estimate_recall([Sampled(100_000, 5000, missed=6)])
    many = estimate_recall([Sampled(25_000, 1250, missed=hits) for hits in (0, 1, 2, 3)])
    assert many.missed == one.missed
    assert many.missed_low == pytest.approx(one.missed_low, rel=0.02)
    assert many.missed_high == pytest.approx(one.missed_high, rel=0.02)


def test_what_was_simulated_whole_is_certain() -> None:
    said = estimate_recall([
        Sampled(40, 40, missed=3), Sampled(10, 10, found=9, may_find=True, may_miss=False),
    ])  # fmt: skip
    assert (said.missed_low, said.missed, said.missed_high) == (3, 3, 3)
    assert said.recall == said.recall_low == pytest.approx(0.75)
    assert said.recall_high == pytest.approx(0.75, abs=1e-8)


def test_no_hotspot_has_no_recall_but_a_bound() -> None:
    said = estimate_recall([Sampled(50_000, 1000)])
    assert (said.recall, said.recall_low, said.recall_high) == (None, None, None)
    assert said.missed == said.missed_low == 0
    assert said.missed_high == pytest.approx(-math.log(MORE) * 50, rel=0.03)


def test_no_clip_at_all() -> None:
    said = estimate_recall([])
    assert (said.missed, said.missed_high, said.recall) == (0, 0, None)
    assert estimate_recall([], known=7).recall == 1


def test_nothing_missed_may_still_be_less_than_everything() -> None:
    said = estimate_recall([Sampled(10_000, 500)], known=400)
    assert said.recall == said.recall_high == 1
    assert said.recall_low == pytest.approx(400 / (400 + said.missed_high), abs=1e-6)


def test_more_hits_say_more_missed() -> None:
    said = [estimate_recall([Sampled(5000, 100, missed=hits)], 50) for hits in range(20)]
    for name in ("missed", "missed_low", "missed_high"):
        values = [getattr(each, name) for each in said]
        assert values == sorted(values)
    for name in ("recall", "recall_low", "recall_high"):
        values = [getattr(each, name) for each in said]
        assert values == sorted(values, reverse=True)


POPULATIONS: dict[str, tuple[Sequence[Stratum], int]] = {
    "rare in the large stratum": ([(400, 3, 20, False), (40, 6, 10, False)], 30),
    "rare in the small one": ([(400, 0, 40, False), (40, 2, 8, False)], 12),
    "half of them missed": ([(150, 12, 20, False), (60, 20, 12, False), (30, 3, 20, False)], 35),
    "flagged ones sampled, too": ([(200, 4, 25, False), (60, 9, 15, False), (30, 21, 9, True)], 0),
    "few are found": ([(90, 40, 10, False), (20, 4, 8, True)], 0),
    "unequal weights": ([(300, 5, 4, False), (100, 30, 60, False)], 40),
    "one clip of a stratum": ([(50, 10, 1, False), (200, 6, 30, False)], 20),
}


def every_outcome(strata: Sequence[Stratum], known: int) -> Iterator[tuple[float, Estimate]]:
    """What an audit may say of a population, with the probability of each."""
    ways = [
        [(hits, hypergeom.pmf(hits, clips, hot, drawn)) for hits in range(drawn + 1)]
        for clips, hot, drawn, _ in strata
    ]
    for way in product(*ways):
        chance = math.prod(share for _, share in way)
        if chance > 1e-6:
            yield chance, estimate_recall([
                Sampled(clips, drawn, hits * flagged, hits * (not flagged), flagged, not flagged)
                for (clips, _, drawn, flagged), (hits, _) in zip(strata, way, strict=True)
            ], known)  # fmt: skip


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_truth_lies_in_the_interval(name: str) -> None:
    strata, known = POPULATIONS[name]
    missed = sum(hot for _, hot, _, flagged in strata if not flagged)
    found = known + sum(hot for _, hot, _, flagged in strata if flagged)
    recall = found / (found + missed)
    counts = shares = 0.0
    for chance, said in every_outcome(strata, known):
        counts += chance * (said.missed_low <= missed <= said.missed_high)
        if said.recall_low is None or said.recall_high is None:
            shares += chance
        else:
            shares += chance * (said.recall_low - 1e-6 <= recall <= said.recall_high + 1e-6)
    assert counts > LEVEL - 1e-4
    assert shares > LEVEL - 1e-4


def test_a_whole_reticle_takes_no_time() -> None:
    started = time.perf_counter()
    said = estimate_recall([Sampled(400_000_000, 100_000, missed=2), Sampled(10**6, 10**5)], 10**6)
    assert said.missed_high > said.missed == 8000
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("wrong", [(5, 6, 0, 0), (5, 3, 2, 2), (5, 0, 0, 0)])
def test_the_impossible_is_refused(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"give at most|draw one"):
        Sampled(*wrong)
