"""Calibre ASCII results: the hotspots as the database of a rule check, for RVE and what reads it.

in       hotspots with their classes and levels, the regions that were not scanned
out      text, piece by piece
unit     a whole scan
promise  equal input gives equal text; the box of a result is centred on its clip to the dbu

A file has the top cell and the database units of a um; then per check its name, a line with its
results (now and originally), the number of lines of text about it and a date, those lines, and the
results: ``p``, a number and the corners, properties, the corners.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from stages.contracts import Box, Hotspot, Verdict
from stages.findings import Finding, HotspotClass, Review
from stages.text import escape_text

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

GROUPS = ("level1", "level2", "level3", "waived", "prints")
"""First parts of the names of checks, in the order of the file."""


def format_calibre(
    hotspots: Sequence[Hotspot],
    classes: Sequence[HotspotClass],
    *,
    top: str,
    dbu_nm: float,
    core_dbu: int,
    finished: str,
    findings: Mapping[int, Finding],
    reviews: Mapping[int, Review],
    verdicts: Mapping[int, Verdict],
    not_scanned: Sequence[Box],
) -> Iterator[str]:
    """Yield the hotspots as Calibre ASCII results.

    A check per level and class (``level1.C3_space``; ``waived.C3_space``, ``prints.C4_space``) with
    the cores of its hotspots, and ``not_scanned``.

    Parameters
    ----------
    finished
        When the scan ended, ISO 8601.
    """
    yield f"{_make_word(top)} {1000 / dbu_nm:.12g}\n"
    date = _format_date(finished)
    rows = {row.id: row for row in classes}
    checks: dict[tuple[int, int], list[Hotspot]] = {}
    for spot in hotspots:
        group = _find_group(reviews[spot.id])
        checks.setdefault((GROUPS.index(group), findings[spot.id].class_id), []).append(spot)
    for (at_group, number), spots in sorted(checks.items()):
        row, group = rows[number], GROUPS[at_group]
        name = f"{group}.C{number}_{_make_word(row.kind)}"
        about = (
            f"hotscan: {row.kind}, class C{number} of {row.hotspots} hotspots",
            f"Represented by H{row.representative}; most often in {escape_text(row.cell)}",
        )
        yield _format_check(name, len(spots), about, date)
        for at, spot in enumerate(spots, 1):
            about_it = _list_properties(spot, verdicts, reviews[spot.id])
            yield _format_result(at, spot.core(core_dbu), about_it)
    yield _format_check("not_scanned", len(not_scanned), ("Regions without a verdict",), date)
    for at, box in enumerate(not_scanned, 1):
        yield _format_result(at, box)


def _find_group(review: Review) -> str:
    """Return the first part of the name of a hotspot's check."""
    if review.level is None:
        return "prints"
    return "waived" if review.waiver else f"level{review.level}"


def _make_word(text: str) -> str:
    """Return a text without what would end a name."""
    return re.sub(r"\s", "_", escape_text(text)) or "_"


def _format_date(moment: str) -> str:
    """Return a moment as C's ``ctime`` writes it, without the day of the week, in any locale."""
    when = datetime.fromisoformat(moment) if moment else datetime(1970, 1, 1)
    return f"{_MONTHS[when.month - 1]} {when.day:2d} {when:%H:%M:%S} {when.year}"


def _format_check(name: str, results: int, about: Sequence[str], date: str) -> str:
    return "\n".join((name, f"{results} {results} {len(about)} {date}", *about, ""))


def _format_result(number: int, box: Box, properties: Sequence[str] = ()) -> str:
    x_0, y_0, x_1, y_1 = box.as_tuple()
    corners = (f"{x_0} {y_0}", f"{x_1} {y_0}", f"{x_1} {y_1}", f"{x_0} {y_1}")
    return "\n".join((f"p {number} 4", *properties, *corners, ""))


def _list_properties(spot: Hotspot, verdicts: Mapping[int, Verdict], review: Review) -> list[str]:
    """Return the lines of properties of a result."""
    verdict = verdicts.get(spot.id)
    found = [f"HOTSPOT {spot.id}", f"SCORE {spot.score:.6f}"]
    if verdict and verdict.worst:
        found += [
            f"SEVERITY {verdict.worst.severity:.4f}",
            f"CORNER {_make_word(verdict.worst.corner)}",
        ]
    if review.waiver:
        found.append(f"WAIVER {_make_word(review.waiver)}")
    return found
