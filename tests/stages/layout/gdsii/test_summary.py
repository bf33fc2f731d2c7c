"""Shapes summed up, or read a few at a time, say what all of them at once say."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from stages.contracts import Layer, PackedLayer
from stages.layout.assemble import assemble
from stages.layout.gdsii import pack, stream_check, summary
from stages.layout.gdsii.elements import leave_shapes, read_elements
from stages.layout.gdsii.stream_check import StreamCheck, check_stream
from stages.layout.gdsii.summary import ShapeSummary, make_empty_boxes
from tests.stages.layout.gdsii.test_index import BOX, STREAM, VIA, WIRE
from tests.stages.layout.gdsii.test_stream_check import aref, cell, sref, stream

UPRIGHT = np.frombuffer(
    stream(
        cell(b"A", BOX, VIA, WIRE, BOX),
        cell(b"B", WIRE, VIA),
        cell(b"TOP", sref(b"A"), BOX, sref(b"B"), aref(2, 3, 0, 0, 200, 0, 0, 300)),
    ),
    np.uint8,
)
FEW = (1, 2, 1 << 20)


@pytest.mark.parametrize("few", FEW)
def test_the_summary_of_any_parts_is_that_of_all_shapes(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "MOST_SHAPES", few)
    monkeypatch.setattr(stream_check, "_MOST_ROWS", few)
    check = StreamCheck(None, extent_mm=100.0, summary=ShapeSummary())
    for length in (100, 333):
        check.advance(STREAM[:length])
    report = check.report(STREAM)
    found = report.index.summary
    assert found is not None
    assert len(report.index.shape) == len(report.index.path) == 0

    elements = read_elements(STREAM, check_stream(STREAM, None).index)
    boxes = make_empty_boxes(len(elements.names))
    for number, (owner, _) in enumerate(elements.shape.tolist()):
        corners = elements.point[slice(*elements.point_start[number : number + 2])]
        if len(corners):
            boxes[owner, :2] = np.minimum(boxes[owner, :2], corners.min(axis=0))
            boxes[owner, 2:] = np.maximum(boxes[owner, 2:], corners.max(axis=0))
    assert found.bound_structures(len(elements.names)).tolist() == boxes.tolist()
    counts = np.bincount(elements.shape[:, 1], minlength=len(elements.layers)).tolist()
    assert found.count_layers() == dict(zip(elements.layers, counts, strict=True))


@pytest.mark.parametrize("few", FEW)
def test_shapes_read_a_few_at_a_time_are_packed_alike(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MOST_SHAPES", few)
    layers = (Layer(68, 20), Layer(7, 7))
    index = check_stream(UPRIGHT, layers).index
    whole, parts = (
        assemble(read(UPRIGHT, index), layers, layers, "TOP")
        for read in (read_elements, leave_shapes)
    )
    assert parts.cells == whole.cells
    assert whole.packed[0].item_box.any()
    for mine, theirs in zip(parts.packed, whole.packed, strict=True):
        for field in fields(PackedLayer):
            ours, other = getattr(mine, field.name), getattr(theirs, field.name)
            assert ours.dtype == other.dtype
            assert np.array_equal(ours, other), field.name
