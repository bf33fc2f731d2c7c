"""Compare two runs: which hotspots are new, fixed, moved, or the same.

in       two run directories
out      `Comparison`: both runs, opened, and what changed
promise  the runs are only read; what cannot be compared is refused
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import State
from pipeline.report.failures import (
    find_failures,
    find_moved_hotspots,
    make_basis,
    sign_layout,
)
from pipeline.report.run_view import RunView, open_view
from stages.detector.models.scan_model import ScanModel
from stages.errors import UsageError
from stages.findings import Failures
from stages.lengths import to_um
from stages.review.changes import FIXED, MOVED, NEW, SAME, Changes, compare_failures
from stages.review.waivers import Basis
from stages.text import escape_text

COLUMNS = (
    "change", "id", "id_before", "worse", "x_um", "y_um", "level", "waived", "defect", "severity",
    "class", "cell",
)  # fmt: skip
"""Columns of the table of changes. Of what is fixed all but the first two are of the run before."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, and what changed from the first to the second."""

    before: RunView
    after: RunView
    changes: Changes

    @property
    def complete(self) -> bool:
        """Whether both scans are: else what is new may have been there, and what is fixed, too."""
        return all(view.record.state == State.COMPLETE for view in (self.before, self.after))

    @property
    def new(self) -> list[int]:
        """Ids of the new hotspots, in the second run."""
        return [spot for spot, change in self.changes.after.items() if change == NEW]

    @property
    def view_of_new(self) -> RunView:
        """The second run, of which only the new hotspots are exported."""
        return replace(self.after, chosen=frozenset(self.new))

    def count(self) -> dict[str, int]:
        """Return how many hotspots are new, moved, the same, and of the first run fixed."""
        counts = Counter(self.changes.after.values())
        fixed = sum(change == FIXED for change in self.changes.before.values())
        return {
            NEW: counts[NEW], FIXED: fixed, MOVED: counts[MOVED], SAME: counts[SAME],
            "worse": len(self.changes.worse),
            "waived": sum(bool(self.after.reviews[spot].waiver) for spot in self.new),
        }  # fmt: skip

    def count_levels(self) -> dict[int, int]:
        """Return how many new hotspots of each level are not waived."""
        reviews = (self.after.reviews[spot] for spot in self.new)
        counts = Counter(review.level for review in reviews if review.is_open)
        return {level: counts[level] for level in (1, 2, 3)}

    def list_rows(self) -> list[dict[str, Any]]:
        """Return a row of `COLUMNS` per hotspot: those of the second run, then what is fixed."""
        changes = self.changes
        rows = [
            _make_row(self.after, spot, change)
            | {"id": spot, "id_before": changes.was.get(spot), "worse": spot in changes.worse}
            for spot, change in changes.after.items()
        ]
        return rows + [
            _make_row(self.before, spot, FIXED) | {"id": None, "id_before": spot, "worse": False}
            for spot, change in changes.before.items()
            if change == FIXED
        ]

    def list_new(self) -> list[dict[str, Any]]:
        """Return the rows of the new hotspots."""
        return [row for row in self.list_rows() if row["change"] == NEW]

    def format_csv(self) -> str:
        """Return the rows as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.list_rows())
        return text.getvalue()


def _make_row(view: RunView, number: int, change: str) -> dict[str, Any]:
    spot, dbu_nm = view.hotspots[number - 1], view.layout.dbu_nm
    finding, review, worst = view.findings[number], view.reviews[number], view.worst(spot)
    return {
        "change": change,
        "x_um": to_um(spot.x_dbu, dbu_nm),
        "y_um": to_um(spot.y_dbu, dbu_nm),
        "level": review.level,
        "waived": bool(review.waiver),
        "defect": worst and worst.kind,
        "severity": worst and worst.severity,
        "class": finding.class_id,
        "cell": escape_text(finding.cell),
    }


def compare_runs(
    first: Path,
    second: Path,
    waivers: Path | None = None,
    models: tuple[ScanModel | None, ScanModel | None] = (None, None),
) -> Comparison:
    """Compare two runs, of one layout before and after it was edited.

    Parameters
    ----------
    waivers
        File of waivers for both, in place of those of the scans.
    models
        The user's modules that they were scanned with, if they were.

    Raises
    ------
    UsageError
        When the two are not comparable.
    """
    before, after = (
        open_view(Run(path), model, waivers)
        for path, model in zip((first, second), models, strict=True)
    )
    return compare_views(before, after)


def compare_views(before: RunView, after: RunView) -> Comparison:
    """Compare two runs that are open; errors as `compare_runs`."""
    _require_comparable(before, after)
    old, new = find_failures(before), find_failures(after)
    stood = _find_stood(before, old, new)

    def look_up(
        gone: Collection[int], left: Collection[int], known: Mapping[int, int]
    ) -> dict[int, list[int]]:
        return find_moved_hotspots((before, old), (after, new), gone, left, known)

    return Comparison(before, after, compare_failures(old, new, stood, look_up))


def _find_stood(before: RunView, old: Failures, new: Failures) -> list[bool]:
    """Return of each row of `new` whether its geometry was there in the layout before."""
    failed = set(zip(map(tuple, old.place.tolist()), old.key, strict=True))
    rows = list(zip(map(tuple, new.place.tolist()), new.key, strict=True))
    others = [at for at, row in enumerate(rows) if row not in failed]
    keys = dict(zip(others, sign_layout(before, new.place[others]), strict=True))
    return [keys.get(at, row[1]) == row[1] for at, row in enumerate(rows)]


def _require_comparable(before: RunView, after: RunView) -> None:
    bases = make_basis(before), make_basis(after)
    for each in fields(Basis):
        was, now = (getattr(basis, each.name) for basis in bases)
        if was != now:
            raise UsageError(
                f"the runs differ in {each.name}: {was} in {before.run.path}, {now} in "
                f"{after.run.path}; scan one of them again as the other"
            )
    for view, other in ((before, after), (after, before)):
        if view.verdicts is None and other.verdicts is not None:
            raise UsageError(
                f"{other.run.path} is simulated and {view.run.path} is not; scan that again with "
                "--confirm"
            )
