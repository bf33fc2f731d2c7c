"""Number the names in a stream, compiled: a chip has half a million references."""

from __future__ import annotations

import numpy as np

from stages.compiled import borrowing_kernel
from stages.contracts import Bytes, Int64s
from stages.layout.gdsii.records import read_u32


def number_names(data: Bytes, names: Int64s) -> Int64s:
    """Return the number of each distinct name, in order of first appearance.

    Names are compared without the NUL that pads them to an even length.

    Parameters
    ----------
    data
        (n,) bytes.
    names
        (m, 2) offset and length of each name.
    """
    slots = 1 << (2 * len(names) + 1).bit_length()
    numbers = np.empty(len(names), np.int64)
    _number_names(data, names, np.full(slots, -1, np.int64), numbers)
    return numbers


@borrowing_kernel
def _number_names(data: Bytes, names: Int64s, first: Int64s, numbers: Int64s) -> None:
    """Fill the numbers of names; `first` has, by hash, the first name of each number, or -1."""
    known = 0
    for name in range(len(names)):
        at, size = names[name, 0], measure_name(data, names[name, 0], names[name, 1])
        slot = _hash(data, at, size) & (len(first) - 1)
        while first[slot] >= 0:
            other, other_size = names[first[slot], 0], names[first[slot], 1]
            if measure_name(data, other, other_size) == size and _is_same(data, at, other, size):
                break
            slot = (slot + 1) & (len(first) - 1)
        if first[slot] < 0:
            first[slot], numbers[name] = name, known
            known += 1
        numbers[name] = numbers[first[slot]]


@borrowing_kernel
def measure_name(data: Bytes, at: int, size: int) -> int:
    """Return the length of a name without its NUL padding."""
    while size > 0 and data[at + size - 1] == 0:
        size -= 1
    return size


@borrowing_kernel
def _hash(data: Bytes, at: int, size: int) -> int:
    """Return a 32-bit hash of a name, FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo, 1991) by 4 bytes."""
    value, words = np.int64(2166136261), at + size // 4 * 4
    for word in range(at, words, 4):
        value = ((value ^ read_u32(data, word)) * 16777619) & 0xFFFFFFFF
        value ^= value >> 15
    for byte in range(words, at + size):
        value = ((value ^ np.int64(data[byte])) * 16777619) & 0xFFFFFFFF
    return int(value)


@borrowing_kernel
def _is_same(data: Bytes, one: int, other: int, size: int) -> bool:
    at = 0
    while at + 4 <= size and read_u32(data, one + at) == read_u32(data, other + at):
        at += 4
    while at < size and data[one + at] == data[other + at]:
        at += 1
    return at == size
