"""Levels: how bad a hotspot is, 1 the worst to 3 the least.

in       hotspots, their verdicts by simulation, the levels of the process, what is waived
out      a `Review` per hotspot, one per class, how many hotspots a level has
unit     a whole scan
promise  what simulation says outweighs any score, and the review says which of the two it is by
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from stages.contracts import Defect, Hotspot, Verdict
from stages.findings import MARGIN, SCORE, SIMULATION, ClassReview, Finding, Review
from stages.lithography.limits import Levels
from stages.review.waivers import Waiver
from stages.rows import Shared

LEVELS = (1, 2, 3)


def review_hotspots(
    hotspots: Iterable[Hotspot],
    verdicts: Mapping[int, Verdict] | None,
    levels: Levels,
    waived: Mapping[int, Sequence[Waiver]] | None = None,
) -> Mapping[int, Review]:
    """Return the review of each hotspot, by its id; ids rise."""
    return Shared(_list_reviews(hotspots, verdicts, levels, waived))


def _list_reviews(
    hotspots: Iterable[Hotspot],
    verdicts: Mapping[int, Verdict] | None,
    levels: Levels,
    waived: Mapping[int, Sequence[Waiver]] | None,
) -> Iterator[tuple[int, Review]]:
    for spot in hotspots:
        level, by = _judge(spot, (verdicts or {}).get(spot.id), levels)
        waivers = (waived or {}).get(spot.id, ())
        yield spot.id, Review(
            level, by, " ".join(each.id for each in waivers),
            "; ".join(each.reason for each in waivers),
        )  # fmt: skip


def _judge(spot: Hotspot, verdict: Verdict | None, levels: Levels) -> tuple[int | None, str]:
    """Return the level of a hotspot, and what it is by."""
    if verdict is not None:
        return find_level(verdict.worst, levels) if verdict.worst else None, SIMULATION
    if spot.predicted_margin is not None:
        fails_first = spot.predicted_margin > 0 and spot.predicted_kind in levels.always_first
        graded = _grade(spot.predicted_margin, levels.first_severity, levels.second_severity)
        return 1 if fails_first else graded, MARGIN
    return _grade(spot.score, levels.first_score, levels.second_score), SCORE


def find_level(defect: Defect, levels: Levels) -> int:
    """Return the level of a defect.

    Examples
    --------
    >>> defect = Defect("pinch", 0, 0, "over", 0.05)
    >>> find_level(defect, Levels()), find_level(defect, Levels(always_first=("pinch",)))
    (2, 1)
    """
    if defect.kind in levels.always_first:
        return 1
    return _grade(defect.severity, levels.first_severity, levels.second_severity)


def _grade(value: float, first: float, second: float) -> int:
    return 1 if value >= first else 2 if value >= second else 3


def count_levels(reviews: Iterable[Review]) -> dict[int, int]:
    """Return how many hotspots each level has, less those that are waived."""
    return _count(review.level for review in reviews if review.is_open)


def count_defects(defects: Iterable[Defect], levels: Levels) -> dict[int, int]:
    """Return how many defects each level has."""
    return _count(find_level(defect, levels) for defect in defects)


def _count(found: Iterable[int | None]) -> dict[int, int]:
    counts = Counter(found)
    return {level: counts[level] for level in LEVELS}


def review_classes(
    findings: Mapping[int, Finding], reviews: Mapping[int, Review]
) -> dict[int, ClassReview]:
    """Return the review of each class, by its id."""
    members: dict[int, list[Review]] = {}
    for spot, finding in findings.items():
        members.setdefault(finding.class_id, []).append(reviews[spot])
    return {number: _review_class(rows) for number, rows in members.items()}


def _review_class(reviews: Sequence[Review]) -> ClassReview:
    levels = [row.level for row in reviews if row.level is not None and row.is_open]
    return ClassReview(min(levels, default=None), sum(bool(row.waiver) for row in reviews))
