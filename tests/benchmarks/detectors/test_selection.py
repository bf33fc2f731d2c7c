"""What labels are worth: three ways of choosing from a labelled corner, trained for one step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detectors import selection
from pipeline.datasets.store import load_dataset
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table


def test_each_way_of_choosing_is_measured(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, labelled: Path, tmp_path: Path
) -> None:
    (tmp_path / "train").symlink_to(labelled)
    (tmp_path / "test").symlink_to(labelled)
    monkeypatch.setattr(selection, "TRAINING", {"epochs": 1, "steps": 1, "batch": 4})
    monkeypatch.setattr(selection, "SEEDS", (0, 1))
    start, more = 40, 5
    printed = benchmark(selection, "--work", tmp_path, "--start", start, "--more", more)
    assert printed.startswith("40 random patterns, then 5 more.")
    _, first, chosen, random = read_table(printed)
    hotspots = load_dataset(labelled).counts()[0] > 0
    expected = [
        [np.random.default_rng(seed).permutation(len(hotspots))[:count] for seed in (0, 1)]
        for count in (start, start + more)
    ]
    for row, which in ((first, expected[0]), (random, expected[1])):
        mean = np.mean([hotspots[some].sum() for some in which])
        assert read_number(row[1].split()[0]) == pytest.approx(mean, abs=0.5)
    assert read_number(chosen[1].split()[0]) >= read_number(first[1].split()[0])
    for row in (first, chosen, random):
        assert 0 < read_number(row[2].split()[0]) <= 1
