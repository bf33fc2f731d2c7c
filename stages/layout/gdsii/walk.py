"""Walk over the records of a GDSII stream, compiled: a chip of 238 MB takes about a second.

The texts of faults and notes are in `stages.layout.gdsii.stream_check`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from stages.compiled import gil_free_kernel, kernel
from stages.contracts import Bytes, Int64s
from stages.geometry.growing import copy_rows
from stages.layout.gdsii.grammar import (
    DATA_BYTES,
    DATA_TYPE,
    MAY_FOLLOW,
    MUST_HAVE,
    NEXT_STATE,
    RANK,
    TAIL,
    Record,
    State,
)


class Fault(IntEnum):
    """Faults for which a stream is refused."""

    NONE, SHORT, PAST_END, UNKNOWN, DATA_TYPE, SIZE, ORDER, TWICE, LACKING = range(9)
    UNITS_TWICE, UNITS_ZERO, NO_UNITS, POINTS, COLROW, MAG, LATE, NO_ENDLIB = range(9, 17)


class Note(IntEnum):
    """Faults that are repaired or harmless."""

    CORNERS, DOT, NO_WIDTH, FIXED_WIDTH, PATHTYPE, UNCLOSED, JOINED = range(7)
    ABSOLUTE, OFF_GRID, NO_COPY, MORE_POINTS, UNUSUAL, LONG = range(7, 13)


class Slot(IntEnum):
    """State of a walk between records."""

    AT, STATE, SEEN, START, VALUE, LIMIT, LAST, NAMES, COLROW, FAULT, ENDED = range(11)
    POINTS, FIRST, END, JOINED = range(11, 15)


SLOTS = len(Slot)
NOTES = len(Note)


Walk = tuple[Int64s, float, Int64s, Int64s]
"""State of a walk: the slots; the database unit in m; the names as (offset, length, byte of the
referring element, -1 for a structure's own); the count and first byte of each note."""


def start_walk() -> Walk:
    """Return the state before the first record."""
    slots = np.zeros(SLOTS, np.int64)
    return slots, 0.0, np.empty((1024, 3), np.int64), np.zeros((NOTES, 2), np.int64)


@gil_free_kernel
def walk(data: Bytes, whole: bool, extent_mm: float, known: Walk) -> Walk:
    """Continue through the records, up to ENDLIB or the first fault.

    `data` starts at the start of the stream. Unless it is the `whole` stream, an incomplete last
    record is no fault and is left for the next call.
    """
    slots, dbu_m, names, notes = known
    at, fault, ended = slots[Slot.AT], slots[Slot.FAULT], slots[Slot.ENDED]
    while fault == Fault.NONE and not ended:
        if not whole and (at + 4 > len(data) or at + read_u16(data, at) > len(data)):
            break
        slots[Slot.AT] = at
        fault = _check_frame(data, slots)
        if fault != Fault.NONE:
            break
        code, end = data[at + 2], at + read_u16(data, at)
        state_before = slots[Slot.STATE]
        fault = _advance(code, slots)
        if fault != Fault.NONE:
            break
        if code == Record.XY:
            fault = _check_points(data, end, state_before, slots, notes)
            if fault != Fault.NONE:
                slots[Slot.STATE] = state_before
        elif code == Record.ENDEL:
            _check_shape(data, state_before - TAIL, slots, notes)
        elif code == Record.UNITS:
            fault, dbu_m = _read_units(data, extent_mm, slots)
        elif code == Record.STRNAME or code == Record.SNAME:
            owner = -1 if code == Record.STRNAME else slots[Slot.START]
            names = _append_name(names, slots, Slot.NAMES, at + 4, end - at - 4, owner)
        else:
            fault = _check_value(data, code, slots, notes)
        at, ended, slots[Slot.LAST] = end, code == Record.ENDLIB, code
    if fault == Fault.NONE:
        slots[Slot.AT] = at
    slots[Slot.FAULT], slots[Slot.ENDED] = fault, ended
    return slots, dbu_m, names, notes


@kernel
def _check_frame(data: Bytes, slots: Int64s) -> int:
    at = slots[Slot.AT]
    if at + 4 > len(data):
        return Fault.NO_ENDLIB
    size, code = read_u16(data, at), data[at + 2]
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
    if (code == Record.BGNSTR or code == Record.ENDLIB) and slots[Slot.LIMIT] == 0:
        return Fault.NO_UNITS
    if State.BOUNDARY <= state <= State.BOX:
        if slots[Slot.SEEN] & bit:
            return Fault.TWICE
        if RANK[code] < RANK[slots[Slot.LAST]]:
            return Fault.LATE
    joins = state == State.BOUNDARY + TAIL or state == State.PATH + TAIL
    if code == Record.XY and state > State.BOX and not (joins and slots[Slot.LAST] == Record.XY):
        return Fault.ORDER
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
        slots[Slot.STATE] = state if state > State.BOX else state + TAIL
    elif NEXT_STATE[code] >= 0:
        if NEXT_STATE[code] >= State.BOUNDARY:
            slots[Slot.START], slots[Slot.SEEN] = slots[Slot.AT], 0
        slots[Slot.STATE] = NEXT_STATE[code]
    return Fault.NONE


@kernel
def _check_points(data: Bytes, end: int, state: int, slots: Int64s, notes: Int64s) -> int:
    begin = slots[Slot.AT] + 4
    count = (end - begin) // 8
    if max(_find_span(data, begin, end), _find_span(data, begin + 4, end)) > slots[Slot.LIMIT]:
        _count_note(notes, Note.LONG, slots[Slot.START])
    if state > State.BOX:
        slots[Slot.POINTS] += count
        slots[Slot.JOINED] = 1
        slots[Slot.END] = end if count else slots[Slot.END]
        return Fault.NONE
    slots[Slot.POINTS] = slots[Slot.VALUE] = count
    slots[Slot.FIRST], slots[Slot.END], slots[Slot.JOINED] = begin, end, 0
    if state == State.AREF and count != 3:
        return Fault.POINTS
    if (state == State.SREF or state == State.TEXT) and count < 1:
        return Fault.POINTS
    if state == State.SREF and count > 1:
        _count_note(notes, Note.MORE_POINTS, slots[Slot.START])
    if state == State.AREF and _is_off_grid(data, slots[Slot.COLROW], begin):
        _count_note(notes, Note.OFF_GRID, slots[Slot.START])
    return Fault.NONE


@kernel
def _check_shape(data: Bytes, state: int, slots: Int64s, notes: Int64s) -> None:
    """Note faults in the points of an element, at its end."""
    count, first, end = slots[Slot.POINTS], slots[Slot.FIRST], slots[Slot.END]
    note = -1
    if state == State.PATH and not slots[Slot.SEEN] & (np.int64(1) << Record.WIDTH):
        note = Note.NO_WIDTH
    elif state == State.PATH and count == 1:
        note = Note.DOT
    elif (state == State.PATH or state == State.BOX) and count == 0:
        note = Note.CORNERS
    elif state == State.BOUNDARY:
        corners = count - 1 if count > 1 and is_same_point(data, first, end - 8) else count
        if corners < 3:
            note = Note.CORNERS
        elif corners == count and not _is_on_line(data, end - 16, end - 8, first):
            note = Note.UNCLOSED
    if note >= 0:
        _count_note(notes, note, slots[Slot.START])
    if slots[Slot.JOINED]:
        _count_note(notes, Note.JOINED, slots[Slot.START])


@kernel
def _check_value(data: Bytes, code: int, slots: Int64s, notes: Int64s) -> int:
    at, state, note = slots[Slot.AT] + 4, slots[Slot.STATE], -1
    if code == Record.COLROW:
        slots[Slot.COLROW] = at
        slots[Slot.VALUE] = min(read_i16(data, at), read_i16(data, at + 2))
        if slots[Slot.VALUE] < 0:
            return Fault.COLROW
        if slots[Slot.VALUE] == 0:
            note = Note.NO_COPY
    elif code == Record.MAG and (state == State.SREF or state == State.AREF):
        if not read_real(data, at) > 0:
            return Fault.MAG
    elif code == Record.PATHTYPE and state == State.PATH:
        kind = read_i16(data, at)
        if kind < 0 or kind > 4 or kind == 3:
            note = Note.PATHTYPE
    elif code == Record.WIDTH and state == State.PATH and read_i32(data, at) < 0:
        note = Note.FIXED_WIDTH
    elif code == Record.STRANS and data[at + 1] & 6 and state != State.TEXT:
        note = Note.ABSOLUTE
    elif (
        code == Record.LIBDIRSIZE or code == Record.SRFNAME
        or code == Record.LIBSECUR or code == Record.STRCLASS
    ):  # fmt: skip
        _count_note(notes, Note.UNUSUAL, slots[Slot.AT])
    if note >= 0:
        _count_note(notes, note, slots[Slot.START])
    return Fault.NONE


@kernel
def _read_units(data: Bytes, extent_mm: float, slots: Int64s) -> tuple[int, float]:
    user, dbu_m = read_real(data, slots[Slot.AT] + 4), read_real(data, slots[Slot.AT] + 12)
    if slots[Slot.LIMIT]:
        return Fault.UNITS_TWICE, 0.0
    if not (user > 0 and dbu_m > 0):
        return Fault.UNITS_ZERO, 0.0
    slots[Slot.LIMIT] = int(max(1.0, min(extent_mm * 1e-3 / dbu_m, 2.0**40)))
    return Fault.NONE, dbu_m


@kernel
def read_u16(data: Bytes, at: int) -> int:
    """Read an unsigned big-endian integer of 2 bytes."""
    return int(data[at]) * 256 + int(data[at + 1])


@kernel
def read_i16(data: Bytes, at: int) -> int:
    """Read a signed big-endian integer of 2 bytes."""
    value: int = read_u16(data, at)
    return value - 65536 if value > 32767 else value


@kernel
def read_i32(data: Bytes, at: int) -> int:
    """Read a signed big-endian integer of 4 bytes."""
    return int(read_i16(data, at) * 65536 + read_u16(data, at + 2))


@kernel
def read_real(data: Bytes, at: int) -> float:
    """Read a GDSII real: sign, exponent of 16 in excess of 64, mantissa of 56 bits below 1."""
    mantissa = 0.0
    for byte in range(at + 7, at, -1):
        mantissa = (mantissa + data[byte]) / 256.0
    sign = -1.0 if data[at] & 128 else 1.0
    return sign * mantissa * 16.0 ** (np.int64(data[at] & 127) - 64)


@kernel
def is_same_point(data: Bytes, one: int, other: int) -> bool:
    """Return whether two places hold the same x and y."""
    same_x = read_i32(data, one) == read_i32(data, other)
    return bool(same_x and read_i32(data, one + 4) == read_i32(data, other + 4))


@kernel
def _is_on_line(data: Bytes, before: int, last: int, first: int) -> bool:
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


@kernel
def _is_off_grid(data: Bytes, colrow: int, origin: int) -> bool:
    for axis in range(2):
        far, copies = origin + 8 * (axis + 1), max(read_i16(data, colrow + 2 * axis), 1)
        for offset in (0, 4):
            if (read_i32(data, far + offset) - read_i32(data, origin + offset)) % copies:
                return True
    return False


@kernel
def _find_span(data: Bytes, begin: int, end: int) -> int:
    """Return the extent of every other coordinate."""
    low, high = 2**31, -(2**31)
    for at in range(begin, end, 8):
        value = read_i32(data, at)
        low, high = min(low, value), max(high, value)
    return max(high - low, 0)


@kernel
def _count_note(notes: Int64s, note: int, at: int) -> None:
    if notes[note, 0] == 0:
        notes[note, 1] = at
    notes[note, 0] += 1


@kernel
def _append_name(table: Int64s, slots: Int64s, used: int, one: int, two: int, three: int) -> Int64s:
    """Append a name, to a copy of twice the rows if the table is full."""
    row = slots[used]
    if row == len(table):
        bigger = np.empty((2 * row, 3), np.int64)
        copy_rows(bigger, 0, table, 0, row)
        table = bigger
    table[row, 0], table[row, 1], table[row, 2] = one, two, three
    slots[used] = row + 1
    return table
