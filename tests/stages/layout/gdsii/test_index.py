"""Where elements are, in whatever parts and by whichever of the two ways they were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.compiled import interpreting
from stages.contracts import Bytes, Layer
from stages.errors import LayoutError
from stages.layout.gdsii import stream_check, walk
from stages.layout.gdsii.stream_check import StreamCheck
from tests.stages.layout.gdsii.test_stream_check import (
    BOX,
    NOTED,
    PLAIN,
    REFUSED,
    TAG,
    WIDE,
    aref,
    cell,
    element,
    record,
    short,
    sref,
    stream,
    xy,
)

VIA = element("BOUNDARY", short("LAYER", 7), short("DATATYPE", 7), xy(0, 0, 3, 0, 3, 3, 0, 0))
OPEN = element("BOUNDARY", TAG, xy(0, 0, 10, 0, 10, 10))
FLAT = element("BOUNDARY", TAG, xy(0, 0, 10, 0, 0, 0))
FAR = element("BOUNDARY", TAG, xy(0, 0, 2**30, 0, 2**30, 10, 0, 0))
WIRE = element("PATH", TAG, WIDE, xy(0, 0, 50, 0))
TURNED = sref(b"A", record("STRANS", 1, b"\x80\0"), record("MAG", 5, b"\x41\x20" + bytes(6)))
STREAM = np.frombuffer(
    stream(
        cell(b"A", BOX, VIA, BOX, OPEN, BOX, FLAT, FAR, WIRE, BOX),
        cell(b"BB"),
        cell(b"C", sref(b"A"), TURNED, BOX, BOX, VIA, WIRE, TURNED, aref(2, 3, 0, 0, 20, 0, 0, 30)),
        cell(b"D", VIA, element("BOX", short("LAYER", 68), short("BOXTYPE", 20), xy(0, 0, 9, 9))),
    ),
    np.uint8,
)
LAYERS = (None, (Layer(1, 2), Layer(68, 20)))


def find(data: Bytes, layers: Sequence[Layer] | None, lengths: Sequence[int] = ()) -> Any:
    """Return all that the check says of a stream, seen at these lengths first, as plain values."""
    check = StreamCheck(layers, extent_mm=100.0)
    for length in lengths:
        check.advance(data[:length])
    try:
        report = check.report(data)
    except LayoutError as error:
        return str(error)
    arrays = [
        (array.dtype, array.tolist()) for array in astuple(report.index) if hasattr(array, "dtype")
    ]
    return report.warnings, report.index.layers, report.index.dbu_m, arrays


@pytest.mark.parametrize("layers", LAYERS)
def test_parts_make_no_difference(
    layers: Sequence[Layer] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find(STREAM, layers)
    assert len(whole) == 4, whole
    for length in range(0, len(STREAM), 3):
        assert find(STREAM, layers, [length]) == whole, length
    assert find(STREAM, layers, list(range(len(STREAM)))) == whole
    for rows in (1, 2, 3):
        monkeypatch.setattr(stream_check, "_MOST_ROWS", rows)
        assert find(STREAM, layers) == whole, rows
        assert find(STREAM, layers, [200, 400]) == whole, rows


def find_record_by_record(data: Bytes, layers: Sequence[Layer] | None) -> Any:
    """Return what `find` does, of a walk that takes no element at once."""
    with pytest.MonkeyPatch.context() as patch, interpreting(True):
        patch.setattr(walk, "collect_plain", lambda data, at, *_: at)
        return find(data, layers)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(40, len(STREAM) - 1), st.integers(1, 255)), max_size=2),
    st.sampled_from(LAYERS),
)
def test_plain_elements_are_found_as_others_are(
    flips: list[tuple[int, int]], layers: Sequence[Layer] | None
) -> None:
    data = STREAM.copy()
    for at, bits in flips:
        data[at] ^= bits
    assert find(data, layers) == find_record_by_record(data, layers)


def test_faults_and_oddities_are_found_as_others_are() -> None:
    streams = [data for data, _, _ in REFUSED.values()] + list(PLAIN.values())
    for data in streams + [stream(cells) for cells, _ in NOTED.values()]:
        for length in (len(data), len(data) // 2):
            cut = np.frombuffer(data[:length], np.uint8)
            assert find(cut, None) == find_record_by_record(cut, None)


def test_index_holds_what_was_drawn() -> None:
    report = stream_check.check_stream(STREAM, None)
    index = report.index
    assert index.layers == (Layer(7, 7), Layer(68, 20))
    assert index.shape[:, 0].tolist() == [0] * 9 + [2] * 4 + [3, 3]
    assert index.shape[:, 1].tolist() == [1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1]
    assert index.shape[:, 3].tolist() == [-1] * 7 + [0, -1] + [-1] * 3 + [1, -1, -2]
    assert index.path[:, 1].tolist() == [10, 10]
    assert index.reference[:, [0, 1, 2]].tolist() == [[2, 0, 0], [2, -1, 0], [2, -2, 0], [2, 0, 0]]
    assert index.odd[:, 2].tolist() == [1, 1]
