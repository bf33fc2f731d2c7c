"""A recipe judged on clips that it did not learn from: a marked layout, networks of one step."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from benchmarks.detectors import cross_validation
from pipeline.datasets.store import load_dataset
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table


def test_every_training_clip_is_judged_once(benchmark: Benchmark, marked: Path) -> None:
    printed = benchmark(
        cross_validation, marked, "--parts", 2, "--set", "epochs=1", "steps=1", "batch=4"
    )
    counted = re.search(r"(\d+) hotspots, (\d+) others, (\d+) of them cores", printed)
    assert counted
    hotspots, others, cores = map(int, counted.groups())
    training = load_dataset(marked).subset("train")
    assert hotspots + others == len(np.unique(training.key, axis=0))
    assert 2 <= hotspots < others
    assert cores == 2
    _, row = read_table(printed)
    assert row[0] == "seed 0"
    for missed, area in (row[1:3], row[3:5]):
        falling = [int(one) for one in missed.split(" / ")]
        assert hotspots >= falling[0] >= falling[1] >= falling[2] >= 0
        assert 0 < read_number(area) <= 1


def test_misses_at_a_rate_and_the_area() -> None:
    hot = np.arange(1010) < 10
    odds = np.where(hot, 2.0, 0.0)
    odds[0] = 0.5
    odds[10:14] = 1.0, 1.0, 1.0, 3.0  # three false alarms above the weakest hotspot
    assert cross_validation.misses(odds, hot, ~hot).startswith("1 / 1 / 0 | 0.")


def test_values_are_json() -> None:
    found = cross_validation.values(['metric="none"', "epochs=2"])
    assert found == {"metric": "none", "epochs": 2}
