"""A scan in a process of its own, killed and resumed, and what is read off it."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

import pytest

from benchmarks.speed import scan_process
from benchmarks.speed.scan_process import Sample, find_peaks, scanned
from pipeline.engine.storage.run_directory import Run
from tests.support.small_scan import TINY


def test_a_scan_is_watched_from_outside_killed_and_resumed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is killed between its first tile and its last, of a hundred."""
    config = tmp_path / "small.toml"
    config.write_text("[tiles]\nsize_um = 1.28\n")
    asked = ("--layer", "68/20", "--roi", "0,0,12,12", "--config", str(config))
    monkeypatch.setattr(scan_process, "LOOK_S", 0.002)
    monkeypatch.setattr(scan_process, "SAMPLE_S", 0.2)
    row = scanned(TINY, *asked, workers=0, out=tmp_path / "run", kill_in="clips")
    began = re.findall(r"INFO clips: (\d+) of (\d+)", Run(tmp_path / "run").log.read_text())
    first, second = (int(done) for done, _ in began)
    assert first == 0 < second
    assert int(began[0][1]) / 2 <= second < int(began[0][1])
    assert row["clips"] > 0
    assert row["coverage_fraction"] == 1
    assert row["wall_s"] > row["seconds_clips"] > 0
    assert 50 < row["driver_mb"] < 10_000  # torch alone takes more
    assert row["together_mb"] > 50
    assert 0 < row["disk_mb"] < 100


@pytest.mark.parametrize(
    ("last", "half"),
    [("", False), ("scores: 3/8 {}", False), ("scores: 4/8 {}", True), ("clips: 8/8 {}", False)],
)
def test_a_stage_is_half_done_when_half_of_its_units_are(
    last: str, half: bool, tmp_path: Path
) -> None:
    run = Run(tmp_path)
    assert not scan_process._is_half_done(run, "scores")
    before = "2026-11-27 09:00:00,000 DEBUG scores: 1/8 {'clips': 4}"
    run.log.write_text(f"{before}\n2026-11-27 09:00:01,000 DEBUG {last}\n")
    assert scan_process._is_half_done(run, "scores") == half


def test_memory_is_told_stage_by_stage_over_all_sessions(tmp_path: Path) -> None:
    log = tmp_path / "hotscan.log"
    log.write_text(
        "2026-11-27 09:00:10,000 INFO clips: 0 of 9 tiles done\n"
        "2026-11-27 09:00:11,000 DEBUG clips: 1/9 {}\n"
        "2026-11-27 09:00:20,000 INFO scores: 0 of 4 shards done\n"
        "2026-11-27 09:00:30,000 INFO clips: 9 of 9 tiles done\n"
    )
    starts = scan_process.read_stage_starts(log)
    assert [stage for _, stage in starts] == ["clips", "scores", "clips"]
    at = starts[0][0]
    samples = [(at + after, Sample(driver=mb)) for after, mb in
               ((-1, 9.0), (0, 1.0), (5, 3.0), (11, 7.0), (15, 2.0), (21, 4.0))]  # fmt: skip
    peaks = find_peaks(samples, starts)
    assert {stage: most.driver for stage, most in peaks.items()} == {
        "start": 9.0, "clips": 4.0, "scores": 7.0,
    }  # fmt: skip


def test_a_process_counts_what_it_holds_for_itself() -> None:
    anonymous, private, _ = scan_process._read_rollup(os.getpid())
    # Not by malloc, which may have as much left over from other tests.
    held = mmap.mmap(-1, 100_000_000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held[::4096] = b"1" * len(range(0, len(held), 4096))
    grown = scan_process._read_rollup(os.getpid())
    assert 95 < grown[0] - anonymous < 130
    assert 95 < grown[1] - private < 130
