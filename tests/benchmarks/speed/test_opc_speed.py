"""The table of speed, of one field of wires, beside this version itself."""

from __future__ import annotations

import pytest

from benchmarks.speed import opc_speed
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table


def test_both_versions_make_the_same_masks_where_they_are_the_same(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opc_speed.make_wires
    monkeypatch.setattr(
        opc_speed, "cut_chip", lambda layout, table, fields: made(table, 140, fields)
    )
    monkeypatch.setattr(opc_speed, "make_wires", lambda table, width, fields: made(table, 140, 1))
    printed = benchmark(opc_speed, "--before", opc_speed.ROOT, "--fields", 1, "--rounds", 1)
    _, *rows = read_table(printed)
    assert [row[1] for row in rows] == ["before", "this"] * 3
    assert rows[0][4:] == rows[1][4:], "errors and defects"
    assert read_number(rows[0][2]) > 0
