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
def _find_steps(symmetry: int, size: int) -> tuple[int, int, int]:
    """Return the place of the turned first pixel, and the steps to the next row and column.

    All in pixels of the original, row by row.
    """
    first, down, right = 0, size, 1
    if symmetry & 1:
        first, right = first + size - 1, -1
    if symmetry & 2:
        first, down = first + size * (size - 1), -size
    return (first, right, down) if symmetry & 4 else (first, down, right)


@kernel
def _precedes(picture: Bytes, symmetry: int, best: int) -> bool:
    """Return whether `symmetry` makes the picture come before `best` in byte order."""
    layers, size = picture.shape[0], picture.shape[1]
    first, down, right = _find_steps(symmetry, size)
    best_first, best_down, best_right = _find_steps(best, size)
    pixels = picture.reshape(picture.size)
    for layer in range(layers):
        start = layer * size * size
        for row in range(size):
            i, k = start + first + row * down, start + best_first + row * best_down
            for _ in range(size):
                one, other = pixels[np.uint64(i)], pixels[np.uint64(k)]
                if one != other:
                    return one < other
                i, k = i + right, k + best_right
    return False


@kernel
def _turn(picture: Bytes, symmetry: int, turned: Bytes) -> None:
    """Fill one layer of `turned`."""
    size = np.uint64(len(picture))
    last = size - np.uint64(1)
    for row in range(size):
        source = picture[last - row if symmetry & 2 else row]
        if symmetry & 4:
            for column in range(size):
                turned[last - column if symmetry & 1 else column, row] = source[column]
        elif symmetry & 1:
            for column in range(size):
                turned[row, column] = source[last - column]
        else:
            for column in range(size):
                turned[row, column] = source[column]


@kernel
def canonicalize_pictures(pictures: Bytes, symmetries: Int64s) -> Bytes:
    """Turn each picture to the one of its `symmetries` that comes first in byte order.

    A symmetry is three bits: 1 flips columns, 2 flips rows, 4 exchanges them afterwards. Places
    of pixels are unsigned: only then are several moved at once, as none may count from the end.
    """
    turned = np.empty_like(pictures)
    for n in range(pictures.shape[0]):
        best = 0
        for symmetry in symmetries[1:]:
            if _precedes(pictures[n], symmetry, best):
                best = symmetry
        for layer in range(pictures.shape[1]):
            _turn(pictures[n, layer], best, turned[n, layer])
    return turned
