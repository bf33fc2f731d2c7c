"""A scan on a disk that is too small: it says so, and resumes where it was when there is room."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.layout import ingest
from stages.errors import IncompleteError
from tests.support import readings
from tests.support.small_scan import Hotscan

Resize = Callable[[int], None]


@pytest.fixture(autouse=True)
def samples_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full for the reader, too."""
    monkeypatch.setattr(ingest, "_read", readings.read)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Resize]]:
    """A file system of its own, and what changes its size in kB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size_kb: int, *more: str) -> int:
        options = ",".join((*more, f"size={size_kb}k"))
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    if mount(100):
        pytest.skip("needs a file system of its own: tmpfs cannot be mounted here")
    yield folder, lambda size_kb: assert_done(mount(size_kb, "remount"))
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a layout is mapped still


def assert_done(code: int) -> None:
    assert code == 0


@pytest.mark.parametrize("size_kb", [4, 40, 100, 300, 600])
def test_a_scan_that_does_not_fit_says_so(
    size_kb: int, disk: tuple[Path, Resize], scan: Hotscan, hotscan: Hotscan
) -> None:
    folder, resize = disk
    resize(size_kb)
    ended = scan("--out", folder / "run")
    assert ended.code in (2, 3, 4), ended.err
    assert "fault of hotscan" not in ended.err
    assert "No space left" in ended.err or "disk is full" in ended.err or "failed" in ended.out
    resize(20_000)
    ended = scan("--out", folder / "run")
    assert ended.code == 0, ended.err
    assert hotscan("report", folder / "run").code == 0


def test_a_full_disk_loses_no_row_of_the_ledger(disk: tuple[Path, Resize]) -> None:
    folder, resize = disk
    resize(400)
    path = folder / "ledger.sqlite"
    outcome = UnitOutcome("clips", "t", Status.DONE, {"clips": 3}, "ab12" * 100, 1.5)
    recorded = []

    def record_until_full(ledger: Ledger) -> None:
        for number in range(10_000):
            ledger.record(replace(outcome, unit=f"t{number}"))
            recorded.append(number)

    with (
        Ledger(path) as ledger,
        pytest.raises(IncompleteError, match=r"ledger\.sqlite cannot be used \(.*full\); free"),
    ):
        record_until_full(ledger)
    assert len(recorded) > 10
    resize(2000)
    with Ledger(path) as ledger:
        assert len(ledger.finished("clips")) == len(recorded)
        ledger.record(outcome)
    assert sqlite3.connect(path).execute("PRAGMA quick_check").fetchone() == ("ok",)
