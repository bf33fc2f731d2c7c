"""How many defects the sampling covers: a labelled corner of the crowded sample."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from benchmarks.findings import sampling
from stages.contracts import Clips
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import DENSE


def test_defects_are_counted_by_kind(benchmark: Benchmark, labelled: Path) -> None:
    printed = benchmark(sampling, labelled, DENSE)
    counted = re.search(r"defects: ([\d,]+), covered ([\d.]+)%", printed)
    kinds = re.findall(r"^  [\w ]+: ([\d,]+), covered ([\d.]+)%", printed, re.MULTILINE)
    assert counted
    defects, covered = int(counted[1]), float(counted[2])
    assert defects == sum(int(count) for count, _ in kinds) > 10
    weighted = sum(int(count) * float(share) for count, share in kinds) / defects
    assert abs(weighted - covered) < 0.01
    assert 50 < covered <= 100


def test_a_core_covers_what_lies_in_it_half_open() -> None:
    at = np.array([100, 300])
    sites = Clips(at, at, np.zeros(2, np.uint8))
    x = np.array([80, 119, 120, 100, 310, 100])
    y = np.array([80, 100, 100, 120, 290, 300])
    expected = [True, True, False, False, True, False]
    np.testing.assert_array_equal(sampling.is_covered(x, y, sites, 40), expected)
