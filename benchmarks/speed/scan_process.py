"""Commands of hotscan in a process of their own, as a user runs them, their memory sampled.

in       the arguments of a command
out      what a scan measured, with the memory of driver, reader, workers and all, stage by stage
unit     MB of 10^6 bytes, seconds
promise  Linux says what each process holds (``smaps_rollup``); nothing in the scan is changed

Private is what no other process holds (USS of psutil), files that only this one maps included;
anonymous is the part of it that the system cannot take away. Of all processes together a page that
several share is counted once (Pss).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import psutil

from pipeline.engine.storage.run_directory import Run

SAMPLE_S, LOOK_S = 1.0, 0.2
"""Between two samples, each of which takes some 20 ms, and between two looks whether it ended."""
READER = "pipeline.layout.reader_process"


@dataclass(frozen=True, slots=True)
class Sample:
    """What the processes of a scan held at one time, in MB."""

    driver_anonymous: float = 0.0
    driver: float = 0.0
    """Private."""
    reader_anonymous: float = 0.0
    reader: float = 0.0
    """Private, with the part of the file that is mapped."""
    worker: float = 0.0
    """Private, of the largest worker."""
    together: float = 0.0


NAMES = tuple(one.name for one in fields(Sample))


@dataclass(slots=True)
class Watched:
    """Samples of a process and its children, from entry to exit."""

    process: psutil.Process
    sample_s: float = SAMPLE_S
    samples: list[tuple[float, Sample]] = field(default_factory=list)
    """With the time of each, in seconds since 1970."""
    _used: dict[tuple[int, float], float] = field(default_factory=dict)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def processor_s(self) -> float:
        """What all of them took of the processors."""
        return sum(self._used.values())

    def _watch(self) -> None:
        while not self._done.wait(self.sample_s):
            # One of them may have ended meanwhile.
            with suppress(psutil.Error, OSError):
                self.samples.append((time.time(), self._look()))

    def _look(self) -> Sample:
        held = dict.fromkeys(NAMES, 0.0)
        for one in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.Error, OSError):
                anonymous, private, shared_out = _read_rollup(one.pid)
                times = one.cpu_times()
                self._used[one.pid, one.create_time()] = times.user + times.system
                held["together"] += shared_out
                if one.pid == self.process.pid:
                    held |= {"driver": private, "driver_anonymous": anonymous}
                else:
                    kind = "reader" if READER in one.cmdline() else "worker"
                    held[kind] = max(held[kind], private)
                    if kind == "reader":
                        held["reader_anonymous"] = anonymous
        return Sample(**held)


def find_peak(samples: list[Sample]) -> Sample:
    """Return the most of each."""
    return Sample(*(max((getattr(one, name) for one in samples), default=0.0) for name in NAMES))


def _read_rollup(process: int) -> tuple[float, float, float]:
    """Return anonymous, private and proportional memory of a process, in MB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kb = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    private = kb["Private_Clean"] + kb["Private_Dirty"]
    return kb["Anonymous"] * 1.024e-3, private * 1.024e-3, kb["Pss"] * 1.024e-3


def watch_command(
    *arguments: str, end: Callable[[], bool] = lambda: False, sample_s: float = SAMPLE_S
) -> tuple[Watched, float]:
    """Run a command of hotscan; return its memory and its wall time.

    Parameters
    ----------
    end
        Says when it is to be killed (SIGKILL).

    Raises
    ------
    SystemExit
        When it fails.
    """
    started = time.perf_counter()
    command = [sys.executable, "-m", "pipeline.cli.app", *arguments]
    with (
        psutil.Popen(command, stdout=subprocess.DEVNULL) as process,
        Watched(process, sample_s) as watched,
    ):
        while process.poll() is None:
            time.sleep(LOOK_S)
            if end():
                children = process.children(recursive=True)
                process.kill()
                psutil.wait_procs(children, timeout=60)  # they notice that nobody is there
                return watched, time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return watched, time.perf_counter() - started


def scanned(
    layout: Path, *arguments: str, workers: int, out: Path | None = None, kill_in: str = ""
) -> dict[str, Any]:
    """Scan, and return the metrics of the scan, its wall time and its memory.

    Parameters
    ----------
    out
        The run directory, to keep it; a temporary one by default.
    kill_in
        A stage in the middle of which the driver is killed; then the scan is resumed.
    """
    with TemporaryDirectory() as folder:
        run = Run(out or Path(folder, "run"))
        of_session = ("--workers", str(workers), "--quiet", "--verbose")
        scan = ("scan", str(layout), "--out", str(run.path), *arguments, *of_session)
        parts = [watch_command(*scan, end=lambda: bool(kill_in) and _is_half_done(run, kill_in))]
        if kill_in:
            parts.append(watch_command("resume", str(run.path), *of_session))
        metrics: dict[str, Any] = json.loads((run.report / "metrics.json").read_text())
        disk = sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file()) / 1e6
        samples = [one for watched, _ in parts for one in watched.samples]
        by_stage = find_peaks(samples, read_stage_starts(run.log))
    most = find_peak([one for _, one in samples])
    return metrics | {
        "wall_s": sum(wall_s for _, wall_s in parts),
        "processor_s": sum(watched.processor_s for watched, _ in parts),
        "by_stage": by_stage, "memory": most, "driver_mb": most.driver_anonymous,
        "worker_mb": most.worker, "together_mb": most.together, "disk_mb": disk,
    }  # fmt: skip


def _is_half_done(run: Run, stage: str) -> bool:
    """Return whether a run has half of the units of a stage."""
    if not run.log.exists():
        return False
    with run.log.open("rb") as log:
        log.seek(max(0, run.log.stat().st_size - 4096))
        found = re.findall(rf" {stage}: (\d+)/(\d+) ".encode(), log.read())
    return bool(found) and 2 * int(found[-1][0]) >= int(found[-1][1])


def read_stage_starts(log: Path) -> list[tuple[float, str]]:
    """Return when each stage of a run began, in all its sessions, from ``hotscan.log``."""
    begun = re.compile(r"([-\d]+ [:,\d]+) INFO (\w+): \d+ of \d+ \w+ done")
    found = filter(None, map(begun.match, log.read_text().splitlines()))
    return [
        (datetime.strptime(one[1], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp(), one[2])
        for one in found
    ]


def find_peaks(
    samples: list[tuple[float, Sample]], starts: list[tuple[float, str]]
) -> dict[str, Sample]:
    """Return the most of each during each stage, what goes before the first one included."""
    held: dict[str, list[Sample]] = {}
    for at, sample in samples:
        stage = next((name for since, name in reversed(starts) if since <= at), "start")
        held.setdefault(stage, []).append(sample)
    return {stage: find_peak(some) for stage, some in held.items()}
