"""The report page repeats what the scan was told and what its model was measured at."""

from __future__ import annotations

import tomllib

import pytest

from pipeline.config import load_config
from pipeline.engine.run_directory import Run
from pipeline.report.page_data import format_config
from pipeline.report.run_view import RunView, open_view


@pytest.fixture(scope="module")
def view(reference: Run) -> RunView:
    return open_view(reference)


def test_the_config_in_the_report_can_be_used_again(view: RunView) -> None:
    tables = tomllib.loads(format_config(view.config))
    assert load_config(None, tables) == view.config
