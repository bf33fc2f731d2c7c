"""A finished run, opened again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.run_directory import Run
from pipeline.report.run_view import RunView, open_view, read_hotspots
from stages.errors import IncompleteError


@pytest.fixture(scope="module")
def view(reference: Run) -> RunView:
    return open_view(reference)


def test_a_run_without_hotspots_table_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="no hotspots yet; finish the scan with: hotscan res"):
        read_hotspots(Run(tmp_path))


def test_a_model_of_another_layer_is_told(view: RunView) -> None:
    assert view.warnings == ()
    other = replace(view, model=replace(view.model, provenance={"trained_on_layers": ["69/20"]}))
    (warning,) = other.warnings
    assert "was trained on 69/20" in warning
    assert "68/20 is scored as if it were that" in warning
