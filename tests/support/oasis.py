"""OASIS files written byte by byte: each function returns the bytes of one record or of its part.

Source: SEMI P39, OASIS. Info bytes stand in the order of the specification: for a shape SWHXYRDL.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

MAGIC = b"%SEMI-OASIS\r\n"
ABSOLUTE, RELATIVE, PAD = b"\x0f", b"\x10", b"\x00"


def u(value: int) -> bytes:
    """Unsigned integer, seven bits to a byte, the low ones first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def s(value: int) -> bytes:
    """Signed integer: the lowest bit is the sign."""
    return u(2 * abs(value) + (value < 0))


def string(text: bytes) -> bytes:
    return u(len(text)) + text


def g(x: int, y: int) -> bytes:
    """g-delta of the second form: x and y."""
    return u(4 * abs(x) + 2 * (x < 0) + 1) + s(y)


def g1(direction: int, size: int) -> bytes:
    """g-delta of the first form: one of eight directions."""
    return u(16 * size + 2 * direction)


def real(value: float) -> bytes:
    return b"\x07" + struct.pack("<d", value)


def start(unit: bytes = b"\x00" + u(1000)) -> bytes:
    """START with the table offsets, all 0; the unit is a real, in grid points per um."""
    return MAGIC + b"\x01" + string(b"1.0") + unit + u(0) + bytes(12)


def end(before: bytes, scheme: int = 0) -> bytes:
    """END of 256 bytes; scheme 1 is CRC32, 2 CHECKSUM32."""
    signed = 4 if scheme else 0
    padding = 256 - 1 - 2 - 1 - signed
    record = b"\x02" + bytes((padding & 127 | 128, padding >> 7)) + bytes(padding) + u(scheme)
    if not scheme:
        return record
    value = zlib.crc32(before + record) if scheme == 1 else sum(before + record) & 0xFFFFFFFF
    return record + struct.pack("<I", value)


def oasis(*records: bytes, unit: bytes = b"\x00" + u(1000), scheme: int = 0) -> bytes:
    """Return a whole file."""
    body = start(unit) + b"".join(records)
    return body + end(body, scheme)


def cell(name: bytes | int) -> bytes:
    return b"\x0d" + u(name) if isinstance(name, int) else b"\x0e" + string(name)


def cell_name(name: bytes, number: int | None = None) -> bytes:
    return b"\x03" + string(name) if number is None else b"\x04" + string(name) + u(number)


def shape(record: int, info: int, *parts: bytes) -> bytes:
    """Return a shape whose parts stand in the order of the specification."""
    return bytes((record, info)) + b"".join(parts)


def rectangle(x: int, y: int, width: int, height: int, layer: int = 1, datatype: int = 0,
              repetition: bytes = b"") -> bytes:  # fmt: skip
    info = 0x7B | (4 if repetition else 0)
    return shape(20, info, u(layer), u(datatype), u(width), u(height), s(x), s(y), repetition)


def polygon(points: bytes, x: int = 0, y: int = 0, layer: int = 1) -> bytes:
    return shape(21, 0x3B, u(layer), u(0), points, s(x), s(y))


def path(points: bytes, half_width: int, extension: bytes, x: int = 0, y: int = 0) -> bytes:
    return shape(22, 0xFB, u(1), u(0), u(half_width), extension, points, s(x), s(y))


def points(kind: int, *deltas: bytes) -> bytes:
    return u(kind) + u(len(deltas)) + b"".join(deltas)


def placement(name: bytes | int, x: int, y: int, turn: int = 0, mirrored: bool = False,
              repetition: bytes = b"") -> bytes:  # fmt: skip
    by_number = isinstance(name, int)
    info = 0xB0 | (0x40 if by_number else 0) | turn << 1 | mirrored | (8 if repetition else 0)
    what = u(name) if isinstance(name, int) else string(name)
    return bytes((17, info)) + what + s(x) + s(y) + repetition


def magnified(name: bytes, x: int, y: int, scale: bytes, angle: bytes, mirrored: bool = False,
              repetition: bytes = b"") -> bytes:  # fmt: skip
    info = 0xB6 | mirrored | (8 if repetition else 0)
    return bytes((18, info)) + string(name) + scale + angle + s(x) + s(y) + repetition


def cblock(*records: bytes, size: int | None = None) -> bytes:
    """Return records as a CBLOCK, which may lie of the size that it unpacks to."""
    plain = b"".join(records)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(plain) + deflate.flush()
    return b"\x22" + u(0) + u(len(plain) if size is None else size) + u(len(packed)) + packed


REPETITIONS: dict[str, bytes] = {
    "1": u(1) + u(1) + u(0) + u(500) + u(700),
    "2": u(2) + u(2) + u(400),
    "3": u(3) + u(3) + u(350),
    "4": u(4) + u(1) + u(300) + u(900),
    "5": u(5) + u(1) + u(10) + u(30) + u(90),
    "6": u(6) + u(2) + u(300) + u(0) + u(900),
    "7": u(7) + u(1) + u(10) + u(33) + u(97),
    "8": u(8) + u(1) + u(2) + g(400, 30) + g1(1, 600),
    "8 backwards": u(8) + u(0) + u(1) + g1(6, 400) + g(-90, 500),
    "9": u(9) + u(2) + g1(5, 450),
    "10": u(10) + u(2) + g(700, -80) + g1(3, 500) + g1(4, 600),
    "11": u(11) + u(1) + u(5) + g(-100, 7) + g1(7, 90),
}
"""One of every type, in the notation of section 7.6."""


def every_record() -> Sequence[bytes]:
    """Return the records of a layout that has every type, for readers to be tried on."""
    wide = points(4, g(1000, 100), g(-200, 700), g1(2, 500))
    return (
        b"\x1c\x06" + u(0) + b"",  # PROPERTY of the file, by number, no values
        b"\x05" + string(b"label"), b"\x07" + string(b"S_TOP_CELL"), b"\x09" + string(b"value"),
        b"\x0b" + string(b"METAL") + u(3) + u(1) + u(0),
        b"\x0c" + string(b"METAL") + u(4) + u(1) + u(2) + u(1) + u(3),
        b"\x1e" + u(7) + string(b"extension"), PAD,
        cell_name(b"LEAF"), cell_name(b"TOP"),
        cell(0),
        rectangle(0, 0, 400, 300), shape(20, 0xD3, u(1), u(0), u(150), s(500)),
        polygon(points(0, s(600), s(200), s(-300), s(150)), 0, 800),
        shape(21, 0x1B, u(1), u(0), s(1500), s(0)),
        polygon(points(2, u(4 * 500), u(4 * 500 + 1), u(4 * 200 + 2)), 0, 1500),
        polygon(points(3, u(8 * 400), u(8 * 300 + 4), u(8 * 200 + 2)), 0, 2300),
        polygon(wide, 900, 3000),
        polygon(points(5, g1(0, 300), g(-100, 200), g(-400, 100)), 2500, 3000),
        path(points(1, s(700), s(500)), 60, u(0x0A), 3000, 0),
        path(points(4, g(700, 300), g1(0, 300)), 45, u(0x0F) + s(20) + s(-10), 3000, 1500),
        shape(23, 0x7B, u(1), u(0), u(900), u(400), s(100), s(-150), s(5000), s(0)),
        shape(24, 0xFB, u(1), u(0), u(500), u(900), s(120), s(5000), s(800)),
        shape(25, 0x1B, u(1), u(0), s(-200), s(5000), s(2000)),
        *(shape(26, 0xFB, u(1), u(0), u(kind), u(900), u(300 if kind < 8 else 2900), s(1200 * kind),
                s(5000)) for kind in range(26)),
        shape(27, 0x3B, u(1), u(0), u(350), s(7000), s(0)),
        b"\x13\x7b" + u(0) + u(1) + u(0) + s(0) + s(0), b"\x13\x04" + REPETITIONS["2"],
        b"\x20" + u(3) + string(b"element"),
        shape(33, 0x1B, u(4), u(1), u(0), string(b"geometry"), s(7000), s(900)),
        b"\x1c\x26" + u(0) + u(8) + u(5) + u(13) + u(0), b"\x1d",
        cell(1),
        *(rectangle(0, 4000 * row, 200, 100, 1, 0, rep)
          for row, rep in enumerate(REPETITIONS.values())),
        RELATIVE, placement(0, 20000, 0), placement(0, 50, 9000, 1, True, REPETITIONS["8"]),
        ABSOLUTE,
        cblock(placement(b"LEAF", 60000, 0, 2, False, REPETITIONS["10"]),
               rectangle(0, -900, 100, 100)),
        magnified(b"LEAF", 90000, 0, real(1.5), b"\x00" + u(30), True),
        magnified(b"LEAF", 90000, 40000, b"\x04" + u(1) + u(2), b"\x00" + u(90), False,
                  REPETITIONS["1"]),
    )  # fmt: skip
