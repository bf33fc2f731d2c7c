"""Read integers, reals and strings of OASIS, compiled.

The cursor and the first fault are in the array of `Slot`s; after a fault, reads return zeros.
Source: SEMI P39, OASIS, section 7.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import UINT32_MAX, Bytes, Int64s
from stages.layout.oasis.grammar import INT32_MAX, Fault, Slot


@kernel
def fail(slots: Int64s, fault: int, value: int) -> None:
    """Record a fault, unless there was one before."""
    if slots[Slot.FAULT] == Fault.NONE:
        slots[Slot.FAULT], slots[Slot.VALUE] = fault, value


@kernel
def read_byte(data: Bytes, slots: Int64s) -> int:
    """Read one byte."""
    at = slots[Slot.AT]
    if at >= slots[Slot.END]:
        fail(slots, Fault.PAST_END, 0)
        return 0
    slots[Slot.AT] = at + 1
    return int(data[at])


@kernel
def read_unsigned(data: Bytes, slots: Int64s) -> int:
    """Read an unsigned integer of up to 63 bits, seven per byte, low bits first."""
    at, end = slots[Slot.AT], slots[Slot.END]
    value, shift = np.int64(0), 0
    while at < end:
        bits = np.int64(data[at])
        at += 1
        if shift < 63:
            value |= (bits & 127) << shift
        elif bits & 127:
            fail(slots, Fault.OVERFLOW, 0)
            return 0
        if bits < 128:
            slots[Slot.AT] = at
            return int(value)
        shift += 7
    fail(slots, Fault.PAST_END, 0)
    return 0


@kernel
def read_signed(data: Bytes, slots: Int64s) -> int:
    """Read a signed integer, whose lowest bit is the sign."""
    value = read_unsigned(data, slots)
    return int(-(value >> 1)) if value & 1 else int(value >> 1)


@kernel
def read_number(data: Bytes, slots: Int64s) -> int:
    """Read an unsigned integer of up to 32 bits: a layer, a width."""
    value = read_unsigned(data, slots)
    if value > UINT32_MAX:
        fail(slots, Fault.NUMBER, value)
        return 0
    return int(value)


@kernel
def scale_coordinate(slots: Int64s, value: int, grid: int) -> int:
    """Multiply a coordinate by a grid; the result must fit into 32 bits."""
    if grid != 0 and abs(value) > INT32_MAX // grid:
        fail(slots, Fault.COORDINATE, value)
        return 0
    return int(value * grid)


@kernel
def read_coordinate(data: Bytes, slots: Int64s) -> int:
    """Read a signed integer of up to 32 bits."""
    return int(scale_coordinate(slots, read_signed(data, slots), 1))


@kernel
def read_distance(data: Bytes, slots: Int64s, grid: int) -> int:
    """Read an unsigned integer of up to 31 bits, times a grid."""
    return int(scale_coordinate(slots, read_unsigned(data, slots), grid))


@kernel
def compute_step(which: int, size: int) -> tuple[int, int]:
    """Return a step to the east, north, west, south, north-east, -west, south-west or -east."""
    x = size * (which == 0 or which == 4 or which == 7)
    x -= size * (which == 2 or which == 5 or which == 6)
    y = size * (which == 1 or which == 4 or which == 5)
    y -= size * (which == 3 or which == 6 or which == 7)
    return int(x), int(y)


@kernel
def read_short_delta(data: Bytes, slots: Int64s, bits: int) -> tuple[int, int]:
    """Read a 2-delta or 3-delta: a direction of 2 or 3 bits, and a size."""
    value = read_unsigned(data, slots)
    size = scale_coordinate(slots, value >> bits, 1)
    step: tuple[int, int] = compute_step(value & ((1 << bits) - 1), size)
    return step


@kernel
def read_delta(data: Bytes, slots: Int64s, grid: int) -> tuple[int, int]:
    """Read a g-delta: one of eight directions and a size, or x and y."""
    value = read_unsigned(data, slots)
    if value & 1:
        x = scale_coordinate(slots, value >> 2, grid)
        y = scale_coordinate(slots, read_signed(data, slots), grid)
        return (-x if value & 2 else x), y
    step: tuple[int, int] = compute_step(
        (value >> 1) & 7, scale_coordinate(slots, value >> 4, grid)
    )
    return step


@kernel
def read_real(data: Bytes, slots: Int64s) -> float:
    """Read a real of any of the eight types."""
    kind = read_unsigned(data, slots)
    value = 0.0
    if kind < 2:
        value = float(read_unsigned(data, slots))
    elif kind < 4:
        below = read_unsigned(data, slots)
        value = 1.0 / below if below else np.nan
    elif kind < 6:
        above, below = read_unsigned(data, slots), read_unsigned(data, slots)
        value = above / below if below else np.nan
    elif kind < 8:
        size = 4 if kind == 6 else 8
        at = slots[Slot.AT]
        if at + size > slots[Slot.END]:
            fail(slots, Fault.PAST_END, 0)
            return 0.0
        slots[Slot.AT] = at + size
        raw = data[at : at + size].copy()
        return float(raw.view(np.float32)[0]) if kind == 6 else float(raw.view(np.float64)[0])
    if kind > 7 or np.isnan(value):
        fail(slots, Fault.REAL, kind)
        return 0.0
    return -value if kind & 1 else value


@kernel
def skip_string(data: Bytes, slots: Int64s) -> None:
    """Skip a string; its offset and length are left in the slots."""
    size = read_unsigned(data, slots)
    at = slots[Slot.AT]
    if size > slots[Slot.END] - at:
        fail(slots, Fault.PAST_END, 0)
        size = 0
    slots[Slot.PIECE], slots[Slot.PIECE_SIZE] = at, size
    slots[Slot.AT] = at + size


@kernel
def keep_string(data: Bytes, slots: Int64s, text: Bytes) -> Bytes:
    """Append the string skipped last to `text`; its offset there is left in the slots."""
    at, size, used = slots[Slot.PIECE], slots[Slot.PIECE_SIZE], slots[Slot.TEXT]
    if used + size > len(text):
        bigger = np.empty(2 * len(text) + size, np.uint8)
        bigger[:used] = text[:used]
        text = bigger
    text[used : used + size] = data[at : at + size]
    slots[Slot.PIECE], slots[Slot.TEXT] = used, used + size
    return text
