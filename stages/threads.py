"""The threads that torch computes with on the CPU.

in       how many
out      a context in which torch uses as many
promise  the number is as before afterwards
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads on the CPU; results of sums depend on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
