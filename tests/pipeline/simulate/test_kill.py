"""Killed while they simulate, `label`, `simulate` and `scan` resume to the same bytes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.faults.small_runs import SmallRuns, make_small_runs
from tests.support.small_scan import DENSE, Hotscan, SmallScan

ROI = "94,94,106,106"  # four tiles meet at 100,100


@dataclass(frozen=True)
class Command:
    """What is killed: how it is called, where it works, and what it must come to."""

    arguments: Callable[[Path, SmallRuns], list[str]]
    work: Callable[[Path], Path]
    stage: str
    answers: Callable[[Path], list[Path]]


def _confirm(out: Path, quick: SmallRuns) -> list[str]:
    settings = out.with_suffix(".toml")
    settings.write_text("[confirm]\nbatch_windows = 16\n[scores]\nthreshold = 0.0\n")
    roi = ",".join(str(v) for v in (60, 60, 74, 74))
    return [
        "scan", str(DENSE), "--layer", "68/20", "--roi", roi, "--model", str(quick.model),
        "--confirm", "--config", str(settings),
    ]  # fmt: skip


def _certify(out: Path, quick: SmallRuns) -> list[str]:
    settings = out.with_suffix(".toml")
    settings.write_text("[confirm]\nbatch_windows = 8\n")
    return [
        "scan", str(DENSE), "--layer", "68/20", "--roi", "60,60,74,74", "--model", str(quick.model),
        "--certify", "0.9", "--within", "0.3", "--budget", "1.0", "--config", str(settings),
    ]  # fmt: skip


COMMANDS = {
    "label": Command(
        lambda out, quick: [
            "label", str(DENSE), "--layer", "68/20", "--roi", ROI, "--process", str(quick.process)
        ],
        lambda out: out.with_name("out.work"), "defects", lambda out: sorted(out.rglob("*")),
    ),
    "simulate": Command(
        lambda out, quick: [
            "simulate", str(DENSE), "--layer", "68/20", "--roi", ROI, "--opc", "model",
            "--process", str(quick.process),
        ],
        lambda out: out, "mask",
        lambda out: [out / "defects.csv", out / "defects.parquet", out / "simulation.gds"],
    ),
    "confirm": Command(
        _confirm, lambda out: out, "confirm",
        lambda out: [out / "hotspots.parquet", out / "report" / "hotspots.csv",
                     *sorted((out / "confirm").iterdir())],
    ),
    "certify": Command(
        _certify, lambda out: out, "audit",
        lambda out: [out / "certify" / "clips.parquet", out / "hotspots.parquet"],
    ),
}  # fmt: skip


def rows(ledger: Path, stage: str) -> int:
    """How many units of a stage a ledger in use holds."""
    try:
        with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as db:
            found = db.execute("SELECT count(*) FROM units WHERE stage = ?", (stage,))
            return int(found.fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.fixture(scope="module")
def quick(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> SmallRuns:
    """A process of one corner: nothing depends on their number here."""
    return make_small_runs(tmp_path_factory.mktemp("quick"), small_scan.model)


@pytest.mark.parametrize(
    "name",  # `label` is `simulate` with a dataset at its end; a loop is stopped quickly elsewhere
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("label", "certify") else ())
        for name in COMMANDS
    ],
)
def test_killed_simulation_goes_on_to_the_same_bytes(
    name: str, quick: SmallRuns, hotscan: Hotscan, tmp_path: Path
) -> None:
    """Only what is killed is a process of its own, with a worker of its own."""
    command = COMMANDS[name]

    def line(folder: str, workers: str) -> list[str]:
        out = tmp_path / folder / "out"
        out.parent.mkdir(exist_ok=True)
        arguments = command.arguments(out, quick)
        return [*arguments, "--out", str(out), "--workers", workers, "--quiet"]

    assert hotscan(*line("whole", "0")).code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli.app", *line("killed", "1")], stdout=subprocess.DEVNULL
    )
    out = tmp_path / "killed" / "out"
    ledger = command.work(out) / "ledger.sqlite"
    while rows(ledger, command.stage) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9, "the command ended before it was killed"
    finished = rows(ledger, command.stage)
    assert finished >= 2
    with sqlite3.connect(ledger) as db:
        before = db.execute("SELECT unit, seconds FROM units WHERE stage = ?", (command.stage,))
        kept = set(before.fetchall())
    assert hotscan(*line("killed", "0")).code == 0
    if ledger.exists():
        with sqlite3.connect(ledger) as db:
            after = db.execute("SELECT unit, seconds FROM units WHERE stage = ?", (command.stage,))
            assert kept <= set(after.fetchall()), "what was finished ran again"
    whole = tmp_path / "whole" / "out"
    answers = [path.relative_to(whole) for path in command.answers(whole) if path.is_file()]
    assert answers
    for answer in answers:
        assert (out / answer).read_bytes() == (whole / answer).read_bytes(), answer
