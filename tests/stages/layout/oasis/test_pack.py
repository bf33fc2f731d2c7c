"""OASIS as packed layers, against KLayout: the same region for every construct and every writer."""

from __future__ import annotations

import csv
import gzip
import random
import time
from collections.abc import Callable
from pathlib import Path

import gdstk
import klayout.db as kdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.contracts import Box, Layer
from stages.errors import ConfigError, LayoutError
from stages.layout.builder import pack_layout
from stages.layout.info import EVERY_TOP
from stages.layout.oasis.elements import FOLD_FROM
from stages.layout.oasis.pack import describe_oasis, pack_oasis, read_oasis_boxes
from tests.support.oasis import (
    RELATIVE,
    REPETITIONS,
    cell,
    every_record,
    g,
    magnified,
    oasis,
    path,
    placement,
    points,
    polygon,
    real,
    rectangle,
    s,
    shape,
    u,
)
from tests.support.regions import is_within_slivers, region_of

METAL = Layer(1, 0)
TOP = cell(b"TOP")


def bytes_of(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def klayout(file: Path, data: bytes) -> kdb.Layout:
    file.write_bytes(data)
    layout = kdb.Layout()
    layout.read(str(file))
    return layout


def assert_equal_klayout(file: Path, data: bytes, *, rounding: int = 0) -> None:
    """Each cell's region is KLayout's, but for slivers where a turned curve is rounded."""
    oracle = klayout(file, data)
    for one in oracle.each_cell():
        expected = kdb.Region(one.begin_shapes_rec(oracle.layer(1, 0))).merged()
        packed = pack_oasis(bytes_of(data), [METAL], one.name)
        assert packed.dbu_nm == pytest.approx(oracle.dbu * 1000)
        drawn = region_of(packed.packed[0])
        assert is_within_slivers(drawn, expected, rounding), (one.name, (drawn ^ expected).bbox())


def test_every_record_equals_klayout(tmp_path: Path) -> None:
    assert_equal_klayout(tmp_path / "a.oas", oasis(*every_record()), rounding=1)


@pytest.mark.parametrize("kind", REPETITIONS)
def test_repetitions_of_shapes_paths_and_placements(kind: str, tmp_path: Path) -> None:
    """Each is used, and used again by type 0; after XYRELATIVE it moves what follows by nothing."""
    repetition = REPETITIONS[kind]
    corners, bend = points(4, g(90, 10), g(-30, 80)), points(0, s(90), s(50))
    outline = shape(21, 0x3F, u(1), u(0), corners, s(0), s(7000), repetition)
    line = shape(22, 0xFF, u(1), u(0), u(20), u(10), bend, s(0), s(14_000), u(0))
    again = shape(20, 0x04, u(0))
    data = oasis(
        cell(b"LEAF"), rectangle(0, 0, 70, 30, repetition=repetition), RELATIVE, again, again,
        outline, line, TOP, placement(b"LEAF", 900, -40, 1, True, repetition),
        magnified(b"LEAF", 90_000, 0, real(2), real(270), False, u(0)),
    )  # fmt: skip
    assert_equal_klayout(tmp_path / "a.oas", data)


@pytest.mark.parametrize("copies", [FOLD_FROM - 1, FOLD_FROM, 5 * FOLD_FROM])
def test_a_shape_repeated_often_is_kept_folded(copies: int, tmp_path: Path) -> None:
    """Rectangles of one size share one cell, on whatever grid they are."""
    row = u(2) + u(copies - 2) + u(50)
    column = u(9) + u(copies - 2) + g(10, 60)
    data = oasis(
        TOP, rectangle(0, 0, 20, 10, repetition=row),
        rectangle(0, 500, 30, 10, repetition=row), rectangle(0, 1000, 20, 10, repetition=column),
    )  # fmt: skip
    packed = pack_oasis(bytes_of(data), [METAL], None).packed[0]
    assert len(packed.cell_box) == (3 if copies >= FOLD_FROM else 1)
    assert len(packed.inst_cell) == (3 if copies >= FOLD_FROM else 0)
    assert_equal_klayout(tmp_path / "a.oas", data)


def test_a_polygon_with_many_corners_at_many_places_is_kept_folded(tmp_path: Path) -> None:
    stairs = points(1, *(s(5 + corner % 3) for corner in range(30)))
    places = u(10) + u(99) + b"".join(g(3 * n, 900 - n) for n in range(100))
    data = oasis(TOP, shape(21, 0x3F, u(1), u(0), stairs, s(0), s(0), places))
    packed = pack_oasis(bytes_of(data), [METAL], None).packed[0]
    assert (len(packed.cell_box), len(packed.inst_cell)) == (2, 101)
    assert_equal_klayout(tmp_path / "a.oas", data)


@settings(max_examples=40)
@given(
    scale=st.sampled_from([0.5, 0.75, 1.0, 1.3, 2.0]),
    angle=st.one_of(st.sampled_from([0.0, 45.0, -90.0, 180.0]), st.floats(-360, 360)),
    mirrored=st.booleans(), x=st.integers(-999, 999), seed=st.integers(0, 999),
)  # fmt: skip
def test_odd_turns_within_odd_turns_round_once(
    scale: float, angle: float, mirrored: bool, x: int, seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    chance = random.Random(seed)
    corners = [g(chance.randrange(1, 999), chance.randrange(-99, 999)) for _ in range(4)]
    data = oasis(
        cell(b"LEAF"), polygon(points(4, *corners), x, -x), rectangle(x, 5, 301, 77),
        cell(b"MID"),
        magnified(b"LEAF", x, 3, real(scale), real(angle), mirrored, REPETITIONS["8"]),
        placement(b"LEAF", 5000, 77, 3, True),
        TOP, magnified(b"MID", -x, 9, real(1), real(30)), placement(b"MID", x, 90_000, 1),
    )  # fmt: skip
    assert_equal_klayout(tmp_path_factory.mktemp("odd") / "a.oas", data, rounding=2)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32), packed=st.booleans(), strict=st.booleans(),
    level=st.sampled_from([0, 1, 2, 10]), checksum=st.booleans(),
)  # fmt: skip
def test_what_klayout_writes_is_read_back(
    seed: int, packed: bool, strict: bool, level: int, checksum: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    file = tmp_path_factory.mktemp("klayout") / "a.oas"
    options = kdb.SaveLayoutOptions()
    options.format = "OASIS"
    options.oasis_write_cblocks, options.oasis_strict_mode = packed, strict
    options.oasis_compression_level = level
    if checksum:
        options.oasis_write_std_properties = 2
    random_layout(random.Random(seed)).write(str(file), options)
    assert_equal_klayout(file, file.read_bytes(), rounding=1)


def random_layout(chance: random.Random) -> kdb.Layout:
    """Return cells within cells of all kinds of shapes, many of them alike.

    At most some 5,000 shapes: KLayout merges 37,000 that overlap in five seconds.
    """
    layout = kdb.Layout()
    metal, other, below = layout.layer(1, 0), layout.layer(2, 7), None
    for name in "ABC":
        one = layout.create_cell(name)
        for _ in range(chance.randrange(40)):
            x, y = chance.randrange(-20, 20) * 400, chance.randrange(-20, 20) * 300
            corners = [kdb.Point(chance.randrange(900), chance.randrange(900)) for _ in range(4)]
            box = kdb.Box(0, 0, chance.choice((50, 100)), chance.choice((20, 990)))
            drawn = chance.choice((
                box, box, box, kdb.Polygon(corners), kdb.Path(corners[:3], 60, 10, 30),
                kdb.Polygon(box).transformed(kdb.ICplxTrans(1, 45, False, 0, 0)),
            ))  # fmt: skip
            where = metal if chance.random() < 0.9 else other
            one.shapes(where).insert(drawn.moved(x, y))
        one.shapes(other).insert(kdb.Text("label", kdb.Trans(5, 5)))
        for _ in range(chance.randrange(4) if below else 0):
            quarters = kdb.ICplxTrans(kdb.Trans(chance.randrange(8)))
            turn = chance.choice((quarters, kdb.ICplxTrans(1.5, 20, True, 0, 0)))
            x, y = chance.randrange(-99, 99) * 100, chance.randrange(9) * 700
            place = kdb.ICplxTrans(kdb.Trans(x, y))
            array = [kdb.Vector(3000, 100), kdb.Vector(-7, 4000), chance.randrange(1, 5), 2]
            step = array if chance.random() < 0.5 else []
            one.insert(kdb.CellInstArray(below.cell_index(), place * turn, *step))
        below = one
    return layout


@pytest.mark.parametrize("options", [{}, {"compression_level": 0}, {"validation": "crc32"}])
def test_what_gdstk_writes_is_read_back(options: dict[str, object], tmp_path: Path) -> None:
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    leaf, top = gdstk.Cell("LEAF"), gdstk.Cell("TOP")
    leaf.add(gdstk.rectangle((0, 0), (0.3, 0.2), layer=1))
    leaf.add(gdstk.Polygon([(1, 0), (2, 0), (1.5, 1)], layer=1))
    leaf.add(gdstk.FlexPath([(0, 2), (3, 2), (3, 4)], 0.2, layer=1, simple_path=True))
    leaf.add(gdstk.Polygon([(5, 0), (7, 0), (6, 1), (5, 1)], layer=1), gdstk.Label("a", (0, 0)))
    top.add(gdstk.Reference(leaf, (0, 0), np.pi / 2), gdstk.Reference(leaf, (20, 0), 0.3, 2, True))
    top.add(gdstk.Reference(leaf, (0, 50), columns=4, rows=3, spacing=(9, 8)))
    library.add(leaf, top).write_oas(tmp_path / "a.oas", **options)
    data = (tmp_path / "a.oas").read_bytes()
    assert_equal_klayout(tmp_path / "b.oas", data, rounding=1)


def test_tops_layers_and_extents_are_told() -> None:
    """What KLayout keeps of parametric cells places a cell, and does not hide that it is a top."""
    data = oasis(
        cell(b"$$$CONTEXT_INFO$$$"), placement(b"TOP", 0, 0), TOP, placement(b"LEAF", 1000, 0, 1),
        cell(b"LEAF"), rectangle(0, 0, 400, 100), rectangle(0, 0, 50, 50, 70_000, 3),
        cell(b"TALL"), path(points(1, s(900)), 10, u(5)), cell(b"EMPTY"),
    )  # fmt: skip
    info = describe_oasis(bytes_of(data))
    assert info.top_cells == ("TOP", "TALL", "EMPTY")
    assert info.layers == {"1/0": 2, "70000/3": 1}
    assert info.instances == 2
    assert info.extents_um == {
        "TOP": (0.9, 0.0, 1.0, 0.4), "TALL": (-0.01, 0.0, 0.01, 0.9), "EMPTY": (0.0, 0.0, 0.0, 0.0),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="3 top cells; choose one with --cell: EMPTY, TALL, TOP"):
        pack_oasis(bytes_of(data), [METAL], None)
    with pytest.raises(ConfigError, match="no layer 5/0; layers present: 1/0, 70000/3"):
        pack_oasis(bytes_of(data), [Layer(5, 0)], "TOP")
    high = pack_oasis(bytes_of(data), [Layer(70_000, 3)], "TOP")
    assert high.extent.as_tuple() == (950, 0, 1000, 50)


def test_boxes_of_shapes_and_tops_side_by_side() -> None:
    """Two tops, 40 and 300 dbu wide: 10 um and the larger side apart."""
    data = oasis(cell(b"A"), rectangle(7, 9, 40, 10), rectangle(7, 9, 5, 5, 2),
                 cell(b"B"), rectangle(-3, 0, 300, 20))  # fmt: skip
    boxes, others = read_oasis_boxes(bytes_of(data), [METAL, Layer(2, 0)], EVERY_TOP)
    assert boxes.tolist() == [[0, 0, 40, 10], [10_300, 0, 10_600, 20]]
    assert others.tolist() == [[0, 0, 5, 5]]
    packed = pack_oasis(bytes_of(data), [METAL], EVERY_TOP)
    assert packed.extent.as_tuple() == (0, 0, 10_600, 20)


def nested(levels: int, repetition: bytes) -> bytes:
    """Arrays of arrays of a rectangle."""
    cells = [cell(b"0"), rectangle(0, 0, 10, 10)]
    for level in range(1, levels):
        cells += [cell(b"%d" % level), placement(b"%d" % (level - 1), 0, 0, repetition=repetition)]
    return oasis(*cells)


def test_arrays_of_copies_in_one_place_are_one_copy() -> None:
    """10^18 copies from 350 bytes."""
    packed = pack_oasis(bytes_of(nested(7, u(1) + u(998) + u(998) + u(0) + u(0))), [METAL], None)
    assert region_of(packed.packed[0]).area() == 100


@pytest.mark.parametrize(
    "repetition",
    [u(1) + u(998) + u(998) + u(1) + u(1), u(8) + u(998) + u(998) + g(1, 0) + g(1, 0)],
)  # fmt: skip
def test_bombs_of_arrays_are_refused_with_the_figure(repetition: bytes) -> None:
    with pytest.raises(LayoutError, match=r"places .* shapes within .* dbu; the limit is"):
        pack_oasis(bytes_of(nested(7, repetition)), [METAL], None)


def test_more_copies_than_coordinates_are_refused() -> None:
    many = u(1) + u(2**62) + u(2**62) + u(10_000) + u(10_000)
    with pytest.raises(LayoutError, match="cell 'TOP' reaches to"):
        pack_oasis(bytes_of(oasis(TOP, rectangle(0, 0, 5, 5, repetition=many))), [METAL], None)
    elsewhere = rectangle(0, 0, 5, 5, 2, repetition=many)
    layout = pack_oasis(bytes_of(oasis(TOP, elsewhere, rectangle(0, 0, 5, 5))), [METAL], None)
    assert layout.extent.as_tuple() == (0, 0, 5, 5)


REFUSED_ON_PURPOSE = {
    "big_coord_nearby.oas": "KLayout wraps a width of 3 m",
    "checksum_wrong.oas": "KLayout does not verify",
    "crc_wrong.oas": "KLayout does not verify",
}


def test_layouts_after_public_reports(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("reports")
    with (folder / "expected.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["file"].endswith(".oas")]
    assert len(rows) > 100
    for row in rows:
        data = bytes_of((folder / row["file"]).read_bytes())
        layer = Layer.parse(row["layer"])
        if row["klayout"] != "read" or row["file"] in REFUSED_ON_PURPOSE:
            with pytest.raises((LayoutError, ConfigError)):
                pack_oasis(data, [layer], row["cell"] or None)
            continue
        layout = pack_oasis(data, [layer], row["cell"] or None)
        drawn = region_of(layout.packed[0])
        box = drawn.bbox()
        found = f"{box.left} {box.bottom} {box.right} {box.top}"
        assert (layout.top, found, drawn.area()) == (
            row["tops"], row["bbox_dbu"], int(row["area_dbu2"]),
        ), row  # fmt: skip
        assert layout.dbu_nm == pytest.approx(1000 * float(row["dbu_um"]))


@pytest.mark.slow
def test_the_real_chip_is_the_same_from_oasis_and_gdsii(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its first metal, in windows all over; in at most 1.5 times KLayout's CPU time."""
    packed = shared_data("layouts/tt02_user_project_wrapper.gds.gz")
    (tmp_path / "chip.gds").write_bytes(gzip.decompress(packed.read_bytes()))
    chip = kdb.Layout(False)
    chip.read(str(packed))
    chip.write(str(tmp_path / "chip.oas"))
    data = bytes_of((tmp_path / "chip.oas").read_bytes())
    layers = [Layer(68, 20), Layer(67, 44)]
    pack_oasis(data, layers[:1], None)  # loads the kernels
    begun = time.process_time()
    kdb.Layout(False).read(str(tmp_path / "chip.oas"))
    read = time.process_time()
    pack_oasis(data, layers[:1], None)
    assert time.process_time() - read < 1.5 * (read - begun)
    ours, same = pack_oasis(data, layers, None), pack_layout(tmp_path / "chip.gds", layers, None)
    assert (ours.top, ours.extent, ours.file_layers) == (same.top, same.extent, same.file_layers)
    chance, box = random.Random(1), ours.extent
    for one, other in zip(ours.packed, same.packed, strict=True):
        for _ in range(25):
            x = chance.randrange(box.x_min, box.x_max)
            y = chance.randrange(box.y_min, box.y_max)
            window = Box(x, y, x + 50_000, y + 50_000)
            assert (region_of(one, window) ^ region_of(other, window)).is_empty(), window
