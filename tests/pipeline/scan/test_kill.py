"""Killed at any moment, a scan resumes to the same bytes, and runs nothing finished again.

The quick tests kill a scan of a corner of the crowded sample; the slow ones one of 400 x 400 um, at
20 random moments each for the driver and for a worker.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.config import Resources
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import State, read_record
from pipeline.scan.scan import resume
from sample_layouts.dense import write_dense
from tests.support.small_scan import SmallScan


@dataclass(frozen=True)
class Victim:
    """A scan to kill, and what it must come to."""

    scan: SmallScan
    answer: bytes
    units: int
    """Units of all stages when it is done."""
    tile_um: float
    shard_patterns: int

    def start(self, out: Path, *resources: str) -> subprocess.Popen[bytes]:
        """Scan in a process of its own, with two workers where nothing else is said."""
        return self.start_at(str(out), out.parent, *resources)

    def start_at(self, out: str, folder: Path, *resources: str) -> subprocess.Popen[bytes]:
        """The same into a folder or an address, with the settings in `folder`."""
        settings = folder / "sizes.toml"
        settings.write_text(
            f"[tiles]\nsize_um = {self.tile_um}\n[scores]\nshard_patterns = {self.shard_patterns}\n"
        )
        command = [sys.executable, "-m", "pipeline.cli.app", *self.scan.arguments(out)]
        return subprocess.Popen(
            [*command, "--config", str(settings), *(resources or ("--workers", "2")), "--quiet"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def make_victim(scan: SmallScan, out: Path, tile_um: float, shard_patterns: int) -> Victim:
    result = scan(out, tiles={"size_um": tile_um}, scores={"shard_patterns": shard_patterns})
    assert result.metrics["hotspots"] > 10
    return Victim(scan, result.run.hotspots.read_bytes(), rows(out), tile_um, shard_patterns)


@pytest.fixture(scope="module")
def small_victim(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return make_victim(small_scan, tmp_path_factory.mktemp("victim") / "run", 12.0, 64)


@pytest.fixture(scope="module")
def large_victim(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    folder = tmp_path_factory.mktemp("large")
    write_dense(folder / "dense.gds.gz", size_um=400, seed=4)
    whole = replace(small_scan, layout=folder / "dense.gds.gz", roi_um=(0.0, 0.0, 400.0, 400.0))
    return make_victim(whole, folder / "run", 50.0, 1024)


def rows(out: Path) -> int:
    """How many units the ledger of a running scan holds."""
    try:
        with sqlite3.connect(f"file:{out / 'ledger.sqlite'}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM units").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def wait_for_rows(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    while rows(out) < count and process.poll() is None:
        time.sleep(0.01)


def assert_nothing_ran_twice(run: Run) -> None:
    with Ledger(run.ledger, read_only=True) as ledger:
        times = ledger.times_run()
    assert times
    assert max(times.values()) == 1, {unit: n for unit, n in times.items() if n > 1}


def kill_driver(victim: Victim, out: Path, seed: int, *resources: str) -> None:
    moment = int(np.random.default_rng(seed).integers(1, victim.units - 12))
    process = victim.start(out, *resources)
    wait_for_rows(out, moment, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert rows(out) < victim.units, "the scan ended before it was killed"
    result = resume(out, Resources(workers=0), lambda event: None)
    assert result.complete
    assert result.run.hotspots.read_bytes() == victim.answer
    assert_nothing_ran_twice(result.run)


def workers_of(driver: psutil.Process) -> list[psutil.Process]:
    """Return the processes that were forked from the one that is there to be forked."""
    return [
        worker
        for child in driver.children()
        if "forkserver" in " ".join(child.cmdline())
        for worker in child.children()
    ]


def kill_worker(victim: Victim, out: Path, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    process = victim.start(out)
    wait_for_rows(out, int(rng.integers(1, victim.units - 12)), process)
    workers = workers_of(psutil.Process(process.pid))
    os.kill(workers[int(rng.integers(len(workers)))].pid, signal.SIGKILL)
    assert process.wait() == 0
    assert Run(out).hotspots.read_bytes() == victim.answer
    assert_nothing_ran_twice(Run(out))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_killed_driver_resumes_to_the_same_bytes(
    workers: str, small_victim: Victim, tmp_path: Path
) -> None:
    kill_driver(small_victim, tmp_path / "run", int(workers), "--workers", workers)


def test_killed_worker_is_survived(small_victim: Victim, tmp_path: Path) -> None:
    kill_worker(small_victim, tmp_path / "run", 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_driver_of_400_um_resumes(seed: int, large_victim: Victim, tmp_path: Path) -> None:
    kill_driver(large_victim, tmp_path / "run", seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_worker_of_400_um_is_survived(
    seed: int, large_victim: Victim, tmp_path: Path
) -> None:
    kill_worker(large_victim, tmp_path / "run", seed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_scan_ends_with_its_code_and_resumes(
    number: signal.Signals, code: int, small_victim: Victim, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = small_victim.start(out)
    wait_for_rows(out, 4, process)
    process.send_signal(number)
    assert process.wait() == code
    assert read_record(Run(out)).state == State.INTERRUPTED
    result = resume(out, Resources(workers=0), lambda event: None)
    assert result.run.hotspots.read_bytes() == small_victim.answer
