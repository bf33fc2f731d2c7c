"""Which clips an audit draws: by seed and place alone, as often as it says, and nested."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.audit.draw import (
    NO_SCORE,
    REJECTED,
    STRATA,
    allocate,
    choose_first,
    place_in_strata,
    rank_clips,
)

THRESHOLD = 0.1


@pytest.mark.parametrize(
    ("score", "name"),
    [
        (0.0, "rejected"),  # by the prefilter
        (1e-7, "odds under 1/400 of the threshold's"),
        (0.0999, "odds 1/7 to 1"),
        (0.1, "flagged, odds 1 to 7"),  # a score equal to the threshold is flagged
        (0.99, "flagged, odds over 55"),
        (1.0, "flagged, odds over 55"),
        (np.nan, "no score"),
    ],
)
def test_a_score_has_its_stratum(score: float, name: str) -> None:
    values = np.array([score], np.float32)
    (place,) = place_in_strata(values, values >= np.float32(THRESHOLD), THRESHOLD)
    assert STRATA[place].name == name


@pytest.mark.parametrize("threshold", [0.0, 1.0, 0.5, 1e-6])
def test_what_is_flagged_lies_among_the_flagged(threshold: float) -> None:
    score = np.array([0, 1e-9, 1e-6, 0.3, 0.5, 0.9999, 1], np.float32)
    flagged = score >= threshold
    places = place_in_strata(score, flagged, threshold)
    assert [STRATA[place].flagged for place in places] == flagged.tolist()


sizes_of = st.lists(st.integers(0, 300), min_size=len(STRATA), max_size=len(STRATA))


@given(sizes_of, st.integers(0, 900), st.integers(1, 200))
def test_every_stratum_gets_some_and_more_clips_never_fewer(
    sizes: list[int], clips: int, more: int
) -> None:
    drawn, after = allocate(sizes, clips), allocate(sizes, clips + more)
    filled = sum(size > 0 for size in sizes)
    assert drawn.sum() == min(max(clips, filled), sum(sizes))
    assert ((drawn > 0) == (np.array(sizes) > 0)).all()
    assert (drawn <= sizes).all()
    assert (after >= drawn).all()


def test_the_doubtful_are_drawn_more_often() -> None:
    sizes = [100_000 if number in (0, 4) else 0 for number in range(len(STRATA))]
    drawn = allocate(sizes, 1000)
    share = [each.expected for each in STRATA]
    deviations = np.sqrt([p * (1 - p) for p in share])
    assert drawn[4] / drawn[0] == pytest.approx(deviations[4] / deviations[0], rel=0.02)


def frame(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places on a lattice, and strata in turn."""
    place = np.arange(n)
    return 640 + 1280 * (place % 40), 640 + 1280 * (place // 40) - 9000, place % 3


def test_every_clip_is_drawn_as_often_as_every_other() -> None:
    x, y, stratum = frame(600)
    drawn = np.array([20, 50, 100])
    seeds = 2000
    times = np.zeros(len(x))
    for seed in range(seeds):
        chosen = choose_first(rank_clips(x, y, seed), stratum, drawn)
        assert np.bincount(stratum[chosen], minlength=3).tolist() == drawn.tolist()
        times += chosen
    for number, count in enumerate(drawn):
        share = count / 200
        off = (times[stratum == number] - seeds * share) / np.sqrt(seeds * share * (1 - share))
        assert np.abs(off).max() < 4.5
        assert 0.7 < off.var() < 1.3  # a clip more often than another would show here


def test_neighbours_are_drawn_independently() -> None:
    x, y, stratum = frame(600)
    both = [
        (chosen := choose_first(rank_clips(x, y, seed), stratum * 0, np.array([300])))[:-1]
        & chosen[1:]
        for seed in range(500)
    ]
    assert np.mean(both) == pytest.approx(300 * 299 / (600 * 599), abs=0.004)


def test_the_order_of_the_clips_changes_nothing() -> None:
    x, y, stratum = frame(500)
    drawn = np.array([9, 1, 30])
    order = np.random.default_rng(0).permutation(500)
    chosen = choose_first(rank_clips(x, y, 5), stratum, drawn)
    again = choose_first(rank_clips(x[order], y[order], 5), stratum[order], drawn)
    assert (chosen[order] == again).all()
    other = choose_first(rank_clips(x, y, 6), stratum, drawn)
    assert (chosen != other).any()


def test_a_larger_sample_holds_the_smaller_one() -> None:
    x, y, stratum = frame(500)
    rank = rank_clips(x, y, 0)
    few = choose_first(rank, stratum, np.array([3, 5, 7]))
    many = choose_first(rank, stratum, np.array([4, 5, 90]))
    assert (many >= few).all()


def test_the_ends_of_the_list_are_what_their_names_say() -> None:
    assert STRATA[REJECTED].name == "rejected"
    assert STRATA[NO_SCORE].name == "no score"
