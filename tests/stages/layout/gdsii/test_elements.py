"""Elements read straight from the bytes of a stream, against gdstk and KLayout."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import gdstk
import klayout.db as kdb
import numpy as np
import pytest

from stages.contracts import Box, Layer, PackedLayer
from stages.geometry.window_query import query
from stages.layout.assemble import assemble
from stages.layout.builder import pack_layout
from stages.layout.gdsii.elements import REFERENCE, Elements, leave_shapes, read_elements
from stages.layout.gdsii.stream_check import check_stream
from tests.stages.layout.gdsii.test_stream_check import (
    TAG,
    WIDE,
    cell,
    element,
    short,
    sref,
    stream,
    xy,
)

METAL, HIGH = Layer(68, 20), Layer(40_000, 50_000)
EVERYWHERE = Box(-(2**31), -(2**31), 2**31, 2**31)


def read_layers(path: Path, *layers: Layer) -> Elements:
    data = np.fromfile(path, np.uint8)
    return read_elements(data, check_stream(data, layers).index)


def chip(path: Path, cells: int) -> tuple[Path, np.random.Generator]:
    """Many cells with names of odd and even length, each of which places some before it."""
    rng = np.random.default_rng(cells)
    library = gdstk.Library()
    made: list[gdstk.Cell] = []
    for number in range(cells):
        cell = gdstk.Cell(f"cell{number}" + "x" * int(rng.integers(3)))
        corner, size = rng.integers(-900, 900, 2) / 1000, rng.integers(1, 50, 2) / 1000
        cell.add(gdstk.rectangle(corner, corner + size, layer=68, datatype=20))
        cell.add(gdstk.rectangle(corner, corner + 2 * size, layer=69, datatype=20))
        cell.add(gdstk.Label("net", corner, layer=68, texttype=20))
        cell.add(gdstk.FlexPath(corner + np.array([(0, 0), (0.5, 0), (0.5, 0.3)]), 0.05,
                                simple_path=True, layer=68, datatype=20))  # fmt: skip
        for _ in range(min(number, 2)):
            turn = int(rng.integers(8))
            placed = gdstk.Reference(
                made[int(rng.integers(number))], rng.integers(-9000, 9000, 2) / 1000,
                turn % 4 * np.pi / 2, 1, turn > 3,
            )  # fmt: skip
            if rng.random() < 0.2:
                placed.repetition = gdstk.Repetition(3, 2, spacing=(0.7, 0.5))
            cell.add(placed)
        library.add(cell)
        made.append(cell)
    library.write_gds(path)
    return path, rng


def test_many_cells_equal_klayout(tmp_path: Path) -> None:
    path, _ = chip(tmp_path / "c.gds", 40)
    found = read_layers(path, METAL)
    assert len(found.odd) == 0
    assert len(found.names) == 40
    assert found.layers == (METAL, Layer(69, 20))
    oracle = kdb.Layout()
    oracle.read(str(path))
    layers = [METAL, Layer(69, 20), METAL]  # one of them twice, as a layer and to leave out
    for top in ("cell9", "cell20", "cell39"):
        name = next(name for name in found.names if name.rstrip("x") == top)
        packed = pack_layout(path, layers, name)
        for layer, ours in zip(layers, packed.packed, strict=True):
            region = kdb.Region()
            for rect in query(ours, EVERYWHERE).rects.tolist():
                region.insert(kdb.Box(*rect))
            index = oracle.layer(layer.layer, layer.datatype)
            expected = kdb.Region(oracle.cell(name).begin_shapes_rec(index))
            assert (region ^ expected).is_empty()
            assert not region.is_empty()


def test_references_name_their_structures(tmp_path: Path) -> None:
    path, _ = chip(tmp_path / "c.gds", 300)
    found = read_layers(path, METAL)
    columns = {name: found.reference[:, n] for n, name in enumerate(REFERENCE)}
    library = gdstk.read_gds(path)
    expected = [
        (cell.name, placed.cell.name) for cell in library.cells for placed in cell.references
    ]
    owners, cells = columns["owner"].tolist(), columns["cell"].tolist()
    assert [
        (found.names[a], found.names[b]) for a, b in zip(owners, cells, strict=True)
    ] == expected
    assert columns["columns"].max() == 3


def test_layers_over_32767_and_boxes(tmp_path: Path) -> None:
    """KLayout writes a BOX record where it is asked to; gdstk writes none."""
    layout = kdb.Layout()
    top = layout.create_cell("top")
    top.shapes(layout.layer(40_000, 50_000)).insert(kdb.Box(0, 0, 100, 50))
    options = kdb.SaveLayoutOptions()
    options.format = "GDS2"
    layout.write(str(tmp_path / "k.gds"), options)
    data = (tmp_path / "k.gds").read_bytes()
    boundary, box = b"\x00\x04\x08\x00", b"\x00\x04\x2d\x00"
    datatype, boxtype = b"\x00\x06\x0e\x02", b"\x00\x06\x2e\x02"
    assert data.count(boundary) == data.count(datatype) == 1
    (tmp_path / "b.gds").write_bytes(data.replace(boundary, box).replace(datatype, boxtype))
    for name in ("k.gds", "b.gds"):
        packed = pack_layout(tmp_path / name, [HIGH], None)
        assert query(packed.packed[0], EVERYWHERE).rects.tolist() == [[0, 0, 100, 50]]
        assert packed.file_layers == (HIGH,)


@pytest.mark.parametrize(
    ("angle", "magnification", "quarters"),
    [(0.0, 1.0, True), (np.pi, 1.0, True), (0.3, 1.0, False), (0.0, 2.0, False)],
)
def test_odd_turns_are_told(
    angle: float, magnification: float, quarters: bool, tmp_path: Path
) -> None:
    unit = gdstk.Cell("unit").add(gdstk.rectangle((0, 0), (1, 1), layer=68, datatype=20))
    top = gdstk.Cell("top").add(gdstk.Reference(unit, (3, 4), angle, magnification))
    gdstk.Library().add(unit, top).write_gds(tmp_path / "t.gds")
    assert (len(read_layers(tmp_path / "t.gds", METAL).odd) == 0) == quarters


def draw(*corners: tuple[int, int]) -> bytes:
    return element("BOUNDARY", TAG, xy(*sum((*corners, corners[0]), ())))


A, B, C, D = CORNERS = (3, 5), (3, 25), (13, 25), (13, 5)
TURNED = [CORNERS[at:] + CORNERS[:at] for at in range(4)]
RECTS = [draw(*ring) for ring in TURNED + [ring[::-1] for ring in TURNED]]
OTHERS = [
    draw(A, C, B, D), draw(A, B, A, D), draw(A, B, D, C), draw(A, A, C, C), draw(A, B, B, A),
    draw(A, B, C, (13, 6)), draw(A, B, (12, 25), D), draw((4, 5), B, C, D), draw(A, (3, 24), C, D),
    draw(A, B, C), draw(A, B, (3, 15), C, D), draw(A, B, C, (30, 25), (30, 5), D),
    element("BOUNDARY", TAG, xy(*A, *B, *C, *D, 9, 9)),
    element("BOUNDARY", TAG, xy(*A, *B, *C, *D)),
    element("BOUNDARY", TAG, xy(*A, *B), xy(*C, *D, *A)),
    element("BOUNDARY", TAG, xy(*A, *B, *C, *D, *A), xy(40, 5, *A)),
    element("BOX", TAG[:6], short("BOXTYPE", 20), xy(*A, *B, *C, *D, *A)),
    element("PATH", TAG, WIDE, xy(*A, *B, *C, *D, *A)),
]  # fmt: skip


def test_rectangles_are_what_their_corners_are_cut_into() -> None:
    """Read at a glance, or corner by corner, in whatever order they were drawn."""
    named = element("BOUNDARY", TAG, xy(*A, *B, *C, *D, *A), short("PROPATTR", 1))
    shapes = RECTS + OTHERS + [named]
    shuffled = np.random.default_rng(0).permutation(len(shapes)).tolist()
    cells = [cell(b"A", *shapes), cell(b"B", *(shapes[at] for at in shuffled), sref(b"A"))]
    data = np.frombuffer(stream(*cells), np.uint8)
    index = check_stream(data, [METAL]).index
    unread, read = leave_shapes(data, index), read_elements(data, index)
    rects, drawn, rest = unread.read_rects(np.arange(len(shapes)))
    assert drawn.tolist() == [*range(len(RECTS)), len(shapes) - 1]
    assert rects.tolist() == [[3, 5, 13, 25]] * len(drawn)
    assert rest.tolist() == [*range(len(RECTS), len(shapes) - 1)]
    one, other = (assemble(each, [METAL], [METAL], None).packed[0] for each in (unread, read))
    for field in fields(PackedLayer):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
