"""Confirming hotspots: the same verdicts however it is run, none where nothing was simulated."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.config import Resources
from pipeline.engine.ledger import Ledger
from pipeline.engine.run_directory import Run
from pipeline.scan.scan import ScanResult, resume
from pipeline.simulate import confirm
from pipeline.simulate.region import SimulateRequest, simulate_region
from stages.contracts import Defect
from stages.detector import checkpoint
from tests.support.small_scan import DENSE, Hotscan, SmallScan
from tests.support.small_scan import ROI_UM as WHOLE_UM

ENABLED: dict[str, Any] = {"enabled": True, "batch_fields": 2}
ROI_UM = (45.0, 45.0, 75.0, 70.0)


def confirmed(
    small_scan: SmallScan, out: Path, *, workers: int = 0, **tables: dict[str, Any]
) -> ScanResult:
    asked = {"confirm": ENABLED, "layout": {"roi_um": ROI_UM}, "scores": {"threshold": 0.0}}
    for table, settings in tables.items():
        asked[table] = {**asked.get(table, {}), **settings}
    return small_scan(out, workers=workers, **asked)


def table_of(run: Run) -> bytes:
    return (run.report / "hotspots.csv").read_bytes()


def rows_of(result: ScanResult) -> list[dict[str, str]]:
    return list(csv.DictReader(table_of(result.run).decode().splitlines()))


@pytest.fixture(scope="module")
def reference(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    """With a threshold of 0 every clip is a hotspot: failing and printing ones."""
    result = confirmed(small_scan, tmp_path_factory.mktemp("confirmed") / "run")
    assert result.complete
    assert 0 < result.metrics["clips_confirmed"] < result.metrics["clips_simulated"]
    return result


WAYS: dict[str, dict[str, Any]] = {
    "two workers": {"workers": 2},
    "other batches": {"confirm": {"batch_fields": 3}},
    "other tiles": {"tiles": {"size_um": 10.0}},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_running_gives_the_same_verdicts(
    way: str, reference: ScanResult, small_scan: SmallScan, tmp_path: Path
) -> None:
    result = confirmed(small_scan, tmp_path / "run", **WAYS[way])
    assert table_of(result.run) == table_of(reference.run)
    names = ("hotspots_confirmed", "clips_simulated", "clips_confirmed")
    assert [result.metrics[n] for n in names] == [reference.metrics[n] for n in names]


def test_what_fails_is_what_fails_in_the_whole_region(
    reference: ScanResult, tmp_path: Path
) -> None:
    grown = (ROI_UM[0] - 2, ROI_UM[1] - 2, ROI_UM[2] + 2, ROI_UM[3] + 2)
    request = SimulateRequest(DENSE, tmp_path / "whole", "68/20", roi_um=grown, contours=False)
    simulate_region(request, Resources(workers=0), lambda event: None)
    rows = pq.read_table(tmp_path / "whole" / "defects.parquet").to_pylist()
    defects = [Defect(**row) for row in rows]
    hot = pq.read_table(reference.run.path / "hot_clips.parquet").to_pydict()
    inside: dict[int, set[Defect]] = {}
    for x, y, owner in zip(hot["x_dbu"], hot["y_dbu"], hot["hotspot"], strict=True):
        inside.setdefault(owner, set()).update(
            d for d in defects
            if x - 640 <= d.x_dbu < x + 640 and y - 640 <= d.y_dbu < y + 640
        )  # fmt: skip
    table = csv.DictReader((reference.run.report / "hotspots.csv").read_text().splitlines())
    told = {int(row["id"]): (int(row["defects"]), row["severity"]) for row in table}
    assert told == {
        owner: (len(found), str(max(d.severity for d in found)) if found else "")
        for owner, found in inside.items()
    }


def test_what_the_model_is_sure_of_may_be_left_to_it(small_scan: SmallScan, tmp_path: Path) -> None:
    few: dict[str, Any] = {"layout": {"roi_um": WHOLE_UM}}
    every = confirmed(small_scan, tmp_path / "every", scores={"threshold": None}, **few)
    told = {row["id"]: row for row in rows_of(every)}
    scores = pq.read_table(every.run.hotspots)["score"].to_pylist()
    model = checkpoint.load(small_scan.model)
    point = replace(model.operating_point, confident=sorted(scores)[len(scores) // 2])
    checkpoint.save(tmp_path / "sure.pt", replace(model, operating_point=point))
    asked = {"model": str(tmp_path / "sure.pt"), "threshold": None}
    result = confirmed(
        small_scan, tmp_path / "run", confirm={"confident": False}, scores=asked, **few
    )
    assert result.complete
    answers = {"hot": 0, "review": 0}
    for row in rows_of(result):
        answers[row["answer"]] += 1
        wanted = told[row["id"]]["confirmed"] if row["answer"] == "review" else ""
        assert row["confirmed"] == wanted
    assert result.metrics["hotspots_not_asked"] == answers["hot"] > 0
    assert answers["review"] > 0
    page = (result.run.report / "index.html").read_text()
    assert "skipped: the model is confident" in page
    assert "INCOMPLETE" not in page


def test_a_stopped_confirmation_goes_on_to_the_same_bytes(
    reference: ScanResult, small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = confirm.confirm_batch, []

    def die_at_the_fourth(batch: int, **given: Any) -> Any:
        seen.append(batch)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(batch, **given)

    with monkeypatch.context() as patch:
        patch.setattr(confirm, "confirm_batch", die_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            confirmed(small_scan, tmp_path / "run")
    result = resume(tmp_path / "run", Resources(workers=0), lambda event: None)
    assert table_of(result.run) == table_of(reference.run)
    with Ledger(result.run.ledger, read_only=True) as ledger:
        assert max(ledger.times_run().values()) == 1


def test_hotspots_that_could_not_be_simulated_are_named(
    small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = confirm.confirm_batch

    def fail_once(batch: int, **given: Any) -> Any:
        if batch == 1:
            raise RuntimeError("no light")
        return real(batch, **given)

    with monkeypatch.context() as patch:
        patch.setattr(confirm, "confirm_batch", fail_once)
        result = confirmed(
            small_scan,
            tmp_path / "run",
            scores={"threshold": None},
            confirm={"batch_fields": 1},
            layout={"roi_um": WHOLE_UM},
        )
    assert not result.complete
    lost = result.metrics["hotspots_not_simulated"]
    rows = list(csv.DictReader((result.run.report / "hotspots.csv").read_text().splitlines()))
    assert lost == sum(row["confirmed"] == "" for row in rows) > 0
    page = (result.run.report / "index.html").read_text()
    assert "INCOMPLETE" in page
    assert "not simulated" in page
    again = resume(tmp_path / "run", Resources(workers=0), lambda event: None)
    assert again.complete
    assert again.metrics["hotspots_not_simulated"] == 0


def test_the_command_tells_what_fails_and_gates_on_it(scan: Hotscan, tmp_path: Path) -> None:
    ended = scan("--confirm", "--threshold", "0", "--fail-on", 0)
    assert ended.code == 1
    assert "fail, 0 could not be simulated" in ended.out
    rows = list(
        csv.DictReader((tmp_path / "run" / "report" / "hotspots.csv").read_text().splitlines())
    )
    assert {row["confirmed"] for row in rows} <= {"True", "False"}
    for row in rows:
        assert (row["defect"] != "") == (row["confirmed"] == "True")


def test_another_threshold_confirms_its_own_hotspots(
    reference: ScanResult, small_scan: SmallScan, tmp_path: Path
) -> None:
    few = confirmed(small_scan, tmp_path / "run", scores={"threshold": 0.9})
    assert few.metrics["clips_simulated"] < reference.metrics["clips_simulated"]
    assert few.complete
    all_of_them = confirmed(small_scan, tmp_path / "run")
    assert table_of(all_of_them.run) == table_of(reference.run)
