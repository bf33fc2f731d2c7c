"""Read point lists and repetitions of OASIS, compiled.

Each is read into its row of `lists`, (3, n) pairs of x and y relative to the shape. Lists that a
requested shape uses are copied to the pool, once; most are used once or not at all.
Source: SEMI P39, OASIS, sections 7.6 and 7.7.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Int64s
from stages.layout.oasis.bytes import (
    fail,
    read_coordinate,
    read_delta,
    read_distance,
    read_short_delta,
    read_unsigned,
)
from stages.layout.oasis.grammar import INT32_MAX, Fault, Modal, Note, Slot

POLYGON, PATH, REPETITION = 0, 1, 2
"""Rows of `lists`."""
MOST_COPIES = INT32_MAX + 2
"""More copies than this, a dbu apart, pass 32-bit coordinates: the count is cut off here."""


@kernel
def count_note(slots: Int64s, note: int) -> None:
    """Count a note, and record the byte of its first occurrence."""
    at = Slot.NOTES + 2 * note
    if slots[at] == 0:
        slots[at + 1] = slots[Slot.BLOCK] if slots[Slot.BLOCK] >= 0 else slots[Slot.RECORD]
    slots[at] += 1


@kernel
def read_points(
    data: Bytes, slots: Int64s, lists: Int64s, row: int
) -> Int64s:  # fmt: skip
    """Read a point list into the row of `lists` for polygons or paths."""
    kind, count = read_unsigned(data, slots), read_unsigned(data, slots)
    if kind > 5:
        fail(slots, Fault.LIST_KIND, kind)
    elif count == 0:
        fail(slots, Fault.LIST_EMPTY, 0)
    elif count > slots[Slot.END] - slots[Slot.AT]:  # each takes at least a byte
        fail(slots, Fault.PAST_END, 0)
    if slots[Slot.FAULT] != Fault.NONE:
        return lists
    lists = _reserve_lists(lists, count + 2)
    points = lists[row]
    points[0] = points[1] = 0
    x, y, step_x, step_y, used = 0, 0, 0, 0, 1
    for corner in range(count):
        if kind < 2:
            step = read_coordinate(data, slots)
            step_x, step_y = (step, 0) if (kind + corner) % 2 == 0 else (0, step)
        elif kind == 2 or kind == 3:
            step_x, step_y = read_short_delta(data, slots, kind)
        elif kind == 4:
            step_x, step_y = read_delta(data, slots, 1)
        else:
            more_x, more_y = read_delta(data, slots, 1)
            step_x, step_y = step_x + more_x, step_y + more_y
        x, y = x + step_x, y + step_y
        points[2 * used], points[2 * used + 1] = x, y
        used += 1
    if row == POLYGON:
        if kind < 2:  # implicitly closed at a right angle
            if count % 2:
                count_note(slots, Note.ODD_LIST)
            along_x = (kind + count) % 2 == 0
            points[2 * used], points[2 * used + 1] = (0, y) if along_x else (x, 0)
            used += 1
        if points[2 * used - 2] == 0 and points[2 * used - 1] == 0:
            used -= 1
        slots[Modal.POLYGON], slots[Modal.POLYGON_AT] = used, -1
    else:
        slots[Modal.PATH], slots[Modal.PATH_AT] = used, -1
    return lists


@kernel
def keep_points(slots: Int64s, row: int, lists: Int64s, pool: Int64s) -> Int64s:
    """Copy the modal point list to the pool, unless it is there already; return the pool."""
    count = slots[Modal.POLYGON] if row == POLYGON else slots[Modal.PATH]
    slot = Modal.POLYGON_AT if row == POLYGON else Modal.PATH_AT
    if slots[slot] < 0:
        slots[slot] = slots[Slot.POOL]
        pool = _append(pool, slots, lists[row], 2 * count)
    return pool


@kernel
def read_repetition(data: Bytes, slots: Int64s, lists: Int64s) -> Int64s:
    """Read a repetition: a grid into the modal variables, or offsets into their row of `lists`."""
    kind = read_unsigned(data, slots)
    if kind > 11:
        fail(slots, Fault.REPETITION, kind)
    if kind == 0:
        if not slots[Modal.DEFINED] >> (Modal.REPETITION - Modal.LAYER) & 1:
            fail(slots, Fault.MODAL, Modal.REPETITION)
        return lists
    slots[Modal.DEFINED] |= np.int64(1) << (Modal.REPETITION - Modal.LAYER)
    slots[Modal.REPETITION_ROW] = -1
    count = min(read_unsigned(data, slots), MOST_COPIES) + 2
    columns, rows, u_x, u_y, v_x, v_y = 1, 1, 0, 0, 0, 0
    if kind == 1:
        columns, rows = count, min(read_unsigned(data, slots), MOST_COPIES) + 2
        u_x, v_y = read_distance(data, slots, 1), read_distance(data, slots, 1)
    elif kind == 2:
        columns, u_x = count, read_distance(data, slots, 1)
    elif kind == 3:
        rows, v_y = count, read_distance(data, slots, 1)
    elif kind == 8:
        columns, rows = count, min(read_unsigned(data, slots), MOST_COPIES) + 2
        u_x, u_y = read_delta(data, slots, 1)
        v_x, v_y = read_delta(data, slots, 1)
    elif kind == 9:
        columns = count
        u_x, u_y = read_delta(data, slots, 1)
    else:
        return _read_places(data, slots, lists, kind, count)
    columns = _limit_copies(columns, max(abs(u_x), abs(u_y)))
    rows = _limit_copies(rows, max(abs(v_x), abs(v_y)))
    slots[Modal.REPETITION] = 0
    slots[Modal.COLUMNS], slots[Modal.ROWS] = columns, rows
    slots[Modal.U_X], slots[Modal.U_Y] = u_x, u_y
    slots[Modal.V_X], slots[Modal.V_Y] = v_x, v_y
    return lists


@kernel
def _limit_copies(copies: int, step: int) -> int:
    """Return the number of copies to make: one if all coincide, none far past 33 bits."""
    if step == 0:
        return 1
    most = 2**33 // step + 2
    return most if copies > most else copies


@kernel
def _read_places(data: Bytes, slots: Int64s, lists: Int64s, kind: int, count: int) -> Int64s:
    grid = read_unsigned(data, slots) if kind == 5 or kind == 7 or kind == 11 else 1
    if count - 1 > slots[Slot.END] - slots[Slot.AT]:
        fail(slots, Fault.PAST_END, 0)
        return lists
    lists = _reserve_lists(lists, count)
    places, used = lists[REPETITION], 1
    places[0] = places[1] = 0
    x, y, step_x, step_y = 0, 0, 0, 0
    for _ in range(count - 1):
        if kind < 6:
            step_x = read_distance(data, slots, grid)
        elif kind < 8:
            step_y = read_distance(data, slots, grid)
        else:
            step_x, step_y = read_delta(data, slots, grid)
        if step_x != 0 or step_y != 0:
            x, y = x + step_x, y + step_y
            places[2 * used], places[2 * used + 1] = x, y
            used += 1
    slots[Modal.REPETITION] = used
    return lists


@kernel
def keep_repetition(slots: Int64s, lists: Int64s, pool: Int64s, repeated: Int64s) -> Int64s:
    """Write the modal repetition to a row, unless it has one, and its offsets to the pool."""
    if slots[Modal.REPETITION_ROW] >= 0:
        return pool
    row, count = slots[Slot.REPEATED], slots[Modal.REPETITION]
    slots[Modal.REPETITION_ROW] = row
    slots[Slot.REPEATED] = row + 1
    if count:
        repeated[row] = 0
        repeated[row, 6], repeated[row, 7] = slots[Slot.POOL], count
        return _append(pool, slots, lists[REPETITION], 2 * count)
    repeated[row, :6] = slots[Modal.COLUMNS : Modal.V_Y + 1]
    repeated[row, 6], repeated[row, 7] = -1, slots[Modal.COLUMNS] * slots[Modal.ROWS]
    return pool


@kernel
def _reserve_lists(lists: Int64s, pairs: int) -> Int64s:
    if 2 * pairs <= lists.shape[1]:
        return lists
    bigger = np.empty((3, 4 * pairs), np.int64)
    bigger[:, : lists.shape[1]] = lists
    return bigger


@kernel
def _append(pool: Int64s, slots: Int64s, values: Int64s, size: int) -> Int64s:
    """Append the first `size` values to the pool; return the pool."""
    used = slots[Slot.POOL]
    pool = reserve_pool(pool, used + size)
    pool[used : used + size] = values[:size]
    slots[Slot.POOL] = used + size
    return pool


@kernel
def reserve_pool(pool: Int64s, size: int) -> Int64s:
    """Return the pool, or a copy of twice `size` if it is smaller than `size`."""
    if size <= len(pool):
        return pool
    bigger = np.empty(2 * size, np.int64)
    bigger[: len(pool)] = pool
    return bigger
