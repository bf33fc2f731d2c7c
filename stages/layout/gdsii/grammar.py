"""The grammar of GDSII, as tables for compiled kernels.

Source: GDSII Stream Format Manual, release 6.0, Calma, 1987.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Record(IntEnum):
    """Record types."""

    HEADER, BGNLIB, LIBNAME, UNITS, ENDLIB, BGNSTR, STRNAME, ENDSTR = range(8)
    BOUNDARY, PATH, SREF, AREF, TEXT, LAYER, DATATYPE, WIDTH = range(8, 16)
    XY, ENDEL, SNAME, COLROW = range(16, 20)
    NODE, TEXTTYPE, PRESENTATION = range(21, 24)
    STRING, STRANS, MAG, ANGLE = range(25, 29)
    REFLIBS, FONTS, PATHTYPE, GENERATIONS, ATTRTABLE = range(31, 36)
    ELFLAGS = 38
    NODETYPE, PROPATTR, PROPVALUE, BOX, BOXTYPE, PLEX, BGNEXTN, ENDEXTN = range(42, 50)
    STRCLASS = 52
    FORMAT, MASK, ENDMASKS, LIBDIRSIZE, SRFNAME, LIBSECUR = range(54, 60)


class State(IntEnum):
    """State of a walk; an element has a second state, `TAIL` higher, after its XY."""

    FILE, LIBRARY, UNNAMED, CELL, BOUNDARY, PATH, SREF, AREF, TEXT, NODE, BOX = range(11)


_TAG, _ENDEL, _DATES = "00060d02 0000 00060e02 0000", "00041100", 24 * "00"
SMALL_LIBRARY = bytes.fromhex(
    f"00060002 0258 001c0102 {_DATES} 00060206 4100"
    "00140305 3e4189374bc6a7f0 3944b82fa09b5a54"
    f"001c0502 {_DATES} 00060606 4100"
    f"00040800 {_TAG} 00341003 {''.join(f'{x:08x}' for x in (0, 0, 2, 0, 2, 1, 1, 1, 1, 2, 0, 2))}"
    f"{_ENDEL} 00040900 {_TAG} 00080f03 00000001 00141003 {24 * '0'} 00000003 {_ENDEL} 00040700"
    f"001c0502 {_DATES} 00060606 4200 00040a00 00061206 4100 000c1003 {16 * '0'} {_ENDEL} 00040700"
    "00040400"
)
"""A complete stream, dbu 1 nm: cell B places cell A, which has an L and a path on 0/0."""

ELEMENTS = ("BOUNDARY", "PATH", "SREF", "AREF", "TEXT", "NODE", "BOX")
TAIL = len(ELEMENTS)

_DATA = {  # data type: {bytes of data (-1 any number, -8 a multiple of 8): records}
    0: {0: "ENDLIB ENDSTR ENDEL ENDMASKS " + " ".join(ELEMENTS)},
    1: {2: "PRESENTATION STRANS ELFLAGS STRCLASS"},
    2: {
        -1: "BGNLIB BGNSTR LIBSECUR",
        2: "HEADER LAYER DATATYPE TEXTTYPE PATHTYPE GENERATIONS NODETYPE PROPATTR BOXTYPE FORMAT "
        "LIBDIRSIZE",
        4: "COLROW",
    },
    3: {-8: "XY", 4: "WIDTH PLEX BGNEXTN ENDEXTN"},
    5: {8: "MAG ANGLE", 16: "UNITS"},
    6: {-1: "LIBNAME STRNAME SNAME STRING REFLIBS FONTS ATTRTABLE PROPVALUE MASK SRFNAME"},
}

_SHAPE = "ELFLAGS PLEX LAYER XY "
_TURN = "ELFLAGS PLEX XY STRANS MAG ANGLE "
_PLACES = (  # (name of the state, records that may come next), in the order of `State`
    ("before BGNLIB", "HEADER BGNLIB"),
    (
        "between structures",
        "LIBDIRSIZE SRFNAME LIBSECUR LIBNAME REFLIBS FONTS ATTRTABLE GENERATIONS FORMAT MASK "
        "ENDMASKS UNITS PROPATTR PROPVALUE BGNSTR ENDLIB",
    ),
    ("between BGNSTR and STRNAME", "STRNAME"),
    ("between elements", "STRCLASS ENDSTR " + " ".join(ELEMENTS)),
    ("in a BOUNDARY", _SHAPE + "DATATYPE"),
    ("in a PATH", _SHAPE + "DATATYPE PATHTYPE WIDTH BGNEXTN ENDEXTN"),
    ("in an SREF", _TURN + "SNAME"),
    ("in an AREF", _TURN + "SNAME COLROW"),
    ("in a TEXT", _TURN + "LAYER TEXTTYPE PRESENTATION PATHTYPE WIDTH"),
    ("in a NODE", _SHAPE + "NODETYPE"),
    ("in a BOX", _SHAPE + "BOXTYPE"),
    *((f"after the XY of {name}", "ENDEL PROPATTR PROPVALUE STRING XY") for name in ELEMENTS),
)
_NEEDED = {
    "BOUNDARY": "LAYER DATATYPE",
    "PATH": "LAYER DATATYPE",
    "SREF": "SNAME",
    "AREF": "SNAME COLROW",
    "TEXT": "LAYER TEXTTYPE",
    "NODE": "LAYER NODETYPE",
    "BOX": "LAYER BOXTYPE",
}

_ORDER = (  # of the records of an element; within a line, any
    "ELFLAGS PLEX",
    "SNAME LAYER",
    "DATATYPE TEXTTYPE NODETYPE BOXTYPE",
    *[
        "PRESENTATION",
        "PATHTYPE",
        "WIDTH",
        "BGNEXTN",
        "ENDEXTN",
        "STRANS",
        "MAG",
        "ANGLE",
        "COLROW",
        "XY",
    ],
)

PLACES = tuple(place for place, _ in _PLACES)
"""Names of the states."""
DATA_TYPE = np.full(256, 255, np.uint8)
"""(256,) data type of each record type; 255 if there is no such type."""
DATA_BYTES = np.full(256, -1, np.int64)
"""(256,) bytes of data of each record type; -1 any number, -8 any multiple of 8."""
MAY_FOLLOW = np.zeros((len(PLACES), 256), np.bool_)
"""(states, 256) whether a record type may come in a state."""
MUST_HAVE = np.zeros(len(PLACES), np.int64)
"""(states,) bit `1 << type` of each record that an element needs before its XY."""
RANK = np.zeros(256, np.int64)
"""(256,) rank of a record type in the order of an element's records; 0 for none."""
NEXT_STATE = np.full(256, -1, np.int64)
"""(256,) state that a record type leads to, -1 if it does not change the state."""


def list_record_names(bits: int) -> list[str]:
    """Return the names of the record types whose bits are set."""
    return [record.name for record in Record if bits >> record & 1]


def _fill_tables() -> None:
    for data_type, sizes in _DATA.items():
        for size, records in sizes.items():
            for name in records.split():
                DATA_TYPE[Record[name]], DATA_BYTES[Record[name]] = data_type, size
    for state, (_, records) in enumerate(_PLACES):
        MAY_FOLLOW[state, [Record[name] for name in records.split()]] = True
    for rank, records in enumerate(_ORDER, 1):
        RANK[[Record[name] for name in records.split()]] = rank
    for element, records in _NEEDED.items():
        MUST_HAVE[State[element]] = sum(1 << Record[name] for name in records.split())
        NEXT_STATE[Record[element]] = State[element]
    NEXT_STATE[[Record.BGNLIB, Record.ENDSTR]] = State.LIBRARY
    NEXT_STATE[[Record.STRNAME, Record.ENDEL]] = State.CELL
    NEXT_STATE[Record.BGNSTR] = State.UNNAMED


_fill_tables()
