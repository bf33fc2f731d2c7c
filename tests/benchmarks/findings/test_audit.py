"""Audits by look-up: a corner of the crowded sample, simulated in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.findings import audit
from stages.audit.draw import STRATA
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import CHECKOUT
from tests.support.tables import read_number, read_table


def test_what_is_drawn_is_looked_up(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOTSCAN_DATA", str(CHECKOUT))
    corner = audit.Area("sample_layouts/dense.gds.gz", (45.0, 45.0, 56.0, 56.0))
    monkeypatch.setattr(audit, "AREAS", {"corner": corner})
    monkeypatch.setattr(audit, "SEARCHED", 4)
    given = ("--work", tmp_path, "--audits", 20, "--share", 0.4, "--workers", 0)
    _, confirmed, sampled = read_table(benchmark(audit, *given))
    for row, flagged in ((confirmed, "known"), (sampled, "sampled")):
        clips, hotspots = read_number(row[1]), read_number(row[2])
        assert 0 < hotspots < clips <= 81
        assert row[4] == flagged
        assert read_number(row[5]) == round(0.4 * clips)
        assert read_number(row[6].split()[0]) >= 18
        assert 0 < read_number(row[8]) <= read_number(row[7]) * 1.05


def test_the_best_allocation_is_better_than_a_bad_one() -> None:
    sizes, hot, bad = np.zeros((3, len(STRATA)), np.int64)
    sizes[:2], hot[:2], bad[:2] = (4000, 100), (0, 40), (99, 1)
    width = audit._average_width(sizes, hot, 100, tuple(bad.tolist()))
    best = audit.find_best_width(sizes, hot, bad, 100)
    assert best < 0.9 * width
