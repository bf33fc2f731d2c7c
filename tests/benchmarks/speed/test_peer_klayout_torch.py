"""Beside a KLayout script: a corner of the crowded sample, the two agreeing clip by clip."""

from __future__ import annotations

import re

import pytest

from benchmarks.speed import peer_klayout_torch as peer
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table


def test_ratios_follow_from_the_seconds(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "WARM_UM", (50.0, 50.0, 53.0, 53.0))
    printed = benchmark(peer, "--roi", 50, 50, 60, 60, "--clips", 20, "--workers", 0)
    assert re.search(r"scores of \d+ clips within", printed)
    rows = {row[0]: row for row in read_table(printed)[1:]}
    assert list(rows) == [
        "hotscan, everything on", "without the prefilter", "without sharing", "with neither",
        "KLayout + torch script",
    ]  # fmt: skip
    ours, script = rows["hotscan, everything on"], rows["KLayout + torch script"]
    assert script[1] == "1"
    assert all(read_number(row[3]) >= 0 for row in rows.values())
    assert "reading" in script[4]
    clips = re.search(r"([\d,]+) clips, ([\d,]+) patterns", printed)
    assert clips
    assert 0 < int(clips[2]) <= int(clips[1]) <= 64
    # Rounded to whole clips a second and tenths of a second.
    low, high = ((read_number(ours[2]) + d) * (read_number(ours[3]) + d / 10) for d in (-0.5, 0.5))
    assert low <= int(clips[1]) <= high
