"""Tiles of the map: squares of the layout, drawn when they are asked for.

in       the packed layout of a run
out      PNG pictures of one layer, of `SIZE_PX` pixels on a side
unit     a tile: a pixel is ``2**scale`` dbu, tile 0, 0 begins at the origin of the layout
promise  pixels of up to `EXACT_NM` show exactly what is drawn; larger ones the density of it
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stages.contracts import Box, Bytes, PackedLayout
from stages.errors import LayoutError, UsageError
from stages.exports.pages.pictures import encode_coverage
from stages.geometry.window_query import query
from stages.raster import draw_clips
from stages.review.overview import Areas, draw_overview, sum_areas

SIZE_PX = 512
EXACT_NM = 64.0
MOST_SCALE = 24
_KEPT = 1024
"""Tiles that are kept, some 10 to 100 kB each."""
_FARTHEST_DBU = 2**31


def locate_tile(scale: int, column: int, row: int) -> Box:
    """Return the box of a tile, in dbu.

    Raises
    ------
    UsageError
        When no layout reaches there.
    """
    if 0 <= scale <= MOST_SCALE:
        side = SIZE_PX << scale
        if max(abs(column), abs(row)) * side <= _FARTHEST_DBU + side:
            return Box(column * side, row * side, (column + 1) * side, (row + 1) * side)
    raise UsageError(f"tile {scale}/{column}/{row} is outside of every layout")


class TileDrawer:
    """Draws tiles of a layout; not for several threads at once."""

    def __init__(self, layout: PackedLayout) -> None:
        self._layout = layout
        self._sum_areas = lru_cache(maxsize=None)(self._sum_layer)
        self.draw = lru_cache(maxsize=_KEPT)(self._draw)
        """Return the PNG of a layer (its index) in a tile (scale, column, row)."""

    def warm(self) -> None:
        """Compile what draws, exactly and coarsely."""
        extent = self._layout.extent
        centre = (extent.x_min + extent.x_max) // 2, (extent.y_min + extent.y_max) // 2
        for scale in (0, MOST_SCALE):
            column, row = (place // (SIZE_PX << scale) for place in centre)
            self.draw(0, scale, column, row)

    def _draw(self, layer: int, scale: int, column: int, row: int) -> bytes:
        box = locate_tile(scale, column, row)
        return encode_coverage(self._cover(layer, box, 1 << scale), layer)

    def _cover(self, layer: int, box: Box, pixel_dbu: int) -> Bytes:
        """Return how much of each pixel is covered, (rows, columns), rows upward."""
        packed = self._layout.packed[layer]
        if pixel_dbu * self._layout.dbu_nm <= EXACT_NM:
            centre = (np.array([low + box.width // 2]) for low in (box.x_min, box.y_min))
            try:
                drawn = draw_clips([query(packed, box)], *centre, clip_px=SIZE_PX,
                                   pixel_dbu=pixel_dbu)  # fmt: skip
                exact: Bytes = drawn[0, 0]
                return exact
            except LayoutError:
                pass  # more is there than can be drawn in time: its density is shown
        areas = self._sum_areas(layer)
        return draw_overview(packed, areas, box.x_min, box.y_min, pixel_dbu, SIZE_PX)

    def _sum_layer(self, layer: int) -> Areas:
        return sum_areas(self._layout.packed[layer])
