"""JUnit XML: the classes of hotspots as test cases, for the reports of a CI server.

in       hotspots with their verdicts, classes and levels; what a scan lacks
out      XML text
unit     a whole scan
promise  a case fails if, and only if, a hotspot of its class has a level and is not waived; it is
         skipped, with the reasons, if all of those are waived; an incomplete scan has an error;
         equal input gives equal text

Elements and attributes are those that both the schema of Ant's task and that of Jenkins know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from stages.contracts import Hotspot, Verdict
from stages.findings import ClassReview, Finding, HotspotClass, Review
from stages.lengths import to_um
from stages.text import escape_text

_MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class JunitData:
    """The content of the file."""

    layout: str
    finished: str
    """When the scan ended, ISO 8601 in UTC."""
    seconds: float
    gaps: Sequence[str]
    """What the scan lacks, a line each; none when it is complete."""
    waivers: Sequence[str]
    """What waivers do and do not cover, a line each."""
    dbu_nm: float
    hotspots: Sequence[Hotspot]
    """The worst first."""
    verdicts: Mapping[int, Verdict]
    findings: Mapping[int, Finding]
    reviews: Mapping[int, Review]
    classes: Sequence[HotspotClass]
    class_reviews: Mapping[int, ClassReview]


def format_junit(data: JunitData) -> str:
    """Return the classes as JUnit XML: a case for each, and one for whether the scan is whole."""
    members: dict[int, list[Hotspot]] = {row.id: [] for row in data.classes}
    for spot in data.hotspots:
        members[data.findings[spot.id].class_id].append(spot)
    cases = [_make_coverage(data.gaps)]
    cases += [_make_case(row, members[row.id], data) for row in data.classes]
    suite = Xml.Element(
        "testsuite", name=escape_text(data.layout), package="hotscan", id="0",
        hostname="localhost", timestamp=data.finished[:19], time=f"{data.seconds:.3f}",
        tests=str(len(cases)),
    )  # fmt: skip
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    Xml.SubElement(suite, "properties")
    suite.extend(cases)
    output = Xml.SubElement(suite, "system-out")
    output.text = escape_text("\n".join(data.waivers), keep="\n") or None
    Xml.SubElement(suite, "system-err")
    suites = Xml.Element("testsuites")
    suites.append(suite)
    Xml.indent(suites)
    text = Xml.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _make_coverage(gaps: Sequence[str]) -> Xml.Element:
    case = _add_case("hotscan.scan", "everything that was asked for has a verdict")
    if gaps:
        error = Xml.SubElement(case, "error", type="incomplete", message="the scan is INCOMPLETE")
        error.text = escape_text("\n".join(gaps), keep="\n")
    return case


def _add_case(group: str, name: str) -> Xml.Element:
    return Xml.Element("testcase", classname=group, name=escape_text(name), time="0")


def _make_case(row: HotspotClass, spots: Sequence[Hotspot], data: JunitData) -> Xml.Element:
    review = data.class_reviews[row.id]
    waived = [spot for spot in spots if data.reviews[spot.id].waiver]
    bad = [spot for spot in spots if data.reviews[spot.id].is_open]
    group = f"level{review.level}" if bad else "waived" if waived else "prints"
    case = _add_case(f"hotscan.{group}", f"C{row.id} {row.kind} in {row.cell or 'no cell'}")
    more = f"; {len(waived)} more are waived" if bad and waived else ""
    if bad:
        message = f"{len(bad)} hotspots of class C{row.id}, {row.kind}; worst level {review.level}"
        failure = Xml.SubElement(case, "failure", type=row.kind, message=message + more)
        failure.text = _list_spots(bad, data)
    elif waived:
        reasons = sorted({data.reviews[spot.id].reason for spot in waived})
        message = f"{len(waived)} hotspots are waived: {'; '.join(reasons)}"
        skipped = Xml.SubElement(case, "skipped", type="waived", message=escape_text(message))
        skipped.text = _list_spots(waived, data)
    return case


def _list_spots(spots: Sequence[Hotspot], data: JunitData) -> str:
    lines = [_describe(spot, data) for spot in spots[:_MOST_LISTED]]
    if len(spots) > _MOST_LISTED:
        lines.append(f"and {len(spots) - _MOST_LISTED} more: hotspots.csv lists them")
    return "\n".join(lines)


def _describe(spot: Hotspot, data: JunitData) -> str:
    """Return a line on a hotspot."""
    x_um, y_um = to_um(spot.x_dbu, data.dbu_nm), to_um(spot.y_dbu, data.dbu_nm)
    verdict, review = data.verdicts.get(spot.id), data.reviews[spot.id]
    worst = verdict.worst if verdict else None
    how = f"{worst.kind} of severity {worst.severity:.3f}" if worst else "not simulated"
    where = data.findings[spot.id].cell_path or "the top cell"
    return escape_text(
        f"H{spot.id} level {review.level} at {x_um:.12g},{y_um:.12g} um: {how}, "
        f"score {spot.score:.3f}, in {where}"
        + (f", waived by {review.waiver}" if review.waiver else "")
    )
