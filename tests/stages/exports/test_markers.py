"""Markers as other tools read them: KLayout as the oracle for every layout format."""

from __future__ import annotations

import csv
import gzip
import io
import json
import warnings
from dataclasses import replace

import klayout.db as kdb
import klayout.rdb as krdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from shapely import Polygon

from pipeline.engine.storage.run_directory import write_cell, write_library
from stages.contracts import Box, Defect, Hotspot, Layer, Shapes, Verdict
from stages.errors import ConfigError, LayoutError
from stages.exports.lyrdb import MarkedLayer, compress_lyrdb, format_lyrdb
from stages.exports.markers import (
    CONTOUR,
    DEFECT,
    TARGET,
    PrintedArea,
    build_clip,
    build_markers,
    find_free_layer,
    name_clip_file,
)
from stages.exports.tables import (
    COLUMNS,
    format_csv,
    format_json,
    hotspots_to_table,
    table_to_hotspots,
)
from stages.findings import Review
from tests.support.found import make_class, make_finding

CORE_DBU = 1280
LAYER = 255
TOP = "chip top-1.A'b"
NOT_SCANNED = (Box(0, 0, 50_000, 50_000), Box(-70_000, 10, -60_000, 20_010))
DBUS_NM = (1.0, 0.25, 0.1, 5.0)


def make_spot(number: int, x_dbu: int, y_dbu: int, score: float, clips: int = 1) -> Hotspot:
    half = CORE_DBU // 2
    box = Box(x_dbu - half, y_dbu - half, x_dbu + half + 300 * (clips - 1), y_dbu + half)
    group = (number + 1) // 2
    return Hotspot(
        number, x_dbu, y_dbu, score, "tip_to_tip", clips, 40 + group, f"{group:032x}", group, box
    )


SPOTS = (
    make_spot(1, 12_345, -6_789, 0.999),
    make_spot(2, 0, 0, float(np.float32(0.973)), clips=3),
    make_spot(3, -1_000_001, 33, 0.61),
)


def write(path, spots=SPOTS, dbu_nm=1.0, **changes):
    options = {"top": TOP, "core_dbu": CORE_DBU, "layer": LAYER, "not_scanned": NOT_SCANNED}
    if path.suffix == ".gds":
        write_cell(path, build_markers(spots, dbu_nm=dbu_nm, part=2, **(options | changes)))
    else:
        (library,) = build_markers(spots, dbu_nm=dbu_nm, **(options | changes))
        write_library(path, library, oasis=True)
    return path


def test_markers_in_one_part_are_those_of_a_library(tmp_path):
    options = {"top": TOP, "dbu_nm": 1.0, "core_dbu": CORE_DBU, "layer": LAYER}
    (library,) = build_markers(SPOTS, **options)
    write_library(tmp_path / "whole.gds", library)
    write_cell(tmp_path / "parts.gds", build_markers(SPOTS, **options))
    assert (tmp_path / "parts.gds").read_bytes() == (tmp_path / "whole.gds").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.gds", "whole.gds"]


def load(path):
    layout = kdb.Layout()
    layout.read(str(path))
    return layout


def boxes(layout, layer, datatype):
    shapes = layout.top_cell().shapes(layout.layer(layer, datatype))
    return [(s.bbox().left, s.bbox().bottom, s.bbox().right, s.bbox().top) for s in shapes.each()
            if not s.is_text()]  # fmt: skip


@pytest.mark.parametrize("suffix", [".gds", ".oas"])
@pytest.mark.parametrize("dbu_nm", DBUS_NM)
def test_layout_markers_round_trip(tmp_path, suffix, dbu_nm):
    layout = load(write(tmp_path / f"markers{suffix}", dbu_nm=dbu_nm))
    assert layout.dbu == pytest.approx(dbu_nm / 1000, rel=1e-12)
    assert layout.top_cell().name == TOP
    half = CORE_DBU // 2
    cores = [(s.x_dbu - half, s.y_dbu - half, s.x_dbu + half, s.y_dbu + half) for s in SPOTS]
    assert sorted(boxes(layout, LAYER, 0)) == sorted(cores)
    assert boxes(layout, LAYER, 1) == [SPOTS[1].box.as_tuple()]
    assert sorted(boxes(layout, LAYER, 2)) == sorted(box.as_tuple() for box in NOT_SCANNED)
    texts = [s.text for s in layout.top_cell().shapes(layout.layer(LAYER, 0)).each() if s.is_text()]
    assert sorted((t.string, t.x, t.y) for t in texts) == sorted(
        (f"H{s.id} {s.score:.3f}", s.x_dbu, s.y_dbu) for s in SPOTS
    )


@pytest.mark.parametrize("suffix", [".gds", ".oas"])
def test_equal_input_gives_equal_bytes(tmp_path, suffix):
    first = write(tmp_path / f"a{suffix}").read_bytes()
    assert write(tmp_path / f"b{suffix}").read_bytes() == first
    assert write(tmp_path / f"c{suffix}", SPOTS[:2]).read_bytes() != first


@pytest.mark.parametrize("suffix", [".gds", ".oas"])
def test_coordinates_up_to_int32_are_exact_and_past_it_refused(tmp_path, suffix):
    last = 2**31 - 1 - CORE_DBU // 2
    path = write(tmp_path / f"last{suffix}", [make_spot(1, last, -last, 0.9)], dbu_nm=0.1)
    assert boxes(load(path), LAYER, 0) == [
        (last - CORE_DBU // 2, 1 - 2**31, 2**31 - 1, -last + CORE_DBU // 2)
    ]
    over = tmp_path / f"over{suffix}"
    with pytest.raises(LayoutError, match="32 bits"):
        write(over, [make_spot(1, last + 1, 0, 0.9)])
    with pytest.raises(LayoutError, match="32 bits"):
        write(over, not_scanned=[Box(-(2**31), 0, 0, 1)])
    assert not over.exists()


def test_odd_core_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="core_dbu is 1281"):
        write(tmp_path / "odd.gds", core_dbu=1281)


def test_classes_and_cells_are_labels_and_properties(tmp_path):
    path = write(tmp_path / "m.gds", findings=FINDINGS, classes=CLASSES)
    layout = load(path)
    shapes = list(layout.top_cell().shapes(layout.layer(LAYER, 0)).each())
    told = {(s.property(1), s.property(2)) for s in shapes if not s.is_text()}
    assert told == {("C1", "it's \\ odd"), ("C1", "inv_1"), ("C2", "inv_1")}
    assert f"H2 {SPOTS[1].score:.3f} C1" in [s.text_string for s in shapes if s.is_text()]
    marks = layout.top_cell().shapes(layout.layer(LAYER, 6)).each()
    assert [s.text_string for s in marks if s.is_text()] == ["C1 x2", "C2 x1"]
    places = boxes(layout, LAYER, 6)
    assert places == [(900, -2100, 1100, -1900)] * 2  # 1000.5 is rounded to even


def test_levels_are_named_by_labels_and_properties(tmp_path):
    """What prints in simulation has none."""
    layout = load(write(tmp_path / "m.gds", findings=FINDINGS, reviews=REVIEWS))
    shapes = list(layout.top_cell().shapes(layout.layer(LAYER, 0)).each())
    assert [s.property(3) for s in shapes if not s.is_text()] == ["L1", None, "L3"]
    labels = [s.text_string for s in shapes if s.is_text()]
    assert labels == ["H1 0.999 C1 L1", "H2 0.973 C1", "H3 0.610 C2 L3"]
    layout = load(write(tmp_path / "w.oas", findings=FINDINGS, reviews=WAIVED))
    shapes = list(layout.top_cell().shapes(layout.layer(LAYER, 0)).each())
    assert {s.property(4) for s in shapes if not s.is_text()} == {"w-1", None}
    assert "H1 0.999 C1 L1 waived" in [s.text_string for s in shapes if s.is_text()]


def test_properties_are_as_long_together_as_gdsii_allows(tmp_path):
    named = {spot: replace(row, cell="c" * 130) for spot, row in FINDINGS.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # gdstk's, of longer ones
        path = write(tmp_path / "m.gds", findings=named, reviews=WAIVED)
    layout = load(path)
    shapes = [s for s in layout.top_cell().shapes(layout.layer(LAYER, 0)).each() if s.is_box()]
    assert shapes[0].property(4) == "w-1"
    for shape in shapes:
        told = [shape.property(number) or "" for number in range(1, 5)]
        assert len("".join(told)) == 126


class TestFreeLayer:
    def test_default_is_the_highest_that_every_tool_reads(self):
        assert find_free_layer([]) == 255
        assert find_free_layer([Layer(255, 9), Layer(254, 0), Layer(1, 0)]) == 253
        assert find_free_layer([Layer(number, 0) for number in range(1, 256)]) == 256

    def test_a_free_one_is_granted(self):
        assert find_free_layer([Layer(68, 20)], asked=69) == 69

    def test_a_used_one_is_refused_by_name(self):
        with pytest.raises(ConfigError, match=r"68 is used by the layout \(68/16, 68/20\).*255"):
            find_free_layer(iter([Layer(68, 20), Layer(68, 16)]), asked=68)

    @pytest.mark.parametrize("asked", [-1, 65536])
    def test_no_layer_number(self, asked):
        with pytest.raises(ConfigError, match=f"marker layer is {asked}"):
            find_free_layer([], asked=asked)


FINDINGS = {
    SPOTS[0].id: make_finding(SPOTS[0].id, 1, "it's \\ odd"),
    SPOTS[1].id: make_finding(SPOTS[1].id, 1),
    SPOTS[2].id: make_finding(SPOTS[2].id, 2),
}
CLASSES = (make_class(1, SPOTS[1].id, 2), make_class(2, SPOTS[2].id, 1))
REVIEWS = {1: Review(1, "score"), 2: Review(None, "simulation"), 3: Review(3, "simulation")}
WAIVED = REVIEWS | {1: Review(1, "score", "w-1", "it's <seen>")}


def load_rdb(tmp_path, spots=SPOTS, dbu_nm=1.0, not_scanned=NOT_SCANNED, verdicts=None, **more):
    path = tmp_path / "hotspots.lyrdb.gz"
    layer = MarkedLayer(
        hotspots=spots, dbu_nm=dbu_nm, core_dbu=CORE_DBU, not_scanned=not_scanned,
        verdicts=verdicts, findings=FINDINGS if spots is SPOTS else None,
        classes=CLASSES if spots is SPOTS else (), **more,
    )  # fmt: skip
    text = format_lyrdb({"": layer}, top=TOP, layout="a <b> & c.gds")
    path.write_bytes(compress_lyrdb(text))
    database = krdb.ReportDatabase("loaded")
    database.load(str(path))
    return database


def items_of(database, path):
    return list(database.category_by_path(path).each_item())


def box_of(item):
    (box,) = [v.box() for v in item.each_value() if v.is_box()]
    return box.left, box.bottom, box.right, box.top


class TestReportDatabase:
    @pytest.mark.parametrize("dbu_nm", DBUS_NM)
    def test_boxes_are_the_cores_in_um(self, tmp_path, dbu_nm):
        database = load_rdb(tmp_path, dbu_nm=dbu_nm)
        expected = {
            "hotspot.score_99_to_100": SPOTS[0],
            "hotspot.score_95_to_99": SPOTS[1],
            "hotspot.score_50_to_80": SPOTS[2],
        }
        for path, spot in expected.items():
            (item,) = items_of(database, path)
            half, um = CORE_DBU // 2, dbu_nm / 1000
            corners = (spot.x_dbu - half, spot.y_dbu - half, spot.x_dbu + half, spot.y_dbu + half)
            assert box_of(item) == pytest.approx([corner * um for corner in corners], abs=1e-9)

    def test_tagged_values_and_text(self, tmp_path):
        database = load_rdb(tmp_path)
        (item,) = items_of(database, "hotspot.score_95_to_99")
        names = {
            database.user_tag_id(n): n
            for n in ("score", "rank", "group", "clips", "hotspots", "class", "moved")
        }
        tagged = [value for value in item.each_value() if value.tag_id]
        got = {names[value.tag_id]: value.float() for value in tagged}
        assert got == pytest.approx(
            {
                "score": 0.973,
                "rank": 2,
                "group": 1,
                "clips": 3,
                "hotspots": 2,
                "class": 1,
                "moved": 3.5,
            }
        )
        texts = [value.string() for value in item.each_value() if value.is_string()]
        assert texts == [f"H2 score 0.973 rule tip_to_tip pattern {1:032x} class C1 cell inv_1"]

    def test_every_item_is_under_the_top_cell(self, tmp_path):
        database = load_rdb(tmp_path)
        cells = {database.cell_by_id(item.cell_id()).name() for item in database.each_item()}
        assert cells == {TOP}
        assert database.top_cell_name == TOP

    def test_every_class_and_its_representative(self, tmp_path):
        database = load_rdb(tmp_path)
        half = CORE_DBU // 2

        def lefts(path):
            return pytest.approx([box_of(item)[0] for item in items_of(database, path)])

        assert lefts("class.C1_space_x2") == [(s.x_dbu - half) / 1000 for s in SPOTS[:2]]
        assert lefts("class.C2_space_x1") == [(SPOTS[2].x_dbu - half) / 1000]
        assert lefts("class_representative") == [(s.x_dbu - half) / 1000 for s in SPOTS[1:]]

    def test_every_level(self, tmp_path):
        database = load_rdb(tmp_path, reviews=REVIEWS)
        level = database.user_tag_id("level")
        for path, spot in (("level.level1", SPOTS[0]), ("level.level3", SPOTS[2])):
            (item,) = items_of(database, path)
            assert box_of(item)[0] == pytest.approx((spot.x_dbu - CORE_DBU // 2) / 1000)
            (value,) = [v.float() for v in item.each_value() if v.tag_id == level]
            assert path == f"level.level{value:g}"
        assert database.category_by_path("level.level2") is None

    def test_waived_hotspots_are_no_longer_among_the_levels(self, tmp_path):
        database = load_rdb(tmp_path, reviews=WAIVED)
        assert database.category_by_path("level.level1") is None
        (item,) = items_of(database, "waived.w_1")
        assert item.has_tag(database.tag_id("waived"))
        (text,) = [value.string() for value in item.each_value() if value.is_string()]
        assert text.endswith("level 1 by score waived by w-1: it's <seen>")
        (rest,) = items_of(database, "level.level3")
        assert not rest.has_tag(database.tag_id("waived"))

    def test_names_of_cells_may_hold_quotes(self, tmp_path):
        database = load_rdb(tmp_path)
        (item,) = items_of(database, "hotspot.score_99_to_100")
        (text,) = [value.string() for value in item.each_value() if value.is_string()]
        assert text.endswith("class C1 cell it's \\ odd")

    def test_not_scanned(self, tmp_path):
        database = load_rdb(tmp_path)
        items = items_of(database, "not_scanned")
        assert [box_of(item) for item in items] == [
            pytest.approx([edge / 1000 for edge in box.as_tuple()]) for box in NOT_SCANNED
        ]

    def test_nothing_found_still_loads(self, tmp_path):
        database = load_rdb(tmp_path, spots=(), not_scanned=())
        assert database.num_items() == 0
        assert database.category_by_path("not_scanned") is not None

    def test_no_category_holds_more_than_the_browser_shows(self, tmp_path):
        spots = [make_spot(n, 2000 * n, 0, 0.995 if n <= 2500 else 0.4) for n in range(1, 2600)]
        database = load_rdb(tmp_path, spots=spots)
        counts = {
            c.path(): c.num_items()
            for c in database.category_by_path("hotspot").each_sub_category()
        }
        assert counts == {
            "hotspot.score_99_to_100_from_H1_to_H1000": 1000,
            "hotspot.score_99_to_100_from_H1001_to_H2000": 1000,
            "hotspot.score_99_to_100_from_H2001_to_H2500": 500,
            "hotspot.score_0_to_50": 99,
        }  # fmt: skip

    def test_gzip_holds_no_time(self):
        packed = compress_lyrdb("text")
        assert packed[4:8] == bytes(4)
        assert gzip.decompress(packed) == b"text"


class TestTables:
    def test_csv(self):
        rows = list(csv.DictReader(io.StringIO("".join(format_csv(SPOTS, 0.25)))))
        assert list(rows[0]) == list(COLUMNS)
        assert [(float(row["x_um"]), float(row["y_um"])) for row in rows] == [
            (spot.x_dbu * 0.25 / 1000, spot.y_dbu * 0.25 / 1000) for spot in SPOTS
        ]
        assert [row["score"] for row in rows] == ["0.999000", "0.973000", "0.610000"]

    def test_json_has_the_same_columns_and_values(self):
        rows = json.loads(format_json(SPOTS, 0.1))
        assert list(rows[0]) == list(COLUMNS)
        assert rows[1]["score"] == SPOTS[1].score
        assert rows[1]["x_max_um"] == pytest.approx(SPOTS[1].box.x_max * 1e-4)

    @pytest.mark.parametrize("spots", [SPOTS, ()])
    def test_parquet_round_trip(self, tmp_path, spots):
        for name in "ab":
            pq.write_table(hotspots_to_table(spots, 0.1), tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        table = pq.read_table(tmp_path / "a")
        assert table.schema.names[: len(COLUMNS)] == list(COLUMNS)
        assert table_to_hotspots(table) == tuple(spots)

    def test_another_table_is_refused(self):
        with pytest.raises(LayoutError, match="x_dbu"):
            table_to_hotspots(hotspots_to_table(SPOTS, 1.0).drop_columns(["x_dbu"]))


class TestClips:
    CLIP_DBU = 2560
    SPOT = make_spot(7, 10_000, -5_000, 0.8)

    def written(self, tmp_path, shapes):
        library = build_clip(
            self.SPOT, {Layer(68, 20): shapes},
            dbu_nm=1.0, core_dbu=CORE_DBU, clip_dbu=self.CLIP_DBU, core_layer=LAYER,
        )  # fmt: skip
        write_library(tmp_path / "clip.gds", library)
        return load(tmp_path / "clip.gds")

    def test_geometry_is_cut_at_the_clip(self, tmp_path):
        rects = np.array([
            [0, -5_100, 20_000, -4_900],  # right through
            [9_900, -5_050, 10_100, -4_000],  # overlaps it, sticks out on top
            [11_280, -6_000, 12_000, -4_000],  # begins where the clip ends
        ])  # fmt: skip
        triangle = np.array([[10_500, -6_500], [12_000, -5_000], [10_500, -3_500]])
        layout = self.written(tmp_path, Shapes(rects, triangle, np.array([0, 3])))
        window = kdb.Region(kdb.Box(8_720, -6_280, 11_280, -3_720))
        drawn = kdb.Region([kdb.Box(*rect) for rect in rects.tolist()])
        drawn.insert(kdb.Polygon([kdb.Point(*point) for point in triangle.tolist()]))
        got = kdb.Region(layout.top_cell().begin_shapes_rec(layout.layer(68, 20)))
        assert got.count() == 3  # overlaps are not merged
        assert (got ^ (drawn & window)).is_empty()
        assert boxes(layout, LAYER, 0) == [(9_360, -5_640, 10_640, -4_360)]

    def test_empty_layer(self, tmp_path):
        nothing = Shapes(np.zeros((0, 4), np.int64), np.zeros((0, 2), np.int64), np.zeros(1, int))
        layout = self.written(tmp_path, nothing)
        assert [(i.layer, i.datatype) for i in layout.layer_infos()] == [(LAYER, 0)]

    def test_names_sort_by_rank(self):
        names = [name_clip_file(spot) for spot in SPOTS]
        assert names == ["H0001_12345_-6789.gds", "H0002_0_0.gds", "H0003_-1000001_33.gds"]


VERDICTS = {
    1: Verdict(2, Defect("line_end", 12_400, -6_700, "under", 0.4)),
    2: Verdict(0, None),
}


class TestSimulated:
    def test_categories_tell_what_fails_and_what_prints(self, tmp_path):
        database = load_rdb(tmp_path, verdicts=VERDICTS)
        (item,) = items_of(database, "confirmed.line_end")
        assert box_of(item) == pytest.approx((12.3, -6.8, 12.5, -6.6))
        texts = [value.string() for value in item.each_value() if value.is_string()]
        assert texts == ["H1 line_end at under, severity 0.400"]
        (item,) = items_of(database, "not_confirmed")
        assert box_of(item) == pytest.approx((-0.64, -0.64, 0.64, 0.64))
        assert database.category_by_path("hotspot").num_items() == 3

    def test_without_simulation_nothing_is_said_of_it(self, tmp_path):
        assert load_rdb(tmp_path).category_by_path("confirmed") is None

    def test_markers_show_defect_contour_and_target(self, tmp_path):
        window = Box(12_000, -7_000, 13_000, -6_000)
        ring = Polygon(
            [(12_100, -6_900), (12_300, -6_900), (12_300, -6_300), (12_100, -6_300)],
            [[(12_150, -6_850), (12_250, -6_850), (12_200, -6_500)]],
        )
        target = np.array([[11_000, -6_950, 12_350, -6_250], [0, 0, 10, 10]])
        path = write(
            tmp_path / "markers.gds",
            verdicts=VERDICTS,
            printed=[PrintedArea(window, target, [ring])],
        )
        layout = kdb.Layout()
        layout.read(str(path))

        def region(datatype):
            shapes = layout.top_cell().shapes(layout.layer(LAYER, datatype))
            return kdb.Region([s.polygon for s in shapes.each() if not s.is_text()])

        assert region(DEFECT).bbox() == kdb.Box(12_300, -6_800, 12_500, -6_600)
        texts = layout.top_cell().shapes(layout.layer(LAYER, DEFECT)).each(kdb.Shapes.STexts)
        assert [text.text_string for text in texts] == ["H1 line_end 0.40"]
        assert region(CONTOUR).area() == ring.area
        assert region(TARGET).area() == (12_350 - 12_000) * 700  # cut to the window
