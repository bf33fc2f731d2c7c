"""The report page: read back as HTML, its pictures decoded, its numbers counted again."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import matplotlib.image
import numpy as np
import pytest
import shapely

from stages.contracts import Box, Defect, Hotspot, RasterSpec, Verdict
from stages.exports.pages.class_card import ClassCard
from stages.exports.pages.fix_card import FixCard, FixPicture, FixSummary, NotFixed
from stages.exports.pages.pictures import encode_png, locate_evidence
from stages.exports.pages.report import MOST_BYTES, render_report
from stages.exports.pages.report_data import (
    ChangedSpot,
    ChangeSummary,
    KnownHotspot,
    MeasuredRecall,
    ModelCard,
    NotScanned,
    ReportData,
    WaiverRow,
)
from stages.findings import CellCount, ClassReview
from tests.support.found import make_class, make_finding

SIDE_DBU = 100_000
VOID = {"meta", "input", "br", "link", "img", "hr"}


def make_spot(number: int, x_dbu: int = 5_000, y_dbu: int = 90_000) -> Hotspot:
    box = Box(x_dbu, y_dbu, x_dbu, y_dbu).grow(640)
    group = (number + 2) // 3
    return Hotspot(
        number, x_dbu, y_dbu, 1 - number / 10_000, "tip_to_tip", 1, group, f"{group:032x}",
        group, box,
    )  # fmt: skip


DATA = ReportData(
    layout="chip <1> & co.gds",
    layout_digest="sha256:0123",
    top="TOP<cell>",
    dbu_nm=1.0,
    layers=("68/20", "69/20"),
    extent=Box(0, 0, SIDE_DBU, SIDE_DBU),
    roi=None,
    raster=RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32, layers=2),
    model=ModelCard("krf130-met1", "sha256:4567", "krf130", 0.9612, 0.031, "1,234 unseen clips"),
    sampling="grid",
    threshold=0.5,
    hotspots=tuple(make_spot(n) for n in range(1, 8)),
    pictures={},
    occurrences={1: 4321},
    clips=12_345,
    patterns=6_789,
    clips_not_scored=0,
    complete=True,
    coverage_fraction=1.0,
    area_covered_um2=10_000.0,
    not_scanned=(),
    seconds={"clips": 61.0, "scores": 14.0},
    config='[clips]\nmode = "<grid>"\n',
    version="9.8.7",
    finished="2026-03-04 17:22 UTC",
)
FINDINGS = {n: make_finding(n, 1 + n // 6, "<inv>") for n in range(1, 8)}
HOLE = shapely.box(-428, -70, 428, 70).difference(shapely.box(-20, -20, 20, 20))


def make_card(number: int, members: range) -> ClassCard:
    """Return the card of a class whose representative is its first member."""
    spots = [make_spot(n) for n in members]
    return ClassCard(
        row=make_class(number, members[0], len(members)), review=ClassReview(2),
        window=Box(-428, -428, 428, 428),
        drawn=[HOLE, shapely.Polygon()], spread=[shapely.box(0, 70, 428, 80), shapely.Polygon()],
        feature="space", measured_nm=140.0, moved_nm=3.5, cells=[(("routing", "<top>"), 2)],
        listed=[(spot, FINDINGS[spot.id]) for spot in spots],
    )  # fmt: skip


DATA = replace(
    DATA, findings=FINDINGS, classes=(make_card(1, range(1, 6)), make_card(2, range(6, 8))),
    class_count=2, cell_count=1, cells=(CellCount("cell", "<inv>", 7, 5, 40, 0),),
)  # fmt: skip
PARTIAL = replace(
    DATA,
    complete=False,
    coverage_fraction=0.99999,
    clips_not_scored=17,
    not_scanned=(NotScanned(Box(10_000, 20_000, 30_000, 50_000), "tile 3 <failed>"),),
)


class Page(HTMLParser):
    """Checks that tags nest, and keeps the visible text and every start tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def with_class(self, name):
        return [attrs for _, attrs in self.tags if name in attrs.get("class", "").split()]


def test_what_was_found_and_with_what():
    text = Page(render_report(DATA)).text
    for words in (
        "Complete: 7 hotspots in 2 classes", "chip <1> & co.gds", "TOP<cell>",
        "68/20, 69/20", "12,345", "6,789", "100 %", "10,000 µm²", "1 min 15 s", "96.1 %", "3.1 %",
        "krf130-met1", "1,234 unseen clips", "sha256:0123", "sha256:4567", "9.8.7",
        'mode = "<grid>"', "5.000, 90.000", "4,321 times",
    ):  # fmt: skip
        assert words in text, words
    assert "INCOMPLETE" not in text
    assert "capped" not in text


def test_needs_nothing_from_outside():
    data = replace(DATA, pictures={1: np.zeros((2, 64, 64), np.uint8)})
    html = render_report(data)
    for _, attrs in Page(html).tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            assert attrs.get(name, "data:").startswith(("data:", "#"))
    assert not re.search(r"@import|url\((?!#)|https?://|fetch\(|import\(", html)


def test_same_data_same_page():
    assert render_report(PARTIAL) == render_report(PARTIAL)


class TestIncomplete:
    def test_is_said_in_title_banner_figures_and_list(self):
        html = render_report(PARTIAL)
        page = Page(html)
        assert re.search(r"<title>INCOMPLETE: ", html)
        assert [attrs["role"] for attrs in page.with_class("incomplete")] == ["alert"]
        assert not page.with_class("complete")
        assert "INCOMPLETE: the list of hotspots is partial" in page.text
        assert "hotspots so far" in page.text
        assert "of an incomplete scan" in page.text

    @pytest.mark.parametrize(
        "gap",
        [
            {"complete": False},
            {"coverage_fraction": 0.5},
            {"clips_not_scored": 1},
            {"not_scanned": PARTIAL.not_scanned},
        ],
    )
    def test_any_one_gap_is_enough(self, gap):
        page = Page(render_report(replace(DATA, **gap)))
        assert page.with_class("incomplete")
        assert not page.with_class("complete")

    def test_names_what_is_missing(self):
        text = Page(render_report(PARTIAL)).text
        assert "1 region without a verdict" in text
        assert "17 clips without a score" in text
        html = render_report(PARTIAL)
        assert "listed below</a>. 17 clips without a score. 7 hotspots found in the rest" in html
        assert "10.000 30.000 20.000 50.000 tile 3 <failed>" in text
        assert "99.99 %" in text  # not rounded up to 100

    def test_map_hatches_the_region_with_y_upward(self):
        page = Page(render_report(PARTIAL))
        (rect,) = [a for t, a in page.tags if t == "rect" and a.get("fill") == "url(#hatch)"]
        got = [float(rect[key]) for key in ("x", "y", "width", "height")]
        assert got == [100, 500, 200, 300]  # of 1000: y from the top is 100 um - 50 um

    def test_without_hotspots_is_still_incomplete(self):
        text = Page(render_report(replace(PARTIAL, hotspots=()))).text
        assert "INCOMPLETE" in text
        assert "0 hotspots found in the rest" in text

    def test_long_list_of_regions_says_that_it_is_capped(self):
        many = tuple(NotScanned(Box(n, n, n + 1, n + 1), "x") for n in range(5_000))
        text = Page(render_report(replace(PARTIAL, not_scanned=many))).text
        assert "capped: 12 of 5,000; all of them are in hotspots.lyrdb.gz" in text


class TestNoHotspots:
    def test_says_what_that_is_worth(self):
        text = Page(render_report(replace(DATA, hotspots=()))).text
        assert "no clip reached the threshold of 0.500" in text
        assert "does not prove that the layout prints" in text
        assert "clean" not in text.lower()

    def test_recall_that_was_not_measured_is_not_invented(self):
        model = replace(DATA.model, recall=None, false_alarm_rate=None)
        text = Page(render_report(replace(DATA, hotspots=(), model=model))).text
        assert "of the hotspots of this layout it lists not measured on this layout" in text
        assert "recall at this threshold was not measured elsewhere either" in text
        assert "measured not at this threshold" in text


class TestHonesty:
    """A rate that was measured elsewhere is never given as this layout's."""

    @pytest.mark.parametrize("hotspots", [DATA.hotspots, ()], ids=["found", "none"])
    def test_a_rate_comes_with_the_clips_it_was_measured_on(self, hotspots):
        text = Page(render_report(replace(DATA, hotspots=hotspots))).text
        assert "not measured on this layout" in text.partition("Complete")[0]
        assert "hotscan audit RUN --clips 3%" in text
        assert "recall of 96.1 % was measured on 1,234 unseen clips, not on this layout" in text
        for rate in ("96.1 %", "3.1 %"):
            assert text.count(rate) > 0
            for said in re.finditer(re.escape(rate), text):
                assert "not on this layout" in text[said.end() : said.end() + 90]
        assert not re.search(r"(finds|misses|found) [0-9.]+ %", text)


class TestAudit:
    SAID = MeasuredRecall(1200, 0.979, 0.961, 0.99, 21.4, 10, 41)

    def test_the_page_leads_with_it(self):
        text = Page(render_report(replace(DATA, measured=self.SAID))).text
        assert "97.9 % 96.1 % to 99.0 % at 95 % confidence" in text.partition("Complete")[0]
        assert "from 1,200 clips drawn at random and simulated" in text
        assert "missed about 21 of its hotspots (10 to 41)" in text
        assert "not measured on this layout" not in text

    def test_a_wide_interval_is_told_before_the_estimate(self):
        wide = replace(self.SAID, recall=1.0, recall_low=0.065, recall_high=1.0)
        text = Page(render_report(replace(DATA, measured=wide))).text
        assert "6.5 % to 100 % at 95 % confidence; best estimate 100 %" in text
        assert "hotscan audit RUN --clips 4800" in text

    def test_no_hotspot_is_no_recall_but_a_bound(self):
        none = replace(self.SAID, recall=None, recall_low=None, recall_high=None, missed=0.0)
        text = Page(render_report(replace(DATA, hotspots=(), measured=none))).text
        assert "No hotspot is among 1,200 clips drawn at random and simulated" in text
        assert "the scan missed at most 41" in text
        assert "97.9" not in text

    def test_an_incomplete_scan_says_it_too(self):
        text = Page(render_report(replace(PARTIAL, measured=self.SAID))).text
        assert "Recall on this layout is 97.9 % (96.1 % to 99.0 % at 95 % confidence)" in text


class TestHotspots:
    def test_capped_list_says_so_and_shows_that_many(self):
        spots = tuple(make_spot(n) for n in range(1, 101))
        data = replace(DATA, hotspots=spots, shown=5, findings={}, class_count=34)
        page = Page(render_report(data))
        assert "capped: 5 of 100, by score" in page.text
        assert [int(c["data-rank"]) for c in page.with_class("card") if "data-rank" in c] == [
            1,
            2,
            3,
            4,
            5,
        ]
        assert "capped: 2 of 34, most hotspots first" in page.text

    def test_dot_is_where_the_hotspot_is(self):
        page = Page(render_report(replace(DATA, hotspots=(make_spot(1, 25_000, 90_000),))))
        (dot,) = [attrs for tag, attrs in page.tags if tag == "circle"]
        assert (float(dot["cx"]), float(dot["cy"])) == (250, 100)

    def test_many_are_shaded(self):
        spots = tuple(make_spot(n, 1_000 * (n % 100), 90_000) for n in range(1, 2_001))
        page = Page(render_report(replace(DATA, hotspots=spots)))
        assert sum(tag == "circle" for tag, _ in page.tags) == 500
        assert "shading: density of all 2,000" in page.text

    def test_histogram_counts_every_hotspot(self):
        html = render_report(DATA)
        assert (
            sum(int(n) for n in re.findall(r"<title>0\.\d+ to \d\.\d+: (\d+)</title>", html)) == 7
        )

    @pytest.mark.parametrize(
        "extent", [Box(0, 0, 1, 1), Box(-5, -5, 10**9, 300), Box(0, 0, 9, 10**9)]
    )
    def test_any_shape_of_layout(self, extent):
        assert "Complete" in Page(render_report(replace(DATA, extent=extent))).text

    def test_region_of_interest(self):
        page = Page(render_report(replace(DATA, roi=Box(0, 0, 50_000, 25_000))))
        (rect,) = [attrs for _, attrs in page.tags if attrs.get("stroke-dasharray")]
        # The map is the region and a twentieth around it: 52.5 by 27.5 um.
        got = [float(rect[key]) for key in ("x", "y", "width", "height")]
        assert got == [pytest.approx(v, abs=0.01) for v in (0, 47.62, 952.38, 476.19)]
        assert "52.500 × 27.500 µm around the region of interest, of 100.000 ×" in page.text
        assert "whole region of interest was scanned" in page.text


def make_verdict(kind: str, severity: float, spot: Hotspot) -> Verdict:
    return Verdict(2, Defect(kind, spot.x_dbu + 40, spot.y_dbu, "defocus", severity))


SPOTS = DATA.hotspots
CONFIRMED = replace(
    DATA,
    verdicts={
        1: Verdict(0, None),
        2: make_verdict("line_end", 0.5, SPOTS[1]),
        3: make_verdict("pinch", 0.8, SPOTS[2]),
        4: make_verdict("pinch", 0.25, SPOTS[3]),
        5: make_verdict("pinch", 0.3, SPOTS[4]),
    },
    to_simulate=frozenset(range(1, 7)),
    order=tuple(SPOTS[n - 1] for n in (3, 2, 5, 4, 6, 7, 1)),
)


class TestSimulated:
    def test_the_banner_counts_what_fails_and_what_prints(self) -> None:
        whole = replace(CONFIRMED, to_simulate=frozenset(range(1, 6)))
        said = "7 hotspots in 2 classes 4 fail in simulation, 1 prints, 2 not simulated."
        assert f"Complete: {said} " in Page(render_report(whole)).text
        text = Page(render_report(CONFIRMED)).text  # the sixth should have been simulated
        assert "1 hotspot not simulated." in text
        assert "7 hotspots found in the rest: 4 fail in simulation, 1 prints, 2 not" in text

    def test_the_table_by_kind(self) -> None:
        text = Page(render_report(CONFIRMED)).text
        rows = "pinch 3 0.80 0.30 line end 1 0.50 0.50 prints 1 – – not simulated 2 – –"
        assert f"Kind Hotspots Worst Median {rows} Scores" in text
        assert "Median" not in Page(render_report(DATA)).text

    def test_dots_have_three_colours_and_the_first_cards_are_large(self) -> None:
        page = Page(render_report(replace(CONFIRMED, shown=2)))
        drawn = [dot["class"] for dot in reversed(page.with_class("dot"))]
        assert drawn == [
            "dot fails large", "dot fails large", "dot fails", "dot fails",
            "dot unknown", "dot unknown", "dot prints",
        ]  # fmt: skip
        assert [int(c["data-rank"]) for c in page.with_class("card") if "data-rank" in c] == [3, 2]
        for words in ("fails in simulation prints in simulation not simulated", "first 2 cards"):
            assert words in page.text
        assert "H3 pinch, severity 0.80, score 1.000 at 5.000, 90.000 µm" in page.text

    def test_the_key_names_the_colours_that_are_drawn(self) -> None:
        spots = tuple(make_spot(n) for n in range(1, 601))
        verdicts = {s.id: make_verdict("pinch", 0.5, s) for s in spots[:550]}
        told = replace(DATA, hotspots=spots, verdicts=verdicts, to_simulate=frozenset(verdicts))
        text = Page(render_report(told)).text
        assert "fails in simulation large: the first 10 cards below dots: the first 500" in text

    def test_without_simulation_dots_have_one_colour(self) -> None:
        page = Page(render_report(DATA))
        assert {dot["class"] for dot in page.with_class("dot")} == {"dot fails large"}
        assert "in simulation" not in page.text.split("Words")[0]

    def test_cards_label_severity_and_score(self) -> None:
        text = Page(render_report(CONFIRMED)).text
        assert "H3 score 1.000 severity 0.80 (pinch)" in text
        assert "H1 score 1.000 prints" in text
        assert "H6 score 0.999 not simulated" in text
        assert text.count("skipped: the model is confident") == 1  # the seventh
        assert "defect, µm 5.040, 90.000" in text

    def test_the_defect_is_drawn_over_the_evidence(self) -> None:
        adds = np.ones((2, 2), np.float32)
        pictures = {3: np.zeros((2, 64, 64), np.uint8)}
        page = Page(render_report(replace(CONFIRMED, pictures=pictures, evidence={3: adds})))
        drawn = [attrs.get("class") for _, attrs in page.tags]
        assert drawn.index("defect") > len(drawn) - 1 - drawn[::-1].index("evidence")
        assert page.with_class("beyond") == []
        assert len(page.with_class("likely")) == 1  # the key's: simulation knows the place


def test_an_arrow_points_to_a_defect_outside_the_picture() -> None:
    far = Verdict(1, Defect("pinch", SPOTS[2].x_dbu + 1_400, SPOTS[2].y_dbu, "defocus", 0.8))
    pictures = {3: np.zeros((2, 64, 64), np.uint8)}
    page = Page(render_report(replace(CONFIRMED, verdicts={3: far}, pictures=pictures)))
    assert page.with_class("defect") == []
    assert "defect, µm 6.400, 90.000 outside the picture" in page.text
    (arrow,) = page.with_class("beyond")
    assert arrow["transform"].startswith("translate(62.08 32.0) rotate(0.0)")  # at the right edge


def test_classes_come_first_with_their_hotspots_and_cells() -> None:
    page = Page(render_report(DATA))
    assert page.text.index("C1 5 hotspots, 71.4 %") < page.text.index("C2 2 hotspots, 28.6 %")
    assert page.text.index("C2 2 hotspots") < page.text.index("Hotspots all 7")
    assert "space 140 nm worst level 2 score ≤ 0.99, typical 0.50 edges within 3.5 nm" in page.text
    assert "2 in wiring of <top>" in page.text
    assert "H6 0.999 5.000,90.000 block(1,2,r0)/<inv>(3,4,m90)" in page.text
    assert "<inv> 7 5 40" in page.text  # hotspots, in placements, of
    paths = [attrs["d"] for _, attrs in page.tags if attrs.get("class") == "paths"]
    assert paths[0].count("M") == 2  # its hole too
    assert [a["data-group"] for a in page.with_class("card") if "data-group" in a] == [
        "1", "1", "1", "1", "1", "2", "2",
    ]  # fmt: skip


def test_without_hotspots_there_are_no_classes() -> None:
    empty = replace(DATA, hotspots=(), findings={}, classes=(), class_count=0, cells=())
    text = Page(render_report(empty)).text
    assert "most hotspots first" not in text
    assert "classes" not in text.split("Words")[0]


def test_a_card_leaves_out_what_is_the_same_everywhere() -> None:
    spots = tuple(replace(spot, rule="grid") for spot in SPOTS)
    text = Page(render_report(replace(DATA, hotspots=spots, occurrences={1: 1}))).text
    assert "rule grid" not in text
    assert "1 time" not in text
    assert "rule tip to tip" in Page(render_report(DATA)).text


def test_names_in_the_key_are_escaped() -> None:
    html = render_report(replace(DATA, layers=("<i>68</i>", "\u202e69")))
    assert "<i>68</i>" not in html
    assert html.count("layer &lt;i&gt;68") == 2  # of the classes, and of the hotspots


class TestPicture:
    def decoded(self, raster):
        page = Page(render_report(replace(DATA, pictures={1: raster})))
        (uri,) = [attrs["href"] for tag, attrs in page.tags if tag == "image"]
        png = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
        return matplotlib.image.imread(BytesIO(png))  # (row, column, rgba) 0 to 1

    def test_rows_count_up_and_empty_is_transparent(self):
        raster = np.zeros((1, 64, 64), np.uint8)
        raster[0, 3, 10] = 255  # fourth row from below
        picture = self.decoded(raster)
        assert picture.shape == (64, 64, 4)
        assert np.argwhere(picture[..., 3] > 0).tolist() == [[64 - 1 - 3, 10]]

    def test_layers_have_their_own_colours_and_cover_sets_opacity(self):
        raster = np.zeros((2, 64, 64), np.uint8)
        raster[0, :, :20] = 255
        raster[0, :, 20:40] = 128
        raster[1, :, 40:] = 255
        picture = self.decoded(raster)
        assert picture[0, 30, 3] == pytest.approx(picture[0, 0, 3] * 128 / 255, abs=0.01)
        assert np.abs(picture[0, 0, :3] - picture[0, 50, :3]).max() > 0.2

    def test_core_frame_and_scale_bar(self):
        page = Page(render_report(replace(DATA, pictures={1: np.zeros((2, 64, 64), np.uint8)})))
        frames = [a for t, a in page.tags if t == "rect" and a.get("vector-effect")]
        assert [(float(f["x"]), float(f["width"])) for f in frames] == [(16, 32)]
        assert "500 nm" in page.text  # of a clip of 2560 nm

    def test_without_a_picture(self):
        assert Page(render_report(DATA)).text.count("no picture") == 7


def test_position_keeps_the_digits_of_a_fine_database_unit():
    data = replace(DATA, dbu_nm=0.25, hotspots=(make_spot(1, 5_001, 90_000),))
    assert "1.25025,22.50000,2.56" in Page(render_report(data)).text


def test_the_nearest_known_hotspot_is_shown_with_its_distance():
    known = KnownHotspot(np.full((2, 64, 64), 255, np.uint8), 0.123)
    text = render_report(replace(DATA, known={1: known}))
    page = Page(text)
    (shown,) = page.with_class("known")
    assert shown["viewbox"] == "0 0 64 64"
    assert text.count(encode_png(known.picture)) == 1
    assert "nearest known 0.12" in page.text
    assert "distance between the features of the two: 0 identical, 2 opposite" in page.text
    assert not page.with_class("evidence")
    assert not Page(render_report(DATA)).with_class("known")


def test_the_nearest_known_hotspot_is_shaded_where_it_is_like_the_one_found():
    alike = np.array([[0.5, 0.6], [2.5, 1.5]], np.float32)  # rows upward
    known = KnownHotspot(np.zeros((2, 64, 64), np.uint8), 0.1, alike)
    shaded = Page(render_report(replace(DATA, known={1: known}))).with_class("evidence")
    places = [tuple(float(one[k]) for k in ("x", "y", "fill-opacity")) for one in shaded]
    assert places == [(0, 0, 0.3), (32, 0, 0.15)]


def test_the_evidence_for_a_hotspot_is_shaded():
    adds = np.array([[0.0, 0.1], [2.0, 1.0]], np.float32)  # rows upward
    shown = replace(DATA, pictures={1: np.zeros((2, 64, 64), np.uint8)}, evidence={1: adds})
    page = Page(render_report(shown))
    cells = [tuple(float(c[k]) for k in ("x", "y", "width", "height", "fill-opacity"))
             for c in page.with_class("evidence")]  # fmt: skip
    assert cells == [(0, 0, 32, 32, 0.3), (32, 0, 32, 32, 0.15)]
    assert "what raised the score" in page.text
    key, cross = page.with_class("likely")
    assert key["d"] == "M1 5.5h9M5.5 1v9"
    x = 32 + (-(2.0**2) + 1.0**2) / (0.1**2 + 2.0**2 + 1.0**2) * 16 + 0.1**2 / 5.01 * 16
    assert float(cross["d"].split()[0].removeprefix("M")) == pytest.approx(x - 2, abs=0.05)
    assert "most likely at" in page.text
    negative = Page(render_report(replace(shown, evidence={1: -adds})))
    assert negative.with_class("evidence") == []
    assert negative.with_class("likely") == [key]


def test_the_most_likely_place_is_in_the_core() -> None:
    adds = np.zeros((8, 8), np.float32)
    assert locate_evidence(adds, 64, 32) is None
    adds[0, 0] = 9  # in the halo
    assert locate_evidence(adds, 64, 32) is None
    adds[5, 2], adds[5, 3] = 1, 2  # rows upward
    x, y = locate_evidence(adds, 64, 32) or (0, 0)
    assert (x, y) == pytest.approx(((-12 + 4 * -4) / 5, 12))


def test_sections_come_in_order_and_every_link_has_its_place() -> None:
    page = Page(render_report(replace(MENDED, changes=CHANGES, waivers=[WAIVER], measured=RECALL)))
    links = [attrs["href"][1:] for tag, attrs in page.tags if tag == "a"]
    places = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert set(links) <= set(places)
    named = [name for name in places if name in links[1:]]
    assert named == [
        "recall", "levels", "classes", "cells", "map", "fixes", "waived", "changes", "gaps",
        "hotspots", "made", "words",
    ]  # fmt: skip


def test_drawings_have_a_name_and_tables_have_heads() -> None:
    page = Page(render_report(replace(MENDED, changes=CHANGES)))
    for tag, attrs in page.tags:
        if tag == "svg":
            assert attrs.get("aria-hidden") or (attrs["role"] == "img" and attrs["aria-label"])
        if tag == "th":
            assert attrs["scope"] in ("row", "col")
        if tag == "input":
            assert attrs["id"]


def square(side: int) -> shapely.Polygon:
    return shapely.box(5_000 - side, 90_000 - side, 5_000 + side, 90_000 + side)


FIX = FixCard(
    class_id=2, hotspot=2, defect=Defect("pinch", 5_000, 90_050, "<dark>", 0.28),
    moves=["move the left edge 5 nm left over 340 nm"], cell="<inv>", placements=1204, fixed=3,
    failing=4, window=Box(4_900, 89_900, 5_100, 90_100),
    before=FixPicture([square(50)], [shapely.box(4_950, 89_950, 4_960, 90_050)], [square(40)]),
    after=FixPicture([square(55)], [], [square(45)]),
)  # fmt: skip
MENDED = replace(
    CONFIRMED, levels={1: 3, 2: 0, 3: 1},
    fixes=FixSummary(3, 7, 1, 1, [FIX], [NotFixed("no move within reach <prints>", 4, 2)]),
)  # fmt: skip
CHANGES = ChangeSummary(
    "last <week>", counts={"new": 1, "fixed": 1, "moved": 3, "same": 2, "worse": 1, "waived": 0},
    new=[ChangedSpot("H7", 1.5, 2.5, 1, False, 2, "<inv>")],
    fixed=[ChangedSpot("H9", 3.5, 4.5, None, False, 4, "nor")],
)  # fmt: skip
WAIVER = WaiverRow("W1", "in force", 1, "<seen>", "me", "2026-01-01", "")
RECALL = MeasuredRecall(1200, 0.979, 0.961, 0.99, 21.4, 10, 41)


class TestFixes:
    def test_before_and_after_are_drawn_with_what_is_to_be_done(self) -> None:
        page = Page(render_report(MENDED))
        for words in (
            "3 of 7 failing hotspots mended", "C2 H2, pinch 0.28 at <dark> 3 of 4 mended",
            "move the left edge 5 nm left over 340 nm",
            "Changed once in cell <inv> , for all its 1,204 placements", "200 nm wide",
            "Not mended all 1, most hotspots first Why Hotspots In classes no move",
            "no move within reach <prints> 4 2",
        ):  # fmt: skip
            assert words in page.text, words
        drawn = [a["d"] for t, a in page.tags if t == "path" and a.get("class") == "drawn"]
        # 50 and 55 around the middle of a window of 200 that is drawn 100 wide, y downward.
        assert drawn == ["M75 75L75 25L25 25L25 75Z", "M77.5 77.5L77.5 22.5L22.5 22.5L22.5 77.5Z"]
        (taken,) = [a["d"] for t, a in page.tags if a.get("class") == "removed" and t == "path"]
        assert taken == "M30 75L30 25L25 25L25 75Z"
        (ring,) = page.with_class("defect")
        assert (float(ring["cx"]), float(ring["cy"])) == (50, 25)

    def test_there_is_no_section_where_none_were_searched(self) -> None:
        assert not [a for _, a in Page(render_report(CONFIRMED)).tags if a.get("id") == "fixes"]


class TestChanges:
    def test_counts_and_lists(self) -> None:
        text = Page(render_report(replace(DATA, changes=CHANGES))).text
        assert "Changes since last <week>" in text
        assert "1 new 1 fixed 3 moved 2 same" in text
        assert "1 of those that were there fail worse than before" in text
        assert "H7 1.5 2.5 1 C2 <inv>" in text
        assert "H9 3.5 4.5 – C4 nor" in text
        assert "incomplete" not in text

    def test_an_incomplete_scan_on_either_side_is_said(self) -> None:
        said = "One of the two scans is incomplete"
        for data in (
            replace(DATA, changes=replace(CHANGES, complete=False)),
            replace(PARTIAL, changes=CHANGES),
        ):
            assert said in Page(render_report(data)).text

    def test_why_there_is_no_comparison(self) -> None:
        refused = ChangeSummary("old", "old is not there any more")
        text = Page(render_report(replace(DATA, changes=refused))).text
        assert "Not compared: old is not there any more." in text
        assert "moved" not in text.partition("Not compared")[2].partition("Not scanned")[0]


def test_layers_that_were_not_asked_for_and_warnings_are_told() -> None:
    told = replace(DATA, unasked=["67/20 (li1)", "70/20"], warnings=("<odd>",))
    text = Page(render_report(told)).text
    assert "2 other layers of the file were not looked at: 67/20 (li1) 70/20" in text
    assert "1 warning, of the reader or about the model, is at the top" in text
    text = Page(render_report(DATA)).text
    assert "The file has no other layers" in text
    assert "There is no warning" in text


def test_a_page_has_a_limit_whatever_there_is_to_show() -> None:
    """Names as long as a format allows, pictures of noise, and of each list far too much."""
    name, many = "&\x1b" * 30_000, 800
    noise = np.random.default_rng(0)
    spots = tuple(make_spot(n, 19 * n, 17 * n) for n in range(1, 2_001))
    corner = noise.integers(-428, 428, (many, 2))
    crumbs = shapely.box(*corner.T, *(corner + 3).T)
    picture = noise.integers(0, 256, (2, 200, 200), dtype=np.uint8)
    page = render_report(overfill(name, many, spots, shapely.MultiPolygon(list(crumbs)), picture))
    assert 1_000_000 < len(page.encode()) <= MOST_BYTES
    text = Page(page).text
    assert text.count("capped:") == 10
    assert "C1 5 hotspots" in text
    assert "2,000 hotspots" in text


@pytest.mark.slow
def test_a_million_hotspots_make_no_larger_a_page() -> None:
    spots = tuple(
        make_spot(n, n * 7_919 % SIDE_DBU, n * 104_729 % SIDE_DBU) for n in range(1, 1_000_001)
    )
    page = render_report(replace(DATA, hotspots=spots))
    assert len(page.encode()) < 400_000
    assert "density of all 1,000,000" in Page(page).text


def overfill(name, many, spots, crumbs, picture) -> ReportData:
    finding, shown = replace(FINDINGS[1], cell=name, cell_path=name), spots[:12]
    card = replace(
        make_card(1, range(1, 6)), drawn=[crumbs] * 2, spread=[crumbs] * 2, fix=name,
        listed=[(spots[0], finding)] * 20, cells=[(("cell", name), 3)] * 3,
    )  # fmt: skip
    shapes = FixPicture([crumbs], [crumbs], [crumbs])
    fix = replace(FIX, before=shapes, after=shapes, cell=name, moves=[name] * 3)
    changed = [ChangedSpot(name, 1.5, 2.5, 1, True, 2, name)] * many
    return replace(
        DATA, layout=name, top=name, layers=(name, name), finished=name, sampling=name,
        hotspots=spots, shown=12, warnings=(name,) * many, unasked=(name,) * many,
        pictures={spot.id: picture for spot in shown}, config=f"{name}\n" * many,
        contours={spot.id: list(crumbs.geoms) for spot in shown},
        known={spot.id: KnownHotspot(picture, 0.5) for spot in shown},
        evidence={spot.id: np.eye(16, dtype=np.float32) for spot in shown},
        findings={spot.id: finding for spot in spots}, classes=[card] * 30, class_count=9_999,
        cells=[CellCount("between", name, 9, 9, 9, 0)] * 200, cell_count=9_999,
        not_scanned=[NotScanned(Box(n, n, n + 9, n + 9), name) for n in range(many)],
        waivers=[replace(WAIVER, reason=name, by=name, id=name)] * many, levels={1: 9, 2: 9, 3: 9},
        fixes=FixSummary(9, 9, 900, 9, [fix] * 12, [NotFixed(name, 1, 1)] * many),
        changes=replace(CHANGES, before=name, counts={**CHANGES.counts, "new": many, "fixed": many},
                        new=changed, fixed=changed),
        model=ModelCard(name, name, name, 0.9, 0.1, name),
    )  # fmt: skip
