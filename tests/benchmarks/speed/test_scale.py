"""How a scan grows: the tables, from scans in this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed import scale
from pipeline.cli import app
from stages.contracts import Box
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import DENSE, TINY, SmallScan
from tests.support.tables import read_number, read_table

ROI = ("--roi", "50,50,56,56")
MEASURED = ("wall_s", "driver_mb", "worker_mb", "together_mb", "disk_mb")


@pytest.fixture
def scanned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_scan: SmallScan
) -> list[dict[str, Any]]:
    """Scan in this process, with a small network and little area; list what was measured."""
    rows: list[dict[str, Any]] = []

    def scan(layout: Path, *arguments: str, workers: int) -> dict[str, Any]:
        out = tmp_path / str(len(rows))
        roi = () if "--roi" in arguments or layout != DENSE else ROI
        command = ["scan", layout, "--out", out, "--workers", 0, "--quiet", *roi, *arguments]
        if "--model" not in arguments:
            command += ["--model", small_scan.model]
        monkeypatch.setattr(sys, "argv", ["hotscan", *map(str, command)])
        with pytest.raises(SystemExit, match=r"^0$"):
            app.main()
        metrics = json.loads((out / "report" / "metrics.json").read_text())
        rows.append(dict.fromkeys(MEASURED, 1.0 + len(rows)) | metrics)
        return rows[-1]

    monkeypatch.setattr(scale, "scanned", scan)
    monkeypatch.setattr(scale, "CHIP", DENSE)
    return rows


def test_areas_are_strips_of_the_chip(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, scanned: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(scale, "CHIP_UM", (50.0, 50.0, 56.0, 56.0))
    monkeypatch.setattr(scale, "AREAS_MM2", (18e-6, 99.0))
    printed = benchmark(scale, "area")
    _, *rows = read_table(printed)
    assert [read_number(row[1]) for row in rows] == [one["clips"] for one in scanned]
    assert [one["area_um2"] for one in scanned] == [18.0, 36.0]  # no more than there is
    monkeypatch.undo()
    option, strip = scale.roi(1.0)
    x_0, y_0, x_1, y_1 = map(float, strip.split(","))
    assert option == "--roi"
    assert (x_1 - x_0) * (y_1 - y_0) == pytest.approx(1e6, rel=1e-3)


def test_repeated_cells_add_clips_but_no_patterns(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, scanned: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(scale, "ARRAYS", ((2, 2), (3, 4)))
    _, few, many = read_table(benchmark(scale, "repeat"))
    assert (few[0], many[0]) == ("4", "12")
    assert read_number(many[1]) > 2 * read_number(few[1]) > 0
    assert [read_number(row[2]) for row in (few, many)] == [one["patterns"] for one in scanned]


def test_three_layers_are_scanned_at_once(
    benchmark: Benchmark, scanned: list[dict[str, Any]]
) -> None:
    _, row = read_table(benchmark(scale, "layers"))
    assert row[0] == "li1, met1, met2 of the whole chip"
    assert read_number(row[2]) == scanned[0]["clips"] > 0


def test_tiles_are_drawn_each_way(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, scanned: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(scale, "AREA", Box(51_200, 51_200, 61_440, 61_440))
    monkeypatch.setattr(scale, "TILE_DBU", 5120)
    monkeypatch.setattr(scale, "TILES", slice(0, 2))
    monkeypatch.setattr(scale, "CHIP_UM", (50.0, 50.0, 54.0, 54.0))
    _, small, large = read_table(benchmark(scale, "drawing"))
    assert (small[0], large[0]) == ("64 x 64", "128 x 128")
    assert read_number(small[1]) > read_number(large[1]) > 0
    assert min(read_number(cell) for cell in (*small[2:], *large[2:])) > 0
    monkeypatch.setattr(scale, "WORKERS", (1, 2))
    monkeypatch.setattr(scale, "LOADING_S", 0.0)
    _, one, two = read_table(benchmark(scale, "workers"))
    assert (one[0], two[0]) == ("1", "2")
    assert one[4:8] == ["1.00"] * 4
    assert two[4] == "0.50"  # of 1 s and 2 s, as `scanned` says
    assert min(read_number(cell) for cell in two[5:8]) > 0
    assert len(scanned) == 2


def test_estimates_stand_beside_what_a_scan_takes(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, scanned: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(scale, "PLANNED", ((TINY, "68/20"),))
    _, *rows = read_table(benchmark(scale, "plan"))
    assert [row[1] for row in rows] == ["clips", "patterns", "seconds", "worker MB", "disk MB"]
    clips = next(row for row in rows if row[1] == "clips")
    assert read_number(clips[3]) == scanned[0]["clips"] > 0
