"""Unpack a gzip file to disk, up to the end of the layout in it.

in: a gzip file · out: the unpacked file, and warnings · unit: the file
promise: nothing is written of a file that is no layout, nor past the limits
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from stages.errors import LayoutError
from stages.layout.limits import advise_raising
from stages.layout.oasis.grammar import MAGIC as OASIS_MAGIC

GDSII_MAGIC = b"\x00\x06\x00\x02"
GZIP_MAGIC = b"\x1f\x8b"
MOST_AFTER_END = 64 << 20
"""Bytes that may follow the last record: tapes are padded."""
_CHUNK_BYTES = 1 << 20


class FileRefused(LayoutError):
    """The bytes of a file are not those of a layout; its name is to be put before the message."""


def is_gdsii(file: Path) -> bool:
    """Return whether a file, uncompressed, begins as GDSII."""
    with file.open("rb") as opened:
        return opened.read(len(GDSII_MAGIC)) == GDSII_MAGIC


def require_magic(head: bytes) -> None:
    """Refuse a file that does not start with the magic bytes of a layout.

    Raises
    ------
    FileRefused
        The message shows its first bytes.
    """
    if not head.startswith((GDSII_MAGIC, OASIS_MAGIC)):
        raise FileRefused(
            f"begins with {head[:8].hex(' ') or 'nothing'}; GDSII begins with "
            f"{GDSII_MAGIC.hex(' ')}, OASIS with {OASIS_MAGIC[:8].hex(' ')}, gzip with "
            f"{GZIP_MAGIC.hex(' ')}"
        )


def unpack(
    path: Path, target: Path, most_bytes: int, check_written: Callable[[int], bool]
) -> tuple[str, ...]:
    """Unpack a file; return warnings.

    Parameters
    ----------
    most_bytes
        Largest size after decompression.
    check_written
        Called with the bytes written so far; returns whether the layout has ended. What follows
        is still unpacked, as the gzip's checksum covers it, but not written.

    Raises
    ------
    FileRefused
        The gzip is damaged, holds no layout, or unpacks to more than the limit.
    """
    written = after_end = 0
    is_over = False
    with path.open("rb") as source, target.open("wb") as sink:
        stream = _GzipReader(source)
        try:
            for chunk in stream.read_chunks():
                if not written:
                    require_magic(chunk)
                if is_over:
                    after_end += len(chunk)
                else:
                    sink.write(chunk)
                    sink.flush()
                    written += len(chunk)
                    is_over = check_written(written)
                if written > most_bytes or after_end > MOST_AFTER_END:
                    raise FileRefused(_explain_limit(written, most_bytes, after_end))
        except (EOFError, zlib.error) as error:
            raise FileRefused(f"gzip is damaged after {written} bytes: {error}") from error
        if not written:
            require_magic(b"")
    return stream.warnings


def _explain_limit(written: int, most_bytes: int, after_end: int) -> str:
    if after_end > MOST_AFTER_END:
        return f"over {MOST_AFTER_END} bytes follow the layout in the gzip, {written} bytes long"
    return (
        f"unpacks to more than {most_bytes} bytes, the limit: {advise_raising('unpacked_gb')} if "
        "it is meant to be so large"
    )


class _GzipReader:
    """Reads the members of a gzip file one after the other, in chunks of bounded size."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.warnings: tuple[str, ...] = ()

    def read_chunks(self) -> Iterator[bytes]:
        engine = zlib.decompressobj(wbits=31)
        packed = self._source.read(_CHUNK_BYTES)
        while packed or not engine.eof:
            if engine.eof:
                packed = packed.lstrip(b"\0") or self._source.read(_CHUNK_BYTES)
                packed += self._source.read(1) if len(packed) == 1 else b""
                if not packed:
                    return
                if not packed.startswith(GZIP_MAGIC):
                    self._warn(len(packed))
                    return
                engine = zlib.decompressobj(wbits=31)
            if not packed:
                raise EOFError("cut off")
            chunk = engine.decompress(packed, _CHUNK_BYTES)
            packed = engine.unused_data if engine.eof else engine.unconsumed_tail
            packed = packed or self._source.read(_CHUNK_BYTES)
            if chunk:
                yield chunk

    def _warn(self, left: int) -> None:
        while more := len(self._source.read(_CHUNK_BYTES)):
            left += more
        self.warnings = (f"ignored {left} bytes after the end of the gzip",)
