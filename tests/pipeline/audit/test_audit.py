"""Audits of a small scan: what they say is true, however they are run, stopped or extended."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.audit import simulate
from pipeline.config import AuditConfig, Resources
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run
from pipeline.passes import units
from pipeline.scan import stages as scanning
from pipeline.scan.request import ScanResult
from pipeline.scan.scan import resume
from pipeline.simulate.region import SimulateRequest, simulate_region
from stages.contracts import Bytes, Int64s
from stages.lithography.measure.margins import (
    CellMargins,
    find_worst_margin,
    take_clip_margins,
)
from tests.support.small_scan import DENSE, Hotscan, SmallScan

ROI_UM = (48.0, 48.0, 60.0, 57.0)
THRESHOLD = 0.488399  # flags about half of the clips
CORE_DBU = 1280
FEW = {"size": "30"}
HAIR = 0.01
"""Margin up to which a window and a field may judge otherwise."""


def audited(small_scan: SmallScan, out: Path, *, workers: int = 0, **tables: Any) -> ScanResult:
    asked: dict[str, Any] = {
        "audit": {"size": "100%"}, "layout": {"roi_um": ROI_UM},
        "scores": {"threshold": THRESHOLD}, "confirm": {"batch_windows": 2},
    }  # fmt: skip
    for table, settings in tables.items():
        asked[table] = {**asked.get(table, {}), **settings}
    return small_scan(out, workers=workers, **asked)


def again(out: Path, **audit: Any) -> ScanResult:
    """What ``hotscan audit`` does."""
    asked = AuditConfig(**audit) if audit else None
    return resume(out, Resources(workers=0), lambda event: None, audit=asked)


def table_of(result: ScanResult) -> bytes:
    return (result.run.path / "audit" / "clips.parquet").read_bytes()


def rows_of(result: ScanResult) -> dict[tuple[int, int], dict[str, Any]]:
    rows = pq.read_table(result.run.path / "audit" / "clips.parquet").to_pylist()
    return {(row["x_dbu"], row["y_dbu"]): row for row in rows}


def said_of(result: ScanResult) -> dict[str, Any]:
    return {key: value for key, value in result.metrics.items() if key.startswith("audit_")}


def times_simulated(result: ScanResult) -> dict[str, int]:
    with Ledger(result.run.ledger, read_only=True) as ledger:
        return {unit: n for (stage, unit), n in ledger.times_run().items() if stage == "audit"}


@pytest.fixture(scope="module")
def bare(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    """The scan without an audit, which others start from: only the audit costs time."""
    return audited(small_scan, tmp_path_factory.mktemp("bare") / "run", audit={"size": None})


def copy_of(bare: ScanResult, out: Path) -> Path:
    return Path(shutil.copytree(bare.run.path, out))


@pytest.fixture(scope="module")
def census(bare: ScanResult, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    """Every clip drawn: nothing is left to chance."""
    return again(copy_of(bare, tmp_path_factory.mktemp("census") / "run"), size="100%")


@pytest.fixture(scope="module")
def sample(bare: ScanResult, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    return again(copy_of(bare, tmp_path_factory.mktemp("sample") / "run"), **FEW)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> CellMargins:
    """The margins of the whole region, simulated in full, in cells as large as cores."""
    out = tmp_path_factory.mktemp("truth") / "whole"
    grown = (ROI_UM[0] - 2, ROI_UM[1] - 2, ROI_UM[2] + 2, ROI_UM[3] + 2)
    request = SimulateRequest(
        DENSE, out, "68/20", roi_um=grown, contours=False, core_nm=float(CORE_DBU)
    )
    simulate_region(request, Resources(workers=0), lambda event: None)
    x, y, *margin = (
        column.to_numpy() for column in pq.read_table(out / "margins.parquet").itercolumns()
    )
    return CellMargins(x, y, np.stack(margin, axis=1))


def test_a_census_says_what_full_simulation_says(census: ScanResult, truth: CellMargins) -> None:
    rows = rows_of(census)
    x, y = np.array(sorted(rows)).T
    margin = find_worst_margin(take_clip_margins(truth, CORE_DBU, x, y, CORE_DBU))
    hot = np.array([rows[place]["hotspot"] for place in zip(x, y, strict=True)])
    by_a_hair = np.abs(margin) < HAIR
    assert by_a_hair.mean() < 0.1
    np.testing.assert_array_equal(hot[~by_a_hair], (margin > 0)[~by_a_hair])
    flagged = np.array([rows[place]["score"] >= THRESHOLD for place in zip(x, y, strict=True)])
    missed, found = int((hot & ~flagged).sum()), int((hot & flagged).sum())
    assert missed > 2
    assert found > 2
    said = said_of(census)
    assert census.complete
    assert said["audit_clips"] == census.metrics["clips"] == len(x)
    assert said["audit_hotspots_missed"] == missed
    missed = said["audit_hotspots_missed"]
    assert said["audit_hotspots_missed_low"] == said["audit_hotspots_missed_high"] == missed
    recall = pytest.approx(found / (found + missed), abs=1e-6)
    assert [said["audit_recall" + end] for end in ("", "_low", "_high")] == [recall] * 3


def test_a_sample_weighs_its_clips(sample: ScanResult, census: ScanResult) -> None:
    rows, every = rows_of(sample), rows_of(census)
    assert len(rows) == said_of(sample)["audit_clips"] == 30
    said, wanted = 0.0, 0
    for place, row in rows.items():
        assert row["hotspot"] == every[place]["hotspot"]
        assert (row["defect"] is None) == (not row["hotspot"])
        said += (row["hotspot"] and not row["found"]) / row["probability"]
        wanted += row["hotspot"] and not row["found"]
    assert wanted > 0
    assert sample.metrics["audit_hotspots_missed"] == pytest.approx(said)
    low, high = (sample.metrics[f"audit_recall_{end}"] for end in ("low", "high"))
    assert low < census.metrics["audit_recall"] < high


def test_tiles_batches_and_workers_change_nothing(
    sample: ScanResult, bare: ScanResult, small_scan: SmallScan, tmp_path: Path
) -> None:
    cut: dict[str, Any] = {"confirm": {"batch_windows": 3}, "tiles": {"size_um": 10.0}}
    other = audited(small_scan, tmp_path / "cut", audit=FEW, **cut)
    assert table_of(other) == table_of(sample)
    spread = audited(small_scan, copy_of(bare, tmp_path / "spread"), audit=FEW, workers=2)
    assert table_of(spread) == table_of(sample)


def test_a_finished_scan_is_audited_and_the_audit_extended(
    sample: ScanResult, bare: ScanResult, tmp_path: Path
) -> None:
    assert bare.complete
    assert said_of(bare) == {}
    assert "not measured" in (bare.run.report / "index.html").read_text()
    out = copy_of(bare, tmp_path / "run")
    few = again(out, size="12")
    table, places, before = table_of(few), rows_of(few).keys(), times_simulated(few)
    more = again(out, **FEW)
    assert table_of(more) == table_of(sample)
    assert places < rows_of(more).keys()
    after = times_simulated(more)
    assert before.keys() < after.keys()
    assert set(after.values()) == {1}  # nothing is simulated twice
    assert table_of(again(out, size="12")) == table
    assert times_simulated(more) == after
    assert rows_of(again(out, size="12", seed=1)).keys() != places


def test_a_stopped_audit_resumes_to_the_same_bytes(
    sample: ScanResult, bare: ScanResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy_of(bare, tmp_path / "run")
    real, seen = simulate.simulate_batch, []

    def die_at_the_second(unit: simulate.Batch, **given: Any) -> Any:
        seen.append(unit)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(unit, **given)

    with monkeypatch.context() as patch:
        patch.setattr(simulate, "simulate_batch", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            again(out, **FEW)
    result = again(out)
    assert table_of(result) == table_of(sample)
    assert set(times_simulated(result).values()) == {1}


def test_an_unfinished_audit_says_nothing(
    sample: ScanResult,
    bare: ScanResult,
    small_scan: SmallScan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = copy_of(bare, tmp_path / "run")
    real = simulate.simulate_batch

    def fail_once(unit: simulate.Batch, **given: Any) -> Any:
        if unit.number == 1:
            raise RuntimeError("no light")
        return real(unit, **given)

    with monkeypatch.context() as patch:
        patch.setattr(simulate, "simulate_batch", fail_once)
        result = again(out, **FEW)
    assert not result.complete
    assert result.metrics["units_failed"] == 1
    assert said_of(result) == {}
    copy = copy_of(result, tmp_path / "copy")
    assert table_of(again(out)) == table_of(sample)
    # What failed of another audit does not stand in the way.
    corrected = audited(small_scan, copy, audit={"size": "3"}, confirm={"opc": "model"})
    assert corrected.complete
    assert corrected.metrics["units_failed"] == 0


def test_what_was_confirmed_is_known(
    census: ScanResult, bare: ScanResult, small_scan: SmallScan, tmp_path: Path
) -> None:
    out = copy_of(bare, tmp_path / "run")
    result = audited(small_scan, out, confirm={"enabled": True})
    assert said_of(result)["audit_recall"] == pytest.approx(said_of(census)["audit_recall"])
    flagged = [place for place, row in rows_of(census).items() if row["score"] >= THRESHOLD]
    assert not rows_of(result).keys() & set(flagged)
    assert len(rows_of(result)) == len(rows_of(census)) - len(flagged)
    # With another threshold fewer are flagged: the draw follows, and simulates only what is new.
    before = times_simulated(result)
    higher = audited(small_scan, out, confirm={"enabled": True}, scores={"threshold": 0.49})
    assert said_of(higher)["audit_recall"] == 0
    assert rows_of(higher).keys() == rows_of(census).keys()
    assert before.items() < times_simulated(higher).items()


def test_sites_are_audited_on_the_same_frame(
    census: ScanResult, small_scan: SmallScan, tmp_path: Path
) -> None:
    few_sites = {"mode": "sites", "space_nm": 150.0, "width_nm": 1.0, "tip_to_tip_nm": 1.0,
                 "line_end_to_side_nm": 1.0}  # fmt: skip
    result = audited(small_scan, tmp_path / "run", clips=few_sites)
    rows, every = rows_of(result), rows_of(census)
    assert rows.keys() == every.keys()
    assert [rows[place]["hotspot"] for place in every] == [row["hotspot"] for row in every.values()]
    never = [row for row in rows.values() if row["stratum"] == "no score"]
    assert 0 < len(never) < len(rows)
    assert not any(row["found"] for row in never)
    hits = sum(row["hotspot"] for row in rows.values())
    missed = sum(row["hotspot"] and not row["found"] for row in rows.values())
    assert 0 < missed < hits
    assert said_of(result)["audit_hotspots_missed"] == missed
    assert said_of(result)["audit_recall"] == pytest.approx(1 - missed / hits)


def test_what_failed_is_in_the_frame(
    census: ScanResult, small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = units.draw_places

    def fail(x_dbu: Int64s, y_dbu: Int64s, job: Any) -> Bytes:
        raise RuntimeError("no ink")

    with monkeypatch.context() as patch:
        patch.setattr(units, "draw_places", fail)
        unscored = audited(small_scan, tmp_path / "run")
    assert not unscored.complete
    assert {row["stratum"] for row in rows_of(unscored).values()} == {"no score"}
    assert said_of(unscored)["audit_recall"] == 0
    with monkeypatch.context() as patch:
        patch.setattr(scanning, "clip_tile", fail)
        uncut = audited(small_scan, tmp_path / "other")
    assert rows_of(uncut).keys() == rows_of(unscored).keys() == rows_of(census).keys()
    assert table_of(again(tmp_path / "run")) == table_of(census)
    assert table_of(again(tmp_path / "other")) == table_of(census)
    assert real is units.draw_places


def test_damaged_lists_of_clips_are_drawn_again(
    sample: ScanResult, bare: ScanResult, tmp_path: Path
) -> None:
    result = again(copy_of(bare, tmp_path / "run"), **FEW)
    (listed,) = (result.run.path / "audit" / "simulated").glob("*/clips.parquet")
    listed.write_bytes(listed.read_bytes()[:-9])
    (result.run.path / "audit" / "clips.parquet").unlink()
    assert table_of(again(tmp_path / "run")) == table_of(sample)


def test_an_empty_region_is_no_reason_to_fail(small_scan: SmallScan, tmp_path: Path) -> None:
    few = audited(small_scan, tmp_path / "run", layout={"roi_um": (48.0, 48.0, 48.5, 48.5)})
    assert few.complete
    assert few.metrics["audit_clips"] == few.metrics["clips"]


def test_seconds_become_a_number_of_clips(bare: ScanResult, tmp_path: Path) -> None:
    result = again(copy_of(bare, tmp_path / "run"), size="0.2s")
    drawn = result.metrics["audit_clips"]
    assert 1 < drawn <= result.metrics["clips"]
    (kept,) = (result.run.path / "audit" / "simulated").iterdir()
    assert "timed" not in kept.name
    before = table_of(result)
    assert table_of(again(tmp_path / "run")) == before
    assert table_of(again(tmp_path / "run", size=str(drawn))) == before


def test_the_command_says_what_was_missed(scan: Hotscan, hotscan: Hotscan, tmp_path: Path) -> None:
    ended = scan("--audit", "100%", "--threshold", THRESHOLD)
    assert ended.code == 0
    assert "on this layout, from" in ended.out, ended.out
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "Recall on this layout" in page
    assert "not measured" not in page.partition("Model <small>")[0]
    again = hotscan("audit", tmp_path / "run", "--clips", 20, "--workers", 0, "--quiet")
    assert again.code == 0
    assert "from 20 simulated clips" in again.out
    wrong = hotscan("audit", tmp_path / "run", "--clips", "many", "--workers", 0)
    assert wrong.code == 2
    assert "size" in wrong.err


def test_the_python_interface_is_the_command(sample: ScanResult) -> None:
    import hotscan as api

    run = api.open(Run(sample.run.path).path)
    assert run.audit("30", progress=False) == said_of(sample)
