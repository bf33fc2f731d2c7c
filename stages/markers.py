"""Markers: the hotspots in the formats that layout tools and tables read.

In: hotspots, and the regions that were not scanned. Out: GDSII, OASIS, KLayout report database,
CSV, JSON, Arrow tables, and one small layout per hotspot for an external simulator.
Unit of work: a whole scan.
Promise: equal input gives equal bytes; the box of a marker is centred on its clip to the dbu.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import gdstk
import pyarrow as pa

from stages.contracts import Box, Hotspot, Layer, Shapes
from stages.errors import ConfigError, LayoutError

CORE, MERGED, NOT_SCANNED = 0, 1, 2
"""Datatypes of the marker layer: each core with its label, merged cores, regions not scanned."""

_SIDES = ("x_min", "y_min", "x_max", "y_max")

COLUMNS: dict[str, Any] = {
    "id": pa.int64(),
    "x_um": pa.float64(),
    "y_um": pa.float64(),
    "score": pa.float64(),
    "rule": pa.string(),
    "clips": pa.int64(),
    "pattern": pa.int64(),
    "pattern_key": pa.string(),
    "group": pa.int64(),
    **{f"{side}_um": pa.float64() for side in _SIDES},
}
"""What the CSV, JSON and Parquet tables hold of a hotspot, in this order."""

SEVERITIES = (0.99, 0.95, 0.90, 0.80, 0.50, 0.0)
"""Lowest score of each category of the report database, highest first."""

# A fixed date, so that a layout depends on nothing but the hotspots.
_TIMESTAMP = datetime(2000, 1, 1)
# KLayout's marker browser shows no more of one category.
_CATEGORY_ITEMS = 1000
# KLayout reads no OASIS coordinate of -2**31, so the least is as far off as the greatest.
_FARTHEST_DBU = 2**31 - 1
_DBU_COLUMNS = ("x_dbu", "y_dbu", *(f"{side}_dbu" for side in _SIDES))


def free_layer(used: Iterable[Layer], asked: int | None = None) -> int:
    """Return a layer for the markers that the layout does not use.

    Parameters
    ----------
    used
        The layers of the layout.
    asked
        The layer that the user wants; by default the highest free one that every tool can read
        (up to 255), or else the lowest free one over that.

    Raises
    ------
    ConfigError
        When `asked` is used by the layout or is no layer number, or when no layer is free.

    Examples
    --------
    >>> free_layer([Layer(68, 20), Layer(255, 0)])
    254
    """
    used = sorted(used)
    taken = {layer.layer for layer in used}
    if asked is None:
        free = sorted(set(range(1, 65536)) - taken)
        if not free:
            raise ConfigError("the layout uses all 65535 layers; none is left for the markers")
        return max((number for number in free if number <= 255), default=free[0])
    if not 0 <= asked <= 65535:
        raise ConfigError(f"marker layer is {asked}; it must be from 0 to 65535")
    if asked in taken:
        names = ", ".join(str(layer) for layer in used if layer.layer == asked)
        raise ConfigError(
            f"marker layer {asked} is used by the layout ({names}); "
            f"choose another, such as {free_layer(used)}"
        )
    return asked


def write_markers(
    path: Path,
    hotspots: Sequence[Hotspot],
    *,
    top: str,
    dbu_nm: float,
    core_dbu: int,
    layer: int,
    not_scanned: Sequence[Box] = (),
) -> None:
    """Write the markers as OASIS where `path` ends in ``.oas``, or else as GDSII.

    The file has the layout's top-cell name and database unit and nothing but the markers. On
    `layer`, datatype 0 holds a box and a label ("H12 0.973") for each hotspot, centred on its
    clip; datatype 1 the box of its merged cores where it has more than one clip; datatype 2 the
    regions that were not scanned.

    Raises
    ------
    LayoutError
        When a coordinate does not fit the 32 bits that the formats hold.
    """
    library, cell = _library(top, dbu_nm)
    for spot in hotspots:
        centre = (_um(spot.x_dbu, dbu_nm), _um(spot.y_dbu, dbu_nm))
        cell.add(
            _rectangle(core_box(spot, core_dbu), dbu_nm, layer, CORE),
            gdstk.Label(f"H{spot.id} {spot.score:.3f}", centre, layer=layer, texttype=CORE),
        )
        if spot.clips > 1:
            cell.add(_rectangle(spot.box, dbu_nm, layer, MERGED))
    for box in not_scanned:
        cell.add(_rectangle(box, dbu_nm, layer, NOT_SCANNED))
    if path.suffix == ".oas":
        library.write_oas(str(path))
    else:
        library.write_gds(str(path), timestamp=_TIMESTAMP)


def core_box(spot: Hotspot, core_dbu: int) -> Box:
    """Return the core of the clip that shows a hotspot.

    Raises
    ------
    ConfigError
        When `core_dbu` is odd: its centre would lie between two coordinates.
    """
    if core_dbu < 2 or core_dbu % 2:
        raise ConfigError(f"core_dbu is {core_dbu}; it must be an even number over 0")
    return Box(spot.x_dbu, spot.y_dbu, spot.x_dbu, spot.y_dbu).grown(core_dbu // 2)


def _library(cell_name: str, dbu_nm: float) -> tuple[Any, Any]:
    library = gdstk.Library("hotscan", unit=1e-6, precision=dbu_nm * 1e-9)
    return library, library.new_cell(cell_name)


def _rectangle(box: Box, dbu_nm: float, layer: int, datatype: int) -> Any:
    if max(map(abs, box.as_tuple())) > _FARTHEST_DBU:
        raise LayoutError(
            f"box {box.as_tuple()} in dbu does not fit 32 bits, the most that GDSII holds; "
            "scan a layout or a --roi nearer to the origin"
        )
    x_min, y_min, x_max, y_max = (_um(edge, dbu_nm) for edge in box.as_tuple())
    return gdstk.rectangle((x_min, y_min), (x_max, y_max), layer=layer, datatype=datatype)


def _um(value_dbu: int, dbu_nm: float) -> float:
    """Return a length in um, without the noise that binary fractions leave past 1e-6 nm."""
    return round(value_dbu * dbu_nm / 1000, 9)


def lyrdb(
    hotspots: Sequence[Hotspot],
    *,
    top: str,
    dbu_nm: float,
    core_dbu: int,
    layout: str,
    not_scanned: Sequence[Box] = (),
) -> str:
    """Return the hotspots as a KLayout report database.

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
    regions = (_item("not_scanned", cell, [_box_value(box, dbu_nm)]) for box in not_scanned)
    band_categories = [_category(name, "Score in percent, lower bound included") for name in bands]
    tags = "".join(
        f"<tag><name>{name}</name><description/><user>true</user></tag>"
        for name in ("score", "rank", "group", "clips", "hotspots")
    )
    return "".join(
        (
            '<?xml version="1.0" encoding="utf-8"?>\n<report-database>\n',
            f"<description>hotscan: {len(hotspots)} hotspots in {escape(layout)}</description>\n",
            f"<original-file>{escape(layout)}</original-file>\n<generator>hotscan</generator>\n",
            f"<top-cell>{cell}</top-cell>\n<tags>{tags}</tags>\n<categories>\n",
            _category("hotspot", "Places over the threshold", band_categories),
            _category("pattern_group", "The best hotspot of each distinct pattern"),
            _category("not_scanned", "Regions that have no verdict"),
            f"</categories>\n<cells><cell><name>{cell}</name><variant/><layout-name/><references/>",
            "</cell></cells>\n<items>\n",
            *items,
            *regions,
            "</items>\n</report-database>\n",
        )
    )


def write_lyrdb_gz(path: Path, text: str) -> None:
    """Write a report database compressed, with no time or name in its header."""
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


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
        _box_value(core_box(spot, core_dbu), dbu_nm),
    ]


def _box_value(box: Box, dbu_nm: float) -> str:
    x_min, y_min, x_max, y_max = (_um(edge, dbu_nm) for edge in box.as_tuple())
    return f"box: ({x_min:.12g},{y_min:.12g};{x_max:.12g},{y_max:.12g})"


def hotspots_to_table(hotspots: Sequence[Hotspot], dbu_nm: float) -> Any:
    """Return a ``pyarrow.Table`` of `COLUMNS` and of the same places as integers in dbu."""
    rows = _rows(hotspots, dbu_nm)
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()}
    places = [(spot.x_dbu, spot.y_dbu, *spot.box.as_tuple()) for spot in hotspots]
    for at, name in enumerate(_DBU_COLUMNS):
        columns[name] = pa.array([place[at] for place in places], pa.int64())
    return pa.table(columns)


def table_to_hotspots(table: Any) -> tuple[Hotspot, ...]:
    """Return the hotspots that `hotspots_to_table` put into `table`.

    Raises
    ------
    LayoutError
        When a column is missing, that is, when the table is not one of hotspots.
    """
    plain = ("id", "score", "rule", "clips", "pattern", "pattern_key", "group", "x_dbu", "y_dbu")
    missing = {*plain, *_DBU_COLUMNS} - set(table.column_names)
    if missing:
        raise LayoutError(
            f"the table of hotspots has no column {', '.join(sorted(missing))}; "
            "it was not written by this version: run the scan's report again"
        )
    return tuple(
        Hotspot(**{name: row[name] for name in plain}, box=Box(*(row[n] for n in _DBU_COLUMNS[2:])))
        for row in table.to_pylist()
    )


def hotspots_csv(hotspots: Sequence[Hotspot], dbu_nm: float) -> str:
    """Return a table with the header `COLUMNS`; scores to six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"score": f"{row['score']:.6f}"} for row in _rows(hotspots, dbu_nm))
    return text.getvalue()


def hotspots_json(hotspots: Sequence[Hotspot], dbu_nm: float) -> str:
    """Return a JSON list of objects with the keys `COLUMNS`."""
    return json.dumps(_rows(hotspots, dbu_nm), indent=1) + "\n"


def _rows(hotspots: Sequence[Hotspot], dbu_nm: float) -> list[dict[str, Any]]:
    rows = []
    for spot in hotspots:
        edges = zip(_SIDES, spot.box.as_tuple(), strict=True)
        values: dict[str, Any] = {f"{side}_um": _um(edge, dbu_nm) for side, edge in edges}
        values["x_um"], values["y_um"] = _um(spot.x_dbu, dbu_nm), _um(spot.y_dbu, dbu_nm)
        rows.append(
            {name: values[name] if name in values else getattr(spot, name) for name in COLUMNS}
        )
    return rows


def clip_file_name(spot: Hotspot) -> str:
    """Return the name of a hotspot's own layout: rank and centre in dbu.

    Examples
    --------
    >>> clip_file_name(Hotspot(12, 4000, -250, 0.9, "space", 1, 0, "", 1, Box(0, 0, 1, 1)))
    'H0012_4000_-250.gds'
    """
    return f"H{spot.id:04d}_{spot.x_dbu}_{spot.y_dbu}.gds"


def write_clips(
    folder: Path,
    clips: Iterable[tuple[Hotspot, Mapping[Layer, Shapes]]],
    *,
    dbu_nm: float,
    core_dbu: int,
    clip_dbu: int,
    core_layer: int,
) -> int:
    """Write one GDSII file per hotspot, for an external simulator, and return how many.

    Each holds the geometry of the clip (core and halo), cut at the clip's edge, in the layout's
    own coordinates and layers, and the outline of the core on `core_layer`. The shapes may reach
    past the clip; overlaps stay as drawn.

    Parameters
    ----------
    clips
        Each hotspot with the shapes around it; read one at a time.
    core_layer
        A layer that the layout does not use, see `free_layer`.
    """
    count = 0
    for spot, shapes in clips:
        library, cell = _library(f"H{spot.id:04d}", dbu_nm)
        window = core_box(spot, clip_dbu)
        for layer, geometry in shapes.items():
            for box in _cut_rects(geometry, window):
                cell.add(_rectangle(box, dbu_nm, layer.layer, layer.datatype))
            cell.add(*_cut_polygons(geometry, window, dbu_nm, layer))
        cell.add(_rectangle(core_box(spot, core_dbu), dbu_nm, core_layer, CORE))
        library.write_gds(str(folder / clip_file_name(spot)), timestamp=_TIMESTAMP)
        count += 1
    return count


def _cut_rects(shapes: Shapes, window: Box) -> list[Box]:
    boxes = (Box(*rect) for rect in shapes.rects.tolist())
    return [cut for box in boxes if (cut := box.intersect(window)) is not None]


def _cut_polygons(shapes: Shapes, window: Box, dbu_nm: float, layer: Layer) -> Iterator[Any]:
    frame = _rectangle(window, dbu_nm, 0, 0)
    um = dbu_nm / 1000
    # One by one: a boolean of all would merge what was drawn overlapping.
    for start, end in zip(shapes.point_start[:-1], shapes.point_start[1:], strict=True):
        polygon = gdstk.Polygon(shapes.points[start:end] * um)
        yield from gdstk.boolean(
            polygon, frame, "and", precision=um, layer=layer.layer, datatype=layer.datatype
        )
