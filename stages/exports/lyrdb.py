"""KLayout report database: the hotspots in its marker browser.

in       by layer: hotspots, their verdicts by simulation, their classes, what was not scanned
out      XML text, piece by piece, and its gzip bytes
unit     a whole scan
promise  equal input gives equal bytes; the box of a marker is centred on its clip to the dbu
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa

from stages.contracts import Box, Defect, Hotspot, Int64s, Verdict
from stages.exports.columns import cut_cores, list_parts
from stages.findings import Finding, HotspotClass, Review
from stages.lengths import to_um, to_um_each
from stages.rows import change_texts, cut_parts, list_values, read_by_id, read_field, share_by_id
from stages.text import escape_text

SEVERITIES = (0.99, 0.95, 0.90, 0.80, 0.50, 0.0)
"""Lowest score of each category of the report database, highest first."""

# KLayout's marker browser shows no more of one category.
_CATEGORY_ITEMS = 1000
Rows = Sequence[int]
"""Where hotspots are among those of their layer."""
_BOX = "box: ({:.12g},{:.12g};{:.12g},{:.12g})"
_TAGS = ("score", "rank", "group", "clips", "hotspots", "severity", "class", "moved", "level")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedLayer:
    """What is shown of the scan of one layer."""

    hotspots: Sequence[Hotspot]
    """By rank."""
    dbu_nm: float
    core_dbu: int
    shown: str = ""
    """Name of the layer, in words."""
    not_scanned: Sequence[Box] = ()
    verdicts: Mapping[int, Verdict] | None = None
    findings: Mapping[int, Finding] | None = None
    classes: Sequence[HotspotClass] = ()
    reviews: Mapping[int, Review] | None = None


def format_lyrdb(layers: Mapping[str, MarkedLayer], *, top: str, layout: str) -> Iterator[str]:
    """Yield the hotspots as a KLayout report database, piece by piece.

    Categories: ``hotspot`` with one sub-category per band of scores (and per thousand markers,
    as KLayout's browser lists no more at once), ``class`` with one per class of hotspots,
    ``class_representative`` with the hotspot that represents each, ``level`` with one per level,
    ``waived`` with one per waiver, ``confirmed`` and ``not_confirmed`` where hotspots were
    simulated, and ``not_scanned``. Each hotspot has its score, rank, group, number of merged clips,
    class, hotspots in it, edge move and level as tagged values, and its core as a box; one that is
    waived has KLayout's tag for it.

    Parameters
    ----------
    layers
        By the category that those of a layer are below; of a layer named "" they are at the top.
    layout
        Name of the layout file, shown in the browser.
    """
    cell = escape(escape_text(top))
    count = sum(len(layer.hotspots) for layer in layers.values())
    yield from _format_head(count, cell, escape(escape_text(layout)))
    names = {name: re.sub(r"\W", "_", name) for name in layers}
    listed = {name: _list_members(layer) for name, layer in layers.items()}
    for name, layer in layers.items():
        categories = _format_categories(layer, listed[name])
        if name:
            shown = escape(escape_text(layer.shown))
            yield _format_category(names[name], f"Layer {shown}", categories)
        else:
            yield from categories
    yield f"</categories>\n<cells><cell><name>{cell}</name><variant/><layout-name/><references/>"
    yield "</cell></cells>\n<items>\n"
    for name, layer in layers.items():
        yield from _format_items(layer, listed[name], f"{names[name]}." if name else "", cell)
    yield "</items>\n</report-database>\n"


def _list_members(layer: MarkedLayer) -> dict[str, dict[str, Rows]]:
    """Return the sub-categories of each category, and the hotspots in them."""
    spots, reviews = layer.hotspots, layer.reviews or {}
    return {
        "hotspot": _split_bands(spots),
        "class": _split_classes(spots, layer.findings or {}, layer.classes),
        "level": _split_levels(spots, reviews),
        "waived": _split_waived(spots, reviews),
    }


def _format_categories(
    layer: MarkedLayer, listed: Mapping[str, Mapping[str, Rows]]
) -> Iterator[str]:
    def tell(name: str, description: str, of_each: str) -> str:
        below = [_format_category(each, of_each) for each in listed[name]]
        return _format_category(name, description, below)

    yield tell("hotspot", "Places over the threshold", "Score in percent, lower bound included")
    yield tell("class", "Hotspots with the same geometry around what fails",
               "Class, what is there, hotspots")  # fmt: skip
    yield _format_category("class_representative", "The hotspot that represents each class")
    yield tell("level", "How bad they are, less those that are waived", "Level, 1 is the worst")
    yield tell("waived", "Hotspots that were accepted", "By waiver")
    if layer.verdicts is not None:
        yield from _list_simulation_categories(_list_simulated(layer))
    yield _format_category("not_scanned", "Regions that have no verdict")


def _format_items(
    layer: MarkedLayer, listed: Mapping[str, Mapping[str, Rows]], above: str, cell: str
) -> Iterator[str]:
    """Yield the items of a layer; `above` is the path of the category that its own are below."""
    members: dict[str, Rows] = {}
    for name, below in listed.items():
        members |= {f"{name}.{each}": rows for each, rows in below.items()}
        if name == "class":
            first = [row.representative for row in layer.classes]
            members["class_representative"] = _find_rows(layer.hotspots, first)
    start, listing = _list_by_row(members.values(), len(layer.hotspots))
    heads = [f"<category>{above}{path}</category>" for path in members]
    row = 0
    for part in list_parts(layer.hotspots, layer.findings, None):
        bounds = start[row : row + len(part) + 1].tolist()
        among = listing[bounds[0] : bounds[-1]].tolist()
        for at, (tags, values) in enumerate(_format_part(layer, part)):
            rest = _format_rest(cell, values)
            for number in among[bounds[at] - bounds[0] : bounds[at + 1] - bounds[0]]:
                yield f"<item>{tags}{heads[number]}{rest}"
        row += len(part)
    for path, each in _list_simulated(layer).items():
        yield from (_format_item(cell, above + path, values) for values in each)
    for box in layer.not_scanned:
        yield _format_item(cell, f"{above}not_scanned", [_format_box(box, layer.dbu_nm)])


def _list_by_row(members: Collection[Rows], hotspots: int) -> tuple[Int64s, Int64s]:
    """Return which categories each hotspot is in, one after the other, and where each begins."""
    rows = np.fromiter(chain.from_iterable(members), np.int64)
    category = np.repeat(np.arange(len(members)), [len(each) for each in members])
    start = np.zeros(hotspots + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=hotspots), out=start[1:])
    return start, category[np.argsort(rows, kind="stable")]


def compress_lyrdb(pieces: Iterable[str]) -> bytes:
    """Return a report database as a gzip file, without a time or name in its header."""
    sink = io.BytesIO()
    # The highest level takes twice as long for a few per cent.
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=sink, mtime=0) as packed:
        for part in cut_parts(pieces):
            packed.write("".join(part).encode())
    return sink.getvalue()


def _format_head(count: int, cell: str, layout: str) -> Iterator[str]:
    """Yield everything before the categories; `cell` and `layout` are escaped."""
    tags = "".join(
        f"<tag><name>{name}</name><description/><user>true</user></tag>" for name in _TAGS
    )
    tags += "<tag><name>waived</name><description/><user>false</user></tag>"
    yield '<?xml version="1.0" encoding="utf-8"?>\n<report-database>\n'
    yield f"<description>hotscan: {count} hotspots in {layout}</description>\n"
    yield f"<original-file>{layout}</original-file>\n<generator>hotscan</generator>\n"
    yield f"<top-cell>{cell}</top-cell>\n<tags>{tags}</tags>\n<categories>\n"


def _list_simulated(layer: MarkedLayer) -> dict[str, list[list[str]]]:
    """Return the values of the items of each category of simulation, worst first."""
    found: dict[str, list[list[str]]] = {}
    verdicts = layer.verdicts
    if not verdicts:
        return found

    def severity(spot: Hotspot) -> float:
        worst = verdicts[spot.id].worst
        return -1.0 if worst is None else worst.severity

    simulated = [spot for spot in layer.hotspots if spot.id in verdicts]
    for spot in sorted(simulated, key=lambda spot: (-severity(spot), spot.id)):
        worst = verdicts[spot.id].worst
        if worst is None:
            text = f"text: {_quote(f'H{spot.id} prints')}"
            box = _format_box(spot.core(layer.core_dbu), layer.dbu_nm)
            found.setdefault("not_confirmed", []).append([f"[#rank] float: {spot.id}", text, box])
        else:
            found.setdefault(f"confirmed.{worst.kind}", []).append(
                _format_defect(spot, worst, layer.dbu_nm)
            )
    return found


def _format_defect(spot: Hotspot, worst: Defect, dbu_nm: float) -> list[str]:
    around = Box(worst.x_dbu, worst.y_dbu, worst.x_dbu, worst.y_dbu).grow(round(100 / dbu_nm))
    text = f"H{spot.id} {worst.kind} at {worst.corner}, severity {worst.severity:.3f}"
    return [
        f"[#severity] float: {worst.severity:.4f}",
        f"[#rank] float: {spot.id}",
        f"text: {_quote(text)}",
        _format_box(around, dbu_nm),
    ]


def _list_simulation_categories(simulated: Mapping[str, object]) -> list[str]:
    kinds = [name.partition(".")[2] for name in simulated if name.startswith("confirmed.")]
    return [
        _format_category(
            "confirmed", "Fails in simulation", [_format_category(k, "Kind") for k in kinds]
        ),
        _format_category("not_confirmed", "Nothing fails in simulation"),
    ]


def _find_rows(hotspots: Sequence[Hotspot], ids: Sequence[int]) -> Rows:
    """Return where the hotspots of some ids are, of those that are there."""
    row_of = {number: row for row, number in enumerate(_read_ids(hotspots).tolist())}
    return [row_of[number] for number in ids if number in row_of]


def _read_ids(hotspots: Sequence[Hotspot]) -> Int64s:
    return np.asarray(read_field(hotspots, "id"), np.int64)


def _split_bands(hotspots: Sequence[Hotspot]) -> dict[str, Rows]:
    """Return the sub-categories of ``hotspot`` and their members, worst first."""
    bands: dict[str, Rows] = {}
    scores = read_field(hotspots, "score")
    for high, low in pairwise((1.0, *SEVERITIES)):
        top = float("inf") if high == 1.0 else high
        members = np.flatnonzero((low <= scores) & (scores < top)).tolist()
        bands |= _split_by_rank(f"score_{low * 100:.0f}_to_{high * 100:.0f}", hotspots, members)
    return bands


def _split_levels(hotspots: Sequence[Hotspot], reviews: Mapping[int, Review]) -> dict[str, Rows]:
    """Return the sub-categories of ``level`` and their members, by rank."""
    few, which = share_by_id(reviews, _read_ids(hotspots)[: len(hotspots) if reviews else 0])
    level_of = np.array([(review.is_open and review.level) or 0 for review in few], np.int64)
    found: dict[str, Rows] = {}
    for level in (1, 2, 3):
        members = np.flatnonzero(level_of[which] == level).tolist()
        found |= _split_by_rank(f"level{level}", hotspots, members)
    return found


def _split_waived(hotspots: Sequence[Hotspot], reviews: Mapping[int, Review]) -> dict[str, Rows]:
    """Return the sub-categories of ``waived``, one per waiver, and their members, by rank."""
    few, which = share_by_id(reviews, _read_ids(hotspots)[: len(hotspots) if reviews else 0])
    is_waived = np.array([bool(review.waiver) for review in few], bool)
    members: dict[str, list[int]] = {}
    for row in np.flatnonzero(is_waived[which]).tolist():
        for name in few[which[row]].waiver.split():
            members.setdefault(re.sub(r"[^\w]", "_", name), []).append(row)
    found: dict[str, Rows] = {}
    for name in sorted(members):
        found |= _split_by_rank(name, hotspots, members[name])
    return found


def _split_by_rank(name: str, hotspots: Sequence[Hotspot], members: Rows) -> dict[str, Rows]:
    """Return a category, cut into parts where the browser would not list all of it."""
    found = {}
    for start in range(0, len(members), _CATEGORY_ITEMS):
        part = members[start : start + _CATEGORY_ITEMS]
        ranks = f"_from_H{hotspots[part[0]].id}_to_H{hotspots[part[-1]].id}"
        found[name + (ranks if len(members) > _CATEGORY_ITEMS else "")] = part
    return found


def _split_classes(
    hotspots: Sequence[Hotspot], findings: Mapping[int, Finding], classes: Sequence[HotspotClass]
) -> dict[str, Rows]:
    """Return the sub-categories of ``class`` and their members, worst first."""
    found: dict[str, Rows] = {}
    if not classes or not hotspots:
        return found
    of_class = read_by_id(findings, _read_ids(hotspots))["class_id"].to_numpy()
    order = np.argsort(of_class, kind="stable")
    for row in classes:
        name = f"C{row.id}_{row.kind}_x{row.hotspots}"
        bounds = np.searchsorted(of_class, (row.id, row.id + 1), sorter=order)
        listed = order[slice(*bounds)].tolist()
        for start in range(0, len(listed), _CATEGORY_ITEMS):
            more = f"_from_{start + 1}" if len(listed) > _CATEGORY_ITEMS else ""
            found[name + more] = listed[start : start + _CATEGORY_ITEMS]
    return found


def _format_category(name: str, description: str, children: Iterable[str] = ()) -> str:
    return (
        f"<category><name>{name}</name><description>{description}</description>"
        f"<categories>{''.join(children)}</categories></category>\n"
    )


def _format_item(cell: str, category: str, values: Iterable[str]) -> str:
    rest = _format_rest(cell, "".join(map(_format_value, values)))
    return f"<item><tags/><category>{category}</category>{rest}"


def _format_rest(cell: str, values: str) -> str:
    """Return what an item has after its category."""
    return (
        f"<cell>{cell}</cell><visited>false</visited><multiplicity>1</multiplicity>"
        f"<values>{values}</values></item>\n"
    )


def _format_value(value: str) -> str:
    return f"<value>{escape(value)}</value>"


def _quote(text: str) -> str:
    """Return a text as KLayout writes it in a value."""
    return f"'{_escape_quoted(text)}'"


def _escape_quoted(text: str) -> str:
    return escape_text(text).replace("\\", "\\\\").replace("'", "\\'")


def _format_part(layer: MarkedLayer, part: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield the tags of some hotspots, and their values."""
    names = ("id", "score", "rule", "clips", "pattern_key", "group")
    rows = zip(
        *(list_values(part[name]) for name in names), _format_cores(layer, part),
        _tell_findings(layer, part), _tell_reviews(layer, part), strict=True,
    )  # fmt: skip
    for number, score, rule, clips, key, group, box, finding, (tags, level, by) in rows:
        yield (
            tags,
            (
                f"<value>[#score] float: {score:.6f}</value><value>[#rank] float: {number}</value>"
                f"<value>[#group] float: {group}</value><value>[#clips] float: {clips}</value>"
                f"{finding[0]}{level}<value>text: 'H{number} score {score:.3f} rule {rule} pattern "
                f"{key}{finding[1]}{by}'</value><value>{box}</value>"
            ),
        )


def _tell_findings(layer: MarkedLayer, part: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield the values that tell the class of each hotspot, and what its text says of it."""
    if layer.findings is None:
        yield from [("", "")] * len(part)
        return
    size = {row.id: row.hotspots for row in layer.classes}
    columns = (list_values(part[name]) for name in ("class_id", "moved_dbu", "cell_kind"))
    cells = change_texts(part["cell"], lambda text: escape(_escape_quoted(text)))
    for number, moved, kind, cell in zip(*columns, cells, strict=True):
        told = f"<value>[#class] float: {number}</value>"
        told += f"<value>[#hotspots] float: {size[number]}</value>"
        if moved is not None:
            told += f"<value>[#moved] float: {moved * layer.dbu_nm:g}</value>"
        yield told, f" class C{number} {kind} {cell}"


def _tell_reviews(layer: MarkedLayer, part: pa.Table) -> Iterable[tuple[str, str, str]]:
    """Return the tags of each hotspot, the value of its level, and what its text says of both."""
    if layer.reviews is None:
        return [("<tags/>", "", "")] * len(part)
    few, which = share_by_id(layer.reviews, part["id"].to_numpy())
    told = [_tell_review(review) for review in few]
    return [told[at] for at in which.tolist()]


def _tell_review(review: Review) -> tuple[str, str, str]:
    tags, level, text = "<tags/>", "", ""
    if review.level is not None:
        level = f"<value>[#level] float: {review.level}</value>"
        text += f" level {review.level} by {review.level_by}"
    if review.waiver:
        tags = "<tags>waived</tags>"  # KLayout's browser shows one of this name as such
        text += f" waived by {review.waiver}: {review.reason}"
    return tags, level, escape(_escape_quoted(text))


def _format_cores(layer: MarkedLayer, part: pa.Table) -> Iterator[str]:
    sides = cut_cores(part, layer.core_dbu)
    for box in zip(*(to_um_each(side, layer.dbu_nm).tolist() for side in sides), strict=True):
        yield _BOX.format(*box)


def _format_box(box: Box, dbu_nm: float) -> str:
    return _BOX.format(*(to_um(edge, dbu_nm) for edge in box.as_tuple()))
