"""Memory that is freed stays with the process: taken again, it costs no page faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TAKEN_AND_FREED = """
import resource
import numpy as np
from pipeline.engine.memory import keep_freed_memory

if {kept}:
    keep_freed_memory()
def step():
    return [np.ones(1 << 20) for _ in range(20)]  # 8 MiB each, as a network's layers take
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept: bool) -> int:
    script = TAKEN_AND_FREED.format(kept=kept)
    # Dask leaves settings of its workers in the environment of the process that starts them.
    clean = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=clean
    )
    return int(ended.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no mallopt")
def test_what_is_freed_is_kept() -> None:
    assert faults(kept=True) * 10 < faults(kept=False)
