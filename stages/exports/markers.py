"""Markers: the hotspots as layouts.

In: hotspots, what simulation says of them, and the regions that were not scanned. Out: GDSII or
OASIS with a marker for each, and one small layout per hotspot for an external simulator.
Unit of work: a whole scan.
Promise: equal input gives equal bytes; the box of a marker is centred on its clip to the dbu.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import gdstk
import numpy as np
from shapely import Polygon

from stages.contracts import Box, Floats, Hotspot, Int64s, Layer, Shapes, Verdict, um
from stages.errors import ConfigError, LayoutError

CORE, MERGED, NOT_SCANNED, DEFECT, CONTOUR, TARGET = range(6)
"""Datatypes of the marker layer: each core with its label, merged cores, regions not scanned; and
of hotspots that fail in simulation the defect with its label, what prints, what shall print."""


@dataclass(frozen=True, slots=True, eq=False)
class Printed:
    """A confirmed hotspot's surroundings."""

    window: Box
    target: Int64s
    """(n, 4) rectangles of what shall print, in dbu."""
    contours: Sequence[Polygon]
    """What prints at the corner of the defect, in dbu."""


# A fixed date, so that a layout depends on nothing but the hotspots.
_TIMESTAMP = datetime(2000, 1, 1)
# KLayout reads no OASIS coordinate of -2**31, so the least is as far off as the greatest.
_FARTHEST_DBU = 2**31 - 1


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
    verdicts: Mapping[int, Verdict] | None = None,
    printed: Iterable[Printed] = (),
) -> None:
    """Write the markers as OASIS where `path` ends in ``.oas``, or else as GDSII.

    The file has the layout's top-cell name and database unit and nothing but the markers. On
    `layer`, datatype 0 holds a box and a label ("H12 0.973") for each hotspot, centred on its
    clip; datatype 1 the box of its merged cores where it has more than one clip; datatype 2 the
    regions that were not scanned. Where hotspots were simulated, datatype 3 holds a box of 200 nm
    and a label ("H12 pinch 0.42") at the worst defect of each that fails, and of those in
    `printed` datatype 4 what prints at that defect's corner and datatype 5 what shall print.

    Raises
    ------
    LayoutError
        When a coordinate does not fit the 32 bits that the formats hold.
    """
    library, cell = _library(top, dbu_nm)
    for spot in hotspots:
        centre = (um(spot.x_dbu, dbu_nm), um(spot.y_dbu, dbu_nm))
        cell.add(
            _rectangle(spot.core(core_dbu), dbu_nm, layer, CORE),
            gdstk.Label(f"H{spot.id} {spot.score:.3f}", centre, layer=layer, texttype=CORE),
        )
        if spot.clips > 1:
            cell.add(_rectangle(spot.box, dbu_nm, layer, MERGED))
    for box in not_scanned:
        cell.add(_rectangle(box, dbu_nm, layer, NOT_SCANNED))
    for spot in hotspots:
        worst = verdicts[spot.id].worst if verdicts and spot.id in verdicts else None
        if worst is not None:
            at = Box(worst.x_dbu, worst.y_dbu, worst.x_dbu, worst.y_dbu)
            where = (um(worst.x_dbu, dbu_nm), um(worst.y_dbu, dbu_nm))
            text = f"H{spot.id} {worst.kind} {worst.severity:.2f}"
            cell.add(
                _rectangle(at.grown(round(100 / dbu_nm)), dbu_nm, layer, DEFECT),
                gdstk.Label(text, where, layer=layer, texttype=DEFECT),
            )
    for place in printed:
        target = Shapes(place.target, np.empty((0, 2), np.int64), np.zeros(1, np.int64))
        for box in _cut_rects(target, place.window):
            cell.add(_rectangle(box, dbu_nm, layer, TARGET))
        for polygon in place.contours:
            for ring in rings_of(polygon):
                points = np.round(ring) * (dbu_nm / 1000)
                cell.add(gdstk.Polygon(points, layer=layer, datatype=CONTOUR))
    if path.suffix == ".oas":
        library.write_oas(str(path))
    else:
        library.write_gds(str(path), timestamp=_TIMESTAMP)


def _library(cell_name: str, dbu_nm: float) -> tuple[Any, Any]:
    library = gdstk.Library("hotscan", unit=1e-6, precision=dbu_nm * 1e-9)
    return library, library.new_cell(cell_name)


def _rectangle(box: Box, dbu_nm: float, layer: int, datatype: int) -> Any:
    if max(map(abs, box.as_tuple())) > _FARTHEST_DBU:
        raise LayoutError(
            f"box {box.as_tuple()} in dbu does not fit 32 bits, the most that GDSII holds; "
            "scan a layout or a --roi nearer to the origin"
        )
    x_min, y_min, x_max, y_max = (um(edge, dbu_nm) for edge in box.as_tuple())
    return gdstk.rectangle((x_min, y_min), (x_max, y_max), layer=layer, datatype=datatype)


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
        window = spot.core(clip_dbu)
        for layer, geometry in shapes.items():
            for box in _cut_rects(geometry, window):
                cell.add(_rectangle(box, dbu_nm, layer.layer, layer.datatype))
            cell.add(*_cut_polygons(geometry, window, dbu_nm, layer))
        cell.add(_rectangle(spot.core(core_dbu), dbu_nm, core_layer, CORE))
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


def write_drawing(path: Path, top: str, dbu_nm: float, drawings: Iterable[Drawing]) -> None:
    """Write `drawings` as GDSII; the file appears whole."""
    library, cell = _library(top, dbu_nm)
    unit = dbu_nm / 1000
    for drawing in drawings:
        number, datatype = drawing.layer.layer, drawing.layer.datatype
        for ring in _rings(drawing):
            cell.add(gdstk.Polygon(np.round(ring) * unit, layer=number, datatype=datatype))
        if drawing.label:
            at = tuple((np.mean(next(_rings(drawing)), axis=0) * unit).tolist())
            cell.add(gdstk.Label(drawing.label, at, layer=number, texttype=datatype))
    unfinished = path.with_name(f".{path.name}.part")
    library.write_gds(str(unfinished), timestamp=_TIMESTAMP)
    unfinished.replace(path)


def _rings(drawing: Drawing) -> Iterator[Floats]:
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
            yield from rings_of(shape)


def rings_of(polygon: Polygon) -> Iterator[Floats]:
    """Yield the outline of a polygon, cut open where it has holes, as the formats have none."""
    outer, *holes = (np.array(ring.coords)[:-1] for ring in (polygon.exterior, *polygon.interiors))
    if not holes:
        yield outer
        return
    pieces = gdstk.boolean(gdstk.Polygon(outer), [gdstk.Polygon(hole) for hole in holes], "not")
    yield from (piece.points for piece in pieces)
