"""Drawn pictures against exact areas from shapely: every pixel within 1/255."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import shapely

from stages.geometry.coverage import FULL, compute_pixel_areas, draw_windows
from stages.geometry.union import merge

PIXEL, SIZE = 13, 24  # a pixel that divides nothing


def exact(region: shapely.Geometry, x: int, y: int) -> npt.NDArray[np.float64]:
    """Covered share of each pixel."""
    at = np.arange(SIZE) * PIXEL
    columns, rows = np.meshgrid(at + x, at + y)
    pixels = shapely.box(columns, rows, columns + PIXEL, rows + PIXEL)
    return shapely.area(shapely.intersection(pixels, region)) / PIXEL**2


def random_rects(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    corner = rng.integers(-100, PIXEL * SIZE, (count, 2))
    return np.concatenate((corner, corner + rng.integers(1, 120, (count, 2))), axis=1)


@pytest.mark.parametrize("seed", range(8))
def test_rectangles_with_overlaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rects = random_rects(rng, 40)
    x, y = rng.integers(-40, 40, (2, 5))
    drawn = draw_windows(merge(rects), x, y, PIXEL, SIZE)
    region = shapely.union_all(shapely.box(*rects.T))
    for n in range(len(x)):
        want = exact(region, int(x[n]), int(y[n]))
        assert np.abs(drawn[n] / FULL - want).max() <= 0.5 / FULL + 1e-9
        area = compute_pixel_areas(merge(rects), int(x[n]), int(y[n]), PIXEL, SIZE, SIZE)
        assert area / PIXEL**2 == pytest.approx(want, abs=1e-9)


def test_moving_by_whole_pixels_moves_the_picture() -> None:
    rects = random_rects(np.random.default_rng(1), 20)
    a, b = draw_windows(merge(rects), np.array([0, PIXEL]), np.array([0, 2 * PIXEL]), PIXEL, SIZE)
    assert (a[2:, 1:] == b[:-2, :-1]).all()


def test_an_empty_window_is_black() -> None:
    assert not draw_windows(
        np.empty((0, 4), np.int64), np.zeros(1, int), np.zeros(1, int), 5, 8
    ).any()
