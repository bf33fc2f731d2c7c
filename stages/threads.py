"""The processors there are, and the threads that torch computes with on them.

in       how many
out      a context in which torch uses as many
promise  the number is as before afterwards
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def count_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS knows no affinity


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads on the CPU; results of sums depend on the number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
