"""Memory that is freed stays with the process: taken again, it costs no page faults."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline.engine import memory

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


@pytest.mark.parametrize(("platform", "counted_in"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_told_in_mib_whatever_the_system_counts_in(
    monkeypatch: pytest.MonkeyPatch, platform: str, counted_in: int
) -> None:
    usage = SimpleNamespace(ru_maxrss=(300 << 20) // counted_in)
    monkeypatch.setattr(memory.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(memory.sys, "platform", platform)
    assert memory.peak_rss_mb() == 300


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell the peak")
def test_what_a_process_holds_for_itself_is_told_in_mb() -> None:
    # In a process of its own: one that has worked holds what it freed, and takes that first.
    lines = (
        "from pipeline.engine.memory import own_mb", "import os", "before = own_mb()",
        "held = b'1' * 100_000_000", "print(own_mb() - before)",
        "del held", "print(own_mb() - before)", "print(own_mb(os.getpid()) - own_mb())",
    )  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True
    )
    held, freed, by_number = map(float, said.stdout.split())
    assert 95 < held < 130
    assert freed < 30
    assert abs(by_number) < 10
