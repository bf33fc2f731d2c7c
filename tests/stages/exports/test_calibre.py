"""Calibre ASCII results, as KLayout's own reader of them reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import klayout.db  # noqa: F401
import klayout.rdb as rdb
import pytest

from stages.contracts import Box, Defect, Hotspot, Verdict
from stages.exports.calibre import format_calibre
from stages.findings import Review
from tests.support.found import make_class, make_finding

CORE_DBU = 200
SPOTS = [
    Hotspot(n, 1001 * n, -(2**33), 0.9, "grid", 1, 0, "00", 1, Box(0, 0, 1, 1)) for n in (1, 2, 3)
]
ABOUT: dict[str, Any] = {
    "top": "a top\ncell", "dbu_nm": 0.25, "core_dbu": CORE_DBU,
    "finished": "2026-03-04T17:22:05+00:00",
    "findings": {n: make_finding(n, 1 + n // 3) for n in (1, 2, 3)},
    "reviews": {1: Review(2, "simulation"), 2: Review(1, "score"), 3: Review(None, "simulation")},
    "verdicts": {1: Verdict(1, Defect("pinch", 0, 0, "p 1 4", 0.25)), 3: Verdict(0, None)},
    "not_scanned": [Box(0, 0, 4000, 8000)],
}  # fmt: skip
CLASSES = [make_class(1, 1, 2), replace(make_class(2, 3, 1), cell="p 9 4\nnext")]


def read(text: str, folder: Path) -> rdb.ReportDatabase:
    (folder / "results.ascii").write_text(text)
    database = rdb.ReportDatabase("hotscan")
    database.load(str(folder / "results.ascii"))
    return database


def test_klayout_reads_every_result(tmp_path: Path) -> None:
    database = read("".join(format_calibre(SPOTS, CLASSES, **ABOUT)), tmp_path)
    found = {c.path().strip("'"): c for c in database.each_category()}
    assert {name: c.num_items() for name, c in found.items()} == {
        "level1.C1_space": 1, "level2.C1_space": 1, "prints.C2_space": 1, "not_scanned": 1,
    }  # fmt: skip
    assert found["prints.C2_space"].description.splitlines() == [
        "hotscan: space, class C2 of 1 hotspots",
        r"Represented by H3; most often in p 9 4\nnext",
    ]
    (item,) = database.each_item_per_category(found["level2.C1_space"].rdb_id())
    numbers = [value.float() for value in item.each_value() if value.is_float()]
    assert numbers == pytest.approx([1, 0.9, 0.25])  # id, score, severity


def test_waived_hotspots_have_checks_of_their_own(tmp_path: Path) -> None:
    reviews = ABOUT["reviews"] | {1: Review(2, "simulation", "w-1 w-2", "seen")}
    text = "".join(format_calibre(SPOTS, CLASSES, **{**ABOUT, "reviews": reviews}))
    assert "WAIVER w-1_w-2\n" in text
    found = {c.path().strip("'"): c.num_items() for c in read(text, tmp_path).each_category()}
    assert found == {
        "level1.C1_space": 1, "waived.C1_space": 1, "prints.C2_space": 1, "not_scanned": 1,
    }  # fmt: skip


def test_boxes_are_the_cores_to_the_dbu(tmp_path: Path) -> None:
    database = read("".join(format_calibre(SPOTS, CLASSES, **ABOUT)), tmp_path)
    found = []
    for item in database.each_item():
        (shape,) = (value.polygon() for value in item.each_value() if value.is_polygon())
        box = shape.bbox()
        found.append(tuple(round(v * 4000) for v in (box.left, box.bottom, box.right, box.top)))
        assert shape.is_box()
    cores = [spot.core(CORE_DBU).as_tuple() for spot in SPOTS]
    assert sorted(found) == sorted([*cores, (0, 0, 4000, 8000)])


def test_the_file_counts_what_it_holds() -> None:
    """Read by the format's own rules: every count says how much follows."""
    lines = iter("".join(format_calibre(SPOTS, CLASSES, **ABOUT)).splitlines())
    assert next(lines) == r"a_top\ncell 4000"
    results = 0
    for name in lines:
        now, before, texts, *date = next(lines).split()
        assert (now, date) == (before, ["Mar", "4", "17:22:05", "2026"]), name
        for _ in range(int(texts)):
            next(lines)
        for number in range(1, int(now) + 1):
            assert next(lines) == f"p {number} 4"
            line = next(lines)
            while line[0].isalpha():
                line = next(lines)
            corners = [line, *(next(lines) for _ in range(3))]
            assert all(len(list(map(int, corner.split()))) == 2 for corner in corners)
            results += 1
    assert results == 4
