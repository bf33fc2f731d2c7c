"""Coarse pictures against the exact ones, and against areas that are known."""

from __future__ import annotations

import numpy as np
import pytest

from stages.contracts import Box, Layer, PackedLayer
from stages.geometry.coverage import compute_pixel_areas
from stages.geometry.union import merge
from stages.geometry.window_query import query
from stages.layout.builder import pack_layout
from stages.review.overview import draw_overview, sum_areas
from tests.support.hierarchy import make_library


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> PackedLayer:
    path = tmp_path_factory.mktemp("overview") / "cells.gds"
    make_library().write_gds(path)
    return pack_layout(path, [Layer(68, 20)], None).packed[0]


def measure(layer: PackedLayer) -> float:
    """Area of all shapes, each by itself."""
    assert layer.box is not None
    shapes = query(layer, layer.box.grow(1))
    low, high = shapes.rects[:, :2], shapes.rects[:, 2:]
    area = float((high - low).prod(axis=1).sum())
    for first, end in zip(shapes.point_start[:-1], shapes.point_start[1:], strict=True):
        x, y = shapes.points[first:end].T
        area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return area


def test_the_area_of_the_top_is_that_of_all_shapes(layer: PackedLayer) -> None:
    areas = sum_areas(layer)
    assert areas.cell[-1] == pytest.approx(measure(layer))
    assert areas.cell[-1] == pytest.approx(areas.item[layer.item_start[-2] :].sum())


@pytest.mark.parametrize("pixel_dbu", [1 << 10, 1 << 14, 1 << 24])
def test_no_area_is_lost_however_coarse(layer: PackedLayer, pixel_dbu: int) -> None:
    side = 64
    low = -(side // 2) * pixel_dbu
    drawn = draw_overview(layer, sum_areas(layer), low, low, pixel_dbu, side)
    shown = measure(layer) / pixel_dbu**2 * 255
    # Each pixel that has anything is rounded up, so that thin wires stay in sight.
    assert shown <= drawn.sum() <= shown + np.count_nonzero(drawn)
    assert drawn.any()


def test_fine_pixels_show_what_is_drawn(layer: PackedLayer) -> None:
    assert layer.box is not None
    pixel_dbu, side, x, y = 20, 256, -500, -500
    drawn = draw_overview(layer, sum_areas(layer), x, y, pixel_dbu, side)
    box = Box(x, y, x + side * pixel_dbu, y + side * pixel_dbu)
    shapes = query(layer, box)
    exact = compute_pixel_areas(merge(shapes.rects), x, y, pixel_dbu, side, side) / pixel_dbu**2
    near_polygons = np.zeros((side, side), bool)
    for first, end in zip(shapes.point_start[:-1], shapes.point_start[1:], strict=True):
        (x0, y0), (x1, y1) = (f(shapes.points[first:end], axis=0) for f in (np.min, np.max))
        columns = slice(max(0, (x0 - x) // pixel_dbu), (x1 - x) // pixel_dbu + 1)
        near_polygons[max(0, (y0 - y) // pixel_dbu) : (y1 - y) // pixel_dbu + 1, columns] = True
    assert exact.any()
    difference = np.abs(drawn / 255.0 - exact)[~near_polygons]
    assert difference.max() <= 1 / 255


def test_an_empty_tile_is_empty(layer: PackedLayer) -> None:
    assert not draw_overview(layer, sum_areas(layer), 10**8, 10**8, 1 << 10, 32).any()
