"""What the benchmark of the optics draws and compares; its timing is run by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed.optics import covered, small_clips, strips
from stages.contracts import Box
from stages.lithography.optics.fields import make_lattice
from tests.support.optical import KRF


def test_pixels_hold_the_covered_share() -> None:
    rects = np.array([[0, 0, 3, 2], [10, 8, 30, 9], [8000, 8100, 8192, 8192]], float)
    mask = covered(rects, 4)
    assert mask.max() == 1
    np.testing.assert_allclose(mask[:3, :9], [
        [6 / 16, 0, 0, 0, 0, 0, 0, 0, 0], [0] * 9, [0, 0, 2 / 16, 4 / 16, 4 / 16, 4 / 16, 4 / 16,
        2 / 16, 0],
    ])  # fmt: skip
    area = ((rects[:, 2] - rects[:, 0]) * (rects[:, 3] - rects[:, 1])).sum()
    np.testing.assert_allclose(mask.sum() * 16, area)


def test_strips_cover_the_region_once_and_end_where_fields_do() -> None:
    region, core = Box(-5000, 1234, 80_000, 61_234), make_lattice(KRF, 1.0).core_dbu
    parts = strips(region, KRF, 1.0)
    assert [part.y_min for part in parts[1:]] == [part.y_max for part in parts[:-1]]
    assert (parts[0].y_min, parts[-1].y_max) == (region.y_min, region.y_max)
    assert all(part.y_min % core == 0 for part in parts[1:])
    assert {(part.x_min, part.x_max) for part in parts} == {(region.x_min, region.x_max)}


def test_small_clips_are_timed(
    shared_data: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shared_data("litho/iccad13_socs_kernels.npz").parents[1]
    monkeypatch.setenv("HOTSCAN_DATA", str(folder))
    small_clips(1, 1)
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "x" in line]
    ours_ms, plain_ms = (float(row[3].replace(",", "")) for row in rows[:2])
    assert 0 < ours_ms < plain_ms / 10
