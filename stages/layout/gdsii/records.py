"""Read numbers, and compare points, in the records of a GDSII stream, compiled."""

from __future__ import annotations

import numpy as np

from stages.compiled import borrowing_kernel
from stages.contracts import Bytes

_ANY_OFFSET = 2**62 - 1
"""Bits of an offset. Masked, the compiler knows that it is not negative, so counted from the end,
and reads all bytes of a number at once."""


@borrowing_kernel
def read_u16(data: Bytes, at: int) -> int:
    """Read an unsigned big-endian integer of 2 bytes."""
    at &= _ANY_OFFSET
    return int(data[at]) << 8 | int(data[at + 1])


@borrowing_kernel
def read_i16(data: Bytes, at: int) -> int:
    """Read a signed big-endian integer of 2 bytes."""
    return int((read_u16(data, at) ^ 0x8000) - 0x8000)


@borrowing_kernel
def read_u32(data: Bytes, at: int) -> int:
    """Read an unsigned big-endian integer of 4 bytes."""
    at &= _ANY_OFFSET
    return (
        int(data[at]) << 24 | int(data[at + 1]) << 16 | int(data[at + 2]) << 8 | int(data[at + 3])
    )


@borrowing_kernel
def read_i32(data: Bytes, at: int) -> int:
    """Read a signed big-endian integer of 4 bytes."""
    return int((read_u32(data, at) ^ 0x80000000) - 0x80000000)


@borrowing_kernel
def read_point(data: Bytes, at: int) -> tuple[int, int]:
    """Read x and y, 4 bytes each."""
    return read_i32(data, at), read_i32(data, at + 4)


@borrowing_kernel
def read_real(data: Bytes, at: int) -> float:
    """Read a GDSII real: sign, exponent of 16 in excess of 64, mantissa of 56 bits below 1."""
    mantissa = 0.0
    for byte in range(at + 7, at, -1):
        mantissa = (mantissa + data[byte]) / 256.0
    sign = -1.0 if data[at] & 128 else 1.0
    return sign * mantissa * 16.0 ** (np.int64(data[at] & 127) - 64)


@borrowing_kernel
def is_same_point(data: Bytes, one: int, other: int) -> bool:
    """Return whether two places hold the same x and y."""
    same_x = read_i32(data, one) == read_i32(data, other)
    return bool(same_x and read_i32(data, one + 4) == read_i32(data, other + 4))


@borrowing_kernel
def is_on_line(data: Bytes, before: int, last: int, first: int) -> bool:
    """Return whether the last point lies in line with its neighbours, so does not matter."""
    u_x, u_y = (
        read_i32(data, last) - read_i32(data, before),
        read_i32(data, last + 4) - read_i32(data, before + 4),
    )
    v_x, v_y = (
        read_i32(data, first) - read_i32(data, last),
        read_i32(data, first + 4) - read_i32(data, last + 4),
    )
    return bool(float(u_x) * v_y == float(u_y) * v_x)


@borrowing_kernel
def is_off_grid(data: Bytes, colrow: int, origin: int) -> bool:
    """Return whether the step of an AREF, at `origin`, is no whole number of dbu."""
    for axis in range(2):
        far, copies = origin + 8 * (axis + 1), max(read_i16(data, colrow + 2 * axis), 1)
        for offset in (0, 4):
            if (read_i32(data, far + offset) - read_i32(data, origin + offset)) % copies:
                return True
    return False


@borrowing_kernel
def find_span(data: Bytes, begin: int, end: int) -> int:
    """Return the extent of points in x or in y, whichever is larger."""
    x_0, y_0, x_1, y_1 = 2**31, 2**31, -(2**31), -(2**31)
    for at in range(begin, end, 8):
        x, y = read_i32(data, at), read_i32(data, at + 4)
        x_0, y_0, x_1, y_1 = min(x, x_0), min(y, y_0), max(x, x_1), max(y, y_1)
    return max(x_1 - x_0, y_1 - y_0, 0)


@borrowing_kernel
def find_end(data: Bytes, at: int) -> int:
    """Return the end of a record, given the offset of its data."""
    return int(at - 4 + read_u16(data, at - 4))
