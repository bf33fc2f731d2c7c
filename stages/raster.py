"""Rasters of clips: exact area coverage, one channel per layer.

in       the shapes of each layer around the clips, the clips' centres
out      (n, layer, row, column) uint8, 255 where a pixel is covered wholly, row 0 at y_min
unit     the clips of a tile, or of a shard of patterns
promise  a raster depends only on the region inside its clip, to the bit
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.contracts import Bytes, Int64s, Shapes
from stages.geometry.coverage import draw_window_any_angle, draw_windows
from stages.geometry.union import merge
from stages.geometry.window_query import polygons_of
from stages.geometry.windows import cut_to_windows, touched


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
    """
    left, bottom = x_dbu - clip_px // 2 * pixel_dbu, y_dbu - clip_px // 2 * pixel_dbu
    pictures = [_draw_layer(layer, left, bottom, clip_px, pixel_dbu) for layer in shapes]
    return pictures[0][:, None] if len(pictures) == 1 else np.stack(pictures, axis=1)


def _draw_layer(
    shapes: Shapes, left: Int64s, bottom: Int64s, clip_px: int, pixel_dbu: int
) -> Bytes:
    size_dbu = clip_px * pixel_dbu
    rects = cut_to_windows(shapes.rects, left, bottom, size_dbu)
    pictures: Bytes = draw_windows(merge(rects), left, bottom, pixel_dbu, clip_px)
    polygons = polygons_of(shapes)
    if polygons:
        boxes = np.array([[*corners.min(axis=0), *corners.max(axis=0)] for corners in polygons])
        for n in np.flatnonzero(touched(boxes, left, bottom, size_dbu)):
            x, y = int(left[n]), int(bottom[n])
            near = _find_overlapping(shapes.rects, x, y, size_dbu)
            reaching = np.flatnonzero(_find_overlapping(boxes, x, y, size_dbu))
            pictures[n] = draw_window_any_angle(
                shapes.rects[near], [polygons[i] for i in reaching], x, y, pixel_dbu, clip_px
            )
    return pictures


def _find_overlapping(boxes: Int64s, x: int, y: int, size_dbu: int) -> npt.NDArray[np.bool_]:
    return np.asarray(
        (boxes[:, 0] < x + size_dbu) & (boxes[:, 2] > x)
        & (boxes[:, 1] < y + size_dbu) & (boxes[:, 3] > y)
    )  # fmt: skip
