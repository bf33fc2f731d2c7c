"""The benchmark of reading, on a layout of the samples."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.speed import reading


def test_both_readers_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reading, "ProcessPoolExecutor", lambda n, _: ThreadPoolExecutor(n))
    reading.compare(Path("sample_layouts", "tiny.gds"), 2)
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()]
    assert [row[1].strip() for row in rows] == ["gds", "gds"]
    assert [row[3].strip() for row in rows] == ["3", "3"]  # layers
    assert all(float(value) >= 0 for row in rows for value in row[4:8])
    assert all(float(row[8]) > 0 for row in rows)
