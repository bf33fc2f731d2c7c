"""KLayout report database: the hotspots in its marker browser.

In: hotspots, what simulation says of them, and the regions that were not scanned. Out: XML.
Unit of work: a whole scan.
Promise: equal input gives equal bytes; the box of a marker is centred on its clip to the dbu.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

from stages.contracts import Box, Defect, Hotspot, Verdict, um

SEVERITIES = (0.99, 0.95, 0.90, 0.80, 0.50, 0.0)
"""Lowest score of each category of the report database, highest first."""

# KLayout's marker browser shows no more of one category.
_CATEGORY_ITEMS = 1000


def lyrdb(
    hotspots: Sequence[Hotspot],
    *,
    top: str,
    dbu_nm: float,
    core_dbu: int,
    layout: str,
    not_scanned: Sequence[Box] = (),
    verdicts: Mapping[int, Verdict] | None = None,
) -> Iterator[str]:
    """Yield the hotspots as a KLayout report database, piece by piece.

    Categories: ``hotspot`` with one sub-category per band of scores (and per thousand markers,
    as KLayout's browser lists no more at once), ``pattern_group`` with the best hotspot of each
    pattern, and ``not_scanned``. Each hotspot has its score, rank, group, number of merged clips
    and number of hotspots in its group as tagged values, and its core as a box.

    Parameters
    ----------
    hotspots
        By rank.
    layout
        Name of the layout file, shown in the browser.
    """
    cell = escape(top)
    size = Counter(spot.group for spot in hotspots)
    bands = _bands(hotspots)
    places = {f"hotspot.{name}": spots for name, spots in bands.items()}
    # From last to first, so that the best of each group is the one that stays.
    best = {spot.group: spot for spot in reversed(hotspots)}
    places["pattern_group"] = [best[group] for group in sorted(best)]
    items = (
        _item(path, cell, _values(spot, size[spot.group], dbu_nm, core_dbu))
        for path, spots in places.items()
        for spot in spots
    )
    simulated = _simulated(hotspots, verdicts or {}, dbu_nm, core_dbu)
    regions = (_item("not_scanned", cell, [_box_value(box, dbu_nm)]) for box in not_scanned)
    band_categories = [_category(name, "Score in percent, lower bound included") for name in bands]
    tags = "".join(
        f"<tag><name>{name}</name><description/><user>true</user></tag>"
        for name in ("score", "rank", "group", "clips", "hotspots", "severity")
    )
    yield '<?xml version="1.0" encoding="utf-8"?>\n<report-database>\n'
    yield f"<description>hotscan: {len(hotspots)} hotspots in {escape(layout)}</description>\n"
    yield f"<original-file>{escape(layout)}</original-file>\n<generator>hotscan</generator>\n"
    yield f"<top-cell>{cell}</top-cell>\n<tags>{tags}</tags>\n<categories>\n"
    yield _category("hotspot", "Places over the threshold", band_categories)
    yield _category("pattern_group", "The best hotspot of each distinct pattern")
    if verdicts is not None:
        yield from _simulation_categories(simulated)
    yield _category("not_scanned", "Regions that have no verdict")
    yield f"</categories>\n<cells><cell><name>{cell}</name><variant/><layout-name/><references/>"
    yield "</cell></cells>\n<items>\n"
    yield from items
    for path, each in simulated.items():
        yield from (_item(path, cell, values) for values in each)
    yield from regions
    yield "</items>\n</report-database>\n"


def _simulated(
    hotspots: Sequence[Hotspot], verdicts: Mapping[int, Verdict], dbu_nm: float, core_dbu: int
) -> dict[str, list[list[str]]]:
    """Return the items of each category of simulation, worst first."""
    found: dict[str, list[list[str]]] = {}

    def severity(spot: Hotspot) -> float:
        worst = verdicts[spot.id].worst
        return -1.0 if worst is None else worst.severity

    judged = [spot for spot in hotspots if spot.id in verdicts]
    for spot in sorted(judged, key=lambda spot: (-severity(spot), spot.id)):
        worst = verdicts[spot.id].worst
        if worst is None:
            text = f"text: 'H{spot.id} prints'"
            box = _box_value(spot.core(core_dbu), dbu_nm)
            found.setdefault("not_confirmed", []).append([f"[#rank] float: {spot.id}", text, box])
        else:
            found.setdefault(f"confirmed.{worst.kind}", []).append(
                _defect_values(spot, worst, dbu_nm)
            )
    return found


def _defect_values(spot: Hotspot, worst: Defect, dbu_nm: float) -> list[str]:
    around = Box(worst.x_dbu, worst.y_dbu, worst.x_dbu, worst.y_dbu).grown(round(100 / dbu_nm))
    return [
        f"[#severity] float: {worst.severity:.4f}",
        f"[#rank] float: {spot.id}",
        f"text: 'H{spot.id} {worst.kind} at {worst.corner}, severity {worst.severity:.3f}'",
        _box_value(around, dbu_nm),
    ]


def _simulation_categories(simulated: Mapping[str, object]) -> list[str]:
    kinds = [name.partition(".")[2] for name in simulated if name.startswith("confirmed.")]
    return [
        _category("confirmed", "Fails in simulation", [_category(k, "Kind") for k in kinds]),
        _category("not_confirmed", "Nothing fails in simulation"),
    ]


def write_lyrdb_gz(path: Path, pieces: Iterable[str]) -> None:
    """Write a report database compressed, with no time or name in its header."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for piece in pieces:
            packed.write(piece.encode())


def _bands(hotspots: Sequence[Hotspot]) -> dict[str, Sequence[Hotspot]]:
    """Return the sub-categories of ``hotspot`` and their members, worst first."""
    bands: dict[str, Sequence[Hotspot]] = {}
    for high, low in pairwise((1.0, *SEVERITIES)):
        top = float("inf") if high == 1.0 else high
        members = [spot for spot in hotspots if low <= spot.score < top]
        name = f"score_{low * 100:.0f}_to_{high * 100:.0f}"
        for start in range(0, len(members), _CATEGORY_ITEMS):
            part = members[start : start + _CATEGORY_ITEMS]
            ranks = f"_from_H{part[0].id}_to_H{part[-1].id}"
            bands[name + (ranks if len(members) > _CATEGORY_ITEMS else "")] = part
    return bands


def _category(name: str, description: str, children: Iterable[str] = ()) -> str:
    return (
        f"<category><name>{name}</name><description>{description}</description>"
        f"<categories>{''.join(children)}</categories></category>\n"
    )


def _item(category: str, cell: str, values: Iterable[str]) -> str:
    inner = "".join(f"<value>{escape(value)}</value>" for value in values)
    return (
        f"<item><tags/><category>{category}</category><cell>{cell}</cell>"
        f"<visited>false</visited><multiplicity>1</multiplicity><values>{inner}</values></item>\n"
    )


def _values(spot: Hotspot, alike: int, dbu_nm: float, core_dbu: int) -> list[str]:
    text = f"H{spot.id} score {spot.score:.3f} rule {spot.rule} pattern {spot.pattern_key}"
    return [
        f"[#score] float: {spot.score:.6f}",
        f"[#rank] float: {spot.id}",
        f"[#group] float: {spot.group}",
        f"[#clips] float: {spot.clips}",
        f"[#hotspots] float: {alike}",
        f"text: '{text}'",
        _box_value(spot.core(core_dbu), dbu_nm),
    ]


def _box_value(box: Box, dbu_nm: float) -> str:
    x_min, y_min, x_max, y_max = (um(edge, dbu_nm) for edge in box.as_tuple())
    return f"box: ({x_min:.12g},{y_min:.12g};{x_max:.12g},{y_max:.12g})"
