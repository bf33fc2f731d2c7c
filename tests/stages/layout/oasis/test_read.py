"""The records of OASIS, byte by byte: what is read, and what a damaged one is told to be."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from stages.contracts import Layer
from stages.errors import LayoutError
from stages.layout.oasis.read import OasisFile, read_file
from tests.support.oasis import (
    ABSOLUTE,
    PAD,
    cblock,
    cell,
    cell_name,
    every_record,
    magnified,
    oasis,
    placement,
    points,
    polygon,
    real,
    rectangle,
    s,
    shape,
    start,
    string,
    u,
)

TOP = cell(b"TOP")
RECT = rectangle(0, 0, 10, 20)


def read(data: bytes, **options: int) -> OasisFile:
    return read_file(np.frombuffer(data, np.uint8), None, **options)


def test_every_record_is_read() -> None:
    file = read(oasis(*every_record()))
    assert file.names == ("LEAF", "TOP")
    assert file.layers == {Layer(1, 0): 53}
    assert len(file.placed) == 5
    assert file.warnings == ()


@pytest.mark.parametrize(
    ("unit", "dbu_nm"),
    [
        (b"\x00" + u(1000), 1.0),  # 0: a whole number
        (b"\x02" + u(10), 10_000.0),  # 2: 1 / n
        (b"\x04" + u(4000) + u(2), 0.5),  # 4: a / b
        (b"\x06" + np.float32(2000).tobytes(), 0.5),
        (b"\x07" + np.float64(250).tobytes(), 4.0),
    ],
)
def test_the_unit_is_a_real_of_any_type(unit: bytes, dbu_nm: float) -> None:
    assert read(oasis(TOP, RECT, unit=unit)).dbu_nm == dbu_nm


@pytest.mark.parametrize(
    "unit", [b"\x00\x00", b"\x01\x05", b"\x03\x05", b"\x05\x05\x01", real(1e-7), real(np.inf)]
)
def test_a_unit_that_gives_no_scale_is_refused(unit: bytes) -> None:
    with pytest.raises(LayoutError, match="the unit is under"):
        read(oasis(TOP, RECT, unit=unit))


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ((b"\x63",), "byte 34: record type 99 does not exist"),
        ((RECT,), "byte 34: RECTANGLE may not come outside a cell"),
        ((ABSOLUTE,), "XYABSOLUTE may not come outside a cell"),
        ((TOP, cell_name(b"A"), RECT), "RECTANGLE may not come outside a cell"),
        ((TOP, start()[13:]), "START may not come in a cell"),
        ((TOP, b"\x14\x00"), "byte 39, in cell 'TOP': RECTANGLE uses the modal .* geometry-w"),
        ((TOP, b"\x14\x63\x01\x00\x05\x05", b"\x14\x04\x00"), "modal variable repetition"),
        ((TOP, RECT, cell(b"B"), b"\x14\x00"), "in cell 'B': RECTANGLE uses"),
        ((TOP, b"\x11\x30\x00\x00"), "PLACEMENT uses the modal variable placement-cell"),
        ((TOP, b"\x1d"), "PROPERTY uses the modal variable last-property-name"),
        ((TOP, b"\x13\x7b" + u(0) + b"\xff" * 10 + b"\x01"), "more than 63 bits in TEXT"),
        ((TOP, rectangle(2**31, 0, 1, 1)), "coordinate 2147483648 in RECTANGLE"),
        ((TOP, rectangle(0, 0, 2**32, 1)), "number 4294967296 in RECTANGLE"),
        ((TOP, rectangle(0, 0, 1, 1, layer=2**32)), "number 4294967296 in RECTANGLE"),
        ((TOP, polygon(points(6, u(1)))), "point list type 6 in POLYGON"),
        ((TOP, polygon(points(4))), "a point list without points in POLYGON"),
        ((TOP, rectangle(0, 0, 1, 1, repetition=u(12))), "repetition type 12"),
        ((TOP, shape(26, 0xFB, u(1), u(0), u(26), u(1), u(1), s(0), s(0))), "CTRAPEZOID type 26"),
        ((TOP, magnified(b"A", 0, 0, b"\x08", real(0))), "real of type 8"),
        ((TOP, magnified(b"A", 0, 0, b"\x02\x00", real(0))), "or one that is no number"),
        ((TOP, magnified(b"A", 0, 0, b"\x00\x00", real(0))), "magnification that is not over 0"),
        ((TOP, magnified(b"A", 0, 0, real(1), real(float("nan")))), "an angle that is no number"),
        ((b"\x1c\x14" + string(b"P") + u(16),), "PROPERTY has a value of type 16"),
        ((b"\x0b" + string(b"M") + u(5),), "LAYERNAME has an interval of type 5"),
        ((cell_name(b"A"), cell_name(b"B", 1)), "CELLNAME with and without a reference number"),
        ((cell_name(b"A", 1), cell_name(b"B", 1)), "CELLNAME 1 a second time .first at byte 34"),
        ((b"\x06" + string(b"A") + u(1),) * 2, "TEXTSTRING 1 a second time"),
        ((cell(3), RECT), "byte 34: CELLNAME 3 is used, but it is not in the file"),
        ((TOP, b"\x13\x7b" + u(4) + bytes(4)), "byte 39: TEXTSTRING 4 is used"),
        ((TOP, b"\x1c\x06" + u(2)), "byte 39: PROPNAME 2 is used"),
        ((TOP, b"\x1c\x14" + string(b"P") + u(13) + u(9)), "PROPSTRING 9 is used"),
        ((TOP, RECT, TOP, RECT), "cell 'TOP' a second time .first at byte 34"),
        ((cell_name(b"A", 0), cell(0), RECT, cell(b"A")), "cell 'A' a second time"),
        ((cell_name(b"A"), cell_name(b"A"), cell(0), placement(1, 0, 0)), "are both 'A'"),
        ((cell(b""), RECT), "a cell whose name has no characters"),
        ((TOP, placement(b"TOP", 5, 5)), "structures contain themselves: 'TOP' -> 'TOP'"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_told_with_its_byte_and_cell(
    records: tuple[bytes, ...], told: str
) -> None:
    with pytest.raises(LayoutError, match=told):
        read(oasis(*records))


@pytest.mark.parametrize("scheme", [0, 1, 2])
def test_a_file_cut_off_anywhere_is_refused(scheme: int) -> None:
    whole = oasis(*every_record(), scheme=scheme)
    assert read(whole).warnings == ()
    for size in (*range(13, 200), *range(200, len(whole), 7), len(whole) - 1):
        with pytest.raises(LayoutError, match=r"byte|CRC32|CHECKSUM32"):
            read(whole[:size])


def test_a_record_that_the_end_of_the_file_cuts_is_named() -> None:
    whole = oasis(TOP, RECT)
    with pytest.raises(LayoutError, match="byte 39, in cell 'TOP': the file ends inside RECTANGLE"):
        read(whole[:45])
    with pytest.raises(LayoutError, match="byte 47, in cell 'TOP': the file ends without an END"):
        read(whole[:47])


@pytest.mark.parametrize("scheme", [1, 2])
def test_a_file_that_vouches_for_itself_is_verified(scheme: int) -> None:
    whole = bytearray(oasis(TOP, RECT, scheme=scheme))
    assert len(read(bytes(whole)).shapes) == 1
    whole[45] ^= 1  # the width
    with pytest.raises(LayoutError, match="CRC32" if scheme == 1 else "CHECKSUM32"):
        read(bytes(whole))


def test_offsets_of_the_tables_may_stand_in_the_end() -> None:
    """A START that says so, and an END that has them, or has no room for them."""
    begin = start()[:-13] + u(1) + TOP + RECT
    padding = 256 - 1 - 12 - 2 - 1
    tail = bytes(12) + u(padding) + bytes(padding) + u(0)
    assert len(read(begin + b"\x02" + tail).shapes) == 1
    with pytest.raises(LayoutError, match="byte 35, in cell 'TOP': the file ends inside END"):
        read(begin + b"\x02" + b"\x80" * 254 + b"\x00")


def test_faults_within_a_cblock_tell_both_bytes() -> None:
    with pytest.raises(LayoutError, match=r"CBLOCK at byte 39, byte 8 of .*'TOP': record type 99"):
        read(oasis(TOP, cblock(RECT, b"\x63")))
    with pytest.raises(LayoutError, match=r"the CBLOCK ends inside RECTANGLE"):
        read(oasis(TOP, cblock(RECT[:-1]), RECT))
    with pytest.raises(LayoutError, match="a CBLOCK within a CBLOCK"):
        read(oasis(TOP, cblock(cblock(RECT))))
    with pytest.raises(LayoutError, match="END may not come in a cell"):
        read(oasis(TOP, cblock(RECT, b"\x02")))


def test_cblocks_are_bounded_before_they_are_unpacked() -> None:
    """A megabyte of zeros, which are PAD records, in a thousand bytes."""
    bomb = cblock(bytes(1 << 20))
    assert len(read(oasis(TOP, RECT, bomb)).shapes) == 1
    with pytest.raises(LayoutError, match=r"CBLOCK that unpacks to 1048576 bytes.*limit .* 100000"):
        read(oasis(TOP, RECT, bomb), unpacked_bytes=100_000)
    with pytest.raises(LayoutError, match=r"unpacks to 1048576 bytes, after 1048576"):
        read(oasis(TOP, RECT, bomb, bomb), unpacked_bytes=2_000_000)
    with pytest.raises(LayoutError, match="at most 1032 times as many"):
        read(oasis(TOP, cblock(RECT, size=1 << 60)))


@pytest.mark.parametrize("size", [len(RECT) - 1, len(RECT) + 1])
def test_a_cblock_of_another_size_than_it_says_is_damaged(size: int) -> None:
    with pytest.raises(LayoutError, match="byte 39: CBLOCK is damaged"):
        read(oasis(TOP, cblock(RECT, size=size)))
    packed = zlib.compress(RECT)[2:-4]
    with pytest.raises(LayoutError, match="byte 39: CBLOCK is damaged"):
        read(oasis(TOP, b"\x22" + u(0) + u(len(RECT)) + u(2) + packed[:2]))


def test_names_of_cells_may_come_before_and_after_they_are_used() -> None:
    names = cell_name(b"A"), cell_name(b"B")
    after = read(oasis(cell(1), RECT, cell(0), placement(1, 5, 5), *names))
    before = read(oasis(*names, cell(1), RECT, cell(0), placement(b"B", 5, 5)))
    assert after.names == before.names == ("B", "A")
    assert after.placed[0, :2].tolist() == before.placed[0, :2].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"caf\xe9", r"caf\xe9"), ("café".encode(), "café"), (b"a\x1b[31m", r"a\x1b[31m")],
)  # fmt: skip
def test_names_that_are_no_text_are_escaped(name: bytes, shown: str) -> None:
    assert read(oasis(cell(name), RECT)).names == (shown,)


def test_a_cell_that_is_not_in_the_file_costs_only_itself() -> None:
    file = read(oasis(TOP, RECT, placement(b"GONE", 0, 0), placement(b"GONE", 9, 0)))
    assert file.placed[:, 1].tolist() == [-1, -1]
    assert file.warnings == ("not in the file, so left out: 'GONE' (first placed at byte 47)",)


def test_bytes_after_the_end_are_told() -> None:
    file = read(oasis(TOP, RECT) + b"garbage")
    assert len(file.shapes) == 1
    assert file.warnings == ("ignored 7 bytes after END (first at byte 303)",)


def test_harmless_faults_are_warnings() -> None:
    file = read(oasis(
        TOP, PAD, polygon(points(0, s(5), s(5), s(9))), polygon(points(4, u(16 * 9))),
        magnified(b"TOP2", 0, 0, real(1), real(450)), cell(b"TOP2"), RECT,
    ))  # fmt: skip
    assert [warning.split(" (")[0] for warning in file.warnings] == [
        "left out 1 POLYGON with under three corners, so without area",
        "read 1 POLYGON point lists of type 0 or 1 that have an odd number of corners",
        "read 1 PLACEMENT with an angle past 360 degrees",
    ]


def test_only_the_layers_asked_for_are_kept() -> None:
    data = np.frombuffer(oasis(TOP, RECT, rectangle(0, 0, 5, 5, 70_000, 2**32 - 1)), np.uint8)
    file = read_file(data, [Layer(1, 0)])
    assert len(file.shapes) == 1
    assert file.layers == {Layer(1, 0): 1, Layer(70_000, 2**32 - 1): 1}


def test_counts_of_damaged_lists_take_no_memory() -> None:
    """Counts of 2^60 in lists of a few bytes: refused at once."""
    many = u(2**60)
    for record in (
        polygon(u(4) + many + u(1)), rectangle(0, 0, 1, 1, repetition=u(10) + many + u(1)),
        b"\x1c\xf4" + string(b"P") + many, b"\x20\x00" + many,
    ):  # fmt: skip
        with pytest.raises(LayoutError, match="the file ends inside"):
            read(oasis(TOP, RECT, record))
