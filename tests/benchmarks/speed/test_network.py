"""Speed of the networks: every rate of one table row, on 16 clips."""

from __future__ import annotations

import pytest

from benchmarks.speed import network
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table


def test_all_rates_of_a_size_are_printed(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "SIDES_PX", (64,))
    monkeypatch.setattr(network, "MATRIX", 256)
    printed = benchmark(network, "--processes", 1, "--clips", 16)  # the ensemble gets one
    header, row = read_table(printed)
    assert row[0] == "64 x 64"
    assert len(row) == len(header) == 7
    prefilter, single, gflops, *_ = map(read_number, row[1:])
    assert min(prefilter, single) > 0
    flops = network.flops(64)
    assert abs(gflops * 1e9 - single * flops) <= 0.5e9 + 0.5 * flops  # both are rounded


def test_work_grows_with_the_area_of_a_clip() -> None:
    assert 3.5 < network.flops(128) / network.flops(64) < 4.5
