"""Waive hotspots of a run: keep the geometry of what fails in a file of waivers.

in       a run directory, classes or hotspots of it, who waives them and why
out      the waiver, in the file
promise  the run is only read; what prints in simulation is not waived, so that it shows if it fails
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from pipeline.engine.storage.run_directory import Run
from pipeline.report.failures import find_failures, make_basis
from pipeline.report.run_view import RunView, open_view
from pipeline.report.waiver_file import add_waiver
from stages.detector.models.scan_model import ScanModel
from stages.errors import UsageError
from stages.findings import Failures
from stages.review.waivers import Grounds, Waiver, apply_waivers, make_waiver


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiveRequest:
    """What to waive, and where to keep it."""

    run: Path
    file: Path
    """The file of waivers, created when absent."""
    grounds: Grounds
    classes: Sequence[int] = ()
    """Ids of classes, whose hotspots are waived."""
    hotspots: Sequence[int] = ()
    """Ids of hotspots."""
    model: ScanModel | None = None
    """The user's module that the run was scanned with, if it was one."""


@dataclass(frozen=True, slots=True)
class WaiveResult:
    """What was waived."""

    waiver: Waiver
    hotspots: int
    left_out: int
    """Hotspots of those asked for that print in simulation."""
    others: int
    """Hotspots of the run that it covers as well: they have no other geometry than these."""


def parse_grounds(reason: str, by: str, expires: date | str | None) -> Grounds:
    """Return the grounds of a waiver that is given today.

    Raises
    ------
    UsageError
        When `expires` is no day.
    """
    try:
        last = date.fromisoformat(expires) if isinstance(expires, str) else expires
    except ValueError:
        raise UsageError(f"--expires {expires!r} is no day; write it like 2027-01-31") from None
    today = datetime.now(UTC).date()
    return Grounds(reason=reason, by=by, given=today, expires=last)


def waive_hotspots(request: WaiveRequest) -> WaiveResult:
    """Waive hotspots of a run.

    Raises
    ------
    UsageError
        When a class or hotspot is not there, nothing of them fails, or the file cannot be used.
    """
    view = open_view(Run(request.run), request.model)
    asked = _choose(view, request)
    failing = sorted(spot for spot in asked if view.reviews[spot].level is not None)
    failures = find_failures(view)
    named = [f"class C{number}" for number in request.classes]
    named += [f"H{number}" for number in request.hotspots]
    waiver = describe_waiver(view, failures, failing, request.grounds, named)
    covered = apply_waivers([waiver], failures, make_basis(view), request.grounds.given).by
    add_waiver(request.file, waiver)
    return WaiveResult(
        waiver, len(failing), len(asked) - len(failing), len(covered.keys() - set(failing))
    )


def describe_waiver(
    view: RunView,
    failures: Failures,
    failing: Sequence[int],
    grounds: Grounds,
    named: Sequence[str],
) -> Waiver:
    """Return the waiver of hotspots of a run.

    Parameters
    ----------
    failures
        Of these hotspots at least.
    failing
        Their ids.
    named
        What they are, in words.

    Raises
    ------
    UsageError
        When there are none, or the grounds are refused.
    """
    if not failing:
        raise UsageError("nothing to waive: all of these hotspots print in simulation")
    what = _describe(view, named, failing)
    return make_waiver(failures.select(failing), make_basis(view), grounds, what)


def _choose(view: RunView, request: WaiveRequest) -> set[int]:
    """Return the ids of the hotspots that are asked for."""
    if not request.classes and not request.hotspots:
        raise UsageError("nothing to waive: give --class or --hotspot")
    for noun, ids, known in (
        ("class", request.classes, len(view.classes)),
        ("hotspot", request.hotspots, len(view.hotspots)),
    ):
        for number in ids:
            if not 1 <= number <= known:
                raise UsageError(f"{noun} {number} is not in {request.run}; it has 1 to {known}")
    members = {spot for spot, row in view.findings.items() if row.class_id in request.classes}
    return members | set(request.hotspots)


def _describe(view: RunView, named: Sequence[str], failing: Sequence[int]) -> str:
    """Return what is waived, in words."""
    cells = sorted({view.findings[spot].cell or "no cell" for spot in failing})
    shown = ", ".join(cells[:3]) + (f" and {len(cells) - 3} more" if len(cells) > 3 else "")
    kinds = sorted({worst.kind if (worst := view.worst(view.hotspots[spot - 1])) else
                    view.findings[spot].feature for spot in failing})  # fmt: skip
    return (
        f"{', '.join(named)} of {view.record.layout.name}: {len(failing)} hotspots "
        f"({', '.join(kinds)}) in {shown}"
    )
