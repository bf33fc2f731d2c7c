"""Markers: the hotspots as layouts.

in       hotspots, their verdicts by simulation, their classes, the regions that were not scanned
out      gdstk libraries: some with a marker for each hotspot, one per clip, one of any drawing
unit     a whole scan
promise  equal input gives equal files; the box of a marker is centred on its clip to the dbu

Only gdstk knows how to encode a library, and only into a file: the caller writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import gdstk
import numpy as np
import pyarrow as pa
from shapely import Polygon

from stages.contracts import Box, Floats, Hotspot, Int64s, Layer, Shapes, Verdict
from stages.errors import ConfigError, LayoutError
from stages.exports.columns import cut_cores, list_parts
from stages.findings import Finding, HotspotClass, Review
from stages.lengths import to_um, to_um_each
from stages.rows import HOTSPOT_BOX, PART, change_texts, list_values
from stages.text import escape_text

CORE, MERGED, NOT_SCANNED, DEFECT, CONTOUR, TARGET, CLASS = range(7)
"""Datatypes of the marker layer: each core with its label, merged cores, regions not scanned; for
hotspots that fail in simulation the defect with its label, the contours, the target; and the place
of the hotspot that represents each class, with its label."""

CLASS_PROPERTY, CELL_PROPERTY, LEVEL_PROPERTY, WAIVER_PROPERTY = 1, 2, 3, 4
"""Numbers of the GDSII properties of a core: class, cell at fault, level, waiver."""

# KLayout reads no OASIS coordinate of -2**31, so the lower limit is as far off as the upper.
_FARTHEST_DBU = 2**31 - 1
_PLACE_NM = 200
_LONGEST = 126  # characters of all properties of an element, as GDSII allows


@dataclass(frozen=True, slots=True, eq=False)
class PrintedArea:
    """Target and contours around the worst defect of a confirmed hotspot."""

    window: Box
    target: Int64s
    """(n, 4) rectangles of the target layer, in dbu."""
    contours: Sequence[Polygon]
    """Printed contours at the corner of the defect, in dbu."""


def find_free_layer(used: Iterable[Layer], asked: int | None = None) -> int:
    """Return a layer for the markers that the layout does not use.

    Parameters
    ----------
    used
        The layers of the layout.
    asked
        The layer that the user wants; by default the highest free one that every tool can read
        (up to 255), or else the lowest free one above.

    Raises
    ------
    ConfigError
        When `asked` is used by the layout or is no layer number, or when no layer is free.

    Examples
    --------
    >>> find_free_layer([Layer(68, 20), Layer(255, 0)])
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
            f"choose another, such as {find_free_layer(used)}"
        )
    return asked


def build_markers(
    hotspots: Sequence[Hotspot],
    *,
    top: str,
    dbu_nm: float,
    core_dbu: int,
    layer: int,
    not_scanned: Sequence[Box] = (),
    verdicts: Mapping[int, Verdict] | None = None,
    printed: Iterable[PrintedArea] = (),
    findings: Mapping[int, Finding] | None = None,
    classes: Iterable[HotspotClass] = (),
    reviews: Mapping[int, Review] | None = None,
    part: int = PART,
) -> Iterator[Any]:
    """Yield the markers as ``gdstk.Library`` of one cell, so many hotspots at a time.

    Each has the layout's top-cell name and database unit and nothing but the markers. On `layer`,
    datatype 0 holds a box and a label ("H12 0.973") for each hotspot, centred on its clip;
    datatype 1 the box of its merged cores where it has more than one clip; datatype 2 the regions
    that were not scanned. For hotspots that were simulated and fail, datatype 3 holds a box of
    200 nm and a label ("H12 pinch 0.42") at the worst defect, and for those in `printed`
    datatype 4 the contours at that defect's corner and datatype 5 the target. Where hotspots are
    grouped, their labels name the class ("H12 0.973 C3"), their boxes hold it and the cell at fault
    as properties, and datatype 6 has a box of 200 nm and a label ("C3 x214") at the place of each
    class's representative. With `reviews`, the labels end with the level and whether it is waived
    ("L1 waived"); level and waiver are properties as well. What is not of a hotspot is in the last.

    Raises
    ------
    LayoutError
        When a coordinate does not fit the 32 bits that GDSII and OASIS readers hold.
    """
    parts = list_parts(hotspots, findings, reviews, part)
    last = max(len(hotspots) - 1, 0) // part
    for number in range(last + 1):
        library, cell = _make_library(top, dbu_nm)
        rows = next(parts) if hotspots else None
        if rows is not None:
            _mark_hotspots(cell, rows, dbu_nm, core_dbu, layer)
        for box in not_scanned if number == last else ():
            cell.add(_make_rectangle(box, dbu_nm, layer, NOT_SCANNED))
        for spot in rows["id"].to_pylist() if rows is not None and verdicts else ():
            _mark_defect(cell, spot, verdicts or {}, dbu_nm, layer)
        if number == last:
            _mark_classes(cell, classes, findings or {}, dbu_nm, layer)
            for area in printed:
                _add_printed(cell, area, dbu_nm, layer)
        yield library


def _mark_defect(
    cell: Any, spot: int, verdicts: Mapping[int, Verdict], dbu_nm: float, layer: int
) -> None:
    """Add the worst defect of a hotspot, if it has one."""
    worst = verdicts[spot].worst if spot in verdicts else None
    if worst is not None:
        text = f"H{spot} {worst.kind} {worst.severity:.2f}"
        _mark_place(cell, text, worst.x_dbu, worst.y_dbu, dbu_nm, Layer(layer, DEFECT))


def _mark_classes(
    cell: Any, classes: Iterable[HotspotClass], findings: Mapping[int, Finding], dbu_nm: float,
    layer: int,
) -> None:  # fmt: skip
    """Add the place of the representative of each class."""
    for row in classes:
        first = findings[row.representative]
        x, y = round(first.place_x_dbu), round(first.place_y_dbu)
        _mark_place(cell, f"C{row.id} x{row.hotspots}", x, y, dbu_nm, Layer(layer, CLASS))


def _mark_hotspots(cell: Any, part: pa.Table, dbu_nm: float, core_dbu: int, layer: int) -> None:
    """Add the core of each hotspot with its label and properties, and its merged cores."""
    cores = _make_rectangles(cut_cores(part, core_dbu), dbu_nm, layer, CORE)
    is_merged = part["clips"].to_numpy() > 1
    boxes = (part[name].to_numpy()[is_merged] for name in HOTSPOT_BOX)
    merged = _make_rectangles(boxes, dbu_nm, layer, MERGED)
    places = (to_um_each(part[name].to_numpy(), dbu_nm).tolist() for name in ("x_dbu", "y_dbu"))
    for core, more, text, told, *place in zip(
        cores, is_merged.tolist(), _label_hotspots(part), _tell_properties(part), *places,
        strict=True,
    ):  # fmt: skip
        for number, value in told:
            core.set_gds_property(number, value)
        cell.add(core, gdstk.Label(text, tuple(place), layer=layer, texttype=CORE))
        if more:
            cell.add(next(merged))


def _label_hotspots(part: pa.Table) -> Iterator[str]:
    """Return the label of each hotspot: rank, score, class, level, whether it is waived."""
    ranks = zip(list_values(part["id"]), list_values(part["score"]), strict=True)
    texts = [[f"H{number} {score:.3f}" for number, score in ranks]]
    if "class_id" in part.column_names:
        texts.append([f" C{number}" for number in list_values(part["class_id"])])
    if "level" in part.column_names:
        levels = list_values(part["level"])
        texts.append(["" if level is None else f" L{level}" for level in levels])
        texts.append(change_texts(part["waiver"], lambda waiver: " waived" if waiver else ""))
    return map("".join, zip(*texts, strict=True))


def _tell_properties(part: pa.Table) -> Iterator[list[tuple[int, str]]]:
    """Yield the properties of each hotspot: number and text."""
    texts: dict[int, list[str | None]] = {}
    if "class_id" in part.column_names:
        texts[CLASS_PROPERTY] = [f"C{number}" for number in list_values(part["class_id"])]
    if "level" in part.column_names:
        levels = list_values(part["level"])
        texts[LEVEL_PROPERTY] = [None if level is None else f"L{level}" for level in levels]
        texts[WAIVER_PROPERTY] = change_texts(
            part["waiver"], lambda text: escape_text(text) or None
        )
    if "cell" in part.column_names:  # last: it is cut first
        texts[CELL_PROPERTY] = change_texts(part["cell"], escape_text)
    for row in zip(*texts.values(), strict=True) if texts else repeat((), len(part)):
        told, left = list[tuple[int, str]](), _LONGEST
        for number, text in zip(texts, row, strict=True):
            if text is not None:
                told.append((number, text[:left]))
                left -= len(text[:left])
        yield sorted(told)


def _mark_place(cell: Any, text: str, x_dbu: int, y_dbu: int, dbu_nm: float, layer: Layer) -> None:
    """Add a small box with a label."""
    box = Box(x_dbu, y_dbu, x_dbu, y_dbu).grow(round(_PLACE_NM / 2 / dbu_nm))
    cell.add(_make_rectangle(box, dbu_nm, layer.layer, layer.datatype))
    _add_label(cell, text, x_dbu, y_dbu, dbu_nm, layer)


def _add_label(cell: Any, text: str, x_dbu: int, y_dbu: int, dbu_nm: float, layer: Layer) -> None:
    place = (to_um(x_dbu, dbu_nm), to_um(y_dbu, dbu_nm))
    cell.add(gdstk.Label(text, place, layer=layer.layer, texttype=layer.datatype))


def _add_printed(cell: Any, area: PrintedArea, dbu_nm: float, layer: int) -> None:
    target = Shapes(area.target, np.empty((0, 2), np.int64), np.zeros(1, np.int64))
    for box in _cut_rects(target, area.window):
        cell.add(_make_rectangle(box, dbu_nm, layer, TARGET))
    for polygon in area.contours:
        for ring in cut_open(polygon):
            points = np.round(ring) * (dbu_nm / 1000)
            cell.add(gdstk.Polygon(points, layer=layer, datatype=CONTOUR))


def _make_library(cell_name: str, dbu_nm: float) -> tuple[Any, Any]:
    library = gdstk.Library("hotscan", unit=1e-6, precision=dbu_nm * 1e-9)
    return library, library.new_cell(escape_text(cell_name))


def _make_rectangle(box: Box, dbu_nm: float, layer: int, datatype: int) -> Any:
    sides = np.array(box.as_tuple())[:, None]
    return next(_make_rectangles(sides, dbu_nm, layer, datatype))


def _make_rectangles(
    sides: Iterable[Int64s], dbu_nm: float, layer: int, datatype: int
) -> Iterator[Any]:
    """Yield rectangles of their sides, (n,) each."""
    boxes = np.stack(tuple(sides), axis=1)
    for far in boxes[(np.abs(boxes) > _FARTHEST_DBU).any(axis=1)].tolist():
        raise LayoutError(
            f"box {tuple(far)} in dbu does not fit the 32 bits of a GDSII coordinate; "
            "scan a layout or a --roi nearer to the origin"
        )
    for x_min, y_min, x_max, y_max in to_um_each(boxes, dbu_nm).tolist():
        yield gdstk.rectangle((x_min, y_min), (x_max, y_max), layer=layer, datatype=datatype)


def name_clip_file(spot: Hotspot) -> str:
    """Return the name of a hotspot's own layout: rank and centre in dbu.

    Examples
    --------
    >>> name_clip_file(Hotspot(12, 4000, -250, 0.9, "space", 1, 0, "", 1, Box(0, 0, 1, 1)))
    'H0012_4000_-250.gds'
    """
    return f"H{spot.id:04d}_{spot.x_dbu}_{spot.y_dbu}.gds"


def build_clip(
    spot: Hotspot,
    shapes: Mapping[Layer, Shapes],
    *,
    dbu_nm: float,
    core_dbu: int,
    clip_dbu: int,
    core_layer: int,
) -> Any:
    """Return the clip of a hotspot as a ``gdstk.Library``, for an external simulator.

    It holds the geometry of the clip (core and halo), cut at the clip's edge, in the layout's own
    coordinates and layers, and the outline of the core on `core_layer`. Overlaps stay as drawn.

    Parameters
    ----------
    shapes
        By layer, all shapes that overlap the clip; they may reach past it.
    core_layer
        A layer that the layout does not use, see `find_free_layer`.
    """
    library, cell = _make_library(f"H{spot.id:04d}", dbu_nm)
    window = spot.core(clip_dbu)
    for layer, geometry in shapes.items():
        for box in _cut_rects(geometry, window):
            cell.add(_make_rectangle(box, dbu_nm, layer.layer, layer.datatype))
        cell.add(*_cut_polygons(geometry, window, dbu_nm, layer))
    cell.add(_make_rectangle(spot.core(core_dbu), dbu_nm, core_layer, CORE))
    return library


def _cut_rects(shapes: Shapes, window: Box) -> list[Box]:
    boxes = (Box(*rect) for rect in shapes.rects.tolist())
    return [cut for box in boxes if (cut := box.intersect(window)) is not None]


def _cut_polygons(shapes: Shapes, window: Box, dbu_nm: float, layer: Layer) -> Iterator[Any]:
    frame = _make_rectangle(window, dbu_nm, 0, 0)
    um = dbu_nm / 1000
    # One by one: a boolean of all would merge what was drawn overlapping.
    for start, end in zip(shapes.point_start[:-1], shapes.point_start[1:], strict=True):
        polygon = gdstk.Polygon(shapes.points[start:end] * um)
        yield from gdstk.boolean(
            polygon, frame, "and", precision=um, layer=layer.layer, datatype=layer.datatype
        )


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """Shapes of one layer."""

    layer: Layer
    shapes: Int64s | Sequence[Box | Polygon]
    """(n, 4) rectangles, or boxes and polygons; in dbu."""
    label: str = ""
    """Text at the middle of the first shape."""
    within: Box | None = None
    """Rectangles are cut to this."""


def build_drawing(top: str, dbu_nm: float, drawings: Iterable[Drawing]) -> Any:
    """Return `drawings` as a ``gdstk.Library`` of one cell."""
    library, cell = _make_library(top, dbu_nm)
    unit = dbu_nm / 1000
    for drawing in drawings:
        number, datatype = drawing.layer.layer, drawing.layer.datatype
        for ring in _trace_rings(drawing):
            cell.add(gdstk.Polygon(np.round(ring) * unit, layer=number, datatype=datatype))
        if drawing.label:
            at = tuple((np.mean(next(_trace_rings(drawing)), axis=0) * unit).tolist())
            cell.add(gdstk.Label(drawing.label, at, layer=number, texttype=datatype))
    return library


def _trace_rings(drawing: Drawing) -> Iterator[Floats]:
    """Yield the outline of each shape, (points, 2) in dbu, without the closing point."""
    shapes: Iterable[Box | Polygon]
    if isinstance(drawing.shapes, np.ndarray):
        none = np.empty((0, 2), np.int64)
        rects = Shapes(drawing.shapes[:, :4], none, np.zeros(1, np.int64))
        shapes = [Box(*rect) for rect in rects.rects.tolist()]
        if drawing.within is not None:
            shapes = _cut_rects(rects, drawing.within)
    else:
        shapes = drawing.shapes
    for shape in shapes:
        if isinstance(shape, Box):
            x_0, y_0, x_1, y_1 = shape.as_tuple()
            yield np.array([(x_0, y_0), (x_1, y_0), (x_1, y_1), (x_0, y_1)], float)
        else:
            yield from cut_open(shape)


def cut_open(polygon: Polygon) -> Iterator[Floats]:
    """Yield the outline of a polygon, cut open where it has holes, as the formats have none."""
    outer, *holes = (np.array(ring.coords)[:-1] for ring in (polygon.exterior, *polygon.interiors))
    if not holes:
        yield outer
        return
    pieces = gdstk.boolean(gdstk.Polygon(outer), [gdstk.Polygon(hole) for hole in holes], "not")
    yield from (piece.points for piece in pieces)
