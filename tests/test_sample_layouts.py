"""The sample layouts: drawn from a seed, with all that their names promise."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import itertools
import random
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import gdstk
import numpy as np
import pytest

import hotscan
from sample_layouts.rings import PITCH_UM, RADIUS_UM, WIDTH_UM, write_rings
from sample_layouts.varied import CLEAR, FIELD, MOAT, fill_cell, is_apart, write_varied
from sample_layouts.vias import DENSITIES, LAYERS, PITCH, SPACE, VIA, write_vias
from stages.contracts import Box, Int64s
from stages.geometry.union import merge
from stages.lithography.measure.defects import find_defects
from stages.lithography.process import load_process

SAMPLES = Path(__file__).resolve().parent.parent / "sample_layouts"
BLOCKS = ("block", "dense")
SHIPPED = ("block.gds.gz", "dense.gds.gz", "tiny.gds", "tiny.oas")
MET1 = (68, 20)
KRF130 = load_process("krf130")


def load_make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_samples", SAMPLES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make() -> ModuleType:
    return load_make()


@pytest.fixture(scope="module")
def drawn(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    make.write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def tops(drawn: Path) -> dict[str, gdstk.Cell]:
    """The top cells of the two blocks, each left as NAME.gds in `drawn`, too."""
    for name in BLOCKS:
        (drawn / f"{name}.gds").write_bytes(content(drawn / f"{name}.gds.gz"))
    return {name: only_top(gdstk.read_gds(drawn / f"{name}.gds")) for name in BLOCKS}


def content(path: Path) -> bytes:
    # zlib's choices differ between its versions, the unpacked bytes do not.
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def only_top(lib: gdstk.Library) -> gdstk.Cell:
    assert len(lib.top_level()) == 1
    return lib.top_level()[0]


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every GDSII record: its type, and what it holds."""
    at = 0
    while at < len(data):
        length, kind = struct.unpack(">HBx", data[at : at + 4])
        yield kind, data[at + 4 : at + length]
        at += length


def depth(cell: gdstk.Cell) -> int:
    return 1 + max((depth(child) for child in cell.dependencies(False)), default=0)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_file_is_what_the_program_draws(drawn: Path, name: str) -> None:
    assert content(drawn / name) == content(SAMPLES / name), "run python sample_layouts/make.py"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_file_is_small(name: str) -> None:
    assert 1_000 < (SAMPLES / name).stat().st_size < 500_000


@pytest.mark.parametrize("name", BLOCKS)
def test_same_seed_draws_the_same_bytes(make: ModuleType, tmp_path: Path, name: str) -> None:
    write = getattr(make, f"write_{name}")
    for file in ("a.gds", "b.gds"):
        write(tmp_path / file, size_um=75, seed=7)
    assert (tmp_path / "a.gds").read_bytes() == (tmp_path / "b.gds").read_bytes()


@pytest.mark.parametrize(("name", "shared"), [("block", 0.25), ("dense", 0.1)])
def test_another_seed_draws_another_layout(
    make: ModuleType, tmp_path: Path, name: str, shared: float
) -> None:
    boxes = []
    for seed in (7, 8):
        getattr(make, f"write_{name}")(tmp_path / "a.gds", size_um=75, seed=seed)
        top = only_top(gdstk.read_gds(tmp_path / "a.gds"))
        shapes = top.get_polygons(layer=MET1[0], datatype=MET1[1])
        boxes.append({tuple(round(1000 * v) for v in p.bounding_box()[0]) for p in shapes})
    # Two blocks of one orientation share pieces of rail and of bus, at most.
    assert len(boxes[0] & boxes[1]) < shared * len(boxes[0])


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_have_the_promised_extent_and_hierarchy(
    tops: dict[str, gdstk.Cell], name: str
) -> None:
    (x_min, y_min), (x_max, y_max) = tops[name].bounding_box()
    assert tops[name].name == name
    assert x_max - x_min == pytest.approx(300, abs=3)
    assert y_max - y_min == pytest.approx(300, abs=3)
    assert depth(tops[name]) >= 4


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_repeat_turn_and_mirror_their_cells(tops: dict[str, gdstk.Cell], name: str) -> None:
    placed = [
        (r.cell.name, round(r.rotation / 1.5708) % 4, r.x_reflection) for r in tops[name].references
    ]
    assert max(Counter(name for name, _, _ in placed).values()) >= 2
    assert len({(turn, mirror) for _, turn, mirror in placed}) >= 5
    cells = tops[name].dependencies(True)
    assert sum(1 for c in cells for r in c.references if r.repetition.size > 1) > 100  # AREF
    rows = [r for c in cells if c.name == "logic_0" for r in c.references if "row" in r.cell.name]
    assert [row.x_reflection for row in rows] == [bool(n % 2) for n in range(len(rows))]


def risky_places(top: gdstk.Cell) -> Counter[str]:
    """How many risky places of each kind a block holds, repeats counted."""
    logic = Counter(r.cell.name for r in top.references)
    places = Counter[str]()
    for cell in top.dependencies(False):
        for reference in cell.references:
            if reference.cell.name.startswith("risk_"):
                kind = reference.cell.name.removeprefix("risk_").rsplit("_", 1)[0]
                places[kind] += logic[cell.name]
    return places


def test_dense_has_some_hundred_risky_places_of_every_kind(tops: dict[str, gdstk.Cell]) -> None:
    places = risky_places(tops["dense"])
    assert 150 < places.total() < 1000
    assert set(places) == {
        "comb", "corners", "h_shape", "jogs", "neck", "pads", "tip_to_side", "tip_to_tip",
        "u_shape",
    }  # fmt: skip


def test_block_has_about_a_hundred_planted_places_of_six_kinds(tops: dict[str, gdstk.Cell]) -> None:
    places = risky_places(tops["block"])
    assert 60 < places.total() < 150
    assert set(places) == {"neck", "slit", "squeezed", "tip_to_side", "tip_to_tip", "wide_pair"}
    assert min(places.values()) >= 8


def test_every_planted_place_fails_and_what_is_around_it_prints() -> None:
    planted = importlib.import_module("sample_layouts.planted")
    rails = ((-2400, -1600, 2400, -1120), (-2400, 1120, 2400, 1600))
    seen = Counter[str]()
    for shapes in planted.PLANTED:
        for seed in range(2):
            place = np.array([*shapes(random.Random(seed)), *rails], np.int64)
            found = find_defects(merge(place), Box(-2000, -2000, 2000, 2000), 1.0, KRF130)
            assert found, (shapes.__name__, seed)
            assert all(max(abs(d.x_dbu), abs(d.y_dbu)) <= planted.HALF for d in found)
            seen[shapes.__name__] += max(d.severity for d in found) > 0.1
    assert set(seen.values()) == {2}


def test_a_scan_of_the_block_flags_little_and_finds_what_fails(tmp_path: Path) -> None:
    """One slot of sixteen; sample_layouts/README.md tells of all."""
    run = hotscan.scan(
        SAMPLES / "block.gds.gz", layers="68/20", out=tmp_path / "run", roi=(0, 0, 75, 75),
        confirm=True, progress=False,
    )  # fmt: skip
    metrics = run.metrics
    assert 0 < metrics["hot_clips"] <= 0.01 * metrics["clips"]
    assert metrics["hotspots_confirmed"] >= 6  # a sixteenth of the planted places


def test_risky_places_stay_in_their_square_and_on_the_grid(make: ModuleType) -> None:
    risks = importlib.import_module("sample_layouts.risks")
    planted = importlib.import_module("sample_layouts.planted")
    kinds = [(shapes, 980) for shapes in risks.RISKS] + [(k, planted.HALF) for k in planted.PLANTED]
    for shapes, half in kinds:
        for seed in range(300):
            for x0, y0, x1, y1 in shapes(random.Random(seed)):
                assert -half <= x0 < x1 <= half, (shapes.__name__, seed)
                assert -half <= y0 < y1 <= half, (shapes.__name__, seed)
                assert not any(value % 5 for value in (x0, y0, x1, y1))


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_lie_on_a_5_nm_grid(tops: dict[str, gdstk.Cell], name: str) -> None:
    cells = [tops[name], *tops[name].dependencies(True)]
    corners = [xy for c in cells for p in c.polygons for point in p.points for xy in point]
    corners += [xy for c in cells for path in c.paths for point in path.spine() for xy in point]
    corners += [xy for c in cells for r in c.references for xy in r.origin]
    assert [xy for xy in corners if abs(xy * 200 - round(xy * 200)) > 1e-6] == []


def test_block_met1_is_legal_everywhere(drawn: Path, tops: dict[str, gdstk.Cell]) -> None:
    db = pytest.importorskip("klayout.db")
    layout = db.Layout()
    layout.read(str(drawn / f"{tops['block'].name}.gds"))
    shapes = db.Region(layout.top_cell().begin_shapes_rec(layout.layer(*MET1))).merged()
    assert 0.25 < shapes.area() / shapes.bbox().area() < 0.42
    assert shapes.space_check(140, False, db.Region.Euclidian).count() == 0
    assert shapes.width_check(140, False, db.Region.Euclidian).count() == 0


def test_dense_met1_is_legal_outside_risky_places_and_as_dense_as_a_chip(
    tops: dict[str, gdstk.Cell], drawn: Path
) -> None:
    db = pytest.importorskip("klayout.db")
    layout = db.Layout()
    layout.read(str(drawn / f"{tops['dense'].name}.gds"))
    top, met1 = layout.top_cell(), layout.layer(*MET1)
    part = db.Box(0, 0, 150_000, 150_000)
    shapes = db.Region(top.begin_shapes_rec_touching(met1, part)).merged()
    # Routed sky130 met1 covers 36 % of its area.
    assert 0.30 < (shapes & db.Region(part)).area() / part.area() < 0.42
    risky = db.Region()
    places = db.RecursiveInstanceIterator(layout, top)
    while not places.at_end():
        if places.inst_cell().name.startswith("risk_"):
            at = db.ICplxTrans(places.trans()) * db.ICplxTrans(places.inst_trans())
            risky.insert((at * places.inst_cell().bbox()).enlarged(60, 60))
        places.next()
    close = shapes.space_check(140, False, db.Region.Euclidian).polygons()
    narrow = shapes.width_check(140, False, db.Region.Euclidian).polygons()
    assert close.count() > 0
    assert narrow.count() > 0
    assert (close + narrow).outside(risky).count() == 0


def test_tiny_gds_has_every_gdsii_element(drawn: Path) -> None:
    kinds = Counter(kind for kind, _ in records((drawn / "tiny.gds").read_bytes()))
    for element in (0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x2D):  # BOUNDARY PATH SREF AREF TEXT BOX
        assert kinds[element] > 0, hex(element)
    ends = {body for kind, body in records((drawn / "tiny.gds").read_bytes()) if kind == 0x21}
    assert ends == {struct.pack(">h", end) for end in (0, 1, 2, 4)}


def test_tiny_places_cells_in_every_way(drawn: Path) -> None:
    top = only_top(gdstk.read_gds(drawn / "tiny.gds"))
    assert top.name == "tiny"
    unit = [r for r in top.references if r.cell.name == "unit"]
    right = {(round(r.rotation / 1.5707963) % 4, r.x_reflection) for r in unit if r.origin[1] == -6}
    assert right == {(turn, mirror) for turn in range(4) for mirror in (False, True)}
    assert {r.magnification for r in unit} == {0.5, 1, 2}
    assert any(abs(r.rotation - 0.5235988) < 1e-6 for r in unit)
    twice = Counter((r.cell.name, r.origin, r.rotation) for r in top.references)
    assert max(twice.values()) == 2
    cells = {cell.name: cell for cell in top.dependencies(True)}
    assert cells["empty"].bounding_box() is None
    assert len(top.labels) == 2
    arrays = [r for r in cells["arrays"].references if r.repetition.size > 1]
    assert {(round(r.rotation / 1.5707963), r.x_reflection) for r in arrays} >= {
        (0, False), (1, False), (2, True), (3, True),
    }  # fmt: skip
    assert any(r.cell.name == "group" and r.repetition.size == 4 for r in arrays)
    assert {(p.layer, p.datatype) for p in top.get_polygons()} == {(67, 20), MET1, (69, 20)}


def test_tiny_oas_keeps_repetitions_of_shapes_and_references(drawn: Path) -> None:
    top = only_top(gdstk.read_oas(drawn / "tiny.oas"))
    cell = next(c for c in top.dependencies(True) if c.name == "repetitions")
    for elements in (cell.polygons, cell.references):
        steps = [element.repetition for element in elements]
        assert any(s.columns is not None and s.spacing is not None for s in steps)
        assert any(s.v1 is not None for s in steps)
        assert any(s.offsets is not None for s in steps)
        assert any(s.x_offsets is not None for s in steps)
        assert any(s.y_offsets is not None for s in steps)


@pytest.mark.parametrize("layer", [(67, 20), MET1, (69, 20)])
def test_tiny_gds_and_oas_hold_the_same_shapes(drawn: Path, layer: tuple[int, int]) -> None:
    db = pytest.importorskip("klayout.db")
    regions = []
    for name in ("tiny.gds", "tiny.oas"):
        layout = db.Layout()
        layout.read(str(drawn / name))
        shapes = layout.top_cell().begin_shapes_rec(layout.layer(*layer))
        regions.append(db.Region(shapes).merged())
    box = db.Region(db.Box(2000, 0, 4000, 1000) if layer == MET1 else db.Box())
    paths = db.Region(db.Box(7900, 11800, 20200, 13300))  # OASIS has no round path ends
    differ = ((regions[0] ^ regions[1]) - paths) ^ box
    assert differ.sized(-2).area() == 0  # any-angle corners may round by 1 nm


def test_rings_are_circles_to_a_nanometre(tmp_path: Path) -> None:
    write_rings(tmp_path / "rings.gds", count=2)
    (cell,) = gdstk.read_gds(str(tmp_path / "rings.gds")).top_level()
    rings = [polygon for polygon in cell.polygons if len(polygon.points) > 4]
    assert len(rings) == 4
    corners = rings[0].points - PITCH_UM / 2  # the first ring is about the middle of its square
    middles = (corners + np.roll(corners, 1, axis=0)) / 2
    apart = np.abs(np.hypot(*middles.T)[:, None] - (RADIUS_UM + np.array([-1, 1]) * WIDTH_UM / 2))
    joint = np.hypot(*(corners - np.roll(corners, 1, axis=0)).T) > WIDTH_UM * 0.99
    assert joint.sum() == 2  # the cut between the circles, there and back
    assert apart.min(axis=1)[~joint].max() < 0.002  # a chord's 1 nm, and corners on whole nm


@pytest.fixture(scope="module")
def vias(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Int64s]:
    """The lower left corners of the vias of 12 x 12 um of each density, (n, 2) in nm."""
    corners = {}
    for layer in DENSITIES:
        path = tmp_path_factory.mktemp("vias") / f"{layer}.gds"
        write_vias(path, layer=layer, side_um=12.0, seed=3)
        cell = only_top(gdstk.read_gds(path))
        assert {(p.layer, p.datatype) for p in cell.polygons} == {LAYERS[layer]}
        boxes = np.rint([np.ravel(p.bounding_box()) for p in cell.polygons] * np.array(1000))
        assert (boxes[:, 2:] - boxes[:, :2] == VIA).all()
        corners[layer] = boxes[:, :2].astype(np.int64)
    return corners


@pytest.mark.parametrize("layer", DENSITIES)
def test_vias_keep_their_distance(vias: dict[str, Int64s], layer: str) -> None:
    corners = vias[layer]
    apart = np.maximum(np.abs(corners[:, None] - corners[None]) - VIA, 0)
    space = np.hypot(apart[:, :, 0], apart[:, :, 1])[~np.eye(len(corners), dtype=bool)]
    assert SPACE <= space.min() < SPACE + 5
    assert corners.min() >= 0
    assert corners.max() <= 12_000 - VIA
    off_grid = (corners % PITCH != 0).any(axis=1).mean()
    assert 0.01 < off_grid < 0.7


def test_via_layers_go_from_dense_to_sparse(vias: dict[str, Int64s]) -> None:
    counts = [len(corners) for corners in vias.values()]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 5 * counts[-1]


def test_fields_of_every_kind_are_drawn_from_a_seed(tmp_path: Path) -> None:
    """Each lies in a square of its own."""
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_varied(tmp_path / f"{name}.gds", size_um=40, seed=seed)
    a, b, c = ((tmp_path / f"{name}.gds").read_bytes() for name in "abc")
    assert a == b != c
    corners = np.concatenate(
        [polygon.points for polygon in only_top(gdstk.read_gds(tmp_path / "a.gds")).polygons]
    )
    in_nm = np.rint(corners * 1000)
    places = np.unique((in_nm + MOAT / 2) // (FIELD + MOAT), axis=0)
    assert len(places) == 9
    assert np.abs((in_nm + MOAT / 2) % (FIELD + MOAT) - MOAT / 2 - FIELD / 2).max() < (
        FIELD / 2 + MOAT / 2
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_small_cell_keeps_its_space_to_its_mirror_images(seed: int) -> None:
    rng = random.Random(seed)
    cell = fill_cell(rng, 1500, 1100)
    assert cell
    ends = [(low, high, size) for x_0, y_0, x_1, y_1 in cell
            for low, high, size in ((x_0, x_1, 1500), (y_0, y_1, 1100))]  # fmt: skip
    assert all(low == 0 or 2 * low >= CLEAR for low, _, _ in ends)
    assert all(high == size or 2 * (size - high) >= CLEAR for _, high, size in ends)
    for one, other in itertools.combinations(cell, 2):
        assert is_apart(one, other, CLEAR)
