"""Copies of a small layout: where they lie, and the tables of scans of one and of two."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import gdstk
import numpy as np
import pytest

from benchmarks.speed import reticle
from pipeline.cli import app
from pipeline.layout.ingest import compute_sha256
from tests.benchmarks.conftest import Benchmark
from tests.benchmarks.speed.conftest import Commands
from tests.support.small_scan import TINY
from tests.support.tables import read_number, read_table


def test_each_copy_lies_elsewhere_within_a_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chip = gdstk.Library(precision=1e-9)
    chip.new_cell("CHIP").add(gdstk.rectangle((-0.3, 0.1), (5.2, 3.4), layer=68, datatype=20))
    chip.write_gds(tmp_path / "chip.gds")
    monkeypatch.setattr(reticle, "CHIP", tmp_path / "chip.gds")
    reticle.write_copies(tmp_path / "copies.gds", 7)
    (top,) = gdstk.read_gds(tmp_path / "copies.gds").top_level()
    boxes_dbu = np.array([
        np.round(1000 * np.ravel(copy.bounding_box())).astype(int) for copy in top.references
    ])  # fmt: skip
    assert len(boxes_dbu) == 7
    for axis in (0, 1):
        assert len(set(boxes_dbu[:, axis] % reticle.STEP_DBU)) == 7
    apart = (boxes_dbu[:, None, 2:] < boxes_dbu[None, :, :2]).any(axis=2)
    assert (apart | apart.T | np.eye(7, dtype=bool)).all()
    assert (np.ptp(boxes_dbu[:, :2], axis=0) > (4 * 5500, 3300)).all()  # five beside each other


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan in this process."""

    def run(command: list[str], *, check: bool, capture_output: bool) -> SimpleNamespace:
        assert check
        assert capture_output
        monkeypatch.setattr(sys, "argv", ["hotscan", *command[3:]])
        with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit, match=r"^0$"):
            app.main()
        return SimpleNamespace(stdout=said.getvalue())

    monkeypatch.setattr(reticle, "subprocess", SimpleNamespace(run=run))


def test_two_copies_have_other_pictures(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, commands: Commands, plans: None,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Nearly all clips of the chip are distinct: half of them were if both copies were alike."""
    monkeypatch.setattr(reticle, "CHIP", TINY)
    asked = ("--copies", 2, "--workers", 0, "--work", tmp_path, "--kill-in", "scores")
    printed = benchmark(reticle, *asked)
    run = tmp_path / "run2"
    assert [command[0] for command in commands] == ["scan", "resume"]
    assert commands[1][1] == str(run)
    (counted,) = [line.split(", ") for line in printed.splitlines() if " mm2, " in line]
    clips, patterns = (read_number(part.split()[0]) for part in counted[1:3])
    assert clips > 100
    assert 0.8 * clips < patterns <= clips
    assert "coverage 1" in counted
    assert counted[-1] == "killed in the middle of scores and resumed"
    assert compute_sha256(run / "hotspots.parquet") in printed
    rows = read_table(printed)
    memory = {row[0]: [read_number(cell) for cell in row[1:]] for row in rows if len(row) > 4
              and row[0] in ("scores", "any")}  # fmt: skip
    assert set(memory) == {"scores", "any"}
    assert memory["any"][1 + reticle.NAMES.index("driver")] > 50
    (estimate,) = [row for row in rows if len(row) == 4 and row[0] == "clips"]
    assert read_number(estimate[2]) == clips
    assert float(estimate[3]) < 1.5
