"""Every setting of OPC on one clip of the crowded sample: none is worse than drawn."""

from __future__ import annotations

import pytest

from benchmarks.lithography import opc_settings
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import DENSE
from tests.support.tables import read_number, read_table


def test_no_setting_is_worse_than_drawn(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opc_settings, "LAYOUTS", ((DENSE, "68/20", "krf130"),))
    monkeypatch.setattr(opc_settings, "SETTINGS", ((0.6, 8), (1.0, 1), (0.001, 1)))
    _, drawn, *rows = read_table(benchmark(opc_settings, "--clips", 1))
    assert [read_number(row[3]) for row in rows] == [0, 0, 0]
    assert read_number(rows[0][4]) < read_number(drawn[4]) * 0.6
    assert read_number(rows[2][4]) == read_number(drawn[4]), "a gain too small is not used"
