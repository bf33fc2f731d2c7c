"""Hotspots by the kind of their worst defect: how many of each, and which are shown first.

in       hotspots and their verdicts by simulation
out      the rows of a table; the order of the cards
promise  the same hotspots and verdicts give the same order
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from stages.contracts import Hotspot, Verdict

PRINTS = "prints"
NOT_SIMULATED = "not simulated"


@dataclass(frozen=True, slots=True)
class KindCount:
    """The hotspots of one kind."""

    kind: str
    """Kind of the worst defect, `PRINTS` or `NOT_SIMULATED`."""
    count: int
    worst: float | None
    """Highest severity; None where nothing fails."""
    median: float | None
    """Median of the severities; None where nothing fails."""


def name_kind(verdict: Verdict | None) -> str:
    """Return the kind of the worst defect; `PRINTS` or `NOT_SIMULATED` where there is none."""
    if verdict is None:
        return NOT_SIMULATED
    return verdict.worst.kind if verdict.worst else PRINTS


def count_kinds(
    hotspots: Iterable[Hotspot], verdicts: Mapping[int, Verdict]
) -> tuple[KindCount, ...]:
    """Return the kinds by highest severity, then the hotspots that print or were not simulated."""
    counts = Counter(name_kind(verdicts.get(spot.id)) for spot in hotspots)
    severities: dict[str, list[float]] = defaultdict(list)
    for spot in hotspots:
        verdict = verdicts.get(spot.id)
        if verdict and verdict.worst:
            severities[verdict.worst.kind].append(verdict.worst.severity)
    fail = [
        KindCount(kind, counts[kind], max(found), median(found))
        for kind, found in severities.items()
    ]
    rest = [KindCount(kind, counts[kind], None, None) for kind in (PRINTS, NOT_SIMULATED)]
    ranked = sorted(fail, key=lambda row: (-(row.worst or 0), row.kind))
    return (*ranked, *(row for row in rest if row.count))


def interleave_kinds(
    worst_first: Sequence[Hotspot], verdicts: Mapping[int, Verdict]
) -> tuple[Hotspot, ...]:
    """Return the worst hotspot of each kind, then the second worst of each, and so on.

    Sorted by severity alone, the first cards are often one defect over and over. Hotspots that do
    not fail in simulation stay behind those that do, in the order they came in.

    Parameters
    ----------
    worst_first
        As `stages.hotspots.sort_worst_first` returns them.
    """
    seen: Counter[str] = Counter()
    turn: dict[int, float] = {}
    for spot in worst_first:
        kind = name_kind(verdicts.get(spot.id))
        turn[spot.id] = math.inf if kind in (PRINTS, NOT_SIMULATED) else seen[kind]
        seen[kind] += 1
    return tuple(sorted(worst_first, key=lambda spot: turn[spot.id]))
