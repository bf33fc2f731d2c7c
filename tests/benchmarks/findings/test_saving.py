"""Full simulation beside scan and confirm: a corner of the crowded sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gdstk
import pytest

from benchmarks.findings import saving
from sample_layouts.vias import PITCH
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import CHECKOUT
from tests.support.tables import read_number, read_table


def test_shares_follow_from_the_counts(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOTSCAN_DATA", str(CHECKOUT))
    monkeypatch.setattr(saving, "CHIP", "sample_layouts/dense.gds.gz")
    case = replace(saving.CASES["krf130"], source=saving.Strip((45.0, 45.0), 11.0))
    monkeypatch.setitem(saving.CASES, "krf130", case)
    asked = ("--case", "krf130", "--area", 121e-6, "--work", tmp_path, "--workers", 0)
    found, certified = (
        {name: value for name, value, *_ in read_table(table)}
        for table in benchmark(saving, *asked, "--certify").split("| certified | |")
    )
    clips, flagged = (read_number(found[name].split()[0]) for name in ("clips", "flagged"))
    fails = read_number(found["surely fail, by full simulation"].split()[0])
    assert 0 < fails < clips <= 81
    assert fails * 0.99 <= flagged <= clips
    assert 0 < read_number(found["windows simulated"]) <= 81
    assert read_number(found["recall of the scan, before confirming"].rstrip("%")) >= 99
    assert read_number(found["recall of what surely fails"].rstrip("%")) > 90
    assert read_number(found["sure false alarms after confirming"]) == 0
    low, true = (
        read_number(certified[name]) for name in ("recall at least", "recall with the marginal")
    )
    assert certified["certified"] == str(low >= saving.RECALL - 0.02)
    assert 0 < true < 1  # a fifth of so few clips holds few that fail


def test_fewer_groups_leave_the_vias_on_their_tracks(tmp_path: Path) -> None:
    def count(groups: float) -> tuple[int, int]:
        layout, _ = saving.ViaSquare(groups).make(144e-6, tmp_path)
        (cell,) = gdstk.read_gds(layout).cells
        corners = [via.bounding_box()[0] for via in cell.polygons]
        off = sum(round(1000 * value) % PITCH > 0 for corner in corners for value in corner)
        return off, len(corners)

    (off, all_), (none, others) = count(1.0), count(0.0)
    assert off > 20
    assert none == 0
    assert others > all_ / 2
