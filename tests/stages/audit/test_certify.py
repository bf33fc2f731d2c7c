"""Certifying by look-up: what is said is true, and the same verdicts give the same rounds."""

from __future__ import annotations

import numpy as np
import pytest

from stages.audit.certify import Frame, Progress, choose_round, record_round
from stages.audit.looks import Aim
from stages.audit.policy import Bools

AIM = Aim(0.9, 0.1)


def make_area(hidden: int = 0, seed: int = 1) -> tuple[Frame, Bools]:
    """8,000 clips, 2.5 % of which fail where a feature says so, and some where nothing does."""
    rng = np.random.default_rng(seed)
    n = 8000
    place = np.arange(n)
    value = rng.normal(size=n).astype(np.float32)
    hot = value + 0.1 * rng.normal(size=n) > 2
    hot[rng.choice(n, hidden, replace=False)] = True
    features = np.column_stack([value, rng.normal(size=n)]).astype(np.float32)
    return Frame(place * 10, place * 7, place, features, value.astype(float)), hot


def run(frame: Frame, hot: Bools, seed: int, budget: int = 8000) -> Progress:
    progress = Progress.of(frame)
    while not progress.meets(AIM):
        chosen = choose_round(frame, progress, AIM, budget, seed)
        if chosen is None:
            break
        assert not progress.simulated[chosen.clips].any()
        progress = record_round(progress, chosen, hot[chosen.clips])
    return progress


@pytest.mark.parametrize("hidden", [0, 12])
def test_the_bound_holds(hidden: int) -> None:
    frame, hot = make_area(hidden)
    ends = [run(frame, hot, seed) for seed in range(20)]
    assert all(each.meets(AIM) for each in ends)
    assert sum(each.hotspots / hot.sum() >= each.low for each in ends) >= 18
    assert all(AIM.low <= each.low <= 1 for each in ends)
    if not hidden:
        assert max(each.share for each in ends) < 0.5


def test_the_budget_is_kept_and_ends_with_a_statement() -> None:
    frame, hot = make_area(40)
    end = run(frame, hot, 0, 600)
    assert not end.meets(AIM)
    assert end.simulated.sum() <= 600
    assert end.looks == 1
    assert 0 < end.low < AIM.low
    assert end.low <= end.hotspots / hot.sum()


def test_the_same_seed_gives_the_same_rounds() -> None:
    frame, hot = make_area()
    first, again, other = (run(frame, hot, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.simulated, again.simulated)
    assert first.low == again.low
    assert not np.array_equal(first.simulated, other.simulated)


def test_where_nothing_is_open_all_is_certain() -> None:
    none = np.empty(0, np.int64)
    empty = Frame(none, none, none, np.empty((0, 1), np.float32), np.empty(0))
    assert Progress.of(empty).meets(AIM)
