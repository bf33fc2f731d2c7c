"""The report page repeats what the scan was told and what its model was measured at."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import load_config
from pipeline.engine.run_directory import Run
from pipeline.report.page_data import format_config, gather_page_data
from pipeline.report.run_view import RunView, open_view
from pipeline.simulate.confirm import Confirmed
from stages.contracts import Defect, Verdict
from stages.exports.markers import PrintedArea


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
