from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.contracts import Box
from stages.errors import ConfigError
from stages.tiles import cut_tiles

COORDINATE = st.integers(-60, 60)


@st.composite
def areas(draw: st.DrawFn) -> Box:
    x, y = draw(COORDINATE), draw(COORDINATE)
    return Box(x, y, x + draw(st.integers(1, 50)), y + draw(st.integers(1, 50)))


@given(areas(), st.integers(1, 40))
def test_every_place_of_the_area_lies_in_one_tile(area: Box, size_dbu: int) -> None:
    parts = [tile.box.intersect(area) for tile in cut_tiles(area, size_dbu)]
    assert all(parts), "a tile holds nothing of the area"
    places = [
        (x, y)
        for part in parts
        if part is not None
        for x in range(part.x_min, part.x_max)
        for y in range(part.y_min, part.y_max)
    ]
    assert len(places) == len(set(places)) == area.area


@given(areas(), areas(), st.integers(5, 40))
def test_a_larger_area_moves_no_tile(area: Box, more: Box, size_dbu: int) -> None:
    hull = Box(
        min(area.x_min, more.x_min), min(area.y_min, more.y_min),
        max(area.x_max, more.x_max), max(area.y_max, more.y_max),
    )  # fmt: skip
    assert set(cut_tiles(area, size_dbu)) <= set(cut_tiles(hull, size_dbu))
    for tile in cut_tiles(hull, size_dbu):
        assert tile.box.x_min % size_dbu == tile.box.y_min % size_dbu == 0


@given(areas(), st.integers(1, 40))
def test_names_are_unique_and_order_is_by_rows(area: Box, size_dbu: int) -> None:
    tiles = cut_tiles(area, size_dbu)
    assert len({tile.name for tile in tiles}) == len(tiles)
    corners = [(tile.box.y_min, tile.box.x_min) for tile in tiles]
    assert corners == sorted(corners)


def test_names_stay_unique_past_four_digits() -> None:
    names = [tile.name for tile in cut_tiles(Box(-12_000, 0, 12_000, 1), 1)]
    assert len(set(names)) == 24_000


def test_an_area_of_no_extent_has_no_tiles() -> None:
    assert cut_tiles(Box(10, 10, 10, 20), 5) == ()


@pytest.mark.parametrize("size_dbu", [0, -5])
def test_a_tile_of_no_size_is_refused(size_dbu: int) -> None:
    with pytest.raises(ConfigError, match="at least 1 dbu"):
        cut_tiles(Box(0, 0, 10, 10), size_dbu)
