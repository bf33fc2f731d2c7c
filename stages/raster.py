"""Rasters of clips: exact area coverage, one channel per layer.

in       the shapes of each layer around the clips, the clips' centres
out      (n, layer, row, column) uint8, 255 where a pixel is covered wholly, row 0 at y_min
unit     the clips of a tile, or of a shard of patterns
promise  a raster depends only on the region inside its clip, to the bit
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.contracts import Bytes, Int64s, Shapes
from stages.errors import LayoutError
from stages.geometry.coverage import draw_windows
from stages.geometry.polygons.coverage import MOST_EDGES, draw_slanted
from stages.geometry.polygons.outlines import index_outlines
from stages.geometry.windows import merge_in_windows


def draw_clips(
    shapes: Sequence[Shapes], x_dbu: Int64s, y_dbu: Int64s, *, clip_px: int, pixel_dbu: int
) -> Bytes:
    """Draw square clips.

    Parameters
    ----------
    shapes : sequence of Shapes
        One per layer, everything that overlaps any of the clips.
    x_dbu, y_dbu : (n,) int64
        Centres of the clips.
    clip_px, pixel_dbu : int
        Side of a clip in pixels (even), side of a pixel in dbu.

    Returns
    -------
    (n, layers, clip_px, clip_px) uint8

    Raises
    ------
    LayoutError
        When a clip has more slanted edges than are drawn in bearable time.
    """
    left, bottom = x_dbu - clip_px // 2 * pixel_dbu, y_dbu - clip_px // 2 * pixel_dbu
    layers = [merge_in_windows(layer, left, bottom, clip_px * pixel_dbu) for layer in shapes]
    return draw_merged(layers, left, bottom, clip_px=clip_px, pixel_dbu=pixel_dbu)


def draw_merged(
    layers: Sequence[Shapes], left: Int64s, bottom: Int64s, *, clip_px: int, pixel_dbu: int
) -> Bytes:
    """Draw the clips with these lower left corners, of shapes with disjoint rectangles.

    For many parts of what was merged once (`merge_in_windows`); else as `draw_clips`.
    """
    pictures = [_draw_layer(layer, left, bottom, clip_px, pixel_dbu) for layer in layers]
    return pictures[0][:, None] if len(pictures) == 1 else np.stack(pictures, axis=1)


def _draw_layer(
    shapes: Shapes, left: Int64s, bottom: Int64s, clip_px: int, pixel_dbu: int
) -> Bytes:
    size_dbu = clip_px * pixel_dbu
    pictures: Bytes = draw_windows(shapes.rects, left, bottom, pixel_dbu, clip_px)
    outlines = index_outlines(shapes, left, bottom, size_dbu)
    if outlines is not None:
        refused = draw_slanted(pictures, outlines, shapes.rects, left, bottom, pixel_dbu)
        if refused >= 0:
            raise LayoutError(
                f"the clip from ({left[refused]}, {bottom[refused]}) dbu, {size_dbu} dbu wide, has "
                f"over {MOST_EDGES} slanted edges, the most that are drawn; simplify its polygons"
            )
    return pictures
