"""The records of OASIS, the state of its reader, and its faults.

Source: SEMI P39, OASIS, sections 7 to 14 and 22 to 36.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from stages.contracts import Int64s

MAGIC = b"%SEMI-OASIS\r\n"
END_BYTES = 256
"""Size of the END record, the last of the file, which is padded to this."""
INT32_MAX = 2**31 - 1
LEAST_UNIT = 1e-6
"""Grid points per um, for a database unit of 1 m."""


class Record(IntEnum):
    """Record types; a name record ending in NUMBERED has an explicit reference number."""

    PAD, START, END = range(3)
    CELLNAME, CELLNAME_NUMBERED, TEXTSTRING, TEXTSTRING_NUMBERED = range(3, 7)
    PROPNAME, PROPNAME_NUMBERED, PROPSTRING, PROPSTRING_NUMBERED = range(7, 11)
    LAYERNAME, LAYERNAME_OF_TEXTS, CELL_BY_NUMBER, CELL = range(11, 15)
    XYABSOLUTE, XYRELATIVE, PLACEMENT, PLACEMENT_MAGNIFIED, TEXT, RECTANGLE = range(15, 21)
    POLYGON, PATH, TRAPEZOID, TRAPEZOID_A, TRAPEZOID_B, CTRAPEZOID, CIRCLE = range(21, 28)
    PROPERTY, PROPERTY_AGAIN, XNAME, XNAME_NUMBERED, XELEMENT, XGEOMETRY, CBLOCK = range(28, 35)


RECORDS = tuple(record.name.split("_")[0] for record in Record)
"""Names of the record types in the specification."""


class Slot(IntEnum):
    """State of the walk between records, besides the modal variables."""

    AT, END, RECORD, BLOCK, CODE, FAULT, VALUE, STOP = range(8)
    IN_CELL, RELATIVE, TAG, EVERY, KEY, OFFSETS_LAST = range(8, 14)
    PIECE, PIECE_SIZE, PACKED_BYTES, BLOCK_BYTES = range(14, 18)
    POOL, TEXT, SHAPES, PLACED, ODD, REPEATED, CELLS, NAMES, KEYS = range(18, 27)
    IMPLICIT, EXPLICIT = 27, 31  # four each: CELLNAME, TEXTSTRING, PROPNAME, PROPSTRING
    NOTES = 35  # two each: count, and first byte


class Stop(IntEnum):
    """Why the walk returned."""

    NONE, FAULT, CBLOCK, BLOCK_END, END = range(5)


class Modal(IntEnum):
    """Slots of the modal variables; of the lists only the length, they have their own table.

    The first 18 are undefined until set; the last rows hold details of some of them.
    """

    LAYER, DATATYPE, WIDTH, HEIGHT, CTRAPEZOID, RADIUS, HALF_WIDTH, START, END = range(48, 57)
    POLYGON, PATH, REPETITION, CELL, TEXT, TEXTLAYER, TEXTTYPE, NAME, VALUES = range(57, 66)
    X, Y, PLACED_X, PLACED_Y, TEXT_X, TEXT_Y = range(66, 72)
    DEFINED, COPIED, VERTICAL, DELTA_A, DELTA_B, POLYGON_AT, PATH_AT = range(72, 79)
    CELL_IS_NAME, CELL_SIZE, TURN, REPETITION_ROW = range(79, 83)
    COLUMNS, ROWS, U_X, U_Y, V_X, V_Y = range(83, 89)


SLOTS = max(Modal) + 1

_MODAL_NAMES = (
    "layer", "datatype", "geometry-w", "geometry-h", "ctrapezoid-type", "circle-radius",
    "path-halfwidth", "path-start-extension", "path-end-extension", "polygon-point-list",
    "path-point-list", "repetition", "placement-cell", "text-string", "textlayer", "texttype",
    "last-property-name", "last-value-list",
)  # fmt: skip


class Fault(IntEnum):
    """Faults for which a file is refused."""

    NONE, PAST_END, NO_END, UNKNOWN, PLACE, OVERFLOW, COORDINATE, NUMBER = range(8)
    MODAL, LIST_KIND, LIST_EMPTY, REPETITION, CTRAPEZOID, REAL, VALUE = range(8, 15)
    MAGNIFICATION, MIXED, INTERVAL, NESTED, COMPRESSION, VERSION, UNIT, START = range(15, 23)


FAULTS = (
    "",
    "the {whole} ends inside {record}",
    "the file ends without an END record: it is cut off",
    "record type {code} does not exist in OASIS",
    "{record} may not come {where}",
    "an integer of more than 63 bits in {record}",
    "coordinate {value} in {record}; 32 bits hold -2147483648 to 2147483647",
    "number {value} in {record}; 32 bits hold 0 to 4294967295",
    "{record} uses the modal variable {modal}, which has no value yet",
    "point list type {value} in {record}; there are 0 to 5",
    "a point list without points in {record}",
    "repetition type {value} in {record}; there are 0 to 11",
    "CTRAPEZOID type {value}; there are 0 to 25",
    "{record} has a real of type {value}, or one that is no number; there are types 0 to 7",
    "PROPERTY has a value of type {value}; there are 0 to 15",
    "PLACEMENT has a magnification that is not over 0, or an angle that is no number",
    "{record} with and without a reference number in one file",
    "LAYERNAME has an interval of type {value}; there are 0 to 4",
    "a CBLOCK within a CBLOCK",
    "CBLOCK has compression type {value}; there is only 0",
    'the version is not "1.0"',
    "the unit is under 0.000001 grid points per um, or no number, so there is no scale",
    "record type {code} comes first; it must be START",
)


class Note(IntEnum):
    """Faults that are repaired or harmless."""

    CORNERS, ODD_LIST, ANGLE, POINTS = range(4)


NOTES = (
    "left out {n} POLYGON with under three corners, so without area",
    "read {n} POLYGON point lists of type 0 or 1 that have an odd number of corners",
    "read {n} PLACEMENT with an angle past 360 degrees",
    "left out {n} PATH with fewer than two points",
)


def name_modal(modal: int) -> str:
    """Return the name of a modal variable in the specification."""
    return _MODAL_NAMES[modal - Modal.LAYER]


# fmt: off
_CTRAPEZOIDS = (
    "0,0 0,h w-h,h w,0",  "0,0 0,h w,h w-h,0",    "0,0 h,h w,h w,0",    "h,0 0,h w,h w,0",
    "0,0 h,h w-h,h w,0",  "h,0 0,h w,h w-h,0",    "0,0 h,h w,h w-h,0",  "h,0 0,h w-h,h w,0",
    "0,0 0,h w,h-w w,0",  "0,0 0,h-w w,h w,0",    "0,0 0,h w,h w,w",    "0,w 0,h w,h w,0",
    "0,0 0,h w,h-w w,w",  "0,w 0,h-w w,h w,0",    "0,0 0,h-w w,h w,w",  "0,w 0,h w,h-w w,0",
    "0,0 0,w w,0",        "0,0 0,w w,w",          "0,0 w,w w,0",        "0,w w,w w,0",
    "0,0 h,h 2h,0",       "0,h 2h,h h,0",         "0,0 0,2w w,w",       "w,0 0,w w,2w",
    "0,0 0,h w,h w,0",    "0,0 0,w w,w w,0",
)
# fmt: on
_TERMS = {
    "0": (0, 0),
    "w": (1, 0),
    "h": (0, 1),
    "2w": (2, 0),
    "2h": (0, 2),
    "w-h": (1, -1),
    "h-w": (-1, 1),
}  # fmt: skip


def _build_ctrapezoids() -> tuple[Int64s, Int64s]:
    corners = np.zeros((len(_CTRAPEZOIDS), 4, 4), np.int64)
    counts = np.zeros(len(_CTRAPEZOIDS), np.int64)
    for kind, outline in enumerate(_CTRAPEZOIDS):
        for number, corner in enumerate(outline.split()):
            x, y = corner.split(",")
            corners[kind, number] = (*_TERMS[x], *_TERMS[y])
            counts[kind] = number + 1
    return corners, counts


CTRAPEZOID_CORNERS, CTRAPEZOID_COUNT = _build_ctrapezoids()
"""(26, 4, 4) a, b, c, d of each corner ``x = a w + b h, y = c w + d h``; (26,) corners used."""
