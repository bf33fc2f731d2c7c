"""Walk over the records of an OASIS file, compiled; stops at each CBLOCK for the caller to unpack.

The texts of faults are in `stages.layout.oasis.grammar`.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Floats, Int64s
from stages.layout.oasis.bytes import fail, read_byte, read_real, read_unsigned, skip_string
from stages.layout.oasis.grammar import LEAST_UNIT, SLOTS, Fault, Modal, Record, Slot, Stop
from stages.layout.oasis.lists import keep_repetition
from stages.layout.oasis.names import (
    CELL,
    KEY,
    NAME,
    OF_CELL,
    OF_TEXT,
    Keys,
    find_key,
    find_layer,
    locate_record,
    read_block,
    read_cell,
    read_layer_name,
    read_name,
    read_property,
    reset_modal,
)
from stages.layout.oasis.shapes import (
    PLACED,
    SHAPE,
    put_shape,
    read_placement,
    read_shape,
    read_text,
    require,
)

Tables = tuple[Int64s, Bytes, Int64s, Int64s, Int64s, Floats, Int64s, Int64s, Int64s, Keys]
"""Pool, text, lists, shapes, placements, odd turns, repetitions, cells, names, keys."""


def create_tables() -> tuple[Int64s, Tables]:
    """Return the slots and tables before the first record."""
    slots = np.zeros(SLOTS, np.int64)
    slots[Slot.BLOCK] = slots[Slot.TAG] = -1
    slots[Slot.REPEATED] = 1

    def make_rows(columns: int) -> Int64s:
        return np.empty((64, columns), np.int64)

    repeated = make_rows(8)
    repeated[0] = (1, 1, 0, 0, 0, 0, -1, 1)  # a single copy
    tables = (
        np.empty(1024, np.int64), np.empty(1024, np.uint8), np.empty((3, 1024), np.int64),
        make_rows(len(SHAPE)), make_rows(len(PLACED)), np.empty((64, 3)), repeated,
        make_rows(len(CELL)), make_rows(len(NAME)),
        (make_rows(len(KEY)), np.full(256, -1, np.int64)),
    )  # fmt: skip
    return slots, tables


@kernel
def read_start(data: Bytes, slots: Int64s) -> float:
    """Read the START record; return the unit, in grid points per um."""
    code = read_byte(data, slots)
    slots[Slot.CODE] = code
    if code != Record.START:
        fail(slots, Fault.START, code)
    skip_string(data, slots)
    at = slots[Slot.PIECE]
    if slots[Slot.FAULT] == Fault.NONE and not (
        slots[Slot.PIECE_SIZE] == 3
        and data[at] == 0x31 and data[at + 1] == 0x2E and data[at + 2] == 0x30
    ):  # fmt: skip
        fail(slots, Fault.VERSION, 0)
    unit = read_real(data, slots)
    if not LEAST_UNIT <= unit < np.inf:
        fail(slots, Fault.UNIT, 0)
    slots[Slot.OFFSETS_LAST] = read_unsigned(data, slots)
    if not slots[Slot.OFFSETS_LAST]:
        _skip_offsets(data, slots)
    return unit


@kernel
def read_end(data: Bytes, slots: Int64s) -> int:
    """Read the END record after its type; return its validation scheme."""
    if slots[Slot.OFFSETS_LAST]:
        _skip_offsets(data, slots)
    skip_string(data, slots)
    return read_unsigned(data, slots)


@kernel
def _skip_offsets(data: Bytes, slots: Int64s) -> None:
    """Skip the offsets of the name tables: names are accepted anywhere."""
    for _ in range(12):
        read_unsigned(data, slots)


@kernel
def walk(data: Bytes, slots: Int64s, wanted: Int64s, tables: Tables) -> Tables:
    """Read records up to END, a CBLOCK, the end of a CBLOCK or a fault; `Slot.STOP` says which.

    Parameters
    ----------
    data
        The file, or an unpacked CBLOCK, from `Slot.AT` to `Slot.END`.
    wanted
        (n, 2) layers and datatypes whose shapes are kept; all if `Slot.EVERY` is set.
    """
    pool, text, lists, shapes, placed, odd, repeated, cells, names, keys = tables
    slots[Slot.STOP] = Stop.NONE
    while slots[Slot.STOP] == Stop.NONE:
        if slots[Slot.AT] == slots[Slot.END] and slots[Slot.BLOCK] >= 0:
            slots[Slot.STOP] = Stop.BLOCK_END
            break
        shapes = _grow(shapes, slots[Slot.SHAPES])
        placed = _grow(placed, slots[Slot.PLACED])
        repeated = _grow(repeated, slots[Slot.REPEATED])
        cells, names = _grow(cells, slots[Slot.CELLS]), _grow(names, slots[Slot.NAMES])
        odd = _grow(odd, slots[Slot.ODD])
        code = _read_record_type(data, slots)
        if slots[Slot.FAULT] != Fault.NONE:
            break
        if Record.RECTANGLE <= code <= Record.CIRCLE or code == Record.XGEOMETRY:
            lists = read_shape(data, slots, lists, code)
            if code != Record.XGEOMETRY and slots[Slot.FAULT] == Fault.NONE:
                keys = find_layer(slots, keys, wanted)
                if keys[0][slots[Slot.TAG], 5]:
                    pool = put_shape(slots, lists, pool, repeated, shapes, code)
        elif code == Record.PLACEMENT or code == Record.PLACEMENT_MAGNIFIED:
            lists, text = read_placement(data, slots, lists, text, odd, code)
            if slots[Slot.FAULT] == Fault.NONE:
                keys, pool = _put_placement(slots, lists, pool, repeated, placed, keys)
        elif code == Record.TEXT:
            lists, known = read_text(data, slots, lists)
            if known >= 0:
                keys = find_key(slots, keys, OF_TEXT, known, 0)
        elif code == Record.CELL or code == Record.CELL_BY_NUMBER:
            text, keys = read_cell(data, slots, text, cells, keys)
        elif Record.CELLNAME <= code <= Record.PROPSTRING_NUMBERED:
            text = read_name(data, slots, text, names, code)
            reset_modal(slots)
        elif code == Record.PROPERTY:
            keys = read_property(data, slots, keys)
        else:
            _read_other(data, slots, code)
        if slots[Slot.FAULT] != Fault.NONE:
            break
    if slots[Slot.FAULT] != Fault.NONE:
        slots[Slot.STOP] = Stop.FAULT
    return pool, text, lists, shapes, placed, odd, repeated, cells, names, keys


@kernel
def _read_record_type(data: Bytes, slots: Int64s) -> int:
    """Read a record type and check that it is allowed here."""
    slots[Slot.RECORD] = slots[Slot.AT]
    code = read_byte(data, slots)
    slots[Slot.CODE] = code
    if slots[Slot.FAULT] != Fault.NONE:
        slots[Slot.FAULT] = Fault.NO_END
    elif code > Record.CBLOCK:
        fail(slots, Fault.UNKNOWN, code)
    elif (
        code == Record.START
        or (code == Record.END and slots[Slot.BLOCK] >= 0)
        or (_needs_cell(code) and not slots[Slot.IN_CELL])
    ):
        fail(slots, Fault.PLACE, code)
    return code


@kernel
def _needs_cell(code: int) -> bool:
    is_extension = code == Record.XELEMENT or code == Record.XGEOMETRY
    return bool(Record.XYABSOLUTE <= code <= Record.CIRCLE or is_extension)


@kernel
def _read_other(data: Bytes, slots: Int64s, code: int) -> None:
    """Read a record that has no row in a table; nothing is left to read of a PAD."""
    if code == Record.XYABSOLUTE or code == Record.XYRELATIVE:
        slots[Slot.RELATIVE] = code == Record.XYRELATIVE
    elif code == Record.PROPERTY_AGAIN:
        require(slots, Modal.NAME)
        require(slots, Modal.VALUES)
    elif code == Record.LAYERNAME or code == Record.LAYERNAME_OF_TEXTS:
        read_layer_name(data, slots)
        reset_modal(slots)
    elif code == Record.XELEMENT or code == Record.XNAME or code == Record.XNAME_NUMBERED:
        read_unsigned(data, slots)
        skip_string(data, slots)
        if code == Record.XNAME_NUMBERED:
            read_unsigned(data, slots)
        if code != Record.XELEMENT:
            reset_modal(slots)
    elif code == Record.CBLOCK:
        read_block(data, slots)
    elif code == Record.END:
        slots[Slot.STOP] = Stop.END


@kernel
def _put_placement(
    slots: Int64s, lists: Int64s, pool: Int64s, repeated: Int64s, placed: Int64s, keys: Keys
) -> tuple[Keys, Int64s]:
    """Write the placement in the modal variables to a row; return keys and pool."""
    row, cell, repetition = slots[Slot.PLACED], slots[Modal.CELL], 0
    if not slots[Modal.CELL_IS_NAME]:
        keys = find_key(slots, keys, OF_CELL, cell, 0)
        cell = slots[Slot.KEY]
    if slots[Modal.COPIED]:
        pool = keep_repetition(slots, lists, pool, repeated)
        repetition = slots[Modal.REPETITION_ROW]
    placed[row] = (
        slots[Slot.CELLS] - 1, slots[Modal.CELL_IS_NAME], cell, slots[Modal.CELL_SIZE],
        slots[Modal.TURN], slots[Modal.PLACED_X], slots[Modal.PLACED_Y], repetition,
        locate_record(slots),
    )  # fmt: skip
    slots[Slot.PLACED] = row + 1
    return keys, pool


@kernel
def _grow(table: Int64s, used: int) -> Int64s:
    """Return the table, or a copy of twice the rows if all are used."""
    return np.concatenate((table, np.empty_like(table))) if used == len(table) else table
