"""What a process holds of memory, and what it does with the memory that it frees.

A network takes and frees megabytes at every layer. Given back to the system and taken again, they
cost as much in page faults as the arithmetic itself (docs/decisions/0005).
"""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path

KEPT_BYTES = 256 << 20
"""Freed memory up to this size stays with a worker."""

KEPT_LEARNING_BYTES = 2**31 - 1
"""The same for training, which frees a gigabyte at every step; the largest that glibc takes."""

MAPPED_BYTES = 32 << 20
"""Blocks of this size or more are mapped from the system; the largest that glibc takes."""

GARBAGE = 20_000
"""New objects after which garbage is looked for; Python's 700 cost an eighth of a small scan."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def own_mb(process: int | str = "self") -> float:
    """Return the memory that a process holds for itself, in MB, so without files that it maps.

    Where the system does not report it, the peak of this process.
    """
    status = Path(f"/proc/{process}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024 / 1e6
    return peak_rss_mb() * (1 << 20) / 1e6


def peak_rss_mb() -> float:
    """Return the most memory that this process has ever held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # macOS counts bytes


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where its C library supports it."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_LEARNING_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)


def look_for_garbage_seldom() -> None:
    """Let this process, and those that are forked from it, look for garbage after `GARBAGE`."""
    gc.set_threshold(GARBAGE, 20, 20)
