"""Fixes of a small scan: they are in the layout that is written, and it prints there."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import gdstk
import numpy as np
import pytest
import shapely

from pipeline.config import FixConfig, Resources
from pipeline.fix.apply import write_fixed_layout
from pipeline.fix.fix import list_groups
from pipeline.layout.ingest import read_layout
from pipeline.report.fix_table import FLAT, IN_CELL, NOT_FIXED, TABLE, FixRow, read_rows
from pipeline.report.page.fix_cards import gather_fixes
from pipeline.report.run_view import open_view
from pipeline.scan.request import ScanResult
from pipeline.scan.scan import resume
from pipeline.simulate.tiles import read_target
from sample_layouts.planted import tip_to_side
from stages.contracts import Box, Layer
from stages.fixes.search import BREAKS
from stages.lithography.measure.defects import find_defects
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.process import load_process
from tests.support.small_scan import Hotscan, SmallScan

KRF = load_process("krf130")
RULES = {"enabled": True, "space_nm": 300.0}
TWICE = np.array([30_500, 30_300])
SEED = 1


def write_layout(file: Path) -> None:
    """Two cells with a line that pulls back, each placed twice; beside one there is no room.

    Of a third, at `TWICE`, a line end and its neighbour fail, 450 nm apart.
    """
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    free, crowded, top = (library.new_cell(name) for name in ("free", "crowded", "top"))
    for rect in tip_to_side(random.Random(SEED)):
        low, high = (np.array([rect[:2], rect[2:]]) + TWICE) / 1000
        top.add(gdstk.rectangle(low, high, layer=68, datatype=20))
    for cell in (free, crowded):
        for low, high in (
            ((0, -0.07), (4, 0.07)), ((0.435, -0.13), (0.755, 0.13)), ((3.6, -0.5), (4.6, 0.5))
        ):  # fmt: skip
            cell.add(gdstk.rectangle(low, high, layer=68, datatype=20))
    top.add(
        gdstk.Reference(free, (5, 5)),
        gdstk.Reference(free, (20, 10), np.pi / 2, x_reflection=True),
        gdstk.Reference(crowded, (5, 15)), gdstk.Reference(crowded, (5, 25)),
        gdstk.rectangle((4, 25.37), (12, 27), layer=68, datatype=20),
        gdstk.rectangle((4, 23), (12, 24.63), layer=68, datatype=20),
    )  # fmt: skip
    library.write_gds(file)


@pytest.fixture(scope="module")
def fixed(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    folder = tmp_path_factory.mktemp("fixed")
    write_layout(folder / "lines.gds")
    result = replace(small_scan, layout=folder / "lines.gds")(
        folder / "run", layout={"roi_um": None}, scores={"threshold": 0.0},
        confirm={"enabled": True}, fix=RULES,
    )  # fmt: skip
    assert result.complete
    return result


@pytest.fixture(scope="module")
def rows(fixed: ScanResult) -> list[FixRow]:
    return read_rows(fixed.run.path / TABLE)


def test_a_cell_is_changed_once_if_all_its_placements_print(rows: list[FixRow]) -> None:
    free = [row for row in rows if row.cell == "free"]
    assert [(row.scope, row.placements) for row in free] == [(IN_CELL, 2)] * 2
    # What ends at an edge is the same; where it ends elsewhere follows from what was simulated.
    (one, other) = (set(row.in_cell.added) for row in free)
    assert len(one & other) >= 2
    assert free[0].change != free[1].change


def test_the_report_draws_the_change_and_what_prints_after_it(fixed: ScanResult) -> None:
    view = open_view(fixed.run)
    summary = gather_fixes(view)
    assert summary is not None
    assert summary.failing == summary.fixed + sum(row.hotspots for row in summary.not_fixed)
    assert summary.cells == 1
    assert summary.cards
    for card in summary.cards:
        (before,), (after,) = card.before.drawn, card.after.drawn
        taken, added = map(shapely.union_all, (card.before.changed, card.after.changed))
        assert after.equals(before.difference(taken).union(added))
        assert not after.equals(before)
        # Within half a nm of what the full simulation prints of these shapes.
        frame = shapely.box(*card.window.as_tuple())
        around = card.window.grow(2_000)
        rects = view.fixes[card.hotspot].change.apply_to(
            read_target(view.layout.packed[0], around, 1.0, KRF)
        )
        (corner,) = (each for each in KRF.corners if each.name == card.defect.corner)
        (full,) = simulate_prints(rects, card.window, 1.0, KRF, [corner]).by_corner.values()
        drawn, whole = (shapely.union_all(each) & frame for each in (card.after.printed, full))
        assert whole.area > 0
        assert (drawn ^ whole).area < 0.5 * whole.length
    assert f"<b>C{summary.cards[0].class_id}</b>" in (fixed.run.report / "index.html").read_text()


def test_a_cell_without_room_somewhere_is_changed_where_there_is(rows: list[FixRow]) -> None:
    crowded = {row.origin[1]: row for row in rows if row.cell != "free"}
    assert crowded[15000].scope == FLAT
    assert crowded[25000].scope == NOT_FIXED
    assert crowded[25000].reason == BREAKS + "space"


def test_every_failing_hotspot_has_a_row(fixed: ScanResult, rows: list[FixRow]) -> None:
    assert len(rows) == fixed.metrics["hotspots_confirmed"]
    assert sum(row.scope != NOT_FIXED for row in rows) == fixed.metrics["hotspots_fixed"] == 3


def test_the_written_layout_prints_where_it_is_fixed(
    fixed: ScanResult, rows: list[FixRow], tmp_path: Path
) -> None:
    out = tmp_path / "fixed.gds"
    assert write_fixed_layout(fixed.run.path, out) == []
    source = Path(fixed.run.path.parent / "lines.gds")
    layers = [read_layout(path, [Layer(68, 20)]).packed[0] for path in (source, out)]
    for row in rows:
        near = Box(*row.origin, *row.origin).grow(200)
        before, after = (
            len(find_defects(read_target(layer, near.grow(5000), 1.0, KRF), near, 1.0, KRF))
            for layer in layers
        )
        assert before > 0
        assert bool(after) == (row.scope == NOT_FIXED)


def test_what_is_mended_does_not_fail_when_it_is_scanned_again(
    small_scan: SmallScan, fixed: ScanResult, rows: list[FixRow], tmp_path: Path
) -> None:
    assert write_fixed_layout(fixed.run.path, tmp_path / "fixed.gds") == []
    again = replace(small_scan, layout=tmp_path / "fixed.gds")(
        tmp_path / "again", layout={"roi_um": None}, scores={"threshold": 0.0},
        confirm={"enabled": True}, since=[fixed.run.path],
    )  # fmt: skip
    before, after = (open_view(run).simulated for run in (fixed.run, again.run))
    assert before is not None
    assert after is not None
    at_two_places = {spot for spot, found in before.defects.items() if len(found) > 1}
    mended = {row.hotspot: row for row in rows if row.scope}
    assert at_two_places & mended.keys()
    left = [(each.x_dbu, each.y_dbu) for found in after.defects.values() for each in found]
    cores = {
        member.id: member.cores
        for group in list_groups(open_view(fixed.run))
        for member in group.members
    }
    for spot in mended:
        for core in cores[spot]:
            assert not any(
                core.x_min <= x < core.x_max and core.y_min <= y < core.y_max for x, y in left
            )


def test_fixing_a_finished_scan_says_the_same(fixed: ScanResult, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(fixed.run.path, run)
    (run / TABLE).unlink()
    shutil.rmtree(run / "fix")
    again = resume(run, Resources(workers=0), lambda event: None)
    assert again.complete
    assert (run / TABLE).read_bytes() == (fixed.run.path / TABLE).read_bytes()


def test_other_rules_are_searched_anew(fixed: ScanResult, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(fixed.run.path, run)
    wider = FixConfig(enabled=True, space_nm=100.0)
    assert resume(run, Resources(workers=0), lambda event: None, fixing=wider).complete
    assert BREAKS + "space" not in {row.reason for row in read_rows(run / TABLE)}


def test_only_what_was_simulated_is_fixed(
    small_scan: SmallScan, hotscan: Hotscan, fixed: ScanResult, tmp_path: Path
) -> None:
    layout = fixed.run.path.parent / "lines.gds"
    out = ("--out", tmp_path / "run")
    asked = ("scan", layout, "--layer", "68/20", "--model", small_scan.model, *out, "--quiet")
    ended = hotscan(*asked, "--workers", 0, "--fix")
    assert ended.code == 2
    assert "--confirm" in ended.err
