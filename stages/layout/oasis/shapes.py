"""Read shapes, placements and texts of OASIS into rows of tables, compiled.

Source: SEMI P39, OASIS, sections 22 to 30.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Floats, Int64s
from stages.layout.oasis.bytes import (
    fail,
    keep_string,
    read_byte,
    read_coordinate,
    read_number,
    read_real,
    read_unsigned,
    skip_string,
)
from stages.layout.oasis.grammar import (
    CTRAPEZOID_CORNERS,
    CTRAPEZOID_COUNT,
    Fault,
    Modal,
    Note,
    Record,
    Slot,
)
from stages.layout.oasis.lists import (
    PATH,
    POLYGON,
    count_note,
    keep_points,
    keep_repetition,
    read_points,
    read_repetition,
    reserve_pool,
)

SHAPE = (
    "owner", "tag", "at", "count", "x", "y", "repetition", "half_width", "start", "end", "place",
)  # fmt: skip
"""Columns of shapes, (n, 11) int64: the owner is a cell's number, the tag a row of keys; `at` and
`count` give its corners in the pool, relative to x, y; the half width is -1 for a polygon, and the
radius for a circle, whose `count` is 1."""
PLACED = (
    "owner", "is_name", "cell", "size", "turn", "x", "y", "repetition", "place",
)  # fmt: skip
"""Columns of placements, (n, 9) int64: `cell` is a row of keys, or the offset in the text of a name
of `size` bytes; the turn is a code of `PackedLayer.inst_turn`, or ``-1 - row`` of an odd one."""


@kernel
def require(slots: Int64s, variable: int) -> None:
    """Fail if a modal variable is undefined."""
    if not slots[Modal.DEFINED] >> (variable - Modal.LAYER) & 1:
        fail(slots, Fault.MODAL, variable)


@kernel
def define(slots: Int64s, variable: int, value: int) -> None:
    """Set a modal variable."""
    slots[variable] = value
    slots[Modal.DEFINED] |= np.int64(1) << (variable - Modal.LAYER)


@kernel
def move(data: Bytes, slots: Int64s, variable: int, given: int) -> None:
    """Read a coordinate, if `given`, into its modal variable: absolute, or added."""
    if given:
        value = read_coordinate(data, slots)
        slots[variable] = value + (slots[variable] if slots[Slot.RELATIVE] else 0)


@kernel
def read_shape(data: Bytes, slots: Int64s, lists: Int64s, code: int) -> Int64s:
    """Read a shape's record into the modal variables; return the lists."""
    info = read_byte(data, slots)
    if code == Record.XGEOMETRY:
        read_unsigned(data, slots)
    if info & 1:
        define(slots, Modal.LAYER, read_number(data, slots))
    if info & 2:
        define(slots, Modal.DATATYPE, read_number(data, slots))
    if code == Record.XGEOMETRY:
        skip_string(data, slots)
    elif code == Record.POLYGON or code == Record.PATH:
        lists = _read_outline(data, slots, lists, code, info)
    else:
        _read_size(data, slots, code, info)
    move(data, slots, Modal.X, info & 16)
    move(data, slots, Modal.Y, info & 8)
    lists = read_copies(data, slots, lists, info & 4)
    if code != Record.XGEOMETRY:
        require(slots, Modal.LAYER)
        require(slots, Modal.DATATYPE)
    return lists


@kernel
def read_copies(data: Bytes, slots: Int64s, lists: Int64s, given: int) -> Int64s:
    """Read a repetition, if `given`, and set whether there is more than one copy."""
    slots[Modal.COPIED] = 0
    if given:
        lists = read_repetition(data, slots, lists)
        copies = slots[Modal.REPETITION]
        grid = slots[Modal.COLUMNS] > 1 or slots[Modal.ROWS] > 1
        slots[Modal.COPIED] = copies > 1 or (copies == 0 and grid)
    return lists


@kernel
def _read_outline(data: Bytes, slots: Int64s, lists: Int64s, code: int, info: int) -> Int64s:
    row, variable = (POLYGON, Modal.POLYGON) if code == Record.POLYGON else (PATH, Modal.PATH)
    if code == Record.PATH:
        if info & 64:
            define(slots, Modal.HALF_WIDTH, read_number(data, slots))
        if info & 128:
            scheme = read_unsigned(data, slots)
            _set_extension(data, slots, Modal.START, (scheme >> 2) & 3)
            _set_extension(data, slots, Modal.END, scheme & 3)
        for needed in (Modal.HALF_WIDTH, Modal.START, Modal.END):
            require(slots, needed)
    if info & 32:
        lists = read_points(data, slots, lists, row)
        slots[Modal.DEFINED] |= np.int64(1) << (variable - Modal.LAYER)
    require(slots, variable)
    return lists


@kernel
def _set_extension(data: Bytes, slots: Int64s, variable: int, scheme: int) -> None:
    """Set a path extension: 0 keeps the last one, 1 none, 2 half the width, 3 explicit."""
    if scheme == 1:
        define(slots, variable, 0)
    elif scheme == 2:
        require(slots, Modal.HALF_WIDTH)
        define(slots, variable, slots[Modal.HALF_WIDTH])
    elif scheme == 3:
        define(slots, variable, read_coordinate(data, slots))


@kernel
def _read_size(data: Bytes, slots: Int64s, code: int, info: int) -> None:
    if code == Record.CIRCLE:
        if info & 32:
            define(slots, Modal.RADIUS, read_number(data, slots))
        require(slots, Modal.RADIUS)
        return
    if code == Record.CTRAPEZOID and info & 128:
        define(slots, Modal.CTRAPEZOID, read_unsigned(data, slots))
    if info & 64:
        define(slots, Modal.WIDTH, read_number(data, slots))
    if code == Record.RECTANGLE and info & 128:
        require(slots, Modal.WIDTH)
        define(slots, Modal.HEIGHT, slots[Modal.WIDTH])
    elif info & 32:
        define(slots, Modal.HEIGHT, read_number(data, slots))
    if code == Record.CTRAPEZOID:
        _finish_ctrapezoid(slots)
        return
    slots[Modal.VERTICAL] = info >> 7
    slots[Modal.DELTA_A] = slots[Modal.DELTA_B] = 0
    if code == Record.TRAPEZOID or code == Record.TRAPEZOID_A:
        slots[Modal.DELTA_A] = read_coordinate(data, slots)
    if code == Record.TRAPEZOID or code == Record.TRAPEZOID_B:
        slots[Modal.DELTA_B] = read_coordinate(data, slots)
    require(slots, Modal.WIDTH)
    require(slots, Modal.HEIGHT)


@kernel
def _finish_ctrapezoid(slots: Int64s) -> None:
    """Check the variables of a CTRAPEZOID, and set modal width and height to its box."""
    require(slots, Modal.CTRAPEZOID)
    kind = slots[Modal.CTRAPEZOID]
    if kind > 25:
        fail(slots, Fault.CTRAPEZOID, kind)
        return
    if kind != 20 and kind != 21:
        require(slots, Modal.WIDTH)
    if kind < 16 or kind == 20 or kind == 21 or kind == 24:
        require(slots, Modal.HEIGHT)
    width, height, box_width, box_height = slots[Modal.WIDTH], slots[Modal.HEIGHT], 0, 0
    for a, b, c, d in CTRAPEZOID_CORNERS[kind]:
        box_width = max(box_width, a * width + b * height)
        box_height = max(box_height, c * width + d * height)
    slots[Modal.DELTA_A], slots[Modal.DELTA_B] = width, height  # for its corners
    define(slots, Modal.WIDTH, box_width)
    define(slots, Modal.HEIGHT, box_height)


@kernel
def put_shape(
    slots: Int64s, lists: Int64s, pool: Int64s, repeated: Int64s, shapes: Int64s,
    code: int,
) -> Int64s:  # fmt: skip
    """Write the shape in the modal variables to a row; return the pool."""
    row = slots[Slot.SHAPES]
    at, count, half_width = slots[Slot.POOL], 0, -1
    if code == Record.POLYGON:
        pool = keep_points(slots, POLYGON, lists, pool)
        at, count = slots[Modal.POLYGON_AT], slots[Modal.POLYGON]
    elif code == Record.PATH:
        pool = keep_points(slots, PATH, lists, pool)
        at, count, half_width = slots[Modal.PATH_AT], slots[Modal.PATH], slots[Modal.HALF_WIDTH]
    elif code == Record.CIRCLE:
        count, half_width = 1, slots[Modal.RADIUS]
    else:
        pool = reserve_pool(pool, at + 8)
        count = _put_corners(slots, pool, at, code)
        slots[Slot.POOL] += 2 * count
    if code == Record.POLYGON and count < 3:
        count_note(slots, Note.CORNERS)
    elif code == Record.PATH and count < 2:
        count_note(slots, Note.POINTS)
    elif count and half_width != 0:
        repetition = 0
        if slots[Modal.COPIED]:
            pool = keep_repetition(slots, lists, pool, repeated)
            repetition = slots[Modal.REPETITION_ROW]
        shapes[row] = (
            slots[Slot.CELLS] - 1, slots[Slot.TAG], at, count, slots[Modal.X], slots[Modal.Y],
            repetition, half_width, slots[Modal.START], slots[Modal.END], slots[Slot.RECORD],
        )  # fmt: skip
        slots[Slot.SHAPES] = row + 1
    return pool


@kernel
def _put_corners(slots: Int64s, pool: Int64s, at: int, code: int) -> int:
    """Write the corners of a rectangle or trapezoid to the pool; return their number."""
    width, height = slots[Modal.WIDTH], slots[Modal.HEIGHT]
    a, b = slots[Modal.DELTA_A], slots[Modal.DELTA_B]
    if code == Record.CTRAPEZOID:
        kind = slots[Modal.CTRAPEZOID]
        for corner in range(CTRAPEZOID_COUNT[kind]):
            of_x, and_x, of_y, and_y = CTRAPEZOID_CORNERS[kind, corner]
            pool[at + 2 * corner] = of_x * a + and_x * b
            pool[at + 2 * corner + 1] = of_y * a + and_y * b
        return int(CTRAPEZOID_COUNT[kind])
    if code == Record.RECTANGLE:
        if width == 0 or height == 0:
            return 0  # without area
        pool[at : at + 8] = (0, 0, width, 0, width, height, 0, height)
    elif slots[Modal.VERTICAL]:
        pool[at : at + 8] = (
            0, max(a, 0), 0, height + min(b, 0), width, height - max(b, 0), width, -min(a, 0),
        )  # fmt: skip
    else:
        pool[at : at + 8] = (
            max(a, 0), height, width + min(b, 0), height, width - max(b, 0), 0, -min(a, 0), 0,
        )  # fmt: skip
    return 4


@kernel
def read_placement(
    data: Bytes, slots: Int64s, lists: Int64s, text: Bytes, odd: Floats, code: int
) -> tuple[Int64s, Bytes]:
    """Read a placement into the modal variables; return lists and text."""
    info = read_byte(data, slots)
    if info & 128:
        if info & 64:
            slots[Modal.CELL_IS_NAME] = 0
            define(slots, Modal.CELL, read_unsigned(data, slots))
        else:
            skip_string(data, slots)
            text = keep_string(data, slots, text)
            slots[Modal.CELL_IS_NAME] = 1
            slots[Modal.CELL_SIZE] = slots[Slot.PIECE_SIZE]
            define(slots, Modal.CELL, slots[Slot.PIECE])
    require(slots, Modal.CELL)
    slots[Modal.TURN] = ((info >> 1) & 3) + 4 * (info & 1)
    if code == Record.PLACEMENT_MAGNIFIED:
        slots[Modal.TURN] = _read_turn(data, slots, odd, info)
    move(data, slots, Modal.PLACED_X, info & 32)
    move(data, slots, Modal.PLACED_Y, info & 16)
    return read_copies(data, slots, lists, info & 8), text


@kernel
def _read_turn(data: Bytes, slots: Int64s, odd: Floats, info: int) -> int:
    """Read magnification and angle; return the code of the turn, or ``-1 - row`` of an odd one."""
    scale = read_real(data, slots) if info & 4 else 1.0
    angle = read_real(data, slots) if info & 2 else 0.0
    if not (0 < scale < np.inf and -np.inf < angle < np.inf):
        fail(slots, Fault.MAGNIFICATION, 0)
        return 0
    if abs(angle) > 360:
        count_note(slots, Note.ANGLE)
    quarters = np.rint(angle / 90)
    if abs(scale - 1) <= 1e-6 and abs(angle / 90 - quarters) <= 1e-6:
        return int(np.int64(quarters % 4) + 4 * (info & 1))
    row = slots[Slot.ODD]
    odd[row, 0], odd[row, 1], odd[row, 2] = scale, angle, info & 1
    slots[Slot.ODD] = row + 1
    return -1 - int(row)


@kernel
def read_text(data: Bytes, slots: Int64s, lists: Int64s) -> tuple[Int64s, int]:
    """Skip a text; return lists, and its reference number or -1."""
    info, known = read_byte(data, slots), -1
    if info & 64:
        if info & 32:
            known = read_unsigned(data, slots)
        else:
            skip_string(data, slots)
        define(slots, Modal.TEXT, 0)
    if info & 1:
        define(slots, Modal.TEXTLAYER, read_number(data, slots))
    if info & 2:
        define(slots, Modal.TEXTTYPE, read_number(data, slots))
    move(data, slots, Modal.TEXT_X, info & 16)
    move(data, slots, Modal.TEXT_Y, info & 8)
    lists = read_copies(data, slots, lists, info & 4)
    for needed in (Modal.TEXT, Modal.TEXTLAYER, Modal.TEXTTYPE):
        require(slots, needed)
    return lists, known
