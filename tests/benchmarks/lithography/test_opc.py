"""What OPC does: one failing clip and one random clip of the crowded sample, and the figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lithography import opc
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import DENSE
from tests.support.tables import read_number, read_table


def test_corrected_edges_are_nearer_to_the_target(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(opc, "SQUARE_DBU", 6000)
    monkeypatch.setattr(opc, "CLIP_DBU", 1280)
    monkeypatch.setattr(opc, "IMAGES", tmp_path)
    _, *rows = read_table(benchmark(opc, DENSE, "--clips", 1, "--figures"))
    assert [row[:2] for row in rows] == [
        [clips, how]
        for clips in ("1 that fail as drawn", "1 random")
        for how in ("as drawn", "corrected")
    ]
    drawn, corrected = rows[:2]
    assert 0 < read_number(corrected[2]) < read_number(drawn[2])
    assert read_number(drawn[5]) > 0
    assert (tmp_path / "opc.png").stat().st_size > 5000
