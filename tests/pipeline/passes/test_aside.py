"""Kernels are compiled in a second process where those of scoring are missing, else nowhere."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from pipeline.passes import aside
from pipeline.passes.aside import compile_aside
from pipeline.passes.model_file import ModelFile

WRITE = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"


@pytest.mark.parametrize(
    ("missing", "processors", "is_compiled", "starts"),
    [
        (True, {0, 1}, True, True),
        (False, {0, 1}, True, False),
        (True, {0}, True, False),
        (True, {0, 1}, False, False),
    ],
)
def test_a_process_starts_where_it_helps(
    missing: bool, processors: set[int], is_compiled: bool, starts: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(aside, "has_kernels", lambda file: not missing)
    monkeypatch.setattr(aside, "_CHILD", [sys.executable, "-c", WRITE])
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: processors)
    written = tmp_path / "written"
    with compile_aside(ModelFile(written, "digest"), is_compiled):
        end = time.monotonic() + 10
        while starts and _read(written) != "digest" and time.monotonic() < end:
            time.sleep(0.01)
        assert _read(written) == ("digest" if starts else "")


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_the_process_ends_with_the_scan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = []
    popen = aside.subprocess.Popen
    monkeypatch.setattr(aside, "has_kernels", lambda file: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(aside, "_CHILD", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(
        aside.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    with pytest.raises(KeyboardInterrupt), compile_aside(ModelFile(tmp_path, ""), True):
        raise KeyboardInterrupt
    assert started[0].poll() is not None
