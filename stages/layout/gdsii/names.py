"""Number the names in a stream, compiled: a chip has half a million references."""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Int64s


@kernel
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
    slots = 2
    while slots < 2 * len(names) + 2:
        slots *= 2
    first, number = np.full(slots, -1, np.int64), np.empty(slots, np.int64)  # open addressing
    found, known = np.empty(len(names), np.int64), 0
    for name in range(len(names)):
        at, size = names[name, 0], measure_name(data, names[name, 0], names[name, 1])
        slot = _hash(data, at, size) % slots
        while first[slot] >= 0:
            other, other_size = names[first[slot], 0], names[first[slot], 1]
            if measure_name(data, other, other_size) == size and _is_same(data, at, other, size):
                break
            slot = (slot + 1) % slots
        if first[slot] < 0:
            first[slot], number[slot] = name, known
            known += 1
        found[name] = number[slot]
    return found


@kernel
def measure_name(data: Bytes, at: int, size: int) -> int:
    """Return the length of a name without its NUL padding."""
    while size > 0 and data[at + size - 1] == 0:
        size -= 1
    return size


@kernel
def _hash(data: Bytes, at: int, size: int) -> int:
    """Return the 32-bit FNV-1a hash of a name (G. Fowler, L. C. Noll, K.-P. Vo, 1991)."""
    value = np.int64(2166136261)
    for byte in range(at, at + size):
        value = ((value ^ np.int64(data[byte])) * 16777619) & 0xFFFFFFFF
    return int(value)


@kernel
def _is_same(data: Bytes, one: int, other: int, size: int) -> bool:
    byte = 0
    while byte < size and data[one + byte] == data[other + byte]:
        byte += 1
    return byte == size
