"""A layout file as packed arrays, hierarchy kept.

in       an uncompressed GDSII or OASIS file, the layers, the top cell
out      `PackedLayout`: integer dbu, one `PackedLayer` per layer
unit     the file
promise  the same region as the file draws; arrays and repetitions stay folded, so that
         3 million placed shapes need the room of the few that are drawn

A GDSII stream that was checked is read straight from its bytes, in a quarter of the time of
making an object of each element; gdstk reads the rest: OASIS, references at odd angles, and
outlines of paths. It may die on a malformed file: the pipeline calls this in a child process.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gdstk
import numpy as np
import numpy.typing as npt

from stages.contracts import Bytes, Int64s, Layer, PackedLayer, PackedLayout
from stages.errors import ConfigError, LayoutError
from stages.geometry.decompose import decompose
from stages.layout.gdsii_elements import Elements, read_elements
from stages.layout.gdsii_grammar import END_OF_LIBRARY, END_OF_STRUCTURE
from stages.layout.gdsii_pack import Outlines, pack_elements, placed_by
from stages.layout.pack import (
    NO_PLACEMENTS,
    LayerBuilder,
    children_first,
    copies_at,
    starts_of,
)

FOLD_FROM = 8
"""Repeated shapes and copies are kept folded from this many on; fewer cost less written out."""

EVERY_TOP = "*"
"""Stands for all top cells side by side: files of cut-out clips have thousands of them."""


@dataclass(frozen=True, slots=True)
class LayoutInfo:
    """What ``hotscan info`` tells of a file."""

    dbu_nm: float
    """Database unit, in nm."""
    cells: tuple[str, ...]
    """Names of all cells."""
    top_cells: tuple[str, ...]
    """Cells that no other cell places."""
    layers: dict[str, int]
    """Shapes as drawn (each cell once, repetitions folded), by layer/datatype."""
    instances: int
    """References as drawn, arrays counted once."""
    extents_um: dict[str, tuple[float, float, float, float]]
    """Box of each top cell, all layers, in um."""


def describe_layout(path: Path) -> LayoutInfo:
    """Return cells, tops, layers with counts, extent and dbu of an uncompressed file."""
    library = _read(path, ())
    layers: dict[str, int] = {}
    instances = 0
    for cell in library.cells:
        instances += len(cell.references)
        for layer, datatype in _layers_of([cell]):
            name = f"{layer}/{datatype}"
            layers[name] = layers.get(name, 0) + 1
    tops = library.top_level()
    return LayoutInfo(
        dbu_nm=_dbu_nm(library),
        cells=tuple(cell.name for cell in library.cells),
        top_cells=tuple(cell.name for cell in tops),
        layers=dict(sorted(layers.items(), key=lambda entry: Layer.parse(entry[0]))),
        instances=instances,
        extents_um={cell.name: _extent_um(cell, library) for cell in tops},
    )


def pack_layout(path: Path, layers: Sequence[Layer], cell: str | None) -> PackedLayout:
    """Read `layers` under one top cell of an uncompressed layout file.

    Parameters
    ----------
    path : Path
        GDSII or OASIS, told apart by the first bytes. GDSII has been checked by
        `stages.layout.gdsii_check`: nothing is looked at twice here.
    layers : sequence of Layer
        In the order of the picture's channels.
    cell : str or None
        The top cell; None takes the only one, `EVERY_TOP` all.

    Raises
    ------
    ConfigError
        No such layer or cell (those present are listed), or several top cells and none chosen.
    LayoutError
        The file cannot be read, or a cell contains itself.
    """
    if cell != EVERY_TOP and not _is_oasis(path):
        data: Bytes = np.memmap(path, np.uint8, "r").view(np.ndarray)
        asked = tuple(dict.fromkeys(layers))
        elements = read_elements(data, asked)
        if elements.quarter_turns:
            return _pack_stream(data, elements, asked, layers, cell)
    return _pack_library(path, layers, cell)


def load_kernels() -> None:
    """Load what `pack_layout` runs, which takes a second at its first call."""
    unit, top = gdstk.Cell("unit"), gdstk.Cell("top")
    unit.add(gdstk.Polygon([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]))
    top.add(gdstk.Reference(unit), gdstk.FlexPath([(0, 0), (3, 0)], 1, simple_path=True))
    with tempfile.TemporaryDirectory() as folder:
        gdstk.Library().add(unit, top).write_gds(Path(folder, "small.gds"))
        pack_layout(Path(folder, "small.gds"), [Layer(0, 0)], None)


def _pack_stream(
    data: Bytes, elements: Elements, asked: Sequence[Layer], layers: Sequence[Layer],
    cell: str | None,
) -> PackedLayout:  # fmt: skip
    names, placed = elements.names, placed_by(elements)
    not_tops = {child for children in placed.values() for child in children}
    tops = [name for number, name in enumerate(names) if number not in not_tops]
    top = _choose_top(names, tops, cell)
    _require_layers(layers, elements.layers)
    outlines = _outlines(data, elements, asked)
    order = children_first(names.index(top), placed, names.__getitem__)
    packed = tuple(pack_elements(elements, outlines, order, asked.index(one)) for one in layers)
    return PackedLayout(
        top, _nine_digits(elements.dbu_nm), tuple(layers), packed, file_layers=elements.layers
    )


def _outlines(data: Bytes, elements: Elements, asked: Sequence[Layer]) -> Outlines:
    """Outline the paths of a stream: gdstk reads a stream that holds nothing else."""
    if not len(elements.path):
        return []
    numbers = {name: number for number, name in enumerate(elements.names)}
    view, last = data.data, -1
    pieces = [bytes(view[: elements.head[0, 0]])]
    for cell, _, begin, end in elements.path.tolist():
        if cell != last:
            pieces += [END_OF_STRUCTURE] * (last >= 0)
            pieces.append(bytes(view[slice(*elements.head[cell])]))
        pieces.append(bytes(view[begin:end]))
        last = cell
    with tempfile.NamedTemporaryFile(suffix=".gds") as file:
        file.write(b"".join((*pieces, END_OF_STRUCTURE, END_OF_LIBRARY)))
        file.flush()
        library = _read(Path(file.name), asked)
    dbu_um = library.precision / library.unit
    return [
        (numbers[cell.name], number, _snapped_points(polygon.points, dbu_um))
        for cell in library.cells
        for number, layer in enumerate(asked)
        for polygon, _ in _drawn(cell, layer)
    ]


def _pack_library(path: Path, layers: Sequence[Layer], cell: str | None) -> PackedLayout:
    library = _read(path, layers)
    top = _top_cell(library, cell)
    present = _file_layers(path, library, _is_oasis(path))
    _require_layers(layers, present)
    cells = _cells_under(top)
    dbu_um = library.precision / library.unit
    packed = tuple(_pack_layer(cells, layer, dbu_um) for layer in layers)
    return PackedLayout(top.name, _dbu_nm(library), tuple(layers), packed, file_layers=present)


def shape_boxes(path: Path, layers: Sequence[Layer], cell: str | None) -> list[Int64s]:
    """Return the box of each shape of each layer, (n, 4) in dbu; arguments as `pack_layout`."""
    library = _read(path, layers)
    top = _top_cell(library, cell)
    _require_layers(layers, _file_layers(path, library, _is_oasis(path)))
    _cells_under(top)  # refuses a cycle, which gdstk would follow
    found = []
    for layer in layers:
        shapes = top.get_polygons(layer=layer.layer, datatype=layer.datatype)
        boxes = [np.concatenate(shape.bounding_box()) for shape in shapes]
        found.append(_snapped_points(boxes, library.precision / library.unit).reshape(-1, 4))
    return found


def _is_oasis(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(13) == b"%SEMI-OASIS\r\n"


def _read(path: Path, layers: Sequence[Layer]) -> Any:
    try:
        if _is_oasis(path):
            return gdstk.read_oas(str(path))
        wanted = {(layer.layer, layer.datatype) for layer in layers}
        return gdstk.read_gds(str(path), filter=wanted) if wanted else gdstk.read_gds(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise LayoutError(f"{path.name} cannot be read: {error}") from error


def _dbu_nm(library: Any) -> float:
    return _nine_digits(library.precision / 1e-9)


def _nine_digits(dbu_nm: float) -> float:
    return float(f"{dbu_nm:.9g}")  # 1e-9 / 1e-9 is not 1 in every file


def _extent_um(cell: Any, library: Any) -> tuple[float, float, float, float]:
    box = cell.bounding_box()
    to_um = library.unit / 1e-6
    if box is None:
        return 0.0, 0.0, 0.0, 0.0
    (x_min, y_min), (x_max, y_max) = box
    return x_min * to_um, y_min * to_um, x_max * to_um, y_max * to_um


def _choose_top(names: Sequence[str], tops: Sequence[str], name: str | None) -> str:
    """Return the cell of that name, and with no name the only top cell."""
    if name is not None:
        if name not in names:
            raise ConfigError(f"there is no cell {name!r}; cells are {_listed(names)}")
        return name
    if len(tops) != 1:
        raise ConfigError(
            f"the layout has {len(tops)} top cells; choose one with --cell: {_listed(tops)}"
        )
    return tops[0]


def _top_cell(library: Any, name: str | None) -> Any:
    cells = {cell.name: cell for cell in library.cells}
    tops = [cell.name for cell in library.top_level()]
    if name == EVERY_TOP:
        return _side_by_side([cells[top] for top in tops], library)
    return cells[_choose_top(list(cells), tops, name)]


def _cells_under(top: Any) -> list[Any]:
    """Return the cells under `top`, each after all that it places, `top` last."""
    cells, placed, left = {top.name: top}, {}, [top]
    while left:
        cell = left.pop()
        children = [one for one in cell.dependencies(False) if isinstance(one, gdstk.Cell)]
        placed[cell.name] = [child.name for child in children]
        left.extend(child for child in children if child.name not in cells)
        cells |= {child.name: child for child in children}
    return [cells[name] for name in children_first(top.name, placed, str)]


def _side_by_side(tops: list[Any], library: Any) -> Any:
    """Return a cell that places all `tops` in a square grid, 10 um apart or more."""
    dbu = library.precision / library.unit
    boxes = np.array([cell.bounding_box() or ((0, 0), (0, 0)) for cell in tops]).reshape(-1, 2, 2)
    low = np.floor(boxes[:, 0] / dbu) * dbu
    pitch = math.ceil((boxes[:, 1] - low).max(initial=0) / dbu) * dbu + 1e-5 / library.unit
    columns = math.isqrt(max(len(tops) - 1, 0)) + 1
    every = gdstk.Cell(EVERY_TOP)
    for number, (cell, corner) in enumerate(zip(tops, low, strict=True)):
        slot = np.array((number % columns, number // columns)) * pitch
        every.add(gdstk.Reference(cell, tuple(slot - corner)))
    return every


def _listed(names: Iterable[str], most: int = 20) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _layers_of(cells: Iterable[Any]) -> Iterator[tuple[int, int]]:
    for cell in cells:
        for polygon in cell.polygons:
            yield polygon.layer, polygon.datatype
        for path in cell.paths:
            yield from zip(path.layers, path.datatypes, strict=True)


def _file_layers(path: Path, library: Any, oasis: bool) -> tuple[Layer, ...]:
    """Return all layers of the file; a GDSII `library` holds only those that were asked for."""
    tags = (
        set(_layers_of(library.cells))
        if oasis
        else gdstk.gds_info(str(path))["layers_and_datatypes"]
    )
    return tuple(sorted(Layer(layer, datatype) for layer, datatype in tags))


def _require_layers(layers: Sequence[Layer], present: Sequence[Layer]) -> None:
    missing = ", ".join(str(layer) for layer in layers if layer not in present)
    if missing:
        names = ", ".join(str(layer) for layer in present)
        raise ConfigError(f"the layout has no layer {missing}; layers present: {names or 'none'}")


def _pack_layer(order: list[Any], layer: Layer, dbu_um: float) -> PackedLayer:
    builder = LayerBuilder()
    numbers: dict[str, int] = {}
    for cell in order:
        rects, polygons, folded = _own_shapes(cell, layer, dbu_um, builder)
        placements = [folded]
        plain: list[tuple[int, int, tuple[float, float]]] = []  # a chip's references, mostly
        for reference in cell.references:
            placed = reference.cell
            if not isinstance(placed, gdstk.Cell):
                continue  # the cell is missing: the stream check has warned of it
            child = numbers.get(placed.name)
            if child is None:
                continue  # nothing on this layer
            turn = _turn(reference)
            if turn is None:
                flat = reference.get_polygons(layer=layer.layer, datatype=layer.datatype)
                more, others = _split([polygon.points for polygon in flat], dbu_um)
                rects = np.concatenate((rects, more))
                polygons.extend(others)
            elif reference.repetition.size <= 1:
                plain.append((child, turn, reference.origin))
            else:
                placements.append(_repeated(child, turn, reference, dbu_um))
        placements.append(_single(plain, dbu_um))
        if len(rects) or polygons or sum(map(len, placements)) or cell is order[-1]:
            every = np.concatenate(placements)
            numbers[cell.name] = builder.add_cell(cell.name, rects, polygons, every)
    return builder.packed()


def _turn(reference: Any) -> int | None:
    """Return the code of `PackedLayer.inst_turn`, None for any other angle or magnification."""
    quarters = reference.rotation / (np.pi / 2)
    if reference.magnification != 1 or abs(quarters - round(quarters)) > 1e-9:
        return None
    return int(round(quarters) % 4 + (4 if reference.x_reflection else 0))


def _single(placed: list[tuple[int, int, tuple[float, float]]], dbu_um: float) -> Int64s:
    """Return the placements of single copies: cell, turn, place in the file's unit."""
    if not placed:
        return NO_PLACEMENTS
    child, turn, origin = zip(*placed, strict=True)
    return copies_at(np.array(child), np.array(turn), _snapped_points(origin, dbu_um))


def _repeated(child: int, turn: int, placed: Any, dbu_um: float) -> Int64s:
    """Return the placements of `child` by a reference or shape that is repeated."""
    origin = np.asarray(getattr(placed, "origin", (0.0, 0.0)))
    repetition = placed.repetition
    columns, rows = repetition.columns, repetition.rows
    if columns is not None:
        across, up = repetition.v1, repetition.v2
        if repetition.spacing is not None:
            across, up = (repetition.spacing[0], 0.0), (0.0, repetition.spacing[1])
        steps = np.array((*across, *up)) / dbu_um
        # The error of a step grows with the copies: the last one must still be in its place.
        if np.abs(steps - np.rint(steps)).max() * max(columns, rows) < 0.25:
            place = _snapped_points(origin, dbu_um)
            return np.array([[child, turn, *place, columns, rows, *np.rint(steps)]], np.int64)
    # Places of their own, or steps that are no whole dbu: each copy is snapped by itself.
    return copies_at(child, turn, _snapped_points(origin + repetition.get_offsets(), dbu_um))


def _own_shapes(
    cell: Any, layer: Layer, dbu_um: float, builder: LayerBuilder
) -> tuple[Int64s, list[Int64s], Int64s]:
    """Return the cell's own rectangles, other polygons, and folded repetitions of shapes."""
    plain: list[npt.NDArray[np.float64]] = []
    folded = [NO_PLACEMENTS]
    for shape, repetition_owner in _drawn(cell, layer):
        repetition = repetition_owner.repetition
        if repetition.size <= 1:
            plain.append(shape.points)
        elif repetition.size < FOLD_FROM:
            plain.extend(shape.points + offset for offset in repetition.get_offsets())
        else:
            rects, others = _split([shape.points], dbu_um)
            if len(rects) or others:
                child = builder.add_cell(cell.name, rects, others, NO_PLACEMENTS)
                folded.append(_repeated(child, 0, repetition_owner, dbu_um))
    rects, others = _split(plain, dbu_um)
    return rects, others, np.concatenate(folded)


def _drawn(cell: Any, layer: Layer) -> Iterator[tuple[Any, Any]]:
    """Yield the cell's polygons on `layer`, paths outlined, with what holds their repetition."""
    wanted = (layer.layer, layer.datatype)
    for polygon in cell.polygons:
        if (polygon.layer, polygon.datatype) == wanted:
            yield polygon, polygon
    for path in cell.paths:
        if wanted in zip(path.layers, path.datatypes, strict=True):
            for polygon in path.to_polygons():
                if (polygon.layer, polygon.datatype) == wanted:
                    yield polygon, path


def _split(polygons: list[npt.NDArray[np.float64]], dbu_um: float) -> tuple[Int64s, list[Int64s]]:
    """Snap to dbu; return the rectilinear polygons as rectangles, and the others."""
    if not polygons:
        return np.empty((0, 4), np.int64), []
    points = _snapped_points(np.concatenate(polygons), dbu_um)
    starts = starts_of(polygons)
    rects, _, others = decompose(points, starts)
    outlines = (points[starts[i] : starts[i + 1]] for i in others)
    return rects, [corners for corners in outlines if len(corners) > 2]  # two enclose nothing


def _snapped_points(points: npt.ArrayLike, dbu_um: float) -> Int64s:
    # Half a dbu (an odd path width) goes up, as other readers have it; 1e-6 swallows float noise.
    return np.floor(np.asarray(points) / dbu_um + 0.5 + 1e-6).astype(np.int64)
