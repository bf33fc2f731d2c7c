"""The record check, on streams written record by record."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import gdstk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import LayoutError
from stages.layout.gdsii.grammar import Record
from stages.layout.gdsii.stream_check import (
    StreamCheck,
    StreamReport,
    check_stream,
)
from stages.layout.references import LEVELS

DATE = struct.pack(">12h", *[1] * 12)
SQUARE = (0, 0, 10, 0, 10, 10, 0, 10, 0, 0)
UNITS = bytes.fromhex("3e4189374bc6a7f03944b82fa09b5a54")  # 0.001 and 1e-9


def record(name: str, data_type: int, data: bytes = b"") -> bytes:
    return struct.pack(">HBB", 4 + len(data), Record[name], data_type) + data


def short(name: str, *values: int) -> bytes:
    return record(name, 2, struct.pack(f">{len(values)}h", *values))


def xy(*values: int) -> bytes:
    return record("XY", 3, struct.pack(f">{len(values)}i", *values))


def name_record(name: str, text: bytes) -> bytes:
    return record(name, 6, text + b"\0" * (len(text) % 2))


def element(kind: str, *records: bytes) -> bytes:
    return record(kind, 0) + b"".join(records) + record("ENDEL", 0)


def cell(name: bytes, *elements: bytes) -> bytes:
    begin = record("BGNSTR", 2, DATE) + name_record("STRNAME", name)
    return begin + b"".join(elements) + record("ENDSTR", 0)


def stream(*cells: bytes, units: bytes = record("UNITS", 5, UNITS)) -> bytes:
    head = short("HEADER", 600) + record("BGNLIB", 2, DATE) + name_record("LIBNAME", b"LIB")
    return head + units + b"".join(cells) + record("ENDLIB", 0)


TAG = short("LAYER", 68) + short("DATATYPE", 20)
WIDE = record("WIDTH", 3, struct.pack(">i", 10))
BOX = element("BOUNDARY", TAG, xy(*SQUARE))
FIRST = len(stream(cell(b"A"))) - 8  # where the first element of the first structure begins


def sref(name: bytes, *more: bytes) -> bytes:
    return element("SREF", name_record("SNAME", name), *more, xy(0, 0))


def aref(columns: int, rows: int, *corners: int) -> bytes:
    return element("AREF", name_record("SNAME", b"A"), short("COLROW", columns, rows), xy(*corners))


def check(data: bytes) -> StreamReport:
    return check_stream(np.frombuffer(data, np.uint8))


REFUSED = {
    "record of two bytes": (stream(cell(b"A", b"\0\2\x11\0")), FIRST, "a record of 2 bytes"),
    "unknown type": (stream(cell(b"A", b"\0\4\xee\0")), FIRST, "0xee does not exist"),
    "past the end": (stream(cell(b"A", b"\xff\xff\x10\3")), FIRST, "65535 bytes"),
    "wrong data type": (stream(cell(b"A", b"\0\4\x08\x10")), FIRST, "data type 16; it must be 0"),
    "LAYER of 4 bytes": (
        stream(cell(b"A", element("BOUNDARY", short("LAYER", 1, 2)))),
        FIRST + 4,
        "LAYER has 4 bytes of data; it must be 2",
    ),
    "half a point": (
        stream(cell(b"A", element("BOUNDARY", TAG, xy(1, 2, 3)))),
        FIRST + 16,
        "XY has 12 bytes of data",
    ),
    "no ENDEL": (
        stream(cell(b"A", BOX[:-4])),
        FIRST + len(BOX) - 4,
        "ENDSTR may not come after the XY of BOUNDARY",
    ),
    "LAYER after XY": (
        stream(cell(b"A", element("BOUNDARY", TAG, xy(*SQUARE), short("LAYER", 1)))),
        FIRST + 60,
        "LAYER may not come after the XY",
    ),
    "no LAYER": (
        stream(cell(b"A", element("BOUNDARY", short("DATATYPE", 1), xy(*SQUARE)))),
        FIRST + 10,
        "no LAYER in a BOUNDARY",
    ),
    "LAYER twice": (stream(cell(b"A", element("BOX", TAG[:6], TAG))), FIRST + 10, "second time"),
    "TEXT without STRING": (
        stream(cell(b"A", element("TEXT", TAG[:6], short("TEXTTYPE", 1), xy(0, 0)))),
        FIRST + 28,
        "no STRING",
    ),
    "no UNITS": (stream(cell(b"A"), units=b""), 42, "no scale"),
    "no UNITS and no structure": (stream(units=b""), 42, "ENDLIB before UNITS"),
    "UNITS of zero": (
        stream(cell(b"A"), units=record("UNITS", 5, UNITS[:8] + bytes(8))),
        42,
        "not over 0",
    ),
    "negative UNITS": (
        stream(cell(b"A"), units=record("UNITS", 5, b"\xbe" + UNITS[1:])),
        42,
        "not over 0",
    ),
    "UNITS twice": (stream(units=2 * record("UNITS", 5, UNITS)), 62, "UNITS a second time"),
    "AREF of two points": (stream(cell(b"A", aref(3, 5, 0, 0, 9, 0))), FIRST + 18, "2 points"),
    "32768 rows": (
        stream(cell(b"A", aref(5, -32768, 0, 0, 9, 0, 0, 5))),
        FIRST + 10,
        "COLROW is -32768",
    ),
    "MAG of zero": (
        stream(cell(b"A"), cell(b"T", sref(b"A", record("MAG", 5, bytes(8))))),
        FIRST + 48,
        "MAG is not over 0",
    ),
    "DATATYPE before LAYER": (
        stream(cell(b"A", element("BOUNDARY", TAG[6:], TAG[:6], xy(*SQUARE)))),
        FIRST + 10,
        "LAYER comes too late in a BOUNDARY",
    ),
    "WIDTH after BGNEXTN": (
        stream(cell(b"A", element("PATH", TAG, record("BGNEXTN", 3, bytes(4)), WIDE))),
        FIRST + 24,
        "WIDTH comes too late in a PATH",
    ),
    "XY twice in an SREF": (
        stream(cell(b"A", element("SREF", name_record("SNAME", b"A"), xy(0, 0), xy(0, 0)))),
        FIRST + 22,
        "XY may not come after the XY of SREF",
    ),
    "XY after a property": (
        stream(cell(b"A", element("PATH", TAG, WIDE, xy(0, 0), short("PROPATTR", 1), xy(9, 9)))),
        FIRST + 42,
        "XY may not come after the XY of PATH",
    ),
    "no ENDLIB": (stream(cell(b"A", BOX))[:-4], FIRST + len(BOX) + 4, "ends without ENDLIB"),
    "empty name": (stream(cell(b"", BOX)), 90, "is empty"),
    "name that swallows": (stream(cell(b"A\0\5B", BOX)), 90, "a NUL within"),
    "name of NUL": (stream(cell(b"\0\0", BOX)), 90, "is empty"),
    "same name twice": (
        stream(cell(b"A"), cell(b"A", BOX)),
        FIRST + 4 + 28,
        r"'A' a second time \(first at byte 90\)",
    ),
}


@pytest.mark.parametrize(("data", "at", "fault"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_and_says_where(data: bytes, at: int, fault: str) -> None:
    with pytest.raises(LayoutError, match=rf"byte {at}\b.*{fault}"):
        check(data)


def test_names_the_structure_of_the_fault() -> None:
    with pytest.raises(LayoutError, match="in structure 'BAD'"):
        check(stream(cell(b"GOOD", BOX), cell(b"BAD", BOX[:-4])))


PLAIN = {
    "node": element("NODE", TAG[:6], short("NODETYPE", 20), xy(0, 0)),
    "text of size zero": element(
        "TEXT", TAG[:6], short("TEXTTYPE", 1), record("MAG", 5, bytes(8)), xy(0, 0),
        name_record("STRING", b"a"),
    ),
    "box of two points": element("BOX", TAG[:6], short("BOXTYPE", 1), xy(0, 0, 9, 5)),
}  # fmt: skip


@pytest.mark.parametrize("plain", PLAIN.values(), ids=PLAIN.keys())
def test_says_nothing_of_what_is_allowed(plain: bytes) -> None:
    assert check(stream(cell(b"A", BOX, plain))).warnings == ()


NOTED = {
    "unclosed": (cell(b"A", element("BOUNDARY", TAG, xy(*SQUARE[:-2]))), "closed 1 BOUNDARY"),
    "absolute magnification": (
        cell(b"A") + cell(b"T", sref(b"A", record("STRANS", 1, b"\0\4"))),
        "absolute",
    ),
    "step of 3.5": (cell(b"A") + cell(b"T", aref(2, 1, 0, 0, 7, 0, 0, 5)), "rounded 1 AREF"),
    "200 mm long": (
        cell(b"A", element("BOUNDARY", TAG, xy(0, 0, 0, 200_000_000, 9, 0, 0, 0))),
        "met 1 elements longer than --reader-extent-mm",
    ),
    "no points": (cell(b"A", element("BOUNDARY", TAG, xy())), "left out 1 BOUNDARY"),
    "two corners": (
        cell(b"A", element("BOUNDARY", TAG, xy(1, 1, 2, 2, 1, 1))),
        "left out 1 BOUNDARY",
    ),
    "path of no point": (cell(b"A", element("PATH", TAG, WIDE, xy())), "left out 1 .* PATH"),
    "path of one point": (cell(b"A", element("PATH", TAG, WIDE, xy(1, 1))), "PATH .* as a dot"),
    "path without width": (
        cell(b"A", element("PATH", TAG, xy(1, 1, 50, 1))),
        "left out 1 PATH without WIDTH",
    ),
    "negative width": (
        cell(b"A", element("PATH", TAG, record("WIDTH", 3, b"\xff\xff\xff\0"), xy(1, 1, 9, 1))),
        "negative width",
    ),
    "PATHTYPE 3": (
        cell(b"A", element("PATH", TAG, short("PATHTYPE", 3), WIDE, xy(1, 1, 9, 1))),
        "a type other than",
    ),
    "XY records joined": (
        cell(b"A", element("BOUNDARY", TAG, xy(0, 0, 10, 0), xy(10, 10), xy(0, 10, 0, 0))),
        "joined the XY records of 1 BOUNDARY",
    ),
    "no columns": (cell(b"A") + cell(b"T", aref(0, 5, 0, 0, 9, 0, 0, 5)), "0 columns"),
    "two points of an SREF": (
        cell(b"A") + cell(b"T", element("SREF", name_record("SNAME", b"A"), xy(0, 0, 9, 9))),
        "first point of 1 SREF",
    ),
    "STRCLASS": (cell(b"A", BOX).replace(BOX, record("STRCLASS", 1, bytes(2)) + BOX), "STRCLASS"),
    "control characters": (cell(b"A\x1b[31m", BOX), r"in 1 names, as 'A\\x1b\[31m'"),
    "undefined": (cell(b"A", sref(b"NOPE")), rf"'NOPE' \(first placed at byte {FIRST}\)"),
}


@pytest.mark.parametrize(("cells", "told"), NOTED.values(), ids=NOTED.keys())
def test_warns_of_what_is_put_right(cells: bytes, told: str) -> None:
    report = check(stream(cells))
    assert len(report.warnings) == 1
    assert re.search(told, report.warnings[0])


def test_names_in_any_encoding_are_read() -> None:
    cells = (cell(b"caf\xe9", BOX), cell("\u0142".encode(), sref(b"caf\xe9")))
    assert check(stream(*cells)).warnings == ()


def test_last_point_on_the_closing_edge_is_no_fault() -> None:
    points = (0, -5, 10, -5, 10, 5, 0, 5, 0, 0)
    assert check(stream(cell(b"A", element("BOUNDARY", TAG, xy(*points))))).warnings == ()


def test_padding_is_no_garbage() -> None:
    data = stream(cell(b"A", BOX))
    assert check(data + bytes(2048)).warnings == ()
    assert check(data + b"xyz").warnings == (
        f"ignored 3 bytes after ENDLIB (first at byte {len(data)})",
    )


def test_names_a_ring_of_references() -> None:
    ring = [cell(b"A", sref(b"B")), cell(b"B", sref(b"C")), cell(b"C", sref(b"A"))]
    with pytest.raises(LayoutError, match=r"contain themselves: '[ABC]' -> '[ABC]' -> '[ABC]'"):
        check(stream(*ring))
    with pytest.raises(LayoutError, match=rf"byte {FIRST}: .*'A' -> 'A'"):
        check(stream(cell(b"A", sref(b"A"))))


def test_limits_the_depth() -> None:
    tower = [cell(b"0", BOX), *(cell(b"%d" % n, sref(b"%d" % (n - 1))) for n in range(1, LEVELS))]
    assert check(stream(*tower)).cells == LEVELS
    with pytest.raises(LayoutError, match=f"{LEVELS + 1} levels"):
        check(stream(*tower, cell(b"top", sref(b"%d" % (LEVELS - 1)))))


@pytest.mark.parametrize("dbu_m", [1e-9, 2.5e-10, 1e-10, 5e-9, 1e-12])
def test_reads_the_database_unit(tmp_path: Path, dbu_m: float) -> None:
    library = gdstk.Library(unit=1e-6, precision=dbu_m)
    library.new_cell("A").add(gdstk.rectangle((0, 0), (1e-3, 1e-3), layer=68, datatype=20))
    library.write_gds(tmp_path / "a.gds")
    report = check((tmp_path / "a.gds").read_bytes())
    assert report.dbu_nm == pytest.approx(dbu_m * 1e9, rel=1e-12)


GOOD = np.frombuffer(
    stream(
        cell(b"A", BOX, element("PATH", TAG, short("PATHTYPE", 2), WIDE, xy(0, 0, 9, 9))),
        cell(b"T", sref(b"A"), aref(2, 1, 0, 0, 8, 0, 0, 5)),
    ),
    np.uint8,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), max_size=4))
def test_any_damage_ends_in_a_report_or_a_refusal(flips: list[tuple[int, int]]) -> None:
    data = GOOD.copy()
    for at, bits in flips:
        data[at] ^= bits
    try:
        report = check_stream(data)
    except LayoutError:
        return
    assert 1 <= report.cells <= 2
    assert report.dbu_nm > 0


@given(st.integers(0, len(GOOD) - 1))
def test_every_cut_off_file_is_refused(length: int) -> None:
    with pytest.raises(LayoutError, match="the file ends"):
        check_stream(GOOD[:length])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), max_size=2),
    st.lists(st.integers(0, len(GOOD)), max_size=6),
)
def test_a_file_that_is_seen_grow_is_checked_as_if_whole(
    flips: list[tuple[int, int]], lengths: list[int]
) -> None:
    data = GOOD.copy()
    for at, bits in flips:
        data[at] ^= bits

    def said(seen: list[int]) -> str:
        checked = StreamCheck(extent_mm=100.0)
        for length in seen:
            checked.advance(data[:length])
        try:
            report = checked.report(data)
        except LayoutError as error:
            return str(error)
        return f"{report.dbu_nm} {report.cells} {report.warnings}"

    assert said(sorted(lengths)) == said([])


CELLS = {
    "asap7_cells.gds": 212,
    "gdstk_proof_lib.gds": 6,
    "ihp_sram_2048x64.gds": 142,
    "mpw1_sram_32x256.gds.gz": 155,
    "nangate45_cells.gds": 135,
    "nangate45_gcd_metal1.gds": 1,
    "tt02_jar_pi.gds": 90,
    "tt02_user_project_wrapper.gds.gz": 7583,
}
"""Structures, as KLayout counts them."""


@pytest.mark.parametrize(("name", "cells"), CELLS.items())
def test_real_layouts_pass_without_a_warning(
    shared_data: Callable[[str], Path], name: str, cells: int
) -> None:
    data = shared_data(f"layouts/{name}").read_bytes()
    data = gzip.decompress(data) if name.endswith(".gz") else data
    report = check(data)
    assert (report.cells, report.warnings) == (cells, ())
