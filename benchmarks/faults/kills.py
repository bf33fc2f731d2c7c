"""Kill the processes of a scan at random moments of all its stages, and compare what it comes to.

python -m benchmarks.faults.kills [--kills N] [--seed S] [--who NAME ...]

Each kill is a ``kill -9`` of the driver, a worker, the process that reads the layout, or a nanny of
an outer cluster, at a random moment of a random stage of ``hotscan scan --confirm``. A scan that
does not end well by itself is resumed. All files must have the bytes of a scan left alone, nothing
half written may stay, and no process. Exit code 1 where it is otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil

from benchmarks.faults.answers import list_differences, list_unfinished, read_answer
from benchmarks.faults.small_runs import SmallRuns, make_small_runs
from pipeline.engine.storage.run_directory import Run

STAGES = ("layout", "clips", "patterns", "scores", "hotspots", "confirm", "report")
WHO = ("driver", "worker", "reader", "nanny")
SECONDS = 180.0
"""Longer than this is a hang."""
POLL_S = 0.002
MOST_TRIES = 5
"""Times that a scan is begun for one kill: it may end before its moment comes."""


@dataclass(frozen=True, slots=True)
class Kill:
    """What came of one kill."""

    who: str
    stage: str
    """Stage that was under way."""
    ended: int
    """Exit code of the scan that lost a process."""
    wrong: tuple[str, ...]
    """Files that differ or are half written, processes that stayed; empty when all is well."""


@dataclass(slots=True)
class Cluster:
    """A scheduler and two workers, each under a nanny, that do not belong to the scan."""

    address: str
    nannies: list[subprocess.Popen[bytes]]

    def refill(self) -> None:
        """Start another nanny where one was killed."""
        self.nannies = [nanny for nanny in self.nannies if nanny.poll() is None]
        while len(self.nannies) < 2:
            self.nannies.append(_start_nanny(self.address))


def _start_nanny(address: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", "worker", address, "--nworkers", "1", "--nthreads", "1",
         "--no-dashboard", "--preload", "pipeline.passes.preload"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@contextmanager
def run_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a scheduler, and end it with all its workers."""
    file = folder / "scheduler.json"
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0",
         "--no-dashboard", "--scheduler-file", str(file)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not file.exists():
        time.sleep(0.1)
    cluster = Cluster(json.loads(file.read_text())["address"], [])
    try:
        cluster.refill()
        yield cluster
    finally:
        for process in (*cluster.nannies, scheduler):
            process.terminate()
        for process in (*cluster.nannies, scheduler):
            process.wait()


class Scan:
    """A scan in a process of its own."""

    def __init__(self, runs: SmallRuns, out: Path, *resources: str) -> None:
        self.out = out
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli.app", *runs.arguments(out), *resources,
             "--verbose", "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stages(self) -> dict[str, datetime]:
        """Return when each stage began, so far."""
        begun: dict[str, datetime] = {}
        with suppress(FileNotFoundError):
            for line in Run(self.out).log.read_text().splitlines():
                day, clock, _, name, *_ = line.split(" ")
                if name.endswith(":") and name[:-1] in STAGES:
                    when = datetime.fromisoformat(f"{day} {clock.replace(',', '.')}")
                    begun.setdefault(name[:-1], when)
        return begun

    def wait_for(self, stage: str) -> bool:
        """Wait until a stage begins; return whether it does."""
        while stage not in self.stages():
            if self.process.poll() is not None:
                return False
            time.sleep(POLL_S)
        return True

    def processes(self) -> list[psutil.Process]:
        """Return all processes that it started."""
        with suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.process.pid).children(recursive=True))
        return []

    def find(self, who: str, cluster: Cluster | None) -> list[int]:
        """Return the processes of a kind that there are."""
        if who == "driver":
            return [self.process.pid] if self.process.poll() is None else []
        if who == "nanny":
            assert cluster is not None
            return [nanny.pid for nanny in cluster.nannies if nanny.poll() is None]
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                parent = " ".join(process.parent().cmdline())
                command = " ".join(process.cmdline())
                if who == ("reader" if "reader_process" in command else
                           "worker" if "forkserver" in parent else ""):  # fmt: skip
                    found.append(process.pid)
        return found


def measure_stages(runs: SmallRuns, out: Path, workers: str) -> dict[str, float]:
    """Return the seconds of each stage of a scan left alone."""
    scan = Scan(runs, out, "--workers", workers)
    if scan.process.wait(SECONDS) != 0:
        raise RuntimeError(f"the scan in {out} failed before anything was killed")
    begun = scan.stages()
    ends = [*list(begun.values())[1:], datetime.fromtimestamp(Run(out).record.stat().st_mtime)]
    return {
        stage: (end - start).total_seconds()
        for (stage, start), end in zip(begun.items(), ends, strict=True)
    }


def kill_once(
    runs: SmallRuns, folder: Path, who: str, cluster: Cluster | None,
    spent: dict[str, dict[str, float]], rng: np.random.Generator,
) -> tuple[str, Scan, list[psutil.Process]]:  # fmt: skip
    """Begin a scan and kill one of its processes; return the stage, and what there was."""
    # Without workers the driver does the work itself, and is killed while it writes.
    workers = "2" if who in ("worker", "nanny") else str(rng.choice([0, 0, 2]))
    resources = ("--scheduler-address", cluster.address) if cluster else ("--workers", workers)
    for number in range(MOST_TRIES):
        stage = "layout" if who == "reader" else str(rng.choice(STAGES))
        scan = Scan(runs, folder / f"run{number}", *resources)
        try:
            if scan.wait_for(stage):
                time.sleep(float(rng.uniform(0, spent[workers][stage])))
                there, begun = scan.processes(), scan.stages()
                if victims := scan.find(who, cluster):
                    with suppress(ProcessLookupError):
                        os.kill(int(rng.choice(victims)), signal.SIGKILL)
                        return list(begun)[-1], scan, there
            scan.process.wait(SECONDS)
        except BaseException:
            scan.process.kill()
            raise
    raise RuntimeError(f"no {who} was found in {MOST_TRIES} scans")


def try_kill(
    runs: SmallRuns, answer: dict[str, bytes], spent: dict[str, dict[str, float]], who: str,
    cluster: Cluster | None, rng: np.random.Generator,
) -> Kill:  # fmt: skip
    """Kill one process, resume if need be, and compare."""
    with tempfile.TemporaryDirectory(dir=runs.folder) as name:
        stage, scan, there = kill_once(runs, Path(name), who, cluster, spent, rng)
        wrong = []
        try:
            code = scan.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            scan.process.kill()
            code = scan.process.wait()
            wrong.append("hung")
        if cluster is not None:
            cluster.refill()
        _, alive = psutil.wait_procs(there, timeout=20)
        wrong += [f"process {process.pid} stayed" for process in alive]
        if code != 0:
            runs.resume(scan.out)
        wrong += list_differences(answer, read_answer(scan.out))
        wrong += [f"{left} was left" for left in list_unfinished(scan.out)]
    return Kill(who, stage, code, tuple(wrong))


def draw_table(kills: Sequence[Kill]) -> str:
    """Return the counts by who was killed, and in which stage."""
    count = Counter((kill.who, kill.stage) for kill in kills)
    good = Counter(kill.who for kill in kills if not kill.wrong)
    alone = Counter(kill.who for kill in kills if kill.ended == 0)
    lines = [f"| killed | {' | '.join(STAGES)} | all | ended well by itself | same bytes |"]
    lines.append(f"|---|{'--:|' * (len(STAGES) + 3)}")
    for who in dict.fromkeys(kill.who for kill in kills):
        each = [count[who, stage] for stage in STAGES]
        row = [*each, sum(each), alone[who], good[who]]
        lines.append(f"| {who} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def main() -> int:
    """Kill, resume, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--who", nargs="+", choices=WHO, default=WHO)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell put aside
    rng = np.random.default_rng(options.seed)
    kills: list[Kill] = []
    with tempfile.TemporaryDirectory() as name:
        runs = make_small_runs(Path(name))
        runs.scan(Path(name, "whole"))
        answer = read_answer(Path(name, "whole"))
        spent = {n: measure_stages(runs, Path(name, f"with{n}"), n) for n in ("0", "2")}
        print(f"seconds of each stage left alone: {spent}", flush=True)
        with run_cluster(Path(name)) as outer, suppress(KeyboardInterrupt):
            for number in range(options.kills):
                who = options.who[number % len(options.who)]
                cluster = outer if who == "nanny" else None
                kills.append(try_kill(runs, answer, spent, who, cluster, rng))
                print(f"{number} {kills[-1]}", flush=True)
    print(draw_table(kills))
    return int(len(kills) < options.kills or any(kill.wrong for kill in kills))


if __name__ == "__main__":
    sys.exit(main())
