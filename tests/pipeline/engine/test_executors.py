from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from pipeline.config import Resources
from pipeline.engine.executors import (
    UNITS_PER_WORKER,
    DaskExecutor,
    Executor,
    SerialExecutor,
    executor_for,
)
from pipeline.engine.storage.ledger import Status, UnitOutcome
from stages.errors import ConfigError, IncompleteError, UsageError

# Tasks are local functions: those travel by value, whatever the workers can import of the tests.


@pytest.fixture(scope="module")
def two_workers() -> Iterator[DaskExecutor]:
    with DaskExecutor(Resources(workers=2)) as executor:
        yield executor


@pytest.fixture(params=["serial", "dask"])
def executor(request: pytest.FixtureRequest) -> Executor:
    return SerialExecutor() if request.param == "serial" else request.getfixturevalue("two_workers")


def still_alive(pid: int) -> bool:
    """Whether a process runs; one that ended but was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_unit_has_its_outcome(executor: Executor) -> None:
    def square(unit: int) -> UnitOutcome:
        return UnitOutcome("clips", f"u{unit}", Status.DONE, {"square": unit * unit})

    outcomes = list(executor.run(square, range(50), stage="clips"))
    assert sorted(outcome.unit for outcome in outcomes) == sorted(f"u{i}" for i in range(50))
    assert sum(outcome.counts["square"] for outcome in outcomes) == 49 * 50 * 99 // 6


def test_a_survey_has_the_answer_of_every_worker(executor: Executor) -> None:
    workers = 1 if isinstance(executor, SerialExecutor) else 2
    (pids,) = executor.survey(os.getpid).values()
    assert len(set(pids)) == workers
    assert executor.survey(lambda: 1 // 0) == {}


def test_only_the_workers_of_the_given_machines_get_units(two_workers: DaskExecutor) -> None:
    def echo(unit: int) -> UnitOutcome:
        return UnitOutcome("clips", str(unit), Status.DONE)

    (host,) = two_workers.survey(int)
    outcomes = two_workers.run(echo, range(4), stage="clips", hosts=frozenset([host]))
    assert len(list(outcomes)) == 4


def test_no_units_no_outcomes(executor: Executor) -> None:
    def never(unit: int) -> UnitOutcome:
        raise AssertionError

    assert list(executor.run(never, [], stage="clips")) == []


def test_an_error_costs_its_unit_and_no_other(executor: Executor) -> None:
    def every_third_fails(unit: int) -> UnitOutcome:
        if unit % 3 == 0:
            raise ZeroDivisionError("one third")
        if unit == 4:
            raise ConfigError("pixel_nm is 7; give 8")
        return UnitOutcome("clips", f"u{unit}", Status.DONE)

    outcomes = {
        outcome.unit: outcome
        for outcome in executor.run(
            every_third_fails, range(9), stage="clips", unit_id=lambda unit: f"u{unit}"
        )
    }
    failed = {unit for unit, outcome in outcomes.items() if outcome.status == Status.FAILED}
    assert len(outcomes) == 9
    assert failed == {"u0", "u3", "u4", "u6"}
    assert outcomes["u3"].stage == "clips"
    assert "ZeroDivisionError: one third" in outcomes["u3"].error
    assert outcomes["u4"].error == "pixel_nm is 7; give 8"


def test_units_are_timed_where_they_run(executor: Executor) -> None:
    def nap(unit: int) -> UnitOutcome:
        time.sleep(0.1)
        return UnitOutcome("clips", str(unit), Status.EMPTY)

    (outcome,) = executor.run(nap, [0], stage="clips")
    assert 0.1 <= outcome.seconds < 1
    assert outcome.status == Status.EMPTY


def test_units_are_drawn_as_there_is_room(executor: Executor) -> None:
    drawn = 0

    def units() -> Iterator[int]:
        nonlocal drawn
        for unit in range(60):
            drawn += 1
            yield unit

    def echo(unit: int) -> UnitOutcome:
        return UnitOutcome("clips", str(unit), Status.DONE)

    ahead = [drawn - seen for seen, _ in enumerate(executor.run(echo, units(), stage="clips"))]
    assert len(ahead) == 60
    assert 1 <= max(ahead) <= 2 * UNITS_PER_WORKER


def test_workers_are_other_processes(two_workers: DaskExecutor) -> None:
    def whose(unit: int) -> UnitOutcome:
        time.sleep(0.05)
        return UnitOutcome("clips", str(unit), Status.DONE, {"pid": os.getpid()})

    pids = {o.counts["pid"] for o in two_workers.run(whose, range(8), stage="clips")}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_a_worker_killed_from_outside_is_survived(two_workers: DaskExecutor) -> None:
    def nap(unit: int) -> UnitOutcome:
        time.sleep(0.05)
        return UnitOutcome("clips", str(unit), Status.DONE, {"pid": os.getpid()})

    victim, outcomes = 0, []
    for outcome in two_workers.run(nap, range(30), stage="clips"):
        outcomes.append(outcome)
        if not victim:
            victim = int(outcome.counts["pid"])
            os.kill(victim, signal.SIGKILL)
    assert sorted(int(outcome.unit) for outcome in outcomes) == list(range(30))
    assert all(outcome.status == Status.DONE for outcome in outcomes)
    assert not still_alive(victim)


def test_the_guilty_unit_fails_and_the_unlucky_is_cleared(
    two_workers: DaskExecutor, tmp_path: Path
) -> None:
    def risky(unit: int) -> UnitOutcome:
        start = time.time()
        past = tmp_path / f"deaths_{unit}"
        # 5 always kills; 2 dies as often as an innocent unit that shares its worker would.
        if unit == 5 or (unit == 2 and (not past.exists() or past.stat().st_size < 2)):
            with past.open("a") as file:
                file.write("x")
            (tmp_path / "last_death").write_text(str(start))
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return UnitOutcome("clips", str(unit), Status.DONE, {"start": start, "end": time.time()})

    outcomes = {outcome.unit: outcome for outcome in two_workers.run(risky, range(20), stage="c")}
    assert len(outcomes) == 20
    assert {unit for unit, o in outcomes.items() if o.status == Status.FAILED} == {"5"}
    assert "its worker died" in outcomes.pop("5").error
    assert (tmp_path / "deaths_2").read_text() == "xx"
    # Alone it died twice before it failed. What died before, 5 or 2 beside it, is chance.
    assert len((tmp_path / "deaths_5").read_text()) >= 2
    last = float((tmp_path / "last_death").read_text())
    assert not [o for o in outcomes.values() if o.counts["start"] < last < o.counts["end"]]


def test_what_cannot_travel_is_a_failed_unit(two_workers: DaskExecutor) -> None:
    class Unreadable:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return int, ("not a number",)

    def echo(unit: object) -> UnitOutcome:
        return UnitOutcome("clips", "x", Status.DONE)

    (outcome,) = two_workers.run(echo, [Unreadable()], stage="clips", unit_id=lambda _: "x")
    assert outcome.status == Status.FAILED
    assert "deserialization" in outcome.error


def test_no_scheduler_at_the_address() -> None:
    with (
        pytest.raises(UsageError, match="no Dask scheduler answers at 'nowhere'"),
        DaskExecutor(Resources(scheduler_address="nowhere")),
    ):
        pass


def test_a_cluster_without_workers_ends_the_scan() -> None:
    def echo(unit: int) -> UnitOutcome:
        return UnitOutcome("clips", str(unit), Status.DONE)

    with LocalCluster(
        n_workers=0, processes=False, scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}
    ) as cluster:
        joined = Resources(scheduler_address=cluster.scheduler_address)
        with (
            DaskExecutor(joined, patience_s=0) as executor,
            pytest.raises(IncompleteError, match="no worker has been on"),
        ):
            list(executor.run(echo, range(3), stage="clips"))


def test_executor_for_follows_the_resources() -> None:
    assert isinstance(executor_for(Resources(workers=0)), SerialExecutor)
    assert isinstance(executor_for(Resources(workers=3)), DaskExecutor)
    assert isinstance(
        executor_for(Resources(workers=0, scheduler_address="tcp://a:1")), DaskExecutor
    )


DRIVER = """
    import os, pathlib, sys, time
    from pipeline.config import Resources
    from pipeline.engine.executors import DaskExecutor
    from pipeline.engine.storage.ledger import Status, UnitOutcome

    def nap(unit):
        pathlib.Path(sys.argv[1], str(os.getpid())).touch()
        time.sleep(1)
        return UnitOutcome("clips", str(unit), Status.DONE)

    if __name__ == "__main__":
        try:
            with DaskExecutor(Resources(workers=1)) as executor:
                list(executor.run(nap, range(90), stage="clips"))
        except KeyboardInterrupt:
            sys.exit(130)
"""


@pytest.mark.parametrize(
    ("stop", "exit_code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_workers_go_with_their_driver(tmp_path: Path, stop: signal.Signals, exit_code: int) -> None:
    script, pids = tmp_path / "driver.py", tmp_path / "pids"
    script.write_text(textwrap.dedent(DRIVER))
    pids.mkdir()
    checkout = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, script, pids],
        env={**os.environ, "PYTHONPATH": checkout},
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as driver:
        while not (workers := [int(path.name) for path in pids.iterdir()]):
            assert driver.poll() is None
            time.sleep(0.05)
        if stop == signal.SIGINT:
            os.killpg(driver.pid, stop)  # as a terminal does: the workers get it too
        else:
            driver.kill()
        _, said = driver.communicate(timeout=15)
    assert driver.returncode == exit_code
    assert "Traceback" not in said
    deadline = time.monotonic() + 5
    while any(map(still_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(still_alive, workers))


def test_workers_keep_the_memory_that_the_network_takes_again(two_workers: DaskExecutor) -> None:
    """With Dask's own setting scoring spent more time in page faults than in arithmetic."""

    def settings(unit: int) -> UnitOutcome:
        names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "OMP_NUM_THREADS")
        return UnitOutcome(
            "clips", str(unit), Status.DONE, {name: float(os.environ[name]) for name in names}
        )

    (outcome,) = two_workers.run(settings, [0], stage="clips")
    assert outcome.counts["MALLOC_TRIM_THRESHOLD_"] == 256 * 2**20
    assert outcome.counts["MALLOC_MMAP_THRESHOLD_"] == 32 * 2**20
    assert outcome.counts["OMP_NUM_THREADS"] == 1


def test_workers_that_are_slow_to_end_do_not_undo_what_was_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def task(unit: str) -> UnitOutcome:
        return UnitOutcome("stage", unit, Status.DONE)

    def close(cluster: LocalCluster, timeout: float | None = None) -> None:
        ended(cluster)
        raise TimeoutError

    ended = LocalCluster.close
    monkeypatch.setattr(LocalCluster, "close", close)
    with DaskExecutor(Resources(workers=1)) as executor:
        outcomes = list(executor.run(task, ["a"], stage="stage"))
    assert [one.status for one in outcomes] == [Status.DONE]
