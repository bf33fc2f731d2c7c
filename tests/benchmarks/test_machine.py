"""The line that tells which machine measured a figure, and the seconds that work took."""

from __future__ import annotations

import multiprocessing
import os
import platform
import time

import torch

from benchmarks.machine import LOOK_S, machine, time_work


def test_processor_cores_and_versions_are_named() -> None:
    parts = machine().split(", ")
    assert parts[0]
    assert parts[1:3] == [f"{os.cpu_count()} cores", f"Python {platform.python_version()}"]
    assert f"torch {torch.__version__.partition('+')[0]}" in machine()


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_workers_time_counts_though_it_is_no_child_of_ours() -> None:
    def work(seconds: float) -> int | None:
        worker = multiprocessing.get_context("forkserver").Process(target=burn, args=(seconds,))
        worker.start()
        worker.join()
        return worker.exitcode

    # Starting a worker takes seconds too, more of them on a busy machine: the longer one is told
    # from the shorter one, whose start costs the same.
    work(0.0)
    done, short = time_work(lambda: work(0.0))
    _, long = time_work(lambda: work(3.0))
    assert done == 0
    assert long.processor_s >= 3.0 - 2 * LOOK_S
    assert long.processor_s > short.processor_s + 1.5
