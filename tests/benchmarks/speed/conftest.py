"""Commands that benchmarks of speed give to a process of their own, run in the test's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import psutil
import pytest

from benchmarks.speed import scan_process
from benchmarks.speed.scan_process import Watched
from pipeline.cli import app
from tests.support.small_scan import SmallScan

Commands = list[tuple[str, ...]]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, small_scan: SmallScan) -> Commands:
    """Watch commands in this process, with a small network; list what they were."""
    given: Commands = []

    def watch(
        *arguments: str, end: Callable[[], bool] = bool, sample_s: float = 0.01
    ) -> tuple[Watched, float]:
        given.append(arguments)
        started = time.perf_counter()
        model = ("--model", str(small_scan.model)) if arguments[0] == "scan" else ()
        monkeypatch.setattr(sys, "argv", ["hotscan", *arguments, *model])
        with Watched(psutil.Process(), 0.01) as watched, pytest.raises(SystemExit, match=r"^0$"):
            app.main()
        return watched, time.perf_counter() - started

    for module in (scan_process, "benchmarks.speed.large_file"):
        monkeypatch.setattr(f"{getattr(module, '__name__', module)}.watch_command", watch)
    return given
