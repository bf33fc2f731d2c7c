"""Sorting, for kernels: numba compiles its own sorts again in every kernel that calls them.

in: keys · out: the order that sorts them, or the distinct ones, sorted
unit: an array · promise: equal keys stay in the order that they were in
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Floats, Int64s

_RUN = 16
"""Keys that are sorted by insertion, before runs are merged."""
_FEW = 64
"""Keys that are sorted sooner by merging than by their digits."""
_DIGIT_BITS = 8


@kernel
def sort_keys(keys: Int64s) -> Int64s:
    """Return the order that sorts whole numbers, of which no two are 2**63 apart.

    Many are sorted digit by digit, the lowest first: several times as fast as merging.

    Examples
    --------
    >>> sort_keys(np.array([3, 1, 3, 2])).tolist()
    [1, 3, 0, 2]
    """
    n = len(keys)
    if n <= _FEW:
        return merge_sort(keys)
    low, span, shift = keys.min(), keys.max() - keys.min(), 0
    order, spare = np.arange(n), np.empty(n, np.int64)
    start = np.empty((1 << _DIGIT_BITS) + 1, np.int64)
    while shift < 64 and span >> shift:
        start[:] = 0
        for i in range(n):
            start[((keys[i] - low) >> shift & (1 << _DIGIT_BITS) - 1) + 1] += 1
        for digit in range(1 << _DIGIT_BITS):
            start[digit + 1] += start[digit]
        for place in order:
            digit = (keys[place] - low) >> shift & (1 << _DIGIT_BITS) - 1
            spare[start[digit]] = place
            start[digit] += 1
        order, spare = spare, order
        shift += _DIGIT_BITS
    return order


@kernel
def merge_sort(keys: Int64s | Floats) -> Int64s:
    """Return the order that sorts keys, fractions or not: runs are merged, from the bottom up."""
    n = len(keys)
    order, spare = np.empty(n, np.int64), np.empty(n, np.int64)
    for first in range(0, n, _RUN):
        for i in range(first, min(first + _RUN, n)):
            k = i
            while k > first and keys[order[k - 1]] > keys[i]:
                order[k] = order[k - 1]
                k -= 1
            order[k] = i
    width = _RUN
    while width < n:
        for first in range(0, n, 2 * width):
            middle, end = min(first + width, n), min(first + 2 * width, n)
            i, j = first, middle
            for k in range(first, end):
                if i < middle and (j == end or keys[order[i]] <= keys[order[j]]):
                    spare[k] = order[i]
                    i += 1
                else:
                    spare[k] = order[j]
                    j += 1
        order, spare = spare, order
        width *= 2
    return order


@kernel
def list_distinct(values: Int64s) -> Int64s:
    """Return the distinct ones of `values`, sorted.

    Examples
    --------
    >>> list_distinct(np.array([5, 1, 5, -2])).tolist()
    [-2, 1, 5]
    """
    distinct, count = np.empty(len(values), np.int64), 0
    for i in sort_keys(values):
        if count == 0 or distinct[count - 1] != values[i]:
            distinct[count] = values[i]
            count += 1
    return distinct[:count]
