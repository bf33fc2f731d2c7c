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
    def work() -> int | None:
        worker = multiprocessing.get_context("forkserver").Process(target=burn, args=(1.0,))
        worker.start()
        worker.join()
        return worker.exitcode

    done, spent = time_work(work)
    assert done == 0
    assert 1.0 - 2 * LOOK_S < spent.processor_s < 3.0
