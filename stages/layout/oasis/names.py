"""Read names, cells, properties and CBLOCKs of OASIS, compiled; look up reference numbers.

Source: SEMI P39, OASIS, sections 13 to 21 and 31 to 36.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Int64s
from stages.layout.oasis.bytes import (
    fail,
    keep_string,
    read_byte,
    read_real,
    read_unsigned,
    skip_string,
)
from stages.layout.oasis.grammar import Fault, Modal, Record, Slot, Stop
from stages.layout.oasis.shapes import define, require

OF_LAYER, OF_CELL, OF_TEXT, OF_PROPERTY, OF_STRING = range(5)
"""Spaces of keys: layers with datatypes, and reference numbers of four sorts of names."""
KEY = ("space", "first", "second", "place", "count", "wanted")
"""Columns of keys, (n, 6) int64: each once, with its first place and its count."""
CELL = ("is_name", "cell", "size", "place")
"""Columns of cells, (n, 4) int64, as of placements."""
NAME = ("space", "number", "at", "size", "place")
"""Columns of names, (n, 5) int64: `at` and `size` are the offset and length in the text."""

Keys = tuple[Int64s, Int64s]
"""The keys, and the buckets of their hash table: a row of keys, or -1 if free."""


@kernel
def find_key(slots: Int64s, keys: Keys, space: int, first: int, second: int) -> Keys:
    """Count a key, leave its row in `Slot.KEY`, and return the keys."""
    rows, buckets = keys
    used, mask = slots[Slot.KEYS], len(buckets) - 1
    bucket = _hash(space, first, second) & mask
    while buckets[bucket] >= 0:
        row = buckets[bucket]
        if rows[row, 0] == space and rows[row, 1] == first and rows[row, 2] == second:
            slots[Slot.KEY] = row
            rows[row, 4] += 1
            return rows, buckets
        bucket = (bucket + 1) & mask
    buckets[bucket] = used
    if used == len(rows):
        rows = np.concatenate((rows, np.empty_like(rows)))
    rows[used] = (space, first, second, locate_record(slots), 1, 0)
    slots[Slot.KEY], slots[Slot.KEYS] = used, used + 1
    if 2 * (used + 1) > len(buckets):
        buckets = np.full(2 * len(buckets), -1, np.int64)
        mask = len(buckets) - 1
        for row in range(used + 1):
            bucket = _hash(rows[row, 0], rows[row, 1], rows[row, 2]) & mask
            while buckets[bucket] >= 0:
                bucket = (bucket + 1) & mask
            buckets[bucket] = row
    return rows, buckets


@kernel
def locate_record(slots: Int64s) -> int:
    """Return the byte of the current record, or of the CBLOCK that it is in."""
    return int(slots[Slot.BLOCK] if slots[Slot.BLOCK] >= 0 else slots[Slot.RECORD])


@kernel
def _hash(space: int, first: int, second: int) -> int:
    value = np.int64(first) * 0x9E3779B97F4A7C1 + np.int64(second) * 0x2545F4914F6CDD1D + space
    return int((value ^ (value >> 29)) & 0x7FFFFFFFFFFFFFFF)


@kernel
def find_layer(slots: Int64s, keys: Keys, wanted: Int64s) -> Keys:
    """Count the modal layer and datatype, and leave the row of its key in `Slot.TAG`."""
    layer, datatype, tag = slots[Modal.LAYER], slots[Modal.DATATYPE], slots[Slot.TAG]
    rows = keys[0]
    if tag >= 0 and rows[tag, 1] == layer and rows[tag, 2] == datatype:
        rows[tag, 4] += 1
        return keys
    before = slots[Slot.KEYS]
    keys = find_key(slots, keys, OF_LAYER, layer, datatype)
    slots[Slot.TAG] = slots[Slot.KEY]
    if slots[Slot.KEYS] > before:
        is_wanted = slots[Slot.EVERY]
        for number in range(len(wanted)):
            is_wanted |= wanted[number, 0] == layer and wanted[number, 1] == datatype
        keys[0][slots[Slot.TAG], 5] = is_wanted
    return keys


@kernel
def read_name(data: Bytes, slots: Int64s, text: Bytes, names: Int64s, code: int) -> Bytes:
    """Read a name record into a row of `names`; return the text."""
    which, is_explicit = (code - Record.CELLNAME) // 2, (code - Record.CELLNAME) % 2
    skip_string(data, slots)
    if which == 0:
        text = keep_string(data, slots, text)
    mine, other = Slot.IMPLICIT + which, Slot.EXPLICIT + which
    number = slots[mine]
    if is_explicit:
        mine, other = other, mine
        number = read_unsigned(data, slots)
    if slots[other]:
        fail(slots, Fault.MIXED, 0)
    slots[mine] += 1
    row = slots[Slot.NAMES]
    names[row] = (
        OF_CELL + which, number, slots[Slot.PIECE], slots[Slot.PIECE_SIZE], locate_record(slots)
    )  # fmt: skip
    slots[Slot.NAMES] = row + 1
    return text


@kernel
def read_layer_name(data: Bytes, slots: Int64s) -> None:
    """Skip a layer name, with its intervals of layers and of datatypes."""
    skip_string(data, slots)
    for _ in range(2):
        kind = read_unsigned(data, slots)
        if kind > 4:
            fail(slots, Fault.INTERVAL, kind)
        for _ in range(0 if kind == 0 else 2 if kind == 4 else 1):
            read_unsigned(data, slots)


@kernel
def read_cell(
    data: Bytes, slots: Int64s, text: Bytes, cells: Int64s, keys: Keys
) -> tuple[Bytes, Keys]:
    """Start a cell, with undefined modal variables; return text and keys."""
    row, place = slots[Slot.CELLS], locate_record(slots)
    if slots[Slot.CODE] == Record.CELL:
        skip_string(data, slots)
        text = keep_string(data, slots, text)
        cells[row] = (1, slots[Slot.PIECE], slots[Slot.PIECE_SIZE], place)
    else:
        keys = find_key(slots, keys, OF_CELL, read_unsigned(data, slots), 0)
        cells[row] = (0, slots[Slot.KEY], 0, place)
    slots[Slot.CELLS] = row + 1
    reset_modal(slots)
    slots[Slot.IN_CELL] = 1
    return text, keys


@kernel
def reset_modal(slots: Int64s) -> None:
    """Leave the cell, if any: modal variables become undefined, coordinates absolute."""
    slots[Modal.LAYER :] = 0
    slots[Slot.IN_CELL] = slots[Slot.RELATIVE] = 0


@kernel
def read_property(data: Bytes, slots: Int64s, keys: Keys) -> Keys:
    """Skip a property; only the reference numbers that it uses are recorded."""
    info = read_byte(data, slots)
    if info & 4:
        if info & 2:
            keys = find_key(slots, keys, OF_PROPERTY, read_unsigned(data, slots), 0)
        else:
            skip_string(data, slots)
        define(slots, Modal.NAME, 0)
    if not info & 8:
        count = info >> 4
        if count == 15:
            count = read_unsigned(data, slots)
        if count > slots[Slot.END] - slots[Slot.AT]:  # each takes at least a byte
            fail(slots, Fault.PAST_END, 0)
            return keys
        for _ in range(count):
            keys = _read_value(data, slots, keys)
        define(slots, Modal.VALUES, 0)
    require(slots, Modal.NAME)
    require(slots, Modal.VALUES)
    return keys


@kernel
def _read_value(data: Bytes, slots: Int64s, keys: Keys) -> Keys:
    kind = read_byte(data, slots)
    if kind < 8:
        slots[Slot.AT] -= slots[Slot.FAULT] == Fault.NONE
        read_real(data, slots)
    elif kind < 10:
        read_unsigned(data, slots)
    elif kind < 13:
        skip_string(data, slots)
    elif kind < 16:
        keys = find_key(slots, keys, OF_STRING, read_unsigned(data, slots), 0)
    else:
        fail(slots, Fault.VALUE, kind)
    return keys


@kernel
def read_block(data: Bytes, slots: Int64s) -> None:
    """Read the head of a CBLOCK and stop the walk, so that the caller unpacks its bytes."""
    kind = read_unsigned(data, slots)
    unpacked, packed = read_unsigned(data, slots), read_unsigned(data, slots)
    if slots[Slot.BLOCK] >= 0:
        fail(slots, Fault.NESTED, 0)
    elif kind != 0:
        fail(slots, Fault.COMPRESSION, kind)
    elif packed > slots[Slot.END] - slots[Slot.AT]:
        fail(slots, Fault.PAST_END, 0)
    slots[Slot.BLOCK_BYTES], slots[Slot.PACKED_BYTES] = unpacked, packed
    slots[Slot.STOP] = Stop.CBLOCK
