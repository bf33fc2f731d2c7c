"""Unpacking: what is no layout is not written, what follows one is told, nothing is cut short."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import pytest

from pipeline.layout import unpack as unpacking
from pipeline.layout.unpack import GDSII_MAGIC, unpack
from stages.errors import LayoutError

BODY = GDSII_MAGIC + random.Random(1).randbytes(3_000_000)


def unpacked(
    folder: Path, packed: bytes, most_bytes: int = 1 << 30
) -> tuple[bytes, tuple[str, ...]]:
    (folder / "in.gz").write_bytes(packed)
    warnings = unpack(folder / "in.gz", folder / "out", most_bytes, lambda written: False)
    return (folder / "out").read_bytes(), warnings


@pytest.mark.parametrize("level", [0, 1, 9])
def test_unpacks_what_was_packed(tmp_path: Path, level: int) -> None:
    assert unpacked(tmp_path, gzip.compress(BODY, level)) == (BODY, ())


def test_members_follow_each_other(tmp_path: Path) -> None:
    packed = gzip.compress(BODY) + bytes(512) + gzip.compress(b"more")
    assert unpacked(tmp_path, packed) == (BODY + b"more", ())


@pytest.mark.parametrize("left", [b"x", b"garbage", b"x" * 2_000_000])
def test_bytes_after_the_end_are_told(tmp_path: Path, left: bytes) -> None:
    told = (f"ignored {len(left)} bytes after the end of the gzip",)
    assert unpacked(tmp_path, gzip.compress(BODY) + left) == (BODY, told)


def test_padding_after_the_end_is_nothing(tmp_path: Path) -> None:
    assert unpacked(tmp_path, gzip.compress(BODY) + bytes(2048)) == (BODY, ())


@pytest.mark.parametrize("cut", [1, 8, 9, 1_000_000, len(gzip.compress(BODY)) - 5])
def test_a_file_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(LayoutError, match=r"gzip is damaged after \d+ bytes"):
        unpacked(tmp_path, gzip.compress(BODY)[:-cut])


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(BODY))
    packed[1_500_000] ^= 4
    with pytest.raises(LayoutError, match="gzip is damaged"):
        unpacked(tmp_path, bytes(packed))


def test_nothing_is_written_of_what_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="begins with 00 00"):
        unpacked(tmp_path, gzip.compress(bytes(100_000_000), 1))
    assert os.path.getsize(tmp_path / "out") == 0


def test_stops_at_the_limit(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"more than 5000000 bytes.*--reader-unpacked-gb"):
        unpacked(tmp_path, gzip.compress(GDSII_MAGIC + bytes(100_000_000), 1), 5_000_000)
    assert os.path.getsize(tmp_path / "out") < 7_000_000


def test_what_follows_the_layout_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_over(written: int) -> bool:
        return written >= 2_000_000

    (tmp_path / "in.gz").write_bytes(gzip.compress(GDSII_MAGIC + bytes(9_000_000), 1))
    assert unpack(tmp_path / "in.gz", tmp_path / "out", 1 << 30, is_over) == ()
    assert os.path.getsize(tmp_path / "out") < 3_100_000
    monkeypatch.setattr(unpacking, "MOST_AFTER_END", 1_000_000)
    with pytest.raises(LayoutError, match="over 1000000 bytes follow the layout"):
        unpack(tmp_path / "in.gz", tmp_path / "out", 1 << 30, is_over)
