"""Walk over the records of a GDSII stream, compiled: a chip of 238 MB takes about a second.

What a fault is, and what it is called, stands in `stages.layout.gdsii_check`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from stages.compiled import gil_free_kernel, kernel
from stages.contracts import Bytes, Int64s
from stages.layout.gdsii_grammar import (
    DATA_BYTES,
    DATA_TYPE,
    MAY_FOLLOW,
    MUST_HAVE,
    NEXT_STATE,
    TAIL,
    Record,
    State,
)


class Fault(IntEnum):
    """What makes a stream unreadable."""

    NONE, SHORT, PAST_END, UNKNOWN, DATA_TYPE, SIZE, ORDER, TWICE, LACKING = range(9)
    UNITS_TWICE, UNITS_ZERO, NO_UNITS, POINTS, COLROW, MAG, PATHTYPE, WILD, NO_ENDLIB = range(9, 18)


class Note(IntEnum):
    """What is put right, or is harmless; the first four are cut out of the stream."""

    NODE, CORNERS, POINT, WIDTH, UNCLOSED, ABSOLUTE, OFF_GRID = range(7)


class Slot(IntEnum):
    """What a walk remembers between records."""

    AT, STATE, SEEN, START, VALUE, LIMIT, CUT, NAMES, CUTS, COLROW, FAULT, ENDED = range(12)


SLOTS = len(Slot)
NOTES = len(Note)


Walk = tuple[Int64s, float, Int64s, Int64s, Int64s]
"""What a walk knows so far: the slots; the database unit in m; the names as (offset, bytes, byte of
the element that refers, -1 for a structure's own); the cuts as (begin, end, note); for each note
how often and where first."""


def begun() -> Walk:
    """Return the walk of a stream of which nothing has been seen."""
    slots = np.zeros(SLOTS, np.int64)
    slots[Slot.CUT] = -1
    names, cuts = np.empty((1024, 3), np.int64), np.empty((16, 3), np.int64)
    return slots, 0.0, names, cuts, np.zeros((NOTES, 2), np.int64)


@gil_free_kernel
def walk(data: Bytes, whole: bool, extent_mm: float, known: Walk) -> Walk:
    """Go on through the records, up to ENDLIB or the first fault.

    `data` begins where the stream does. Where it is not yet the `whole` of it, a record of which
    the end is missing is left for the next call, and is no fault.
    """
    slots, dbu_m, names, cuts, notes = known
    at, fault, ended = slots[Slot.AT], slots[Slot.FAULT], slots[Slot.ENDED]
    while fault == Fault.NONE and not ended:
        if not whole and (at + 4 > len(data) or at + u16(data, at) > len(data)):
            break
        slots[Slot.AT] = at
        fault = _check_frame(data, slots)
        if fault != Fault.NONE:
            break
        code, end = data[at + 2], at + u16(data, at)
        state_before = slots[Slot.STATE]
        fault = _advance(code, slots)
        if fault != Fault.NONE:
            break
        if code == Record.XY:
            fault = _check_points(data, end, state_before, slots, notes)
            if fault != Fault.NONE:
                slots[Slot.STATE] = state_before
        elif code == Record.UNITS:
            fault, dbu_m = _read_units(data, extent_mm, slots)
        elif code == Record.STRNAME or code == Record.SNAME:
            owner = -1 if code == Record.STRNAME else slots[Slot.START]
            names = _put(names, slots, Slot.NAMES, at + 4, end - at - 4, owner)
        elif code == Record.ENDEL:
            if slots[Slot.CUT] >= 0:
                _count(notes, slots[Slot.CUT], slots[Slot.START])
                cuts = _put(cuts, slots, Slot.CUTS, slots[Slot.START], end, slots[Slot.CUT])
        else:
            fault = _check_value(data, code, slots, notes)
        at, ended = end, code == Record.ENDLIB
    if fault == Fault.NONE:
        slots[Slot.AT] = at
    slots[Slot.FAULT], slots[Slot.ENDED] = fault, ended
    return slots, dbu_m, names, cuts, notes


@kernel
def _check_frame(data: Bytes, slots: Int64s) -> int:
    at = slots[Slot.AT]
    if at + 4 > len(data):
        return Fault.NO_ENDLIB
    size, code = u16(data, at), data[at + 2]
    slots[Slot.VALUE] = size
    if size < 4:
        return Fault.SHORT
    if DATA_TYPE[code] == 255:
        return Fault.UNKNOWN
    if DATA_TYPE[code] != data[at + 3]:
        slots[Slot.VALUE] = data[at + 3]
        return Fault.DATA_TYPE
    if at + size > len(data):
        return Fault.PAST_END
    wanted = DATA_BYTES[code]
    slots[Slot.VALUE] = size - 4
    if (wanted >= 0 and size - 4 != wanted) or (wanted == -8 and (size - 4) % 8):
        return Fault.SIZE
    return Fault.NONE


@kernel
def _advance(code: int, slots: Int64s) -> int:
    state, bit = slots[Slot.STATE], np.int64(1) << code
    if not MAY_FOLLOW[state, code]:
        return Fault.ORDER
    if code == Record.BGNSTR and slots[Slot.LIMIT] == 0:
        return Fault.NO_UNITS
    if State.BOUNDARY <= state <= State.BOX and slots[Slot.SEEN] & bit:
        return Fault.TWICE
    if code == Record.XY and MUST_HAVE[state] & ~slots[Slot.SEEN]:
        return Fault.LACKING
    if (
        code == Record.ENDEL
        and state == State.TEXT + TAIL
        and not slots[Slot.SEEN] & (np.int64(1) << Record.STRING)
    ):
        return Fault.LACKING
    slots[Slot.SEEN] |= bit
    if code == Record.XY:
        slots[Slot.STATE] = state + TAIL
    elif NEXT_STATE[code] >= 0:
        if NEXT_STATE[code] >= State.BOUNDARY:
            slots[Slot.START], slots[Slot.SEEN], slots[Slot.CUT] = slots[Slot.AT], 0, -1
        slots[Slot.STATE] = NEXT_STATE[code]
    return Fault.NONE


@kernel
def _check_points(data: Bytes, end: int, state: int, slots: Int64s, notes: Int64s) -> int:
    begin = slots[Slot.AT] + 4
    count = (end - begin) // 8
    slots[Slot.VALUE] = count
    if (state == State.AREF and count != 3) or (state == State.SREF and count != 1):
        return Fault.POINTS
    if state == State.NODE:
        slots[Slot.CUT] = Note.NODE
    elif state == State.PATH and not slots[Slot.SEEN] & (np.int64(1) << Record.WIDTH):
        slots[Slot.CUT] = Note.WIDTH
    elif state == State.PATH and count < 2:
        slots[Slot.CUT] = Note.POINT
    elif state == State.BOUNDARY or state == State.BOX:
        corners = count - 1 if count > 1 and same_point(data, begin, end - 8) else count
        if corners < 3:
            slots[Slot.CUT] = Note.CORNERS
        elif corners == count and not _on_line(data, end - 16, end - 8, begin):
            _count(notes, Note.UNCLOSED, slots[Slot.START])
    elif state == State.AREF and _off_grid(data, slots[Slot.COLROW], begin):
        _count(notes, Note.OFF_GRID, slots[Slot.START])
    elif count == 0:
        return Fault.POINTS
    slots[Slot.VALUE] = max(_span(data, begin, end), _span(data, begin + 4, end))
    return Fault.WILD if slots[Slot.VALUE] > slots[Slot.LIMIT] else Fault.NONE


@kernel
def _check_value(data: Bytes, code: int, slots: Int64s, notes: Int64s) -> int:
    at = slots[Slot.AT] + 4
    if code == Record.COLROW:
        slots[Slot.COLROW] = at
        slots[Slot.VALUE] = min(i16(data, at), i16(data, at + 2))
        return Fault.COLROW if slots[Slot.VALUE] < 1 else Fault.NONE
    if code == Record.PATHTYPE:
        kind = i16(data, at)
        slots[Slot.VALUE] = kind
        return Fault.PATHTYPE if kind < 0 or kind > 4 or kind == 3 else Fault.NONE
    if code == Record.MAG:
        return Fault.MAG if not real(data, at) > 0 else Fault.NONE
    if code == Record.WIDTH or code == Record.BGNEXTN or code == Record.ENDEXTN:
        slots[Slot.VALUE] = abs(i32(data, at))
        return Fault.WILD if slots[Slot.VALUE] > slots[Slot.LIMIT] else Fault.NONE
    if code == Record.STRANS and data[at + 1] & 6:
        _count(notes, Note.ABSOLUTE, slots[Slot.START])
    return Fault.NONE


@kernel
def _read_units(data: Bytes, extent_mm: float, slots: Int64s) -> tuple[int, float]:
    user, dbu_m = real(data, slots[Slot.AT] + 4), real(data, slots[Slot.AT] + 12)
    if slots[Slot.LIMIT]:
        return Fault.UNITS_TWICE, 0.0
    if not (user > 0 and dbu_m > 0):
        return Fault.UNITS_ZERO, 0.0
    slots[Slot.LIMIT] = int(max(1.0, min(extent_mm * 1e-3 / dbu_m, 2.0**40)))
    return Fault.NONE, dbu_m


@kernel
def u16(data: Bytes, at: int) -> int:
    """Read an unsigned integer of 2 bytes, the high one first."""
    return int(data[at]) * 256 + int(data[at + 1])


@kernel
def i16(data: Bytes, at: int) -> int:
    """Read a signed integer of 2 bytes, the high one first."""
    value: int = u16(data, at)
    return value - 65536 if value > 32767 else value


@kernel
def i32(data: Bytes, at: int) -> int:
    """Read a signed integer of 4 bytes, the high one first."""
    return int(i16(data, at) * 65536 + u16(data, at + 2))


@kernel
def real(data: Bytes, at: int) -> float:
    """Read a GDSII real: sign, exponent of 16 in excess of 64, mantissa of 56 bits below 1."""
    mantissa = 0.0
    for byte in range(at + 7, at, -1):
        mantissa = (mantissa + data[byte]) / 256.0
    sign = -1.0 if data[at] & 128 else 1.0
    return sign * mantissa * 16.0 ** (np.int64(data[at] & 127) - 64)


@kernel
def same_point(data: Bytes, one: int, other: int) -> bool:
    """Return whether two places hold the same x and y."""
    same_x = i32(data, one) == i32(data, other)
    return bool(same_x and i32(data, one + 4) == i32(data, other + 4))


@kernel
def _on_line(data: Bytes, before: int, last: int, first: int) -> bool:
    """Return whether the last point changes nothing, lying in line with its neighbours."""
    u_x, u_y = i32(data, last) - i32(data, before), i32(data, last + 4) - i32(data, before + 4)
    v_x, v_y = i32(data, first) - i32(data, last), i32(data, first + 4) - i32(data, last + 4)
    return bool(float(u_x) * v_y == float(u_y) * v_x)


@kernel
def _off_grid(data: Bytes, colrow: int, origin: int) -> bool:
    for axis in range(2):
        far, copies = origin + 8 * (axis + 1), i16(data, colrow + 2 * axis)
        for offset in (0, 4):
            if (i32(data, far + offset) - i32(data, origin + offset)) % copies:
                return True
    return False


@kernel
def _span(data: Bytes, begin: int, end: int) -> int:
    """Return the largest less the smallest of every other coordinate."""
    low, high = 2**31, -(2**31)
    for at in range(begin, end, 8):
        value = i32(data, at)
        low, high = min(low, value), max(high, value)
    return max(high - low, 0)


@kernel
def _count(notes: Int64s, note: int, at: int) -> None:
    if notes[note, 0] == 0:
        notes[note, 1] = at
    notes[note, 0] += 1


@kernel
def _put(table: Int64s, slots: Int64s, used: int, one: int, two: int, three: int) -> Int64s:
    """Write a row after the last, into a table of twice the size where this one is full."""
    row = slots[used]
    if row == len(table):
        bigger = np.empty((2 * row, 3), np.int64)
        bigger[:row] = table
        table = bigger
    table[row, 0], table[row, 1], table[row, 2] = one, two, three
    slots[used] = row + 1
    return table
