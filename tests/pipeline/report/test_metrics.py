"""The metrics count what was found, and everything that has no verdict."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.audit.audit import STAGES as AUDIT_STAGES
from pipeline.audit.result import Audited
from pipeline.audit.rounds import Certified
from pipeline.config import FixConfig
from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from pipeline.fix.fix import STAGES as FIX_STAGES
from pipeline.passes.arrays import read_patterns
from pipeline.report import metrics as report_metrics
from pipeline.report.metrics import find_unscored_clips, gather_metrics, list_unscanned_regions
from pipeline.report.run_view import RunView, open_view
from pipeline.simulate.confirm import Confirmed
from stages.audit.estimate import estimate_recall
from stages.audit.looks import Aim


@pytest.fixture(scope="module")
def view(reference: Run) -> RunView:
    return open_view(reference)


def gather(view: RunView) -> dict[str, Any]:
    with Ledger(view.run.ledger, read_only=True) as ledger:
        return gather_metrics(view, ledger, list_unscanned_regions(view, ledger))


def test_metrics_are_flat_numbers(reference: Run, view: RunView) -> None:
    metrics = json.loads((reference.report / "metrics.json").read_text())
    assert metrics.keys() == gather(view).keys()
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert metrics["area_um2"] == view.job.area.area * 1e-6 == pytest.approx(60 * 55)
    assert metrics["area_covered_um2"] == metrics["area_um2"]


def test_every_field_is_documented_and_every_documented_field_is_written(view: RunView) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "files.md").read_text()
    _, table = page.split("\n## metrics.json\n")
    documented = {
        name
        for row in re.findall(r"^\| (`.+?) \|", table.split("\n## ")[0], re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    stages = ("confirm", *AUDIT_STAGES, "features", "rounds", "certify", *FIX_STAGES)
    spent = dict.fromkeys((*view.record.seconds, *stages), 1.0)
    certified = Certified(Aim(0.99, 0.02), None, 0.0, 1, 0, 10, 2, 1)
    fixed = view.config.model_copy(update={"fix": FixConfig(enabled=True)})
    simulated = replace(
        view, simulated=Confirmed({}, 0, 0), audited=Audited(estimate_recall([]), 0, 0),
        certified=certified, config=fixed, unfamiliar=0.01,
        record=replace(view.record, seconds=spent),
    )  # fmt: skip
    assert gather(view).keys() < gather(simulated).keys() == documented


def test_tiles_without_a_verdict_are_named(view: RunView, tmp_path: Path) -> None:
    """Of two tiles one failed and one was never run: together they are the whole area."""
    job = view.job
    assert len(job.tiles) > 1
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.start_session()
        ledger.record(UnitOutcome("clips", job.tiles[0].name, Status.FAILED, error="a worker died"))
        regions = list_unscanned_regions(view, ledger)
    assert [region.why for region in regions] == [
        "a worker died",
        *["not run"] * (len(regions) - 1),
    ]
    assert sum(region.box.area for region in regions) == job.area.area


def test_unscored_patterns_take_their_clips_along(
    view: RunView, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, count = read_patterns(view.run, "score", "count")
    lost = int(np.argmax(count))
    score[lost] = np.nan
    monkeypatch.setattr(report_metrics, "read_patterns", lambda run, *names: (score,))
    with Ledger(view.run.ledger, read_only=True) as ledger:
        assert len(find_unscored_clips(view, ledger)) == count[lost]
        regions = list_unscanned_regions(view, ledger)
        metrics = gather_metrics(view, ledger, regions)
    assert not metrics["complete"]
    assert metrics["regions_not_scanned"] == count[lost]
    core_um2 = (view.job.core_dbu * 1e-3) ** 2
    missed = metrics["area_um2"] - metrics["area_covered_um2"]
    assert 0 < missed <= count[lost] * core_um2 * (1 + 1e-9)
    assert metrics["coverage_fraction"] == pytest.approx(1 - missed / metrics["area_um2"])
