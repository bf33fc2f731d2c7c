"""The machine that a figure was measured on, and the time that its processors took."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

LOOK_S = 0.2
"""What a process used after it was last looked at, before it ended, is not counted."""


def machine() -> str:
    """Return processor, cores, versions and date."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("hotscan", "torch", "numpy")
    )
    today = datetime.now(UTC).date().isoformat()
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}, {today}"
    )


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of work took."""

    wall_s: float
    processor_s: float
    """Of this process and all that it started, looked at every `LOOK_S`."""


def time_work(work: Callable[[], Any]) -> tuple[Any, Spent]:
    """Return what some work returns, and what it took.

    A worker's time counts too, though it is no child of ours: what starts the workers, is.
    """
    own, used = psutil.Process(), dict[tuple[int, float], float]()

    def look() -> None:
        for each in (own, *own.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                used[each.pid, each.create_time()] = times.user + times.system

    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_S):
            look()

    look()
    before, wall = sum(used.values()), time.monotonic()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        done = work()
    finally:
        ended.set()
        watcher.join()
    look()
    return done, Spent(time.monotonic() - wall, sum(used.values()) - before)
