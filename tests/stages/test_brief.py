"""A small layout is cut and grouped by kernels as plain Python: what comes of it is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.classes.classify import Rules, Spots, classify
from stages.compiled import Kernel, interpreting_brief
from stages.contracts import Box, Int64s, Layer, PackedLayer
from stages.geometry.owners import count_flat, find_frames
from stages.geometry.polygons.outlines import index_outlines
from stages.geometry.union import find_runs_gaps_edges
from stages.geometry.window_query import query
from stages.layout.builder import pack_layout
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder, place_copies
from tests.stages.classes.test_classify import RULES, make_layout

SAMPLE = Path(__file__).resolve().parents[2] / "sample_layouts" / "tiny.gds"


def make_layer() -> PackedLayer:
    """Build a layer of random rectangles and polygons, placed in all eight turns."""
    random, builder = np.random.default_rng(3), LayerBuilder()
    low = random.integers(-400, 400, (40, 2))
    rects = np.concatenate([low, low + random.integers(1, 200, (40, 2))], axis=1)
    slanted = [random.integers(-400, 400, (corners, 2)) for corners in (3, 5, 70)]
    cell = builder.add_cell("cell", rects, slanted, NO_PLACEMENTS)
    placed = place_copies(cell, np.arange(8), random.integers(-2000, 2000, (8, 2)))
    placed[::3, 4:] = 3, 2, 700, 0, 0, 900  # columns, rows, their steps
    builder.add_cell("top", rects, slanted, placed)
    return builder.build()


def flatten(value: Any) -> list[Any]:
    """Return arrays as their types and bytes, however they are nested."""
    if isinstance(value, np.ndarray):
        return [value.dtype, value.shape, value.tobytes()]
    if isinstance(value, (tuple, list)):
        return [flatten(each) for each in value]
    return [type(value), value]


def assert_alike(work: Callable[..., Any], *arguments: Any) -> None:
    compiled = flatten(work(*arguments))
    with interpreting_brief(True):
        assert flatten(work(*arguments)) == compiled


def query_values(layer: PackedLayer, window: Box) -> tuple[Any, ...]:
    return astuple(query(layer, window))


def find_frame_values(layer: PackedLayer, windows: Int64s) -> tuple[Any, ...]:
    return astuple(find_frames(layer, windows))


def classify_values(layer: PackedLayer, spots: Spots, rules: Rules) -> tuple[Any, ...]:
    return astuple(classify([layer], spots, rules))


def test_windows_outlines_and_unions_are_the_same() -> None:
    packed = pack_layout(SAMPLE, [Layer(68, 20)], None).packed
    for layer in (make_layer(), *packed):
        box = layer.box
        assert box is not None
        random = np.random.default_rng(5)
        size = max(box.width, box.height) // 7
        left = random.integers(box.x_min - size, box.x_max, 12)
        bottom = random.integers(box.y_min - size, box.y_max, 12)
        for x, y in zip(left.tolist(), bottom.tolist(), strict=True):
            assert_alike(query_values, layer, Box(x, y, x + size, y + size))
        shapes = query(layer, box)
        assert_alike(index_outlines, shapes, left, bottom, size)
        assert_alike(find_runs_gaps_edges, shapes.rects, 300)
        windows = np.stack([left, bottom, left + size, bottom + size], axis=1)
        assert_alike(find_frame_values, layer, windows)


@pytest.mark.parametrize("area_share", [None, 0.9])
def test_classes_are_the_same(area_share: float | None) -> None:
    rules = replace(RULES, tolerance=replace(RULES.tolerance, area_share=area_share))
    for most in (2, 12):
        layer, spots, _ = make_layout(most)
        fails = np.arange(0, len(spots), 2) % 4 == 0
        few = Spots(spots.x_dbu[::2], spots.y_dbu[::2], fails)
        assert_alike(classify_values, layer, few, rules)


def test_shapes_are_counted_with_arrays_written_out() -> None:
    layer = make_layer()
    whole = query(layer, Box(-10_000, -10_000, 10_000, 10_000))
    copies = 1 + 5 + 3 * 6
    assert count_flat(layer) == len(whole.rects) + len(whole.points) == copies * (40 + 78)


def test_only_brief_kernels_are_interpreted() -> None:
    called = []
    brief = Kernel(lambda: called.append("brief"), is_brief=True)
    inner = Kernel(lambda: called.append("inner"))
    outer = Kernel(lambda: inner(), is_brief=True)
    inner.__dict__["dispatcher"] = lambda: called.append("compiled")
    with interpreting_brief(True):
        brief()
        outer()  # and what it calls
        inner()
    assert called == ["brief", "inner", "compiled"]
