"""Slanted polygons as thin rectangles: area kept, edges near, rectangles untouched."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import LineString, Polygon

from stages.contracts import Int64s, Shapes
from stages.geometry.staircase import cut_into_rects
from stages.geometry.union import merge

NONE = np.empty((0, 4), np.int64)
STEP = 5

points = st.lists(
    st.tuples(st.integers(-900, 900), st.integers(-900, 900)), min_size=3, max_size=3, unique=True
)


def cut(*rings: list[tuple[int, int]], rects: Int64s = NONE) -> Int64s:
    starts = np.cumsum([0, *map(len, rings)])
    corners = np.array([p for ring in rings for p in ring], np.int64).reshape(-1, 2)
    return cut_into_rects(Shapes(rects, corners, starts), STEP)


def union(rects: Int64s) -> shapely.Geometry:
    return shapely.union_all([shapely.box(*rect) for rect in rects.tolist()])


@given(points)
def test_a_slab_is_as_wide_as_the_triangle_at_half_its_height(ring: list[tuple[int, int]]) -> None:
    triangle = Polygon(ring)
    low, high = triangle.bounds[1], triangle.bounds[3]
    drawn = {}
    for x_0, y_0, x_1, y_1 in cut(ring).tolist():
        assert low <= y_0 < y_1 <= high
        assert y_1 - y_0 <= STEP
        drawn[(y_0 + y_1) / 2] = x_0, x_1
    for y in np.arange(low, high) // STEP * STEP:
        middle = (max(y, low) + min(y + STEP, high)) / 2
        across = triangle.intersection(LineString([(-1000, middle), (1000, middle)]))
        x_0, _, x_1, _ = across.bounds if not across.is_empty else (0.0, 0.0, 0.0, 0.0)
        if middle in drawn:
            assert np.abs(np.array(drawn[middle]) - (x_0, x_1)).max() <= 0.5 + 1e-6
        else:
            assert x_1 - x_0 < 1.0 + 1e-6, "only what rounds to nothing is left out"


def test_edges_of_45_degrees_lie_within_half_a_step() -> None:
    diamond = [(0, -500), (500, 0), (0, 500), (-500, 0)]
    drawn, exact = union(cut(diamond)), Polygon(diamond)
    assert drawn.area == pytest.approx(exact.area, rel=1e-3)
    assert exact.buffer(STEP / 2 + 1, join_style="mitre").contains(drawn)
    assert drawn.buffer(STEP / 2 + 1, join_style="mitre").contains(exact)


def test_a_polygon_that_winds_twice_is_filled_once() -> None:
    twice = [(0, 0), (300, 0), (300, 300), (0, 300)] * 2
    assert merge(cut(twice)).tolist() == [[0, 0, 300, 300]]


def test_windows_cut_a_polygon_alike() -> None:
    ring = [(3, 7), (411, 93), (57, 301)]
    far = [(9000, 9000), (9100, 9003), (9050, 9100)]
    alone = {tuple(rect) for rect in cut(ring).tolist()}
    assert alone <= {tuple(rect) for rect in cut(far, ring).tolist()}


def test_rectangles_are_left_as_they_are() -> None:
    rects = np.array([[0, 0, 10, 10], [5, 5, 20, 20]])
    assert cut(rects=rects) is rects
    both = cut([(0, 0), (40, 40), (0, 80)], rects=rects)
    assert both[:2].tolist() == rects.tolist()
    assert len(both) == 2 + 80 // STEP
