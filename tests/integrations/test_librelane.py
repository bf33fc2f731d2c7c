"""The LibreLane plugin, by the real LibreLane in an environment of its own.

``make integrations`` makes the environment; HOTSCAN_LIBRELANE names its Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PLUGIN = CHECKOUT / "integrations" / "librelane"
TINY = CHECKOUT / "sample_layouts" / "tiny.gds"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `librelane_session.py` saw."""
    python = os.environ.get("HOTSCAN_LIBRELANE")
    if not python:
        pytest.skip("HOTSCAN_LIBRELANE does not name a Python with LibreLane: make integrations")
    folder = tmp_path_factory.mktemp("librelane")
    program = Path(sys.executable).with_name("hotscan")
    script = Path(__file__).with_name("librelane_session.py")
    done = subprocess.run(
        [python, str(script), str(TINY), "tiny", str(program), str(folder)],
        capture_output=True, text=True, timeout=300, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PLUGIN)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "folder": folder}


def test_librelane_finds_the_plugin(session: dict[str, Any]) -> None:
    assert "librelane_plugin_hotscan" in session["plugins"]


def test_the_metrics_are_those_of_the_run(session: dict[str, Any]) -> None:
    said = json.loads((session["folder"] / "1-scan/run/report/metrics.json").read_text())
    metrics = session["metrics"]
    assert metrics["hotscan__hotspot__count"] == said["hotspots"] > 0
    assert metrics["hotscan__coverage"] == 1
    levels = [metrics[f"hotscan__hotspot__count__level:{level}"] for level in (1, 2, 3)]
    assert sum(levels) == said["hotspots"]


def test_the_checker_gates(session: dict[str, Any]) -> None:
    assert session["few"] == "DeferredStepError"
    assert session["many"] == "passes"


def test_a_scan_without_a_verdict_ends_the_flow(session: dict[str, Any]) -> None:
    assert session["no such layer"] == "StepError"
