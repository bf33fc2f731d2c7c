"""Symmetries of the square, applied to pictures."""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Int64s

SYMMETRIES = {8: np.arange(8), 4: np.arange(4), 1: np.arange(1)}
"""Which of the eight symmetries of the square a process allows: bit 0 flips columns, bit 1 flips
rows, bit 2 exchanges them afterwards. A source with equal x and y allows all eight, a dipole
the four that do not exchange x and y."""


def invert_symmetry(symmetry: int) -> int:
    """Return the symmetry that undoes one, of the eight of `SYMMETRIES`.

    Examples
    --------
    >>> [invert_symmetry(symmetry) for symmetry in range(8)]
    [0, 1, 2, 3, 4, 6, 5, 7]
    """
    return symmetry if not symmetry & 4 else 4 | (symmetry & 1) << 1 | (symmetry & 2) >> 1


@kernel
def _find_source(symmetry: int, row: int, column: int, size: int) -> tuple[int, int]:
    """Return the row and column of the original that a pixel of the turned picture comes from."""
    if symmetry & 4:
        row, column = column, row
    if symmetry & 2:
        row = size - 1 - row
    if symmetry & 1:
        column = size - 1 - column
    return row, column


@kernel
def _precedes(picture: Bytes, symmetry: int, best: int) -> bool:
    """Return whether `symmetry` makes the picture come before `best` in byte order."""
    layers, size = picture.shape[0], picture.shape[1]
    for layer in range(layers):
        for row in range(size):
            for column in range(size):
                i, j = _find_source(symmetry, row, column, size)
                k, m = _find_source(best, row, column, size)
                if picture[layer, i, j] != picture[layer, k, m]:
                    return picture[layer, i, j] < picture[layer, k, m]
    return False


@kernel
def canonicalize_pictures(pictures: Bytes, symmetries: Int64s) -> Bytes:
    """Turn each picture to the one of its `symmetries` that comes first in byte order.

    A symmetry is three bits: 1 flips columns, 2 flips rows, 4 exchanges them afterwards.
    """
    turned = np.empty_like(pictures)
    layers, size = pictures.shape[1], pictures.shape[2]
    for n in range(pictures.shape[0]):
        best = 0
        for symmetry in symmetries[1:]:
            if _precedes(pictures[n], symmetry, best):
                best = symmetry
        for layer in range(layers):
            for row in range(size):
                for column in range(size):
                    i, j = _find_source(best, row, column, size)
                    turned[n, layer, row, column] = pictures[n, layer, i, j]
    return turned
