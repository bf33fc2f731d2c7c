"""What a scan says of classes and cells: a row per hotspot, a row per class.

in       `Classes` and owners by number, hotspots, their verdicts by simulation
out      `Finding` and `HotspotClass` rows
unit     a whole scan
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TypeVar

import numpy as np

from stages.classes.classify import Classes
from stages.classes.cover import Tolerance
from stages.classes.places import FEATURES
from stages.contracts import Floats, Hotspot, Verdict
from stages.findings import Finding, HotspotClass, Owner
from stages.rows import Rows

T = TypeVar("T", str, tuple[str, str])


def list_findings(
    hotspots: Iterable[Hotspot], classes: Classes, owners: Iterable[Owner], tolerance: Tolerance
) -> Iterator[Finding]:
    """Yield a row per hotspot, in their order."""
    by_area = tolerance.area_share is not None
    area = (2 * tolerance.half) ** 2
    for at, (spot, owner) in enumerate(zip(hotspots, owners, strict=True)):
        distance = int(classes.distance[at])
        place, move = (classes.place[at] / 2).tolist(), (classes.move[at] / 2).tolist()
        yield Finding(
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


def list_classes(
    scores: Floats,
    findings: Rows[Finding],
    classes: Classes,
    verdicts: Mapping[int, Verdict] | None,
) -> tuple[HotspotClass, ...]:
    """Return a row per class, those of most hotspots first.

    Parameters
    ----------
    scores, findings
        Of each hotspot, (n,).
    """
    order = np.argsort(classes.number, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(classes.number[order])) + 1)
    return tuple(
        _describe(
            scores[part].tolist(),
            findings.select(part),
            findings[int(classes.representative[number])].id,
            len(np.unique(classes.pattern[part])),
            verdicts,
        )
        for number, part in enumerate(members)
        if len(part)
    )


def _describe(
    scores: Sequence[float],
    findings: Rows[Finding],
    representative: int,
    patterns: int,
    verdicts: Mapping[int, Verdict] | None,
) -> HotspotClass:
    """Return the row of a class from its members."""
    ids = findings.get_column("id").tolist()
    defects = [
        verdict.worst for number in ids
        if (verdict := (verdicts or {}).get(number)) and verdict.worst
    ]  # fmt: skip
    severities = [defect.severity for defect in defects]
    kinds = Counter(defect.kind for defect in defects)
    features: Counter[str] = Counter()
    cells: Counter[tuple[str, str]] = Counter()
    moved, differs = list[float](), list[float]()
    for row in findings:
        features[row.feature] += 1
        cells[row.cell_kind, row.cell] += 1
        moved += [] if row.moved_dbu is None else [row.moved_dbu]
        differs += [] if row.differs is None else [row.differs]
    return HotspotClass(
        id=findings[0].class_id,
        representative=representative,
        hotspots=len(findings),
        patterns=patterns,
        kind=_find_most_frequent(kinds or features),
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
