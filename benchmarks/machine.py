"""The machine that a figure was measured on, and the time that its processors took."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
from datetime import UTC, datetime
from pathlib import Path


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


def read_processor_s() -> float:
    """Return the time that this process and its workers, once they ended, spent on processors."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))
