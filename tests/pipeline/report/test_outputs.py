"""What a run gives away says what was found, and what was not looked at."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import gdstk
import numpy as np
import pytest

from pipeline.config import load_config
from pipeline.engine.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.run_directory import Run
from pipeline.passes.units import draw_places
from pipeline.report import outputs
from pipeline.report.page_data import config_toml
from pipeline.report.run_view import RunView
from pipeline.scan.inspect_run import open_view
from stages.contracts import Box, Layer
from stages.errors import IncompleteError, UsageError


@pytest.fixture(scope="module")
def view(reference: Run) -> RunView:
    return open_view(reference)


FIELDS = {
    "complete", "hotspots", "hotspots_sure", "hotspots_unique", "clips", "patterns", "hot_clips",
    "tiles_taken_over", "patterns_taken_over",
    "units_failed",
    "regions_not_scanned", "area_um2", "area_covered_um2", "coverage_fraction", "threshold",
    "warnings", "peak_rss_mb",
    *(f"seconds_{s}" for s in ("layout", "clips", "patterns", "scores", "hotspots", "report")),
}  # fmt: skip


def test_metrics_are_flat_and_stable(reference: Run, view: RunView) -> None:
    metrics = json.loads((reference.report / "metrics.json").read_text())
    assert set(metrics) == FIELDS
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert metrics["area_um2"] == view.job.area.area * 1e-6 == pytest.approx(60 * 55)
    assert metrics["area_covered_um2"] == metrics["area_um2"]


def test_metrics_are_in_the_docs() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "files.md").read_text()
    stages = {name for name in FIELDS if name.startswith("seconds_")}
    assert [name for name in FIELDS - stages if f"`{name}`" not in page] == []


def test_tiles_without_a_verdict_are_named(view: RunView, tmp_path: Path) -> None:
    """Of two tiles one failed and one was never run: together they are the whole area."""
    job = view.job
    assert len(job.tiles) > 1
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.start_session()
        ledger.record(UnitOutcome("clips", job.tiles[0].name, Status.FAILED, error="a worker died"))
        regions = outputs.not_scanned(view, ledger)
    assert [region.why for region in regions] == [
        "a worker died",
        *["not run"] * (len(regions) - 1),
    ]
    assert sum(region.box.area for region in regions) == job.area.area


def test_unscored_patterns_take_their_clips_along(
    view: RunView, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, count = outputs.read_patterns(view.run, "score", "count")
    lost = int(np.argmax(count))
    score[lost] = np.nan
    monkeypatch.setattr(outputs, "read_patterns", lambda run, *names: (score,))
    with Ledger(view.run.ledger, read_only=True) as ledger:
        assert len(outputs.unanswered_clips(view, ledger)) == count[lost]
        regions = outputs.not_scanned(view, ledger)
        metrics = outputs.gather_metrics(view, ledger, regions)
    assert not metrics["complete"]
    assert metrics["regions_not_scanned"] == count[lost]
    core_um2 = (view.job.core_dbu * 1e-3) ** 2
    missed = metrics["area_um2"] - metrics["area_covered_um2"]
    assert 0 < missed <= count[lost] * core_um2 * (1 + 1e-9)
    assert metrics["coverage_fraction"] == pytest.approx(1 - missed / metrics["area_um2"])


def test_a_run_without_hotspots_table_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="no hotspots yet; finish the scan with: hotscan res"):
        outputs.read_hotspots(Run(tmp_path))


def test_markers_keep_off_every_layer_of_the_file(view: RunView, tmp_path: Path) -> None:
    """Also off layers that were not scanned."""
    layers = {Layer(number, 0) for number in range(1, 256)} - {Layer(17, 0)}
    crowded = replace(view, layout=replace(view.layout, file_layers=tuple(layers)))
    outputs.export(crowded, "gds", tmp_path / "m.gds", [Box(0, 0, 1000, 2000)])
    (cell,) = gdstk.read_gds(str(tmp_path / "m.gds")).cells
    assert {polygon.layer for polygon in cell.polygons} == {17}
    (region,) = [polygon for polygon in cell.polygons if polygon.datatype == 2]
    assert region.bounding_box() == ((0, 0), (1, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["m.gds"]


def test_a_clip_file_holds_the_clip(view: RunView, tmp_path: Path) -> None:
    """Its area of the scanned layer is what the picture shows, to the rounding of a pixel."""
    outputs.export(view, "clips", tmp_path, [])
    spot = view.hotspots[0]
    cell = gdstk.read_gds(str(next(tmp_path.glob(f"*{spot.id:04d}*.gds")))).cells[0]
    drawn = [p for p in cell.polygons if (p.layer, p.datatype) == (68, 20)]
    half = view.job.clip_dbu / 2000
    window = gdstk.rectangle(
        (spot.x_dbu / 1000 - half, spot.y_dbu / 1000 - half),
        (spot.x_dbu / 1000 + half, spot.y_dbu / 1000 + half),
    )
    inside = sum(p.area() for p in gdstk.boolean(drawn, window, "and"))
    (picture,) = draw_places(np.array([spot.x_dbu]), np.array([spot.y_dbu]), view.job)
    pixel_um2 = (view.job.pixel_dbu / 1000) ** 2
    assert inside == pytest.approx(picture.sum() / 255 * pixel_um2, rel=0.01)
    assert inside > 0


def test_an_unknown_format_lists_the_known(view: RunView, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="format 'dxf' is unknown; choose one of gds, oas, lyrdb"):
        outputs.export(view, "dxf", tmp_path / "x", [])


def test_a_model_of_another_layer_is_told(view: RunView) -> None:
    assert view.warnings == ()
    other = replace(view, model=replace(view.model, provenance={"trained_on_layers": ["69/20"]}))
    (warning,) = other.warnings
    assert "was trained on 69/20" in warning
    assert "68/20 is judged as if it were that" in warning


def test_the_config_in_the_report_can_be_used_again(view: RunView) -> None:
    tables = tomllib.loads(config_toml(view.config))
    assert load_config(None, tables) == view.config
