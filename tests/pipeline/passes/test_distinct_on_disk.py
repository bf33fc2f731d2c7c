"""Clips tallied in ranges and strips, against all of them at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.passes.distinct_on_disk import tally_on_disk
from stages.patterns import find_distinct


@pytest.mark.parametrize("rows_in_memory", [1, 3, 60, 10_000])
@pytest.mark.parametrize("parts", [1, 7])
@pytest.mark.parametrize("columns", [1, 20, 400])
def test_a_divided_tally_is_that_of_all_at_once(
    rows_in_memory: int, parts: int, columns: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(parts)
    keys = rng.integers(0, 256, (180, 16)).astype(np.uint8)[rng.integers(0, 180, 400)]
    place = rng.permutation(400)
    x, y = place % columns, place // columns
    found, order = find_distinct(keys, x, y), np.array_split(np.arange(400), parts)
    rows = ((keys[part], x[part], y[part]) for part in order)
    tally = tally_on_disk(rows, 400, tmp_path, rows_in_memory=rows_in_memory)
    strips = list(tally.read_strips())
    assert len(tally) == len(found.first)
    for name, wanted in (
        ("key", keys[found.first]),
        ("count", found.count),
        ("x_dbu", x[found.first]),
        ("y_dbu", y[found.first]),
    ):
        joined = np.concatenate([getattr(strip, name) for strip in strips])
        np.testing.assert_array_equal(joined, wanted)


def test_strips_are_small(tmp_path: Path) -> None:
    """No strip holds more than what is held at once, and a sample of each range."""
    n = 20_000
    keys = np.random.default_rng(0).integers(0, 256, (n, 16)).astype(np.uint8)
    tally = tally_on_disk([(keys, np.arange(n), np.arange(n))], n, tmp_path, rows_in_memory=2048)
    assert len(tally.ranges) == 10
    assert max(len(strip) for strip in tally.read_strips()) <= 2048 + 10 * 256


def test_nothing_is_tallied(tmp_path: Path) -> None:
    tally = tally_on_disk([], 0, tmp_path)
    assert len(tally) == sum(map(len, tally.read_strips())) == 0
