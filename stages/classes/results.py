"""What a scan says of classes and cells: a row per hotspot, a row per class.

in       `Classes` and owners by number, scores, verdicts by simulation
out      columns of `Finding`, and `HotspotClass` rows
unit     a whole scan
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.classes.classify import Classes
from stages.classes.cover import Tolerance
from stages.classes.places import FEATURES
from stages.contracts import Floats, Int64s, Verdict
from stages.findings import Finding, HotspotClass, Owner
from stages.rows import PART, Rows, cut_parts, list_values

T = TypeVar("T", str, tuple[str, str])


def list_findings(
    classes: Classes, owners: Iterable[Owner], tolerance: Tolerance
) -> Iterator[dict[str, Any]]:
    """Yield the fields of `Finding` of `PART` hotspots after the other, as columns."""
    area = None if tolerance.area_share is None else (2 * tolerance.half) ** 2
    for first, told in zip(range(0, len(classes.number), PART), cut_parts(owners), strict=True):
        part = slice(first, first + len(told))
        none, distance = [None] * len(told), classes.distance[part]
        place, move = classes.place[part] / 2, classes.move[part] / 2
        yield {
            "id": np.arange(first, first + len(told)) + 1,
            "class_id": classes.number[part] + 1,
            "place_x_dbu": place[:, 0],
            "place_y_dbu": place[:, 1],
            "feature": [FEATURES[at] for at in classes.feature[part, 0].tolist()],
            "measured_dbu": classes.feature[part, 1] / 2,
            "moved_dbu": distance / 2 if area is None else none,
            "differs": none if area is None else distance / area,
            "cell_kind": [owner.kind for owner in told],
            "cell": [owner.cell for owner in told],
            "cell_path": [owner.path for owner in told],
            "surroundings": classes.pattern[part],
            "symmetry": classes.symmetry[part],
            "turn": classes.turn[part],
            "move_x_dbu": move[:, 0],
            "move_y_dbu": move[:, 1],
        }


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
    told = findings.table.select(["feature", "cell_kind", "cell", "moved_dbu", "differs"])
    return tuple(
        _describe(
            number + 1,
            part + 1,
            scores[part].tolist(),
            told.take(pa.array(part)),
            int(classes.representative[number]) + 1,
            len(np.unique(classes.pattern[part])),
            verdicts,
        )
        for number, part in enumerate(members)
        if len(part)
    )


def _describe(
    number: int,
    hotspots: Int64s,
    scores: Sequence[float],
    findings: pa.Table,
    representative: int,
    patterns: int,
    verdicts: Mapping[int, Verdict] | None,
) -> HotspotClass:
    """Return the row of a class from its members."""
    defects = [
        verdict.worst for spot in hotspots.tolist() if verdicts
        if (verdict := verdicts.get(spot)) and verdict.worst
    ]  # fmt: skip
    severities = [defect.severity for defect in defects]
    kinds = Counter(defect.kind for defect in defects)
    features = Counter(list_values(findings["feature"]))
    cells = Counter(zip(*(list_values(findings[name]) for name in ("cell_kind", "cell")),
                        strict=True))  # fmt: skip
    return HotspotClass(
        id=number,
        representative=representative,
        hotspots=len(hotspots),
        patterns=patterns,
        kind=_find_most_frequent(kinds or features),
        worst_score=max(scores),
        median_score=median(scores),
        fails=None if verdicts is None else len(defects),
        worst_severity=max(severities, default=None),
        median_severity=median(severities) if severities else None,
        moved_dbu=pc.max(findings["moved_dbu"]).as_py(),
        differs=pc.max(findings["differs"]).as_py(),
        cells=len(cells),
        cell=_find_most_frequent(cells)[1],
    )


def _find_most_frequent(counts: Counter[T]) -> T:
    """Return the most frequent value, of equals the first in order."""
    return min(counts, key=lambda value: (-counts[value], value))
