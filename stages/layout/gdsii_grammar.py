"""The grammar of a GDSII record stream, as tables that compiled kernels index.

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
    """Where in the stream a walk is; each element again, `TAIL` later, after its XY."""

    FILE, LIBRARY, UNNAMED, CELL, BOUNDARY, PATH, SREF, AREF, TEXT, NODE, BOX = range(11)


END_OF_STRUCTURE, END_OF_LIBRARY = b"\x00\x04\x07\x00", b"\x00\x04\x04\x00"
"""The whole records."""

EMPTY_LIBRARY = bytes.fromhex(
    "0006 0002 0258  001c 0102" + 24 * "00" + "0006 0206 4100  0014 0305 3e4189374bc6a7f0"
    "3944b82fa09b5a54  0004 0400"
)
"""A whole stream, of 1 nm, with no structure."""

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
_PLACES = (  # (what the state is called, records that may come next), in the order of `State`
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
    *((f"after the XY of {name}", "ENDEL PROPATTR PROPVALUE STRING") for name in ELEMENTS),
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

PLACES = tuple(place for place, _ in _PLACES)
"""What each state is called."""
DATA_TYPE = np.full(256, 255, np.uint8)
"""(256,) data type of each record type; 255 where the record type does not exist."""
DATA_BYTES = np.full(256, -1, np.int64)
"""(256,) bytes of data of each record type; -1 any number, -8 any multiple of 8."""
MAY_FOLLOW = np.zeros((len(PLACES), 256), np.bool_)
"""(states, 256) whether a record type may come in a state."""
MUST_HAVE = np.zeros(len(PLACES), np.int64)
"""(states,) bit `1 << type` of each record that an element needs before its XY."""
NEXT_STATE = np.full(256, -1, np.int64)
"""(256,) state that a record type leads to, -1 where it changes none."""


def names_of(bits: int) -> list[str]:
    """Return the names of the record types whose bits are set."""
    return [record.name for record in Record if bits >> record & 1]


def _fill_tables() -> None:
    for data_type, sizes in _DATA.items():
        for size, records in sizes.items():
            for name in records.split():
                DATA_TYPE[Record[name]], DATA_BYTES[Record[name]] = data_type, size
    for state, (_, records) in enumerate(_PLACES):
        MAY_FOLLOW[state, [Record[name] for name in records.split()]] = True
    for element, records in _NEEDED.items():
        MUST_HAVE[State[element]] = sum(1 << Record[name] for name in records.split())
        NEXT_STATE[Record[element]] = State[element]
    NEXT_STATE[[Record.BGNLIB, Record.ENDSTR]] = State.LIBRARY
    NEXT_STATE[[Record.STRNAME, Record.ENDEL]] = State.CELL
    NEXT_STATE[Record.BGNSTR] = State.UNNAMED


_fill_tables()
