"""Certified scans: everything found, however they are run, stopped or extended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.audit import certify
from pipeline.audit.rounds import RESULT
from pipeline.engine.storage.ledger import Ledger
from pipeline.passes.print_model import read_print_model
from pipeline.scan.request import ScanResult
from stages.errors import ConfigError
from tests.support.small_scan import SmallScan

ROI_UM = (48.0, 48.0, 60.0, 57.0)


def certified(small_scan: SmallScan, out: Path, *, workers: int = 0, **tables: Any) -> ScanResult:
    asked: dict[str, Any] = {
        "certify": {"recall": 0.9, "within": 0.3, "budget": 1.0}, "layout": {"roi_um": ROI_UM},
        "confirm": {"batch_windows": 8}, "scores": {"model": "process:krf130"},
    }  # fmt: skip
    for table, settings in tables.items():
        asked[table] = {**asked.get(table, {}), **settings}
    return small_scan(out, workers=workers, **asked)


def read(result: ScanResult) -> bytes:
    return (result.run.path / RESULT).read_bytes()


def count_simulated(result: ScanResult) -> int:
    with Ledger(result.run.ledger, read_only=True) as ledger:
        return sum(n for (stage, _), n in ledger.times_run().items() if stage == "audit")


@pytest.fixture(scope="module")
def whole(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    return certified(small_scan, tmp_path_factory.mktemp("certified") / "run")


def test_the_hotspots_are_the_clips_that_fail(whole: ScanResult) -> None:
    rows = pq.read_table(whole.run.path / RESULT).to_pylist()
    failing = {(row["x_dbu"], row["y_dbu"]) for row in rows if row["hotspot"]}
    metrics = whole.metrics
    assert whole.complete
    assert metrics["certified"]
    assert metrics["certified_recall_low"] >= 0.6
    assert (
        len(rows)
        == metrics["certify_clips"]
        == round(metrics["simulated_share"] * metrics["clips"])
    )
    assert metrics["hot_clips"] == metrics["clips_confirmed"] == len(failing) > 2
    assert metrics["hotspots_confirmed"] == metrics["hotspots"]


def test_a_stopped_run_ends_with_the_same_bytes(
    small_scan: SmallScan, whole: ScanResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(certify, "record_round", stop)
        with pytest.raises(KeyboardInterrupt):
            certified(small_scan, tmp_path / "run")
    again = certified(small_scan, tmp_path / "run")
    assert read(again) == read(whole)
    assert again.run.hotspots.read_bytes() == whole.run.hotspots.read_bytes()
    assert count_simulated(again) == count_simulated(whole)


def test_a_spent_budget_is_incomplete_and_a_larger_one_goes_on(
    small_scan: SmallScan, whole: ScanResult, tmp_path: Path
) -> None:
    few = certified(small_scan, tmp_path / "run", certify={"budget": 0.3})
    assert not few.complete
    assert not few.metrics["certified"]
    assert few.metrics["units_failed"] == 0
    assert few.metrics["simulated_share"] <= 0.3
    more = certified(small_scan, tmp_path / "run")
    assert more.complete
    assert more.metrics["certified"]


def test_the_fitted_model_is_kept(whole: ScanResult, tmp_path: Path) -> None:
    certify.keep_model(whole.run, tmp_path / "kept.json")
    assert read_print_model(tmp_path / "kept.json").process == "krf130"


@pytest.mark.parametrize(
    ("table", "settings", "text"),
    [
        ("clips", {"stride_nm": 640.0}, "needs one clip for each core"),
        ("audit", {"size": "3%"}, "an audit does not apply"),
    ],
)
def test_what_cannot_be_certified_is_refused(
    small_scan: SmallScan, tmp_path: Path, table: str, settings: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        certified(small_scan, tmp_path / "run", **{table: settings})
