"""Reading, against KLayout: the same region for every construct; what cannot be read is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import gdstk
import klayout.db as kdb
import numpy as np
import pytest

from stages.contracts import Box, Layer, PackedLayer
from stages.errors import ConfigError, LayoutError
from stages.geometry.window_query import query, split_polygons
from stages.layout.builder import describe_layout, load_kernels, pack_layout, read_shape_boxes
from stages.layout.info import EVERY_TOP
from stages.layout.oasis.elements import FOLD_FROM
from stages.layout.oasis.pack import SMALL_LIBRARY, pack_oasis

SAMPLES = Path(__file__).resolve().parents[3] / "sample_layouts"
MET1 = Layer(68, 20)
ON_MET1 = {"layer": 68, "datatype": 20}
TINY = [SAMPLES / "tiny.gds", SAMPLES / "tiny.oas"]
EVERYWHERE = Box(-(2**31), -(2**31), 2**31, 2**31)


def region(packed: PackedLayer) -> kdb.Region:
    shapes, drawn = query(packed, EVERYWHERE), kdb.Region()
    for rect in shapes.rects.tolist():
        drawn.insert(kdb.Box(*rect))
    for corners in split_polygons(shapes):
        drawn.insert(kdb.Polygon([kdb.Point(*corner) for corner in corners.tolist()]))
    return drawn.merged()


def assert_equal_klayout(path: Path, layer: Layer, cell: str, *, rounding: int = 0) -> None:
    """The regions are equal, but for slivers where curves and odd angles are rounded."""
    oracle = kdb.Layout()
    oracle.read(str(path))
    packed = pack_layout(path, [layer], cell)
    assert oracle.dbu * 1000 == pytest.approx(packed.dbu_nm)
    index = oracle.layer(layer.layer, layer.datatype)
    expected = kdb.Region(oracle.cell(cell).begin_shapes_rec(index)).merged()
    ours = region(packed.packed[0])
    difference = ours ^ expected
    # Shrinking by 1 takes slivers of up to 2 dbu: where both sides of a curve were rounded apart.
    assert difference.sized(-rounding).is_empty(), difference.bbox()
    if expected.is_empty():
        assert packed.packed[0].box is None
    else:
        box = expected.bbox()
        extent = np.array([box.left, box.bottom, box.right, box.top])
        assert np.abs(extent - packed.extent.as_tuple()).max() <= rounding


def write(path: Path, *drawn: Any) -> Path:
    """Write a file of cell ``top``; cells are children, the rest lies in ``top``."""
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    top = gdstk.Cell("top")
    library.add(*(part for part in drawn if isinstance(part, gdstk.Cell)), top)
    top.add(*(part for part in drawn if not isinstance(part, gdstk.Cell)))
    (library.write_oas if path.suffix == ".oas" else library.write_gds)(path)
    return path


def unit_cell() -> gdstk.Cell:
    cell = gdstk.Cell("unit")
    cell.add(gdstk.rectangle((0, 0), (0.03, 0.01), **ON_MET1))
    cell.add(gdstk.rectangle((0, 0), (0.01, 0.04), **ON_MET1))
    return cell


def with_steps(element: Any, *args: int, **steps: object) -> Any:
    element.repetition = gdstk.Repetition(*args, **steps)
    return element


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.name)
@pytest.mark.parametrize("layer", ["67/20", "68/20", "69/20"])
def test_every_cell_of_tiny_equals_klayout(path: Path, layer: str) -> None:
    names = describe_layout(path).cells
    assert {"tiny", "polygons", "paths", "arrays", "repetitions", "unit", "empty"} <= set(names)
    for name in names:
        round_or_turned = name in ("tiny", "polygons", "paths")
        assert_equal_klayout(path, Layer.parse(layer), name, rounding=int(round_or_turned))


@pytest.mark.parametrize("suffix", ["gds", "oas"])
@pytest.mark.parametrize("turn", range(8))
def test_arrays_in_all_orientations_within_arrays(turn: int, suffix: str, tmp_path: Path) -> None:
    unit, group = unit_cell(), gdstk.Cell("group")
    angle, mirrored = turn % 4 * np.pi / 2, turn > 3
    group.add(with_steps(gdstk.Reference(unit, (0.003, 0.001)), 3, 2, spacing=(0.1, 0.1)))
    outer = gdstk.Reference(group, (1, -2), angle, 1, mirrored)
    skewed = gdstk.Reference(group, (-7, 0), angle, 1, mirrored)
    parts = (
        with_steps(outer, 2, 3, spacing=(0.5, 0.7)),
        with_steps(skewed, 2, 3, v1=(0.4, 0.35), v2=(-0.4, 0.351)),
    )
    path = write(tmp_path / f"a.{suffix}", unit, group, *parts)
    assert_equal_klayout(path, MET1, "top")
    assert_equal_klayout(path, MET1, "group")  # no top cell, chosen all the same


@pytest.mark.parametrize("suffix", ["gds", "oas"])
def test_arrays_magnified_and_turned_by_odd_angles(suffix: str, tmp_path: Path) -> None:
    unit = unit_cell()
    doubled = with_steps(gdstk.Reference(unit, (0, 5), 0, 2, True), 3, 2, spacing=(0.2, 0.3))
    turned = with_steps(gdstk.Reference(unit, (0, 0), 0.5), 3, 2, v1=(0.2, 0.1), v2=(-0.1, 0.2))
    path = write(tmp_path / f"m.{suffix}", unit, doubled, turned)
    assert_equal_klayout(path, MET1, "top", rounding=1)


def test_an_array_whose_steps_are_no_whole_dbu_keeps_its_far_end(tmp_path: Path) -> None:
    """The corner of the last column is 2 dbu past 3000 whole steps: 1/1500 dbu a step."""
    unit = unit_cell()
    array = with_steps(gdstk.Reference(unit), 3000, 1, v1=(300.002 / 3000, 0), v2=(0, 1))
    path = write(tmp_path / "f.gds", unit, array)
    packed = pack_layout(path, [MET1], "top")
    assert packed.extent.x_max == round(300_002 / 3000 * 2999) + 30
    found = np.sort(query(packed.packed[0], EVERYWHERE).rects[:, 0])[::2]
    assert np.abs(found - 300_002 / 3000 * np.arange(3000)).max() <= 0.5


@pytest.mark.parametrize("copies", [2, FOLD_FROM - 1, FOLD_FROM, 3 * FOLD_FROM])
@pytest.mark.parametrize("kind", ["columns", "skewed", "places"])
def test_repeated_shapes_are_drawn_at_all_their_places(
    kind: str, copies: int, tmp_path: Path
) -> None:
    steps = {
        "columns": ((copies, 1), {"spacing": (0.5, 0.5)}),
        "skewed": ((copies, 2), {"v1": (0.3, 0.05), "v2": (-0.011, 0.4)}),
        "places": ((), {"offsets": [(0.3 * i, 0.02 * i * i) for i in range(1, copies)]}),
    }[kind]
    shapes = [
        gdstk.rectangle((0, 0), (0.2, 0.1), **ON_MET1),
        gdstk.Polygon([(0, 2), (0.2, 2), (0.1, 2.2)], **ON_MET1),
        gdstk.FlexPath([(0, -1), (0.2, -1), (0.2, -0.7)], 0.1, simple_path=True, **ON_MET1),
    ]
    for shape in shapes:
        with_steps(shape, *steps[0], **steps[1])
    assert_equal_klayout(write(tmp_path / "r.oas", *shapes), MET1, "top")


@pytest.mark.parametrize("copies", [1, FOLD_FROM + 1])
def test_shapes_without_area_do_not_widen_the_extent(copies: int, tmp_path: Path) -> None:
    flat = gdstk.Polygon([(20, 20), (21, 20), (20, 20)], **ON_MET1)
    if copies > 1:
        with_steps(flat, copies, 1, spacing=(1, 1))
    slanted = gdstk.Polygon([(30, 30), (31, 31)], **ON_MET1)
    path = write(tmp_path / "d.oas", gdstk.rectangle((10, 10), (11, 11), **ON_MET1), flat, slanted)
    packed = pack_layout(path, [MET1], None)
    assert packed.extent == Box(10_000, 10_000, 11_000, 11_000)


def test_coordinates_up_to_the_limit_of_32_bits(tmp_path: Path) -> None:
    far = (2**31 - 1) / 1000
    corners = [gdstk.rectangle((far - 0.1, far - 0.1), (far, far), **ON_MET1),
               gdstk.rectangle((-far, -far), (0.1 - far, 0.1 - far), **ON_MET1)]  # fmt: skip
    packed = pack_layout(write(tmp_path / "far.gds", *corners), [MET1], None)
    limit = 2**31 - 1
    assert packed.extent == Box(-limit, -limit, limit, limit)
    found = query(packed.packed[0], Box(limit - 50, limit - 50, limit, limit))
    assert found.rects.tolist() == [[limit - 100] * 2 + [limit] * 2]


@pytest.mark.parametrize(
    ("inside_um", "at_um"),
    [(0, 2147483.63), (-2_000_000, 2_500_000)],  # past the end; a placement past, shapes within
)
def test_coordinates_past_32_bits_are_refused(
    inside_um: float, at_um: float, tmp_path: Path
) -> None:
    unit = gdstk.Cell("unit")
    unit.add(gdstk.rectangle((inside_um, 0), (inside_um + 1, 1), **ON_MET1))
    path = write(tmp_path / "over.oas", unit, gdstk.Reference(unit, (at_um, 0)))
    with pytest.raises(LayoutError, match=r"reaches to|32 bits hold"):
        pack_layout(path, [MET1], None)


@pytest.mark.filterwarnings("ignore:Missing reference")
def test_a_missing_cell_costs_only_itself(tmp_path: Path) -> None:
    unit = unit_cell()
    middle = gdstk.Cell("middle").add(gdstk.Reference("gone"), gdstk.Reference(unit, (1, 1)))
    magnified = gdstk.Reference(middle, (5, 5), 0, 2)
    parts = unit, middle, gdstk.Reference("gone"), magnified, gdstk.Reference(middle)
    path = write(tmp_path / "missing.gds", *parts)
    assert_equal_klayout(path, MET1, "top")


def test_choosing_the_top_and_the_layers(tmp_path: Path) -> None:
    unit, texts, other = unit_cell(), gdstk.Cell("texts"), gdstk.Cell("other")
    texts.add(gdstk.Label("a", (9, 9), layer=68, texttype=20))
    other.add(gdstk.rectangle((0, 0), (1, 1), layer=1, datatype=2))
    path = write(tmp_path / "t.gds", unit, texts, other, gdstk.Reference(unit))
    assert sorted(describe_layout(path).top_cells) == ["other", "texts", "top"]
    with pytest.raises(ConfigError, match=r"3 top cells.*other, texts, top"):
        pack_layout(path, [MET1], None)
    with pytest.raises(ConfigError, match=r"no cell 'nope'.*other, texts, top, unit"):
        pack_layout(path, [MET1], "nope")
    with pytest.raises(ConfigError, match=r"no layer 7/7; layers present: 1/2, 68/20"):
        pack_layout(path, [MET1, Layer(7, 7)], "top")
    empty = pack_layout(path, [Layer(1, 2), MET1], "texts")
    with pytest.raises(LayoutError, match="'texts' has no shape on 1/2, 68/20"):
        _ = empty.extent
    both = pack_layout(path, [Layer(1, 2), MET1], "top")
    assert [packed.box is None for packed in both.packed] == [True, False]
    assert both.file_layers == (Layer(1, 2), MET1)


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.name)
def test_boxes_of_shapes_equal_klayout(path: Path) -> None:
    """To 1 dbu, where a path's width or a turned shape is rounded."""
    oracle = kdb.Layout()
    oracle.read(str(path))
    layers, seen = [Layer(67, 20), MET1, Layer(69, 20)], 0
    for cell in describe_layout(path).cells:
        for layer, boxes in zip(layers, read_shape_boxes(path, layers, cell), strict=True):
            placed = oracle.cell(cell).begin_shapes_rec(oracle.layer(layer.layer, layer.datatype))
            expected = []
            while not placed.at_end():
                box = placed.shape().polygon.transformed(placed.itrans()).bbox()
                expected.append((box.left, box.bottom, box.right, box.top))
                placed.next()
            assert len(boxes) == len(expected)
            apart = np.abs(boxes[:, None] - np.array(expected).reshape(-1, 4)).max(axis=2)
            assert (apart.min(axis=1, initial=9) <= 1).all()
            assert (apart.min(axis=0, initial=9) <= 1).all()
            seen += len(boxes)
    assert seen > 100


def test_every_top_cell_side_by_side(tmp_path: Path) -> None:
    """Five cells at odd places: each as drawn, moved, and 10 um or more from the others."""
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    for n in range(5):
        x, y = 3.001 * n - 50, 7.003 - n
        wire = gdstk.rectangle((x, y), (x + 0.5, y + 0.1), **ON_MET1)
        post = gdstk.rectangle((x, y), (x + 0.1, y + 0.2 + n), layer=3)
        library.new_cell(f"clip{n}").add(wire, post)
    library.write_oas(tmp_path / "a.oas")
    layers = [MET1, Layer(3, 0)]
    wires, posts = read_shape_boxes(tmp_path / "a.oas", layers, EVERY_TOP)
    assert np.array_equal(wires[:, :2], posts[:, :2])
    assert np.array_equal(wires[:, 2:] - wires[:, :2], [(500, 100)] * 5)
    assert np.array_equal(posts[:, 2:] - posts[:, :2], [(100, 200 + 1000 * n) for n in range(5)])
    for one in range(5):
        for other in range(one):
            gap = np.maximum(posts[one, :2] - posts[other, 2:], posts[other, :2] - posts[one, 2:])
            assert gap.max() >= 9_500
    drawn = query(pack_layout(tmp_path / "a.oas", layers, EVERY_TOP).packed[0], EVERYWHERE)
    assert sorted(drawn.rects.tolist()) == sorted(wires.tolist())


def test_a_cell_that_contains_itself_is_refused(tmp_path: Path) -> None:
    one, two = gdstk.Cell("one"), gdstk.Cell("two")
    one.add(gdstk.Reference(two), gdstk.rectangle((0, 0), (1, 1), **ON_MET1))
    two.add(gdstk.Reference(one))
    path = write(tmp_path / "ring.gds", one, two, gdstk.Reference(one))
    with pytest.raises(LayoutError, match="contain themselves"):
        pack_layout(path, [MET1], "top")


@pytest.mark.parametrize("precision", [1e-9, 5e-9, 1e-10, 2.5e-10])
def test_the_database_unit_is_that_of_the_file(precision: float, tmp_path: Path) -> None:
    library = gdstk.Library(unit=1e-6, precision=precision)
    library.new_cell("top").add(gdstk.rectangle((-0.1, 0), (0.3, 0.2), **ON_MET1))
    library.write_gds(tmp_path / "u.gds")
    packed = pack_layout(tmp_path / "u.gds", [MET1], None)
    assert packed.dbu_nm == pytest.approx(precision * 1e9, rel=1e-12)
    expected = [round(length * 1e-6 / precision) for length in (-0.1, 0, 0.3, 0.2)]
    assert list(packed.extent.as_tuple()) == expected


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.name)
def test_describe_agrees_with_klayout(path: Path) -> None:
    info, oracle = describe_layout(path), kdb.Layout()
    oracle.read(str(path))
    assert sorted(info.cells) == sorted(cell.name for cell in oracle.each_cell())
    assert sorted(info.top_cells) == sorted(cell.name for cell in oracle.top_cells())
    assert info.dbu_nm == pytest.approx(oracle.dbu * 1000)
    drawn: Counter[str] = Counter()
    instances = 0
    for cell in oracle.each_cell():
        instances += sum(1 for _ in cell.each_inst())
        for index, layer in zip(oracle.layer_indexes(), oracle.layer_infos(), strict=True):
            kinds = kdb.Shapes.SPolygons | kdb.Shapes.SPaths | kdb.Shapes.SBoxes
            count = sum(1 for _ in cell.shapes(index).each(kinds))
            if count:
                drawn[f"{layer.layer}/{layer.datatype}"] += count
    if path.suffix == ".gds":
        assert info.layers == drawn
        assert info.instances == instances
    else:  # an OASIS repetition counts once here, copy by copy in KLayout
        assert set(info.layers) == set(drawn)
        assert all(info.layers[name] <= drawn[name] for name in drawn)
    box = oracle.top_cell().dbbox()
    expected = (box.left, box.bottom, box.right, box.top)
    assert info.extents_um["tiny"] == pytest.approx(expected, abs=0.002)


def test_kernels_of_both_formats_can_be_loaded_before_a_file_is_there() -> None:
    """The small files that they are loaded with are read like any other."""
    load_kernels()
    load_kernels(oasis=True)
    layout = pack_oasis(np.frombuffer(SMALL_LIBRARY, np.uint8), [Layer(0, 0)], None)
    assert (layout.top, layout.extent) == ("B", Box(0, 0, 2, 1))
