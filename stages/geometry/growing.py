"""Growable arrays, for kernels that do not know the size of their result in advance."""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Int64s


@kernel
def reserve_row(array: Int64s, used: int) -> Int64s:
    """Return `array` with a free row after the first `used`, copied to twice the rows if full."""
    if used < array.shape[0]:
        return array
    larger = np.empty((2 * array.shape[0], array.shape[1]), np.int64)
    copy_rows(larger, 0, array, 0, used)
    return larger


@kernel
def copy_rows(target: Int64s, at: int, source: Int64s, first: int, count: int) -> None:
    """Copy `count` rows of `source`, from its row `first`, to `target`, from its row `at`.

    An assignment would compile for seconds, as numba writes an error for unequal shapes.
    """
    for row in range(count):
        for column in range(source.shape[1]):
            target[at + row, column] = source[first + row, column]
