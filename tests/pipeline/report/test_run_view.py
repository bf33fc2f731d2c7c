"""A finished run, opened again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import LevelsConfig
from pipeline.engine.storage.run_directory import Run
from pipeline.report.run_results import read_hotspots
from pipeline.report.run_view import RunView, make_levels, open_view
from stages.errors import ConfigError, IncompleteError
from stages.lithography.limits import Levels
from stages.lithography.process import load_process


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


def test_levels_of_the_config_stand_before_those_of_the_process() -> None:
    process = replace(load_process("krf130"), levels=Levels(first_severity=0.5, first_score=0.95))
    levels = make_levels(LevelsConfig(first_severity=0.4, always_first=("open",)), process)
    assert levels == Levels(always_first=("open",), first_severity=0.4, first_score=0.95)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LevelsConfig(always_first=("gap",)), r"\[levels\] always_first has gap; kinds are bridge"),
        (
            LevelsConfig(second_score=1.0),
            r"\[levels\] .*second_score is 1\.0; allowed: at most fir",
        ),
    ],
)
def test_levels_that_cannot_be_are_refused(config: LevelsConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_levels(config, load_process("krf130"))
