"""The sorts of the kernels, against numpy's stable ones."""

from __future__ import annotations

import numpy as np
import pytest

from stages.geometry.growing import copy_rows
from stages.geometry.sorting import list_distinct, merge_sort, sort_keys


@pytest.mark.parametrize("size", [0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 1000])
@pytest.mark.parametrize("values", [0, 2, 10_000, 1 << 60])
def test_equal_keys_stay_in_order(size: int, values: int) -> None:
    keys = np.random.default_rng(size).integers(-values, values, size, endpoint=True)
    wanted = np.argsort(keys, kind="stable")
    assert np.array_equal(sort_keys(keys), wanted)
    assert np.array_equal(merge_sort(keys), wanted)
    assert np.array_equal(
        merge_sort(np.flip(keys) / 8), np.argsort(np.flip(keys) / 8, kind="stable")
    )
    assert np.array_equal(list_distinct(keys), np.unique(keys))


def test_rows_are_copied_where_they_are_asked_for() -> None:
    target, source = np.zeros((5, 3), np.int64), np.arange(12).reshape(4, 3)
    copy_rows(target, 1, source, 2, 2)
    assert target.tolist() == [[0, 0, 0], [6, 7, 8], [9, 10, 11], [0, 0, 0], [0, 0, 0]]
