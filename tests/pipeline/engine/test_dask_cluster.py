"""A cluster of separate processes: workers killed and added, the driver killed and resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.engine.ledger import Ledger
from pipeline.engine.run_directory import Run
from tests.pipeline.scan.test_kill import Victim, make_victim, rows, wait_for_rows
from tests.support.small_scan import SmallScan

CHECKOUT = Path(__file__).resolve().parents[3]


class Cluster:
    """A scheduler and workers on this machine, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"
        )
        self.address = self._said("scheduler", r"Scheduler at:\s+(tcp://\S+)")
        self.workers = [self.add_worker(), self.add_worker()]

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{kind}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + kind, *arguments],
                stdout=log, stderr=log, cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            )  # fmt: skip
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def _said(self, kind: str, pattern: str) -> str:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if found := re.search(pattern, (self.folder / f"{kind}.log").read_text()):
                return found[1]
            time.sleep(0.05)
        raise AssertionError((self.folder / f"{kind}.log").read_text())

    def add_worker(self) -> subprocess.Popen[bytes]:
        return self._start(
            "worker",
            self.address,
            "--nthreads",
            "1",
            "--no-dashboard",
            "--no-nanny",
            "--death-timeout",
            "30",
        )

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def victim(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return make_victim(small_scan, tmp_path_factory.mktemp("victim") / "run", 12.0, 64)


def test_workers_leave_and_join_and_the_driver_is_killed(
    cluster: Cluster, victim: Victim, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    driver = victim.start(out, "--scheduler-address", cluster.address)
    wait_for_rows(out, 5, driver)
    cluster.workers[0].kill()
    cluster.add_worker()
    wait_for_rows(out, 12, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert rows(out) < victim.units, "the scan ended before its driver was killed"
    again = victim.start(out, "--scheduler-address", cluster.address)
    wait_for_rows(out, victim.units - 8, again)
    cluster.workers[1].kill()
    assert again.wait() == 0
    assert Run(out).hotspots.read_bytes() == victim.answer
    with Ledger(out / "ledger.sqlite", read_only=True) as ledger:
        assert max(ledger.times_run().values()) == 1
