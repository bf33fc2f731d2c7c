"""Levels: what simulation says outweighs the score, and some kinds are always the worst."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stages.contracts import Box, Defect, Hotspot, Verdict
from stages.errors import ConfigError
from stages.findings import ClassReview, Review
from stages.lithography.limits import Levels
from stages.lithography.process import load_process, process_of
from stages.review.levels import count_levels, review_classes, review_hotspots
from tests.support.found import make_finding

LEVELS = Levels(
    always_first=("bridge",), first_severity=0.5, second_severity=0.25, first_score=0.9,
    second_score=0.6,
)  # fmt: skip
SCORES = {1: 0.95, 2: 0.9, 3: 0.89, 4: 0.6, 5: 0.59}
SPOTS = [
    Hotspot(n, 0, 0, score, "grid", 1, 0, "00", 1, Box(0, 0, 10, 10)) for n, score in SCORES.items()
]


def find_worst(kind: str, severity: float) -> Verdict:
    return Verdict(1, Defect(kind, 0, 0, "over", severity))


def test_by_score_where_nothing_was_simulated() -> None:
    reviews = review_hotspots(SPOTS, None, LEVELS)
    assert {n: row.level for n, row in reviews.items()} == {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}
    assert {row.level_by for row in reviews.values()} == {"score"}
    assert count_levels(reviews) == {1: 2, 2: 2, 3: 1}


def test_a_predicted_margin_outweighs_the_score() -> None:
    """Where it says that the place prints, the hotspot is of the least level: it was flagged."""
    margins = {1: ("pinch", -0.2), 2: ("pinch", 0.25), 3: ("bridge", 0.01), 4: ("bridge", 0.0)}
    spots = [
        replace(spot, predicted_kind=margins[spot.id][0], predicted_margin=margins[spot.id][1])
        for spot in SPOTS[:4]
    ]
    reviews = review_hotspots(spots, {2: find_worst("pinch", 0.6)}, LEVELS)
    assert {n: row.level for n, row in reviews.items()} == {1: 3, 2: 1, 3: 1, 4: 3}
    assert [reviews[n].level_by for n in (1, 2)] == ["predicted margin", "simulation"]


def test_simulation_outweighs_the_score() -> None:
    verdicts = {
        1: Verdict(0, None), 2: find_worst("pinch", 0.24), 3: find_worst("pinch", 0.25),
        4: find_worst("pinch", 0.5),
    }  # fmt: skip
    reviews = review_hotspots(SPOTS, verdicts, LEVELS)
    assert {n: row.level for n, row in reviews.items()} == {1: None, 2: 3, 3: 2, 4: 1, 5: 3}
    assert reviews[1] == Review(None, "simulation")
    assert reviews[5] == Review(3, "score")
    assert count_levels(reviews) == {1: 1, 2: 1, 3: 2}


def test_some_kinds_are_of_level_1_at_any_severity() -> None:
    verdicts = {1: find_worst("bridge", 0.0), 2: find_worst("space", 0.0)}
    reviews = review_hotspots(SPOTS[:2], verdicts, LEVELS)
    assert [reviews[n].level for n in (1, 2)] == [1, 3]


def test_a_class_is_as_bad_as_its_worst_hotspot() -> None:
    findings = {n: make_finding(n, 1 + (n > 2)) for n in (1, 2, 3)}
    reviews = {
        1: Review(3, "simulation"), 2: Review(2, "simulation"), 3: Review(None, "simulation"),
    }  # fmt: skip
    assert review_classes(findings, reviews) == {1: ClassReview(2), 2: ClassReview(None)}
    reviews[2] = Review(2, "simulation", "w-1", "seen")
    assert review_classes(findings, reviews)[1] == ClassReview(3, 1)
    assert count_levels(reviews) == {1: 0, 2: 0, 3: 1}


def test_the_process_file_sets_them() -> None:
    plain = load_process("krf130").as_dict()
    assert "levels" not in plain  # models of before there were levels keep their digests
    process = process_of({**plain, "levels": {"first_severity": 0.5, "always_first": ["pinch"]}})
    assert process.levels == Levels(always_first=("pinch",), first_severity=0.5)
    assert process_of(process.as_dict()) == process


def test_the_second_level_is_not_over_the_first() -> None:
    plain = load_process("krf130").as_dict()
    with pytest.raises(
        ConfigError, match=r"second_score.* is 0\.6; allowed: at most first_score, 0"
    ):
        process_of({**plain, "levels": {"first_score": 0.5, "second_score": 0.6}})
