"""What the ledger calls finished is on disk: fsync comes before the row, at every stage."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from pipeline.config import Resources
from pipeline.datasets.from_scan import SelectRequest, select_clips
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.engine.storage.ledger import Ledger, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from pipeline.simulate.region import SimulateRequest, simulate_region
from pipeline.train.model import TrainRequest, train_model
from tests.support.small_scan import DENSE, SmallScan

HERE = Resources(workers=0)
SMALL_UM = (50.0, 50.0, 56.0, 56.0)


class Disk:
    """When each file or folder was last brought to disk, by inode."""

    def __init__(self) -> None:
        self.synced: dict[int, int] = {}
        self.stages: set[str] = set()

    def assert_durable(self, path: Path, folder: Path) -> None:
        """A file and the folders that lead to it from `folder` are on disk as they are now."""
        stat = path.stat()
        assert self.synced.get(stat.st_ino, 0) >= stat.st_mtime_ns, path
        assert self.synced.get(path.parent.stat().st_ino, 0) >= stat.st_ctime_ns, path.parent
        for parent in path.parent.parents:
            if parent.is_relative_to(folder):
                assert parent.stat().st_ino in self.synced, parent


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    seen, fsync, record, rmtree = Disk(), os.fsync, Ledger.record, shutil.rmtree

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        seen.synced[os.fstat(descriptor).st_ino] = time.time_ns()

    def check(self: Ledger, outcome: UnitOutcome) -> None:
        seen.stages.add(outcome.stage)
        for name in outcome.files:
            seen.assert_durable(self.path.parent / name, self.path.parent)
        record(self, outcome)

    def remove(path: Path, *given: bool, **more: bool) -> None:
        out = Path(path)
        if out.suffix in (".work", ".training"):  # what it was made for is on disk
            seen.stages.add(out.suffix)
            made = out.with_suffix("")
            for file in [each for each in (made, *made.rglob("*")) if each.is_file()]:
                seen.assert_durable(file, made.parent)
            assert seen.synced[made.parent.stat().st_ino] >= made.stat().st_ctime_ns
        rmtree(path, *given, **more)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Ledger, "record", check)
    monkeypatch.setattr(shutil, "rmtree", remove)
    return seen


def test_a_scan(small_scan: SmallScan, tmp_path: Path, disk: Disk) -> None:
    all_flagged: dict[str, dict[str, object]] = {
        "confirm": {"enabled": True}, "layout": {"roi_um": SMALL_UM}, "scores": {"threshold": 0.0},
    }  # fmt: skip
    small_scan(tmp_path / "run", **all_flagged)
    stages = {"layout", "clips", "patterns", "scores", "hotspots", "confirm", "classes", "report"}
    assert disk.stages == stages


def test_a_simulation(tmp_path: Path, disk: Disk) -> None:
    request = SimulateRequest(DENSE, tmp_path / "out", "68/20", opc="model", roi_um=SMALL_UM)
    simulate_region(request, HERE, lambda event: None)
    assert disk.stages == {"layout", "mask", "defects", "contours", "report"}


def test_labelling_a_region_and_a_selection(reference: Run, tmp_path: Path, disk: Disk) -> None:
    request = LabelRequest(layout=DENSE, out=tmp_path / "l", layers=("68/20",), roi_um=SMALL_UM)
    label_layout(request, HERE, lambda event: None)
    assert disk.stages == {"layout", "clips", "defects", ".work"}
    disk.stages.clear()
    chosen = SelectRequest(run=reference.path, out=tmp_path / "s", count=1)
    select_clips(chosen, HERE, lambda event: None)
    assert disk.stages == {"layout", "confirm", ".work"}


def test_a_training(labelled: Path, tmp_path: Path, disk: Disk) -> None:
    quick = {"epochs": 1, "steps": 1, "batch": 8}
    train_model(TrainRequest(
        datasets=(labelled,), validation=(labelled,), out=tmp_path / "m.pt", training=quick
    ))  # fmt: skip
    assert disk.stages == {".training"}
