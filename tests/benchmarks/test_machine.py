"""The line that tells which machine measured a figure."""

from __future__ import annotations

import os
import platform

import torch

from benchmarks.machine import machine


def test_processor_cores_and_versions_are_named() -> None:
    parts = machine().split(", ")
    assert parts[0]
    assert parts[1:3] == [f"{os.cpu_count()} cores", f"Python {platform.python_version()}"]
    assert f"torch {torch.__version__.partition('+')[0]}" in machine()
