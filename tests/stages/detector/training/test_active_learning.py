"""What is chosen for labelling: uncertain, apart, and no pattern twice."""

from __future__ import annotations

import numpy as np
import pytest

from stages.detector.training.active_learning import CANDIDATES, choose, preselect, uncertainty
from stages.errors import UsageError


def directions(*degrees: float) -> np.ndarray:
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1)


def test_the_most_uncertain_is_first():
    scores = np.array([0.01, 0.3, 0.9], np.float32)
    assert choose(scores, directions(0, 90, 180), 0.3, 1).tolist() == [1]


def test_a_twin_of_what_is_chosen_waits():
    """The second is as uncertain as the first and lies beside it; the third is half as much."""
    scores = np.array([0.3, 0.299, 0.15], np.float32)
    assert choose(scores, directions(0, 1, 120), 0.3, 3).tolist() == [0, 2, 1]


def test_of_what_is_equally_far_the_more_uncertain_is_next():
    scores = np.array([0.3, 0.1, 0.2], np.float32)
    assert choose(scores, directions(0, 120, -120), 0.3, 2).tolist() == [0, 2]


def test_no_pattern_is_chosen_twice_even_where_all_are_alike():
    scores, alike = np.zeros(5, np.float32), directions(0, 0, 0, 0, 0)
    assert sorted(choose(scores, alike, 0.5, 5).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [0, 4])
def test_more_than_there_are_is_refused(count):
    with pytest.raises(UsageError, match=rf"--count is {count} but the scan has 3 patterns"):
        preselect(np.zeros(3, np.float32), 0.5, count)


def test_candidates_are_the_most_uncertain():
    scores = np.random.default_rng(0).random(1000).astype(np.float32)
    found = preselect(scores, 0.3, 5)
    assert len(found) == 5 * CANDIDATES
    rest = np.setdiff1d(np.arange(1000), found)
    doubt = uncertainty(scores, 0.3)
    assert doubt[found].min() >= doubt[rest].max()
    assert len(preselect(scores, 0.3, 1000)) == 1000
