"""Looks: their bounds hold together, and a plan is as small as it may be."""

from __future__ import annotations

import numpy as np
import pytest

from stages.audit.estimate import Sampled, bound_missed
from stages.audit.looks import (
    ERROR,
    Aim,
    Stated,
    estimate_price,
    plan_look,
    share_error,
    state_recall,
)
from stages.errors import ConfigError

AIM = Aim(0.99, 0.02)


def test_all_looks_together_spend_the_error() -> None:
    shares = [share_error(look) for look in range(50)]
    assert sum(shares) <= ERROR + 1e-12
    assert sum(shares) == pytest.approx(ERROR)
    assert shares == sorted(shares, reverse=True)


def test_bounds_of_repeated_looks_hold_together() -> None:
    """90 of 3,000 open clips fail; looks go on, each of what the last one left."""
    wrong, runs, known = 0, 400, 100
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        is_open = np.arange(3000) < 90
        found, bad = known, False
        for look in range(4):
            drawn = rng.choice(len(is_open), 120, replace=False)
            hits = int(is_open[drawn].sum())
            said = state_recall([Sampled(len(is_open), 120, missed=hits)], found, look)
            found, is_open = found + hits, np.delete(is_open, drawn)
            bad |= said.low > found / (known + 90)
        wrong += bad
    assert 0 < wrong <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5


def test_a_look_counts_what_it_found_as_known() -> None:
    said = state_recall([Sampled(1000, 500, missed=2)], 96, 0)
    assert said.recall == pytest.approx(98 / 100)
    most = bound_missed([Sampled(1000, 500, missed=2)], share_error(0))
    assert said.low == pytest.approx(98 / (96 + most))


def test_later_looks_say_less() -> None:
    first, second = (state_recall([Sampled(9000, 900)], 500, look) for look in (0, 1))
    assert first.low > second.low
    assert first.recall == second.recall == 1.0


@pytest.mark.parametrize(
    ("strata", "known", "said"),
    [
        ([Sampled(10, 10)], 0, Stated(1.0, 1.0)),  # everything simulated, nothing fails
        ([Sampled(10, 10, missed=3)], 7, Stated(1.0, 1.0)),  # everything is known
        ([Sampled(10, 5)], 0, Stated(1.0, 0.0)),  # nothing found: nothing said
        ([], 4, Stated(1.0, 1.0)),  # nothing is open
    ],
)
def test_what_is_certain_is_said(strata: list[Sampled], known: int, said: Stated) -> None:
    assert state_recall(strata, known, 0) == said


def test_a_plan_is_the_smallest_that_certifies() -> None:
    sizes, chances = np.array([90_000, 5000, 100, 0, 0]), np.array([1e-6, 3e-5, 4e-4, 0, 0])
    drawn = plan_look(sizes, chances, 2000, AIM, 0, 10**6)
    assert drawn is not None

    def certifies(drawn: np.ndarray) -> bool:
        rows = zip(sizes.tolist(), drawn.tolist(), strict=True)
        return state_recall([Sampled(*row) for row in rows], 2000, 0).meets(AIM)

    assert certifies(drawn)
    assert not certifies(np.maximum((0.97 * drawn).astype(int), sizes > 0))
    assert abs(drawn.sum() / estimate_price(95_100, 2000, AIM) - 1) < 0.5


def test_a_plan_keeps_to_what_may_be_drawn() -> None:
    sizes, chances = np.array([90_000, 0, 0, 0, 0]), np.array([1e-6, 0, 0, 0, 0])
    few = plan_look(sizes, chances, 20, AIM, 0, 500)
    assert few is not None
    assert 498 <= few.sum() <= 500  # whole clips of each stratum
    assert plan_look(sizes, chances, 20, AIM, 0, 0) is None
    none = np.zeros(5, int)
    assert plan_look(none, none.astype(float), 20, AIM, 0, 500) is None


@pytest.mark.parametrize(("recall", "within"), [(1.0, 0.1), (0.5, 0.5), (0.9, 0.0)])
def test_an_impossible_aim_is_refused(recall: float, within: float) -> None:
    with pytest.raises(ConfigError, match="cannot be certified"):
        Aim(recall, within)
