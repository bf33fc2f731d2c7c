"""Tiles, decoded and compared with what the layout has there."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.engine.storage.run_directory import Run
from pipeline.layout.ingest import open_packed
from pipeline.review.tiles import EXACT_NM, SIZE_PX, TileDrawer, locate_tile
from stages.contracts import Box, Bytes, PackedLayout
from stages.errors import UsageError
from stages.geometry.coverage import compute_pixel_areas
from stages.geometry.union import merge
from stages.geometry.window_query import query


@pytest.fixture(scope="module")
def layout(reference: Run) -> PackedLayout:
    return open_packed(reference.layout)


def decode(png: bytes) -> Bytes:
    """Return how opaque each pixel is, rows upward."""
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size == (SIZE_PX, SIZE_PX)
        found: Bytes = np.asarray(picture.convert("RGBA"))[::-1, :, 3]
        return found


def cover(layout: PackedLayout, box: Box, pixel_dbu: int) -> np.ndarray:
    rects = merge(query(layout.packed[0], box).rects)
    area = compute_pixel_areas(rects, box.x_min, box.y_min, pixel_dbu, SIZE_PX, SIZE_PX)
    return np.asarray(area) / pixel_dbu**2


@pytest.mark.parametrize(("scale", "column", "row"), [(2, 30, 40), (4, 8, 9), (6, 1, 2)])
def test_a_fine_tile_is_exact(layout: PackedLayout, scale: int, column: int, row: int) -> None:
    assert layout.dbu_nm * 2**scale <= EXACT_NM
    drawn = decode(TileDrawer(layout).draw(0, scale, column, row))
    exact = cover(layout, locate_tile(scale, column, row), 1 << scale)
    assert 0.1 < exact.mean() < 0.9
    assert np.abs(drawn / 255 - exact).max() <= 0.51 / 255


def test_a_coarse_tile_has_the_density(layout: PackedLayout) -> None:
    scale = 9
    drawn = decode(TileDrawer(layout).draw(0, scale, 0, 0)) / 255
    exact = cover(layout, locate_tile(scale, 0, 0), 1 << scale)
    coarse = [each.reshape(32, 16, 32, 16).mean(axis=(1, 3)) for each in (drawn, exact)]
    assert exact.mean() > 0.2
    # Where cells overlap, the density is more than what is covered.
    assert (coarse[0] > coarse[1] - 0.03).all()
    assert np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1] > 0.8


def test_tiles_meet(layout: PackedLayout) -> None:
    drawer = TileDrawer(layout)
    four = [[decode(drawer.draw(0, 5, i, j)) for i in (4, 5)] for j in (4, 5)]
    finer = np.block(four).reshape(SIZE_PX, 2, SIZE_PX, 2).mean(axis=(1, 3))
    assert np.abs(finer - decode(drawer.draw(0, 6, 2, 2))).max() <= 1.01


@pytest.mark.parametrize("place", [(-1, 0, 0), (25, 0, 0), (0, 2**23, 0), (3, 0, -(2**21))])
def test_no_tile_is_outside_of_layouts(place: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="is outside of every layout"):
        locate_tile(*place)
