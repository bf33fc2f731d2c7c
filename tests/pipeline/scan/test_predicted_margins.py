"""What will fail, and by how much, is said before anything is simulated."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.engine.storage.run_directory import Run
from pipeline.passes import units
from pipeline.passes.arrays import read_patterns
from pipeline.passes.units import draw_patterns, predict_margins
from pipeline.report.run_view import open_view
from stages.detector.models import checkpoint
from stages.detector.networks.detector import Detector
from stages.detector.networks.shapes import DetectorConfig
from stages.exports.tables import HOTSPOTS, PREDICTED_HOTSPOTS, format_csv
from stages.lithography.measure.margins import find_worst_margin, name_kinds
from stages.lithography.measure.sections import KINDS
from stages.rows import Rows, make_hotspot
from stages.scores import build_scorer
from tests.support.small_scan import SmallScan


def test_a_model_with_margins_names_kind_and_margin_of_each_hotspot(
    small_scan: SmallScan, reference: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = checkpoint.load(small_scan.model)
    assert isinstance(old.config, DetectorConfig)
    config = replace(old.config, kinds=KINDS)
    torch.manual_seed(1)
    weights = Detector(config).get_arrays() | old.weights
    model = replace(old, config=config, weights=weights)
    checkpoint.save(tmp_path / "headed.pt", model)
    headed = replace(small_scan, model=tmp_path / "headed.pt")
    run = headed(tmp_path / "run").run
    table = pq.read_table(run.hotspots)
    assert table.schema.equals(PREDICTED_HOTSPOTS)
    assert pq.read_schema(reference.hotspots).equals(HOTSPOTS)
    assert table.select(HOTSPOTS.names).equals(pq.read_table(reference.hotspots))
    view = open_view(run)
    margin = build_scorer(model).predict_margins(
        draw_patterns(run, view.job, np.unique(table["pattern"]))
    )
    at = np.searchsorted(np.unique(table["pattern"]), table["pattern"])
    worst, kind = find_worst_margin(margin)[at], name_kinds(margin)[at]
    np.testing.assert_allclose(table["predicted_margin"], worst, atol=6e-4)
    assert table["predicted_kind"].to_pylist() == [KINDS[k] for k in kind]
    spots = view.hotspots
    assert spots[0].predicted_kind == KINDS[kind[0]]
    assert "predicted_kind,predicted_margin" in "".join(format_csv(spots, 1.0)).splitlines()[0]
    assert (
        "margin " + f"{table['predicted_margin'][0].as_py():.2f}"
        in (run.report / "index.html").read_text()
    )

    again = headed(tmp_path / "again", since=[run.path]).run
    assert again.hotspots.read_bytes() == run.hotspots.read_bytes()
    assert np.isfinite(read_patterns(again, "margin")[0]).all()
    old = Rows(table.select(HOTSPOTS.names), make_hotspot)
    predicted = ["predicted_kind", "predicted_margin"]
    with monkeypatch.context() as nothing_drawn:
        nothing_drawn.setattr(units, "draw_patterns", None)
        found = predict_margins(run, view.job, KINDS, old).table
    assert found.select(predicted).equals(table.select(predicted))
    shutil.rmtree(run.patterns / "margin")  # as an earlier version leaves it
    found = predict_margins(run, view.job, KINDS, old).table
    assert found.select(predicted).equals(table.select(predicted))
