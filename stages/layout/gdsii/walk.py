"""Walk over the records of a GDSII stream, compiled: check each, and collect what elements say.

in: the bytes of a stream, as far as it is there · out: the state of the walk, and `Tables`
unit: the record · promise: no record is read before its check; a BOUNDARY in its common form is
taken at once, by the same checks of its points

The texts of faults and notes are in `stages.layout.gdsii.stream_check`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from stages.compiled import borrowing_kernel
from stages.contracts import Bytes, Floats, Int64s
from stages.layout.gdsii.collect import (
    FIELDS,
    KNOWN_SLOTS,
    Tables,
    collect_element,
    collect_plain,
    collect_record,
)
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
from stages.layout.gdsii.records import (
    find_span,
    is_off_grid,
    is_on_line,
    is_same_point,
    read_i16,
    read_i32,
    read_real,
    read_u16,
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

    AT, STATE, SEEN, START, VALUE, LIMIT, LAST, COLROW, FAULT, ENDED = range(10)
    POINTS, FIRST, END, JOINED = range(10, 14)


SLOTS = len(Slot)
NOTES = len(Note)

Walk = tuple[Int64s, Int64s, Int64s, Floats, Int64s]
"""State of a walk: the slots; the fields of the element being read; the count and first byte of
each note; the database unit in m; the last layers seen, and their numbers. A walk changes them in
place."""


def start_walk() -> Walk:
    """Return the state before the first record."""
    slots, item = np.zeros(SLOTS, np.int64), np.zeros(FIELDS, np.int64)
    known = np.full((KNOWN_SLOTS, 2), -1, np.int64)
    return slots, item, np.zeros((NOTES, 2), np.int64), np.zeros(1), known


@borrowing_kernel
def walk(
    data: Bytes, whole: bool, extent_mm: float, wanted: Int64s, state: Walk, tables: Tables,
    rows: Int64s,
) -> None:  # fmt: skip
    """Continue through the records, up to ENDLIB, the first fault, or until a table is full.

    `data` starts at the start of the stream. Unless it is the `whole` stream, an incomplete last
    record is no fault and is left for the next call. Shapes are collected on the layers `wanted`,
    ``layer << 16 | datatype``. `rows` become the number of rows in each table, at first 0.
    """
    slots, item, notes, dbu_m, known = state
    at, fault, ended = slots[Slot.AT], slots[Slot.FAULT], slots[Slot.ENDED]
    while fault == Fault.NONE and not ended:
        if max(rows[0], rows[1], rows[3], rows[5]) == len(tables[0]) or not (
            whole or (at + 4 <= len(data) and at + read_u16(data, at) <= len(data))
        ):
            break
        if slots[Slot.STATE] == State.CELL:
            end = collect_plain(data, at, slots[Slot.LIMIT], item, known, tables[1], rows)
            if end > at:
                at, slots[Slot.LAST] = end, Record.ENDEL
                continue
        slots[Slot.AT] = at
        fault = _check_frame(data, slots)
        if fault != Fault.NONE:
            break
        code, end, state_before = data[at + 2], at + read_u16(data, at), slots[Slot.STATE]
        fault = _advance(code, slots)
        if fault != Fault.NONE:
            break
        if code == Record.XY:
            fault = _check_points(data, end, state_before, slots, notes)
            if fault != Fault.NONE:
                slots[Slot.STATE] = state_before
        elif code == Record.ENDEL:
            _check_shape(data, state_before - TAIL, slots, notes)
            collect_element(data, slots[Slot.START], item, wanted, known, tables, rows)
        elif code == Record.UNITS:
            fault = _read_units(data, extent_mm, slots, dbu_m)
        elif code != Record.STRNAME and code != Record.SNAME:
            fault = _check_value(data, code, slots, notes)
        collect_record(data, at, end, item, tables[0], rows)
        at, ended, slots[Slot.LAST] = end, code == Record.ENDLIB, code
    if fault == Fault.NONE:
        slots[Slot.AT] = at
    slots[Slot.FAULT], slots[Slot.ENDED] = fault, ended


@borrowing_kernel
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


@borrowing_kernel
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


@borrowing_kernel
def _check_points(data: Bytes, end: int, state: int, slots: Int64s, notes: Int64s) -> int:
    begin = slots[Slot.AT] + 4
    count = (end - begin) // 8
    if find_span(data, begin, end) > slots[Slot.LIMIT]:
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
    if state == State.AREF and is_off_grid(data, slots[Slot.COLROW], begin):
        _count_note(notes, Note.OFF_GRID, slots[Slot.START])
    return Fault.NONE


@borrowing_kernel
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
        elif corners == count and not is_on_line(data, end - 16, end - 8, first):
            note = Note.UNCLOSED
    if note >= 0:
        _count_note(notes, note, slots[Slot.START])
    if slots[Slot.JOINED]:
        _count_note(notes, Note.JOINED, slots[Slot.START])


@borrowing_kernel
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


@borrowing_kernel
def _read_units(data: Bytes, extent_mm: float, slots: Int64s, dbu_m: Floats) -> int:
    user, dbu_m[0] = read_real(data, slots[Slot.AT] + 4), read_real(data, slots[Slot.AT] + 12)
    if slots[Slot.LIMIT]:
        return Fault.UNITS_TWICE
    if not (user > 0 and dbu_m[0] > 0):
        return Fault.UNITS_ZERO
    slots[Slot.LIMIT] = int(max(1.0, min(extent_mm * 1e-3 / dbu_m[0], 2.0**40)))
    return Fault.NONE


@borrowing_kernel
def _count_note(notes: Int64s, note: int, at: int) -> None:
    if notes[note, 0] == 0:
        notes[note, 1] = at
    notes[note, 0] += 1
