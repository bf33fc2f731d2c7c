"""Windows read together, against each read alone and against pictures of the layout."""

from __future__ import annotations

import numpy as np
import pytest

from stages.classes import windows as windows_module
from stages.classes.windows import read_window, read_windows
from stages.contracts import Box, Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry import window_query
from stages.geometry.staircase import cut_into_rects
from stages.geometry.window_query import query
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder

HALF, STEP = 90, 4


@pytest.fixture(scope="module")
def layer() -> PackedLayer:
    """Rectangles that overlap, and triangles."""
    random = np.random.default_rng(3)
    low = random.integers(0, 400, (60, 2))
    rects = np.concatenate((low, low + random.integers(5, 60, (60, 2))), axis=1)
    triangles = [
        np.array([[0, 0], [40, 12], [9, 50]]) + random.integers(0, 400, 2) for _ in range(6)
    ]
    builder = LayerBuilder()
    builder.add_cell("top", rects, triangles, NO_PLACEMENTS)
    return builder.build()


@pytest.fixture(scope="module")
def places() -> Int64s:
    """In half dbu: on the grid and between; the last one is far from everything."""
    inside = np.random.default_rng(4).integers(0, 900, (40, 2))
    return np.concatenate((inside, [[9000, 9000]]))


def draw(rects: Int64s) -> Int64s:
    """Return which half dbu of a window are covered."""
    picture = np.zeros((2 * HALF, 2 * HALF), np.int64)
    for x_0, y_0, x_1, y_1 in (np.clip(rects, -HALF, HALF) + HALF).tolist():
        picture[y_0:y_1, x_0:x_1] += 1
    return picture


def test_a_window_is_the_same_among_others(layer: PackedLayer, places: Int64s) -> None:
    for found in read_windows([layer, layer], places, HALF, STEP):
        for at, place in enumerate(places.tolist()):
            alone, _ = read_window([layer, layer], place, HALF, STEP)
            assert np.array_equal(found.get(at), alone)


def test_a_window_holds_what_is_drawn_there(layer: PackedLayer, places: Int64s) -> None:
    (found,) = read_windows([layer], places, HALF, STEP)
    shapes = query(layer, Box(-5000, -5000, 9000, 9000))
    for at, place in enumerate(places):
        local = type(shapes)(
            2 * shapes.rects - np.tile(place, 2), 2 * shapes.points - place, shapes.point_start
        )
        picture = draw(found.get(at))
        assert picture.max(initial=0) <= 1, "they are disjoint"
        assert np.array_equal(picture, draw(cut_into_rects(local, STEP)) > 0)
    assert not len(found.get(len(places) - 1))


def test_a_window_of_too_many_shapes_is_refused(
    layer: PackedLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (windows_module, window_query):
        monkeypatch.setattr(module, "MOST_PLACED", 3)
    with pytest.raises(LayoutError, match="placed cells or shapes overlap the window"):
        read_windows([layer], np.array([[9000, 9000], [400, 400]]), HALF, STEP)
