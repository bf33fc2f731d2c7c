"""Window queries against KLayout's, on real files: the same region in every window."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import klayout.db as kdb
import numpy as np
import pytest

from stages.contracts import Box, Layer, Shapes
from stages.geometry.window_query import TURN_MATRIX, TURN_PRODUCTS, query, split_polygons
from stages.layout.builder import pack_layout

FILES = [
    # name, layer, top cells to look at (None: the single top), tolerance in dbu
    ("tt02_jar_pi.gds", "68/20", [None], 0),
    ("tt02_jar_pi.gds", "67/20", [None], 0),
    ("mpw1_sram_32x256.gds.gz", "68/20", [None], 0),
    ("ihp_sram_2048x64.gds", "8/0", [None], 0),
    ("nangate45_gcd_metal1.gds", "11/0", [None], 0),  # dbu 0.1 nm
    ("nangate45_cells.gds", "11/0", ["AND2_X1", "DFFRS_X2", "FILLCELL_X32"], 0),
    ("asap7_cells.gds", "19/0", ["A2O1A1Ixp33_ASAP7_75t_R", "DFFHQNx1_ASAP7_75t_R"], 0),
]


def unpacked(path: Path, folder: Path) -> Path:
    if path.suffix != ".gz":
        return path
    target = folder / path.stem
    with gzip.open(path) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    return target


def klayout_region(layout: kdb.Layout, cell: kdb.Cell, layer: Layer, box: Box) -> kdb.Region:
    index = layout.layer(layer.layer, layer.datatype)
    window = kdb.Box(*box.as_tuple())
    return (kdb.Region(cell.begin_shapes_rec_overlapping(index, window)) & window).merged()


def region_of(shapes: Shapes, box: Box) -> kdb.Region:
    region = kdb.Region()
    for rect in shapes.rects.tolist():
        region.insert(kdb.Box(*rect))
    for corners in split_polygons(shapes):
        region.insert(kdb.Polygon([kdb.Point(int(x), int(y)) for x, y in corners]))
    return (region & kdb.Box(*box.as_tuple())).merged()


def windows(extent: Box, count: int, seed: int) -> list[Box]:
    """Random windows from tiny to large, some reaching past the extent."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        size = int(min(extent.width, extent.height) * 10 ** rng.uniform(-2.5, -0.5)) + 1
        x = int(rng.integers(extent.x_min - size, extent.x_max))
        y = int(rng.integers(extent.y_min - size, extent.y_max))
        found.append(Box(x, y, x + size, y + size))
    return found


def compare(path: Path, layer: Layer, cell: str | None, tolerance: int, count: int) -> int:
    packed = pack_layout(path, [layer], cell)
    layout = kdb.Layout()
    layout.read(str(path))
    assert layout.dbu * 1000 == pytest.approx(packed.dbu_nm)
    top = layout.cell(packed.top)
    drawn_box = kdb.Region(top.begin_shapes_rec(layout.layer(layer.layer, layer.datatype))).bbox()
    expected = (drawn_box.left, drawn_box.bottom, drawn_box.right, drawn_box.top)
    assert np.abs(np.subtract(packed.extent.as_tuple(), expected)).max() <= tolerance
    drawn = 0
    for window in windows(packed.extent, count, seed=7):
        ours = region_of(query(packed.packed[0], window), window)
        theirs = klayout_region(layout, top, layer, window)
        difference = ours ^ theirs
        if tolerance:
            difference.size(-tolerance)
        assert difference.is_empty(), f"{path.name} {window}: {difference.bbox()}"
        drawn += not ours.is_empty()
    return drawn


@pytest.mark.parametrize(("name", "layer", "cells", "tolerance"), FILES)
def test_windows_equal_klayout(
    name: str,
    layer: str,
    cells: list[str | None],
    tolerance: int,
    shared_data: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    path = unpacked(shared_data(f"layouts/{name}"), tmp_path)
    for cell in cells:
        assert compare(path, Layer.parse(layer), cell, tolerance, count=25) > 0


@pytest.mark.slow
def test_windows_of_the_real_chip_equal_klayout(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    path = unpacked(shared_data("layouts/tt02_user_project_wrapper.gds.gz"), tmp_path)
    assert compare(path, Layer(68, 20), None, 0, count=200) > 100


def test_every_cell_of_the_proof_library_equals_klayout(
    shared_data: Callable[[str], Path],
) -> None:
    """Paths, arcs, arrays, rotated references; curves are outlined alike to 2 dbu (0.002 nm)."""
    path = shared_data("layouts/gdstk_proof_lib.gds")
    layout = kdb.Layout()
    layout.read(str(path))
    compared = 0
    for cell in layout.top_cells():
        for info in layout.layer_infos():
            box = cell.bbox_per_layer(layout.layer(info))
            if not box.empty() and box.width() and box.height():
                compare(path, Layer(info.layer, info.datatype), cell.name, 2, count=3)
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("oasis", [False, True])
def test_random_hierarchies_equal_klayout(oasis: bool, tmp_path: Path) -> None:
    """Three levels, arrays on skewed lattices, all turns, odd angles and magnifications."""
    drawn = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        layout = kdb.Layout()
        layer = layout.layer(1, 0)
        leaf, middle, top = (layout.create_cell(name) for name in ("leaf", "middle", "top"))
        for _ in range(6):
            x, y, w, h = (int(v) for v in rng.integers(1, 400, 4))
            leaf.shapes(layer).insert(kdb.Box(x, y, x + w, y + h))
        leaf.shapes(layer).insert(
            kdb.Polygon([kdb.Point(0, 0), kdb.Point(90, 300), kdb.Point(310, 40)])
        )
        for parent, child, many in ((middle, leaf, 12), (top, middle, 12)):
            for n in range(many):
                turn = kdb.Trans(int(rng.integers(8)), int(rng.integers(5000)),
                                 int(rng.integers(5000)))  # fmt: skip
                if n % 3 == 0:
                    a = kdb.Vector(*(int(v) for v in rng.integers(-900, 900, 2)))
                    b = kdb.Vector(*(int(v) for v in rng.integers(-900, 900, 2)))
                    if n % 2:
                        a, b = kdb.Vector(a.x, 0), kdb.Vector(0, b.y)
                    parent.insert(kdb.CellInstArray(child.cell_index(), turn, a, b, 3, 4))
                else:
                    parent.insert(kdb.CellInstArray(child.cell_index(), turn))
        odd = kdb.ICplxTrans(0.5, 30.0, True, 12000, 100)
        top.insert(kdb.CellInstArray(middle.cell_index(), odd))
        path = tmp_path / f"random{seed}.{'oas' if oasis else 'gds'}"
        layout.write(str(path))
        drawn += compare(path, Layer(1, 0), None, 1, count=25)
    assert drawn > 40


def test_turn_tables_form_the_group_of_the_square() -> None:
    for outer in range(8):
        for inner in range(8):
            product = TURN_MATRIX[outer].reshape(2, 2) @ TURN_MATRIX[inner].reshape(2, 2)
            assert (product.ravel() == TURN_MATRIX[TURN_PRODUCTS[outer, inner]]).all()


def test_a_cell_is_found_where_it_is_placed_and_nowhere_else(tmp_path: Path) -> None:
    layout = kdb.Layout()
    layer = layout.layer(1, 0)
    leaf, top = layout.create_cell("leaf"), layout.create_cell("top")
    leaf.shapes(layer).insert(kdb.Box(0, 0, 10, 10))
    top.insert(kdb.CellInstArray(leaf.cell_index(), kdb.Trans(kdb.Vector(5000, 7000))))
    layout.write(str(tmp_path / "placed.gds"))
    packed = pack_layout(tmp_path / "placed.gds", [Layer(1, 0)], None).packed[0]
    found = query(packed, Box(-100, -100, 10_000, 10_000))
    assert found.rects.tolist() == [[5000, 7000, 5010, 7010]]
    assert found.points.shape == (0, 2)
    assert query(packed, Box(-100, -100, 100, 100)).rects.shape == (0, 4)
