"""Levels: how bad a hotspot is, 1 the worst to 3 the least.

in       hotspots, their verdicts by simulation, the levels of the process, what is waived
out      a `Review` per hotspot, one per class, how many hotspots a level has
unit     a whole scan
promise  what simulation says outweighs any score, and the review says which of the two it is by
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from stages.contracts import Defect, Floats, Hotspot, Int64s, Verdict
from stages.findings import MARGIN, SCORE, SIMULATION, ClassReview, Finding, Review
from stages.lithography.limits import Levels
from stages.review.waivers import Waiver
from stages.rows import Shared, read_by_id, read_field, share_by_id

LEVELS = (1, 2, 3)


def review_hotspots(
    hotspots: Sequence[Hotspot],
    verdicts: Mapping[int, Verdict] | None,
    levels: Levels,
    waived: Mapping[int, Sequence[Waiver]] | None = None,
) -> Shared[Review]:
    """Return the review of each hotspot, by its id; ids rise."""
    ids = read_field(hotspots, "id").astype(np.int64)
    which, by = _predict_levels(hotspots, levels)
    number = {Review(level, by): at for at, level in enumerate(LEVELS)}
    told, accepted = verdicts or {}, waived or {}
    for row in np.flatnonzero(np.isin(ids, [*told, *accepted])).tolist():
        spot = int(ids[row])
        waivers, verdict = accepted.get(spot, ()), told.get(spot)
        level: int | None = LEVELS[which[row]]
        if verdict is not None:
            level = None if verdict.worst is None else find_level(verdict.worst, levels)
        review = Review(
            level, by if verdict is None else SIMULATION, " ".join(each.id for each in waivers),
            "; ".join(each.reason for each in waivers),
        )  # fmt: skip
        which[row] = number.setdefault(review, len(number))
    return Shared(ids, which, tuple(number))


def _predict_levels(hotspots: Sequence[Hotspot], levels: Levels) -> tuple[Int64s, str]:
    """Return the level of each hotspot by its model alone, from 0, and what it is by."""
    if not hotspots or hotspots[0].predicted_margin is None:
        score = read_field(hotspots, "score")
        return _grade_each(score, levels.first_score, levels.second_score), SCORE
    margin, kind = (read_field(hotspots, f"predicted_{name}") for name in ("margin", "kind"))
    graded = _grade_each(margin, levels.first_severity, levels.second_severity)
    graded[(margin > 0) & np.isin(kind.astype(str), levels.always_first)] = 0
    return graded, MARGIN


def _grade_each(values: Floats, first: float, second: float) -> Int64s:
    return np.where(values >= first, 0, np.where(values >= second, 1, 2))


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
    if defect.severity >= levels.first_severity:
        return 1
    return 2 if defect.severity >= levels.second_severity else 3


def count_levels(reviews: Mapping[int, Review]) -> dict[int, int]:
    """Return how many hotspots each level has, less those that are waived."""
    few, which = share_by_id(reviews, np.array(list(reviews), np.int64))
    counts = dict.fromkeys(LEVELS, 0)
    for review, spots in zip(few, np.bincount(which, minlength=len(few)).tolist(), strict=True):
        if review.is_open and review.level is not None:
            counts[review.level] += spots
    return counts


def count_defects(defects: Iterable[Defect], levels: Levels) -> dict[int, int]:
    """Return how many defects each level has."""
    counts = Counter(find_level(defect, levels) for defect in defects)
    return {level: counts[level] for level in LEVELS}


def review_classes(
    findings: Mapping[int, Finding], reviews: Mapping[int, Review]
) -> dict[int, ClassReview]:
    """Return the review of each class, by its id."""
    ids = np.array(list(findings), np.int64)
    few, which = share_by_id(reviews, ids)
    of_class = read_by_id(findings, ids)["class_id"].to_numpy() if len(ids) else ids
    pairs, counts = np.unique(np.stack((of_class, which)), axis=1, return_counts=True)
    members: dict[int, list[tuple[Review, int]]] = {}
    for (number, at), spots in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        members.setdefault(number, []).append((few[at], spots))
    return {number: _review_class(rows) for number, rows in members.items()}


def _review_class(reviews: Sequence[tuple[Review, int]]) -> ClassReview:
    """Return the review of a class, from those of its hotspots and how many have each."""
    levels = [row.level for row, _ in reviews if row.level is not None and row.is_open]
    return ClassReview(
        min(levels, default=None), sum(spots for row, spots in reviews if row.waiver)
    )
