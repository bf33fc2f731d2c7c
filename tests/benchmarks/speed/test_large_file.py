"""A file of many chips: what is in it, and the commands that are watched."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import gdstk
import numpy as np
import pytest

from benchmarks.speed import large_file
from tests.benchmarks.conftest import Benchmark
from tests.benchmarks.speed.conftest import Commands
from tests.support.small_scan import TINY
from tests.support.tables import read_number, read_table


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    packed = tmp_path / "chip.gds.gz"
    packed.write_bytes(gzip.compress(TINY.read_bytes()))
    monkeypatch.setattr(large_file, "CHIP", packed)
    return packed


def test_every_chip_has_cells_of_its_own(chip: Path, tmp_path: Path) -> None:
    large_file.write_chips(chip, tmp_path / "chips.gds", 7)
    one, seven = gdstk.read_gds(TINY), gdstk.read_gds(tmp_path / "chips.gds")
    (top,) = seven.top_level()
    assert len(seven.cells) == 7 * len(one.cells) + 1
    assert len(top.references) == len({each.cell.name for each in top.references}) == 7

    def count(cell: gdstk.Cell) -> Counter[tuple[int, int]]:
        return Counter((each.layer, each.datatype) for each in cell.get_polygons())

    (only,) = one.top_level()
    assert count(top) == {layer: 7 * number for layer, number in count(only).items()}
    places = [each.origin for each in top.references]
    pitch_um = large_file.PITCH_DBU / 1000
    np.testing.assert_allclose(places[4:], [(4 * pitch_um, 0), (0, pitch_um), (pitch_um, pitch_um)])


def test_both_commands_are_measured(
    benchmark: Benchmark, commands: Commands, chip: Path, tmp_path: Path
) -> None:
    _, info, layout = read_table(benchmark(large_file, "--chips", 2, "--work", tmp_path))
    file = tmp_path / "chips2.gds"
    assert [command[:2] for command in commands] == [("info", str(file)), ("scan", str(file))]
    assert [info[0], layout[0]] == ["`hotscan info`", "layout pass, 68/20"]
    assert read_number(info[1]) == pytest.approx(file.stat().st_size / 1e6, abs=1)
    assert read_number(layout[6]) > 50  # of this process
