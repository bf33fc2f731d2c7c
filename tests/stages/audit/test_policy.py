"""The policy: batches while clips are likely to fail, then a look, within the budget."""

from __future__ import annotations

import numpy as np
import pytest

from stages.audit.looks import Aim, estimate_price
from stages.audit.policy import (
    EXPLORED,
    GROWTH,
    KEPT,
    LEAST_BATCH,
    MOST_TRUST,
    choose_step,
    measure_trust,
)

AIM = Aim(0.99, 0.02)


def chances(likely: int, others: int = 50_000) -> np.ndarray:
    return np.concatenate([np.full(likely, 0.5), np.full(others, 1e-7)])


def test_likely_clips_are_simulated_first() -> None:
    step = choose_step(chances(3000), 4000, 1000, AIM, 0, 54_000)
    assert step is not None
    assert step.drawn is None
    assert step.likely == int(GROWTH * 4000)
    assert step.explored == int(EXPLORED * step.likely)


def test_a_look_is_due_when_none_is_likely() -> None:
    few = chances(LEAST_BATCH - 1)
    step = choose_step(few, 4000, 2000, AIM, 0, 54_000)
    assert step is not None
    assert step.drawn is not None
    assert step.likely == step.explored == 0
    assert step.drawn[-1] > 0  # likely clips that are left are drawn, too


def test_a_look_is_kept_for() -> None:
    price = estimate_price(53_000, 1000 + 1500, AIM)
    budget = 4000 + price + 400
    step = choose_step(chances(3000), 4000, 1000, AIM, 0, budget)
    assert step is not None
    assert step.likely + step.explored <= budget - 4000 - min(price, int(KEPT * budget))
    last = choose_step(chances(3000), 4000, 1000, AIM, 0, 4100)
    assert last is not None
    assert last.drawn is not None
    assert last.drawn.sum() <= 100
    assert choose_step(chances(3000), 4000, 1000, AIM, 0, 4000) is None


@pytest.mark.parametrize(
    ("failing", "trust"),
    [(0, 0.5 / 10.5), (10, 1.0), (50, MOST_TRUST)],  # of 50 with a chance of 0.2 each
)
def test_trust_is_of_the_less_likely_half(failing: int, trust: float) -> None:
    chance = np.concatenate([np.full(50, 0.2), np.full(50, 0.9)])
    fails = np.concatenate([np.arange(50) < failing, np.zeros(50, bool)])
    assert measure_trust(chance, fails) == pytest.approx(trust)
