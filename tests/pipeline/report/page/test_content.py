"""The report page repeats what the scan was told and what its model was measured at."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import ReportConfig, load_config
from pipeline.engine.storage.run_directory import Run
from pipeline.report.page.content import format_config, gather_page_data
from pipeline.report.run_view import RunView, open_view
from pipeline.simulate.confirm import Confirmed
from stages.contracts import Defect, Layer, Verdict
from stages.exports.markers import PrintedArea
from stages.exports.pages.report_data import ChangeSummary


@pytest.fixture(scope="module")
def view(reference: Run) -> RunView:
    return open_view(reference)


def test_the_config_in_the_report_can_be_used_again(view: RunView) -> None:
    tables = tomllib.loads(format_config(view.config))
    assert load_config(None, tables) == view.config


def test_the_page_shows_the_worst_of_each_kind_with_what_prints_there(
    view: RunView, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = PrintedArea(view.job.area, np.empty((0, 4), np.int64), [])
    monkeypatch.setattr(RunView, "draw_print", lambda view, spot, near: printed)
    spots = view.hotspots
    assert len(spots) >= 4
    kinds = ["pinch", "pinch", "space", *[""] * (len(spots) - 3)]
    verdicts = {
        spot.id: Verdict(1, Defect(kind, spot.x_dbu, spot.y_dbu, "nominal", 0.9 - spot.id / 100))
        if kind
        else Verdict(0, None)
        for spot, kind in zip(spots, kinds, strict=True)
    }
    metrics = json.loads((view.run.report / "metrics.json").read_text())
    told = replace(view, simulated=Confirmed(verdicts, clips_simulated=9, clips_failing=3))
    data = gather_page_data(told, metrics, ())
    assert [spot.id for spot in data.ordered[:3]] == [1, 3, 2]
    assert set(data.contours) == {1, 2, 3}
    assert data.pictures.keys() >= {1, 2, 3}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", data.finished)


def with_earlier(view: RunView, *runs: Path) -> RunView:
    """Return the view of a scan that is ``--since`` others."""
    settings = view.record.settings | {"since": list(map(str, runs))}
    return replace(view, record=replace(view.record, settings=settings))


def gather_changes(view: RunView) -> ChangeSummary | None:
    metrics = json.loads((view.run.report / "metrics.json").read_text())
    few = view.config.model_copy(update={"report": ReportConfig(top=0)})
    return gather_page_data(replace(view, config=few), metrics, ()).changes


def test_changes_since_an_earlier_scan(view: RunView, tmp_path: Path) -> None:
    part = tmp_path / "part"  # of a merged scan: it has a record and no hotspots
    part.mkdir()
    shutil.copy(view.run.path / "run.json", part)
    assert gather_changes(with_earlier(view, part)) is None
    assert gather_changes(with_earlier(view, part, tmp_path / "deleted")) is None
    found = gather_changes(with_earlier(view, part, view.run.path))
    assert found is not None
    assert (found.before, found.refused, found.complete) == (view.run.path.name, "", True)
    assert (found.counts["same"], found.counts["new"]) == (len(view.hotspots), 0)
    assert list(found.new) == list(found.fixed) == []


def test_a_scan_that_is_gone_or_cannot_be_compared_is_named(view: RunView, tmp_path: Path) -> None:
    gone = gather_changes(with_earlier(view, tmp_path / "old"))
    assert gone is not None
    assert gone.refused == "old is not there any more"
    told = replace(with_earlier(view, view.run.path), simulated=Confirmed({}, 0, 0))
    other = gather_changes(told)
    assert other is not None
    assert "is not; scan that again with --confirm" in other.refused


def test_layers_of_the_file_that_were_not_scanned_are_listed(view: RunView) -> None:
    metrics = json.loads((view.run.report / "metrics.json").read_text())
    every = tuple(map(Layer.parse, ("68/20", "70/20", "67/20")))
    told = replace(view, layout=replace(view.layout, file_layers=every))
    assert list(gather_page_data(told, metrics, ()).unasked) == ["70/20", "67/20"]
