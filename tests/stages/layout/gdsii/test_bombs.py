"""GDSII of a few hundred bytes that places 10^12 shapes: read where they are one, else refused."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from stages.contracts import Box, Layer
from stages.errors import LayoutError
from stages.geometry import owners, window_query
from stages.geometry.owners import find_frames
from stages.geometry.window_query import query
from stages.layout.builder import load_kernels, pack_layout
from stages.layout.gdsii.stream_check import check_stream
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from tests.stages.layout.gdsii.test_stream_check import (
    BOX,
    TAG,
    aref,
    cell,
    element,
    name_record,
    record,
    short,
    stream,
    xy,
)

MET1 = Layer(68, 20)
MOST = 32767
TWICE = record("MAG", 5, bytes.fromhex("4120000000000000"))


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    load_kernels()


def array_of(name: bytes, step: int, *more: bytes) -> bytes:
    """Return an AREF of as many copies as there may be, `step` dbu apart."""
    return element(
        "AREF", name_record("SNAME", name), *more, short("COLROW", MOST, MOST),
        xy(0, 0, step * MOST, 0, 0, step * MOST),
    )  # fmt: skip


def tower(*arrays: bytes) -> bytes:
    """Return a stream in which each array places the cell before: B the box's, C that, ..."""
    cells = [cell(b"A", BOX)]
    cells += [cell(bytes([66 + level]), array) for level, array in enumerate(arrays)]
    return stream(*cells)


def pack(folder: Path, data: bytes, limits: ReadLimits = DEFAULT_LIMITS) -> Box | None:
    path = folder / "bomb.gds"
    path.write_bytes(data)
    check_stream(np.frombuffer(data, np.uint8))
    return pack_layout(path, [MET1], None, limits).packed[0].box


REFUSED = {
    "copies one dbu apart": (
        tower(array_of(b"A", 1)),
        r"'B' places 1.074e\+09 shapes within 32776 x 32776 dbu; the limit is .*shapes-per-um2",
    ),
    "such copies of such copies": (tower(array_of(b"A", 1), array_of(b"B", 1)), "shapes-per-um2"),
    "steps of half a dbu": (
        tower(aref(MOST, MOST, 0, 0, MOST // 2, 0, 0, MOST // 2)),
        "32767 x 32767 copies whose step is no whole number",
    ),
    "magnified": (tower(array_of(b"A", 99, TWICE)), "over 50000000 corners"),
    "below what is magnified": (
        tower(
            array_of(b"A", 99),
            element("SREF", name_record("SNAME", b"B"), TWICE, xy(0, 0)),
        ),
        "over 50000000 corners",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_is_refused_at_once(tmp_path: Path, data: bytes, why: str) -> None:
    begun = time.process_time()
    with pytest.raises(LayoutError, match=why):
        pack(tmp_path, data)
    assert time.process_time() - begun < 5


def test_copies_at_one_place_are_one(tmp_path: Path) -> None:
    data = tower(array_of(b"A", 0), array_of(b"B", 0), array_of(b"C", 0))
    assert pack(tmp_path, data) == Box(0, 0, 10, 10)
    layer = pack_layout(tmp_path / "bomb.gds", [MET1], None).packed[0]
    assert query(layer, Box(-100, -100, 100, 100)).rects.tolist() == [[0, 0, 10, 10]]


def test_an_honest_array_of_a_billion_is_read(tmp_path: Path) -> None:
    side = (MOST - 1) * 20 + 10
    assert pack(tmp_path, tower(array_of(b"A", 20))) == Box(0, 0, side, side)


def test_the_limit_can_be_raised(tmp_path: Path) -> None:
    data = tower(array_of(b"A", 1))
    assert pack(tmp_path, data, ReadLimits(shapes_per_um2=2e6)) == Box(0, 0, 32776, 32776)


def test_copies_upon_copies_are_refused_where_a_far_shape_makes_them_look_sparse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the window that they overlap: the box of their cell says nothing of them."""
    for module in (window_query, owners):
        monkeypatch.setattr(module, "MOST_PLACED", 100_000)  # a second, in place of a minute
    far = 90_000_000
    corners = (far, far, far, far + 10, far + 10, far + 10, far + 10, far, far, far)
    block = element("BOUNDARY", TAG, xy(*corners))
    data = stream(
        cell(b"A", BOX, block),
        cell(b"B", aref_of(b"A", 1000, 1), block),
        cell(b"C", aref_of(b"B", 1000, 1), block),
    )
    pack(tmp_path, data)
    layer = pack_layout(tmp_path / "bomb.gds", [MET1], None).packed[0]
    whole = r"over 100000 placed cells or shapes overlap the window from \(0, 0\) to \(1000, 1000\)"
    with pytest.raises(LayoutError, match=whole):
        query(layer, Box(0, 0, 1000, 1000))
    with pytest.raises(LayoutError, match=whole):
        find_frames(layer, np.array([[0, 0, 1000, 1000]]))
    assert len(query(layer, Box(0, 0, 1, 1)).rects) == 1, "elsewhere it is read"


def aref_of(name: bytes, count: int, step: int) -> bytes:
    return element(
        "AREF", name_record("SNAME", name), short("COLROW", count, count),
        xy(0, 0, step * count, 0, 0, step * count),
    )  # fmt: skip
