"""From which stage on a setting makes another scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ScanConfig, as_dict, load_config
from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.storage.run_directory import open_run_directory
from pipeline.engine.storage.run_record import LayoutFile, RunRecord, bind, read_record
from pipeline.passes.scan_settings import ScanSettings, collect_inputs
from pipeline.passes.shard import Shard
from pipeline.scan.stages import RECOMPUTED
from stages.errors import RunMismatchError

# From which stage on a setting changes the answer; None where it never does.
FIRST_STAGE = {
    "layout.cell": "layout",
    "layout.layers": "layout",
    "layout.exclude": "layout",
    "layout.strict": "layout",
    "layout.roi_um": "clips",
    "layout.tech": "report",  # names are shown; what is scanned is in layout.layers
    "layout.lyp": "report",
    "layout.names": "report",
    "layout.all_metals": None,
    "reader.memory_gb": None,
    "reader.seconds": None,
    "reader.extent_mm": None,
    "reader.unpacked_gb": None,
    "reader.shapes_per_um2": None,
    "tiles.size_um": None,
    "tiles.shared": None,
    "clips.stride_nm": "clips",
    "clips.mode": "clips",
    "clips.space_nm": "clips",
    "clips.width_nm": "clips",
    "clips.tip_to_tip_nm": "clips",
    "clips.line_end_to_side_nm": "clips",
    "clips.line_end_nm": "clips",
    "raster.pixel_nm": "clips",
    "raster.clip_nm": "clips",
    "raster.core_nm": "clips",
    "scores.model": None,  # counts by its digest
    "scores.models": None,  # of several layers, whose runs have one each
    "scores.threshold": "hotspots",
    "scores.shard_patterns": None,
    "scores.prefilter": "scores",
    "scores.device": None,
    "scores.arithmetic": "scores",
    "confirm.enabled": "confirm",
    "confirm.opc": "rounds",
    "confirm.confident": "hotspots",
    "confirm.batch_windows": None,
    "audit.size": "draw",
    "audit.seed": "draw",
    "certify.recall": "rounds",
    "certify.within": "rounds",
    "certify.budget": "rounds",
    "certify.seed": "rounds",
    "fix.enabled": "vias",
    "fix.grid_nm": "vias",
    "fix.width_nm": "vias",
    "fix.space_nm": "vias",
    "fix.vias": "vias",
    "fix.enclosure_nm": "vias",
    "levels.always_first": "report",
    "levels.first_severity": "report",
    "levels.second_severity": "report",
    "levels.first_score": "report",
    "levels.second_score": "report",
    "report.waivers": "report",
    "classes.edge_tolerance_nm": "classes",
    "classes.area_match": "classes",
    "classes.shift_nm": "classes",
    "classes.radius_nm": "classes",
    "report.top": "report",
    "report.contours": "report",
    "markers.layer": "report",
}

NAMES = (
    "<layer-properties><properties><source>68/20@1</source><name>met1</name></properties>"
    "</layer-properties>"
)

OTHER: dict[str, Any] = {
    "layout.cell": "A", "layout.layers": ["1/0"], "layout.exclude": ["2/0"],
    "layout.strict": True, "layout.roi_um": [0.0, 0.0, 1.0, 1.0], "reader.memory_gb": 1.0,
    "reader.seconds": 2.0, "reader.extent_mm": 3.0, "reader.unpacked_gb": 1.0,
    "reader.shapes_per_um2": 5.0, "tiles.size_um": 3.0, "tiles.shared": False,
    "clips.stride_nm": 640.0,
    "clips.mode": "sites", "clips.space_nm": 1.0, "clips.width_nm": 1.0,
    "clips.tip_to_tip_nm": 1.0, "clips.line_end_to_side_nm": 1.0, "clips.line_end_nm": 1.0,
    "raster.pixel_nm": 1.0, "raster.clip_nm": 1.0, "raster.core_nm": 1.0, "scores.model": "m.pt",
    "scores.threshold": 0.5, "scores.shard_patterns": 7, "scores.prefilter": False,
    "scores.device": "cuda", "scores.arithmetic": "float32", "confirm.enabled": True,
    "confirm.opc": "model",
    "classes.edge_tolerance_nm": 1.0, "classes.area_match": 0.9, "classes.shift_nm": 1.0,
    "classes.radius_nm": 999.0,
    "confirm.confident": False, "confirm.batch_windows": 3, "audit.size": "3%", "audit.seed": 1,
    "report.top": 1, "report.contours": 1, "markers.layer": 9,
    "layout.tech": "sky130A", "layout.lyp": "names.lyp", "layout.names": {"met1": "68/20"},
    "layout.all_metals": True, "scores.models": {"68/20": "m.pt"}, "certify.recall": 0.9,
    "certify.within": 0.1, "certify.budget": 0.5, "certify.seed": 1, "fix.enabled": True,
    "fix.grid_nm": 1.0, "fix.width_nm": 1.0, "fix.space_nm": 1.0, "fix.vias": ["3/0"],
    "fix.enclosure_nm": 1.0, "levels.always_first": ["open"], "levels.first_severity": 0.9,
    "levels.second_severity": 0.1, "levels.first_score": 0.9, "levels.second_score": 0.1,
    "report.waivers": "w.toml",
}  # fmt: skip


def record_of(config: ScanConfig, model: str = "m", layout: str = "l", **more: Any) -> RunRecord:
    settings = ScanSettings(config, model, **more).as_dict()
    return RunRecord(task="scan", layout=LayoutFile("/chip.gds", layout), settings=settings)


def changed_stages(before: RunRecord, now: RunRecord) -> list[str]:
    then, inputs = collect_inputs(before), collect_inputs(now)
    return [stage for stage in inputs if then[stage] != inputs[stage]]


@pytest.mark.parametrize("name", FIRST_STAGE)
def test_a_setting_changes_the_inputs_of_its_stage_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.lyp").write_text(NAMES)
    table, key = name.split(".")
    other = record_of(load_config(None, {table: {key: OTHER[name]}}))
    stage = FIRST_STAGE[name]
    assert changed_stages(record_of(ScanConfig()), other) == ([] if stage is None else [stage])


def test_no_setting_escapes_the_table() -> None:
    settings = {f"{t}.{key}" for t, keys in as_dict(ScanConfig()).items() for key in keys}
    assert settings == set(FIRST_STAGE) == set(OTHER)


def test_layout_and_model_count_by_their_content() -> None:
    before = record_of(ScanConfig())
    assert changed_stages(before, record_of(ScanConfig(), layout="other")) == ["layout"]
    assert changed_stages(before, record_of(ScanConfig(), model="other")) == ["clips"]
    moved = replace(before, layout=LayoutFile("/elsewhere/chip.gds", "l"))
    assert changed_stages(before, moved) == []


def test_settings_survive_the_file() -> None:
    config = load_config(None, {"layout": {"layers": ["68/20"], "roi_um": [0, 0, 5.5, 6]}})
    settings = ScanSettings(config, "m", (Path("/a"), Path("/b")), Shard(2, 3))
    record = RunRecord(task="scan", layout=LayoutFile("/c", "l"), settings=settings.as_dict())
    assert ScanSettings.of(record) == settings


@pytest.mark.parametrize(
    ("stage", "tables", "kept"),
    [
        (
            "scores", {"scores": {"threshold": 0.9}},
            ["layout", "clips", "audit", "patterns", "scores"],
        ),
        ("scores", {"scores": {"prefilter": False}}, ["layout", "clips", "audit", "patterns"]),
        (
            "report", {"confirm": {"opc": "model"}},
            ["layout", "clips", "audit", "patterns", "scores", "features"],
        ),
        ("patterns", {"clips": {"mode": "sites"}}, None),
        ("layout", {"clips": {"mode": "sites"}}, ["layout"]),
    ],
)  # fmt: skip
def test_finished_stages_are_kept_recomputed_or_refused(
    stage: str, tables: dict[str, Any], kept: list[str] | None, tmp_path: Path
) -> None:
    """`stage` is the last that has units; `kept` those that still have, None for a refusal."""
    run = open_run_directory(tmp_path / "run")
    stages = list(collect_inputs(record_of(ScanConfig())))
    with Ledger(run.ledger) as ledger:
        bind(run, ledger, record_of(ScanConfig()), collect_inputs, RECOMPUTED)
        for done in stages[: stages.index(stage) + 1]:
            ledger.record(UnitOutcome(done, "all", Status.DONE))
        wanted = record_of(load_config(None, tables))
        if kept is None:
            with pytest.raises(RunMismatchError, match=r"\[clips\] mode was 'grid', is 'sites'"):
                bind(run, ledger, wanted, collect_inputs, RECOMPUTED)
            assert read_record(run) == record_of(ScanConfig())
            return
        bind(run, ledger, wanted, collect_inputs, RECOMPUTED)
        assert [name for name in stages if ledger.has(name)] == kept
    assert read_record(run) == wanted


def test_another_task_is_refused(tmp_path: Path) -> None:
    run = open_run_directory(tmp_path / "run")
    with Ledger(run.ledger) as ledger:
        bind(run, ledger, record_of(ScanConfig()), collect_inputs)
        with pytest.raises(RunMismatchError, match="started by hotscan scan, not label"):
            bind(run, ledger, replace(record_of(ScanConfig()), task="label"), collect_inputs)
