"""A cluster of separate processes: workers killed and added, the driver killed and resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from distributed import Client

from pipeline.config import Resources
from pipeline.engine.executors import DaskExecutor
from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from stages.detector.models import checkpoint
from tests.pipeline.scan.test_kill import Victim, make_victim, rows, wait_for_rows
from tests.support.small_scan import DENSE, SmallScan

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

    def _start(
        self, kind: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{kind}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + kind, *arguments],
                stdout=log, stderr=log, cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(CHECKOUT)} | dict(environment or {}),
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

    def add_worker(
        self, host: str = "127.0.0.1", environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker; another address of this machine is another host to the scheduler."""
        return self._start(
            "worker",
            self.address,
            "--nthreads",
            "1",
            "--no-dashboard",
            "--no-nanny",
            "--death-timeout",
            "30",
            "--host",
            host,
            environment=environment,
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


OTHER = {"ATEN_CPU_CAPABILITY": "default"}


@pytest.fixture
def mixed(cluster: Cluster) -> Cluster:
    """Two workers on one host, a third on another that computes with other instructions."""
    cluster.add_worker("127.0.0.2", OTHER)
    with Client(cluster.address) as client:
        client.wait_for_workers(3, timeout=60)
    return cluster


def test_units_go_to_the_chosen_hosts_alone(mixed: Cluster) -> None:
    def whose(unit: int) -> UnitOutcome:
        return UnitOutcome("scores", str(unit), Status.DONE, {"pid": os.getpid()})

    with DaskExecutor(Resources(scheduler_address=mixed.address)) as executor:
        found = executor.survey(lambda: (os.environ.get("ATEN_CPU_CAPABILITY"), os.getpid()))
        assert {name for name, _ in found["127.0.0.1"]} == {None}
        ((name, pid),) = found["127.0.0.2"]
        assert name == "default"
        outcomes = executor.run(whose, range(20), stage="scores", hosts=frozenset(["127.0.0.1"]))
        pids = [outcome.counts["pid"] for outcome in outcomes]
        assert len(pids) == 20
        assert pid not in pids


@pytest.mark.slow
def test_hosts_that_round_differently_do_not_share_a_scan(mixed: Cluster, tmp_path: Path) -> None:
    model = checkpoint.find("krf130-met1")
    sizes = tmp_path / "sizes.toml"
    sizes.write_text("[scores]\nshard_patterns = 64\n")
    command = [
        sys.executable, "-m", "pipeline.cli.app",
        *SmallScan(DENSE, model, (50.0, 50.0, 74.0, 74.0)).arguments(tmp_path / "run"),
        "--config", str(sizes), "--scheduler-address", mixed.address,
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT)
    with Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True) as ledger:
        (computed_by,) = ledger.count_arithmetics("scores")
    if "round differently" not in ended.stderr:
        pytest.skip("this processor computes the same with those instructions")
    assert "scores: workers on 127.0.0.2 round differently" in ended.stderr
    assert OTHER["ATEN_CPU_CAPABILITY"] not in computed_by.name
