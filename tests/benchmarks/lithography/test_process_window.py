"""Shares of failing clips for two process windows: one square of the crowded sample."""

from __future__ import annotations

import re

import pytest

from benchmarks.lithography import process_window
from stages.lithography.process import load_process
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import CHECKOUT


def test_a_wider_window_fails_more_clips(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = ((0.01, 20.0, 0.6, 0.6), (0.08, 150.0, 0.75, 0.8))
    monkeypatch.setenv("HOTSCAN_DATA", str(CHECKOUT))
    monkeypatch.setattr(process_window, "CHIP", "sample_layouts/dense.gds.gz")
    monkeypatch.setattr(process_window, "WINDOWS", windows)
    monkeypatch.setattr(process_window, "SIDE_DBU", 6 * process_window.CORE_DBU)
    printed = benchmark(process_window, "--squares", 1)
    rows = re.findall(r"^\((.*)\)  (\d+) of (\d+) clips, [\d.]+%  (\{.*\})$", printed, re.MULTILINE)
    assert [tuple(map(float, row[0].split(","))) for row in rows] == list(windows)
    (narrow, clips), (wide, again) = ((int(row[1]), int(row[2])) for row in rows)
    assert narrow < wide <= clips == again <= 36


def test_a_variant_has_the_given_window_and_limits() -> None:
    found = process_window.variant(load_process("krf130"), 0.05, 120.0, 0.7, 0.75)
    corners = {corner.name: (corner.dose, corner.defocus_nm) for corner in found.corners}
    assert corners == {"nominal": (1.0, 0.0), "over": (1.05, 120.0), "under": (0.95, 120.0)}
    assert (found.limits.pinch_share, found.limits.space_share) == (0.7, 0.75)
