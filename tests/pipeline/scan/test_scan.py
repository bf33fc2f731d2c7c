"""The whole flow: nothing changes the answer, and nothing finished is run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gdstk
import klayout.db as kdb
import klayout.rdb as rdb
import numpy as np
import pytest

import pipeline.scan.stages as scanning
from pipeline.config import Resources
from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from pipeline.report.run_results import read_hotspots
from pipeline.scan.scan import resume
from stages.detector.models import checkpoint
from stages.errors import LayoutError, RunMismatchError, UsageError
from tests.support.small_scan import DENSE, SmallScan

WAYS: list[tuple[str, dict[str, Any]]] = [
    ("one worker", {"workers": 1}),
    ("two workers", {"workers": 2}),
    ("tiles of one core", {"tiles": {"size_um": 13.0}}),
    ("tiles of 37 um", {"tiles": {"size_um": 37.0}}),
    ("one tile", {"tiles": {"size_um": 500.0}}),
    ("shards of 64", {"scores": {"shard_patterns": 64}}),
    ("shards of 300", {"scores": {"shard_patterns": 300}}),
    ("each clip drawn", {"tiles": {"shared": False}}),
    ("one shard", {"scores": {"shard_patterns": 100_000}}),
]


def answer(run: Run) -> bytes:
    return run.hotspots.read_bytes()


@pytest.mark.parametrize(("way", "settings"), WAYS, ids=[name for name, _ in WAYS])
def test_no_way_of_running_changes_the_answer(
    way: str, settings: dict[str, Any], small_scan: SmallScan, reference: Run, tmp_path: Path
) -> None:
    assert answer(small_scan(tmp_path / "run", **settings).run) == answer(reference)


@pytest.mark.parametrize("size_um", [13.0, 37.0])
def test_sites_do_not_depend_on_the_tiles(
    size_um: float, small_scan: SmallScan, tmp_path: Path
) -> None:
    sites = {"clips": {"mode": "sites"}}
    whole = small_scan(tmp_path / "whole", tiles={"size_um": 500.0}, **sites)
    cut = small_scan(tmp_path / "cut", tiles={"size_um": size_um}, **sites)
    assert whole.metrics["clips"] > 100
    assert cut.metrics["clips"] == whole.metrics["clips"]
    assert answer(cut.run) == answer(whole.run)


def fail_every_third(task: Any) -> Any:
    seen = iter(range(10**9))

    def sometimes(unit: Any, **given: Any) -> UnitOutcome:
        if next(seen) % 3 == 2:
            raise RuntimeError("made to fail")
        outcome: UnitOutcome = task(unit, **given)
        return outcome

    return sometimes


@pytest.mark.parametrize("stage", ["clip_tile", "score_shard"])
def test_failed_units_are_told_and_then_made_good(
    stage: str,
    small_scan: SmallScan,
    reference: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: dict[str, Any] = {"tiles": {"size_um": 20.0}, "scores": {"shard_patterns": 256}}
    with monkeypatch.context() as patch:
        patch.setattr(scanning, stage, fail_every_third(getattr(scanning, stage)))
        part = small_scan(tmp_path / "run", **sizes)
    assert not part.complete
    assert part.metrics["units_failed"] > 0
    assert 0 < part.metrics["coverage_fraction"] < 1
    assert "INCOMPLETE" in (part.run.report / "index.html").read_text().upper()
    markers = gdstk.read_gds(str(part.run.report / "markers.gds")).cells[0]
    assert sum(p.datatype == 2 for p in markers.polygons) == part.metrics["regions_not_scanned"]
    whole = resume(part.run.path, Resources(workers=0), lambda event: None)
    assert whole.complete
    assert whole.metrics["coverage_fraction"] == 1
    assert answer(whole.run) == answer(reference)


def test_a_new_threshold_runs_only_what_follows_it(small_scan: SmallScan, tmp_path: Path) -> None:
    first = small_scan(tmp_path / "run")
    second = small_scan(tmp_path / "run", scores={"threshold": 0.0})
    assert second.metrics["hot_clips"] == second.metrics["clips"] > first.metrics["hot_clips"]
    with Ledger(second.run.ledger, read_only=True) as ledger:
        sessions = ledger.times_run()
    assert sessions[("scores", "00000")] == 1
    again = small_scan(tmp_path / "run")
    assert answer(again.run) == answer(first.run)


def test_another_layout_model_or_config_is_refused(
    small_scan: SmallScan, reference: Run, tmp_path: Path
) -> None:
    out = small_scan(tmp_path / "run").run.path
    with pytest.raises(RunMismatchError, match=r"mode was 'grid', is 'sites'"):
        small_scan(out, clips={"mode": "sites"})
    with pytest.raises(RunMismatchError, match=r"roi_um"):
        small_scan(out, layout={"roi_um": [0, 0, 50, 50]})
    other = tmp_path / "other.gds"
    gdstk.Library("other").write_gds(str(other))
    with pytest.raises(RunMismatchError, match="layout was"):
        SmallScan(other, small_scan.model)(out)
    assert answer(Run(out)) == answer(reference)


def test_a_directory_that_is_no_run_is_left_alone(small_scan: SmallScan, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds no run"):
        small_scan(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_layout_is_named(small_scan: SmallScan, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"nowhere\.gds: No such file"):
        SmallScan(tmp_path / "nowhere.gds", small_scan.model)(tmp_path / "run")


def test_markers_and_report_lie_where_the_table_says(reference: Run) -> None:
    spots = read_hotspots(reference)
    layout = kdb.Layout()
    layout.read(str(reference.report / "markers.gds"))
    assert layout.top_cell().name == "dense"
    assert layout.dbu == 0.001
    layer = next(info for info in layout.layer_infos() if info.datatype == 0)
    boxes = [shape.bbox() for shape in layout.top_cell().shapes(layout.layer(layer)).each()
             if not shape.is_text()]  # fmt: skip
    centres = sorted((box.center().x, box.center().y) for box in boxes)
    assert centres == sorted((spot.x_dbu, spot.y_dbu) for spot in spots)
    database = rdb.ReportDatabase("hotspots")
    database.load(str(reference.report / "hotspots.lyrdb.gz"))
    hot = [
        item for item in database.each_item()
        if database.category_by_id(item.category_id()).path().startswith("hotspot")
    ]  # fmt: skip
    assert len(hot) == len(spots)
    metrics = json.loads((reference.report / "metrics.json").read_text())
    assert metrics["hotspots"] == len(spots)
    assert metrics["complete"] is True
    assert metrics["coverage_fraction"] == 1


def test_every_core_of_the_grid_is_answered_for_once(reference: Run) -> None:
    """Clips are at most one to a core of the lattice, and every drawn shape is in some core."""
    import pyarrow.parquet as pq

    places = np.concatenate(
        [
            np.stack([table["x_dbu"].to_numpy(), table["y_dbu"].to_numpy()], axis=1)
            for table in (pq.read_table(path) for path in (reference.path / "clips").iterdir())
        ]
    )
    assert len(np.unique(places, axis=0)) == len(places)
    assert ((places - 640) % 1280 == 0).all()


def test_ledger_knows_empty_tiles_from_unfinished_ones(
    small_scan: SmallScan, tmp_path: Path
) -> None:
    library = gdstk.Library("far", unit=1e-6, precision=1e-9)
    cell = library.new_cell("far")
    for x in (0, 900):
        cell.add(gdstk.rectangle((x, 0), (x + 1, 1), layer=68, datatype=20))
    path = tmp_path / "far.gds"
    library.write_gds(str(path))
    result = SmallScan(path, small_scan.model)(tmp_path / "run", layout={"roi_um": None})
    with Ledger(result.run.ledger, read_only=True) as ledger:
        outcomes = ledger.finished("clips").values()
    assert {outcome.status for outcome in outcomes} == {Status.DONE, Status.EMPTY}
    assert result.complete


def test_a_lower_threshold_scores_again_what_the_prefilter_rejected(tmp_path: Path) -> None:
    """The report advises it, so it must work: with a shipped model, which has a prefilter."""
    small = SmallScan(DENSE, checkpoint.find("krf130-met1"), (60.0, 60.0, 75.0, 75.0))
    first = answer(small(tmp_path / "run").run)
    lower = {"threshold": 0.001}
    again = small(tmp_path / "run", scores=lower)
    fresh = small(tmp_path / "fresh", scores=lower)
    assert answer(again.run) == answer(fresh.run) != first
    with Ledger(again.run.ledger, read_only=True) as ledger:
        assert ledger.times_run()["patterns", "all"] == 1
    assert answer(small(tmp_path / "run").run) == first


def test_a_failed_unit_keeps_its_traceback(
    small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(scanning, "score_shard", fail_every_third(scanning.score_shard))
        part = small_scan(tmp_path / "run", scores={"shard_patterns": 256})
    (log,) = list((part.run.path / "failures").glob("scores-00002.txt"))
    text = log.read_text()
    assert text.startswith("RuntimeError: made to fail")
    assert "Traceback (most recent call last)" in text
    assert "in sometimes" in text
    resume(part.run.path, Resources(workers=0), lambda event: None)
    assert not log.exists()
