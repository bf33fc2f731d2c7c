"""What a scan says of classes and cells: a row per hotspot, a row per class.

in       `Classes` and owners by number, hotspots, their verdicts by simulation
out      `Finding` and `HotspotClass` rows
unit     a whole scan
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TypeVar

import numpy as np

from stages.classes.classify import Classes
from stages.classes.cover import Tolerance
from stages.classes.places import FEATURES
from stages.contracts import Hotspot, Verdict
from stages.findings import Finding, HotspotClass, Owner

T = TypeVar("T", str, tuple[str, str])


def list_findings(
    hotspots: Sequence[Hotspot], classes: Classes, owners: Sequence[Owner], tolerance: Tolerance
) -> tuple[Finding, ...]:
    """Return a row per hotspot, in their order."""
    by_area = tolerance.area_share is not None
    area = (2 * tolerance.half) ** 2
    found = []
    for at, (spot, owner) in enumerate(zip(hotspots, owners, strict=True)):
        distance = int(classes.distance[at])
        place, move = (classes.place[at] / 2).tolist(), (classes.move[at] / 2).tolist()
        found.append(
            Finding(
                id=spot.id,
                class_id=int(classes.number[at]) + 1,
                place_x_dbu=place[0],
                place_y_dbu=place[1],
                feature=FEATURES[classes.feature[at, 0]],
                measured_dbu=float(classes.feature[at, 1] / 2),
                moved_dbu=None if by_area else distance / 2,
                differs=distance / area if by_area else None,
                cell_kind=owner.kind,
                cell=owner.cell,
                cell_path=owner.path,
                surroundings=int(classes.pattern[at]),
                symmetry=int(classes.symmetry[at]),
                turn=int(classes.turn[at]),
                move_x_dbu=move[0],
                move_y_dbu=move[1],
            )
        )
    return tuple(found)


def list_classes(
    hotspots: Sequence[Hotspot],
    findings: Sequence[Finding],
    classes: Classes,
    verdicts: Mapping[int, Verdict] | None,
) -> tuple[HotspotClass, ...]:
    """Return a row per class, those of most hotspots first."""
    order = np.argsort(classes.number, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(classes.number[order])) + 1)
    return tuple(
        _describe(
            [hotspots[at] for at in part.tolist()],
            [findings[at] for at in part.tolist()],
            hotspots[int(classes.representative[number])].id,
            len(np.unique(classes.pattern[part])),
            verdicts,
        )
        for number, part in enumerate(members)
        if len(part)
    )


def _describe(
    spots: Sequence[Hotspot],
    findings: Sequence[Finding],
    representative: int,
    patterns: int,
    verdicts: Mapping[int, Verdict] | None,
) -> HotspotClass:
    """Return the row of a class from its members."""
    scores = [spot.score for spot in spots]
    defects = [
        verdict.worst for spot in spots
        if (verdict := (verdicts or {}).get(spot.id)) and verdict.worst
    ]  # fmt: skip
    severities = [defect.severity for defect in defects]
    kinds = [defect.kind for defect in defects] or [row.feature for row in findings]
    cells = Counter((row.cell_kind, row.cell) for row in findings)
    moved = [row.moved_dbu for row in findings if row.moved_dbu is not None]
    differs = [row.differs for row in findings if row.differs is not None]
    return HotspotClass(
        id=findings[0].class_id,
        representative=representative,
        hotspots=len(spots),
        patterns=patterns,
        kind=_find_most_frequent(Counter(kinds)),
        worst_score=max(scores),
        median_score=median(scores),
        fails=None if verdicts is None else len(defects),
        worst_severity=max(severities, default=None),
        median_severity=median(severities) if severities else None,
        moved_dbu=max(moved, default=None),
        differs=max(differs, default=None),
        cells=len(cells),
        cell=_find_most_frequent(cells)[1],
    )


def _find_most_frequent(counts: Counter[T]) -> T:
    """Return the most frequent value, of equals the first in order."""
    return min(counts, key=lambda value: (-counts[value], value))
