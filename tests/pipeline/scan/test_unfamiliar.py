"""A scan says when its patterns are unlike those that its model was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.passes.arrays import read_pattern_rows
from pipeline.passes.units import draw_patterns
from pipeline.report.run_view import open_view
from stages.detector.models import checkpoint
from stages.detector.models.familiarity import Familiar, summarize
from stages.detector.training.loop import likeness
from stages.errors import UsageError
from tests.support.small_scan import DENSE, SmallScan

VECTORS = np.eye(20, 16, dtype=np.float32)


def test_a_checkpoint_keeps_it(small_scan: SmallScan, tmp_path: Path) -> None:
    known = summarize(VECTORS, VECTORS)
    model = replace(checkpoint.load(small_scan.model), familiar=known)
    checkpoint.save(tmp_path / "model.pt", model)
    found = checkpoint.load(tmp_path / "model.pt")
    assert found.familiar is not None
    assert found.familiar.limit == known.limit
    assert np.array_equal(found.familiar.vectors, known.vectors)
    assert found.digest == model.digest != checkpoint.load(small_scan.model).digest


@pytest.mark.parametrize(
    "wrong",
    [
        Familiar(np.full((3, 4), np.nan, np.float16), 0.1),
        Familiar(np.ones((3, 4), np.float16), 3.0),
        Familiar(np.ones(3, np.float16), 0.1),
    ],
)
def test_vectors_that_cannot_be_are_refused(
    wrong: Familiar, small_scan: SmallScan, tmp_path: Path
) -> None:
    model = replace(checkpoint.load(small_scan.model), familiar=wrong)
    checkpoint.save(tmp_path / "model.pt", model)
    with pytest.raises(UsageError, match="damaged: its vectors are"):
        checkpoint.load(tmp_path / "model.pt")


def test_a_scan_says_that_its_patterns_are_unlike_the_training(
    small_scan: SmallScan, tmp_path: Path
) -> None:
    plain = checkpoint.load(small_scan.model)
    width = likeness(plain.detector(), np.zeros((1, 1, 64, 64), np.uint8)).shape[1]
    nothing_like_it = np.zeros((1, width), np.float16)
    nothing_like_it[0, 0] = 1
    model = tmp_path / "model.pt"
    checkpoint.save(model, replace(plain, familiar=Familiar(nothing_like_it, 1e-3)))
    result = SmallScan(DENSE, model, (45.0, 45.0, 60.0, 60.0))(tmp_path / "run")
    assert result.metrics["unfamiliar_share"] == 1.0
    view = open_view(result.run)
    assert any("100% of the patterns are unlike those" in text for text in view.warnings)
    assert "are unlike those that model" in (result.run.report / "index.html").read_text()


def test_a_model_that_does_not_know_says_nothing(small_scan: SmallScan, tmp_path: Path) -> None:
    result = SmallScan(DENSE, small_scan.model, (45.0, 45.0, 60.0, 60.0))(tmp_path / "run")
    assert "unfamiliar_share" not in result.metrics
    view = open_view(result.run)
    assert not view.warnings


def test_pictures_are_drawn_again_as_they_are_stored(small_scan: SmallScan, tmp_path: Path) -> None:
    result = small_scan(tmp_path / "run")
    rows = np.arange(result.metrics["patterns"])[::-3]
    drawn = draw_patterns(result.run, open_view(result.run).job, rows)
    (stored,) = read_pattern_rows(result.run, rows, "raster")
    assert len(drawn) > 10
    assert np.array_equal(drawn, stored)
