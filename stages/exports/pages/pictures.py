"""Pictures of small windows: target, mask and contours as SVG paths, clips as PNG.

in       shapes in dbu and a window; rasters of clips
out      the ``d`` of SVG paths, y downward, in units of the picture; data URIs
promise  what `draw_within` and `encode_png` return is short, whatever there is to draw
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable

import numpy as np
import shapely
from markupsafe import Markup
from shapely.geometry.base import BaseGeometry

from stages.contracts import Box, Bytes, Float32s, Floats, Int64s

# Blue, ochre, green, plum: distinct to colour-blind readers, visible on white and on black.
_LAYER_COLOURS = ((62, 124, 186), (217, 160, 40), (46, 150, 110), (168, 92, 160))

_LONGEST = 24_000
"""Characters of a path of `draw_within`."""
_COARSER = (0.0, 0.002, 0.005, 0.01, 0.02, 0.04)
"""How much of a picture's side its outlines may be off, tried in turn."""
_MOST_PX = 96
"""Side of a picture of pixels, which is shown some 220 wide."""


def name_colour(index: int) -> str:
    """Return the colour of a layer in the pictures, as CSS."""
    return "#{:02x}{:02x}{:02x}".format(*_LAYER_COLOURS[index % len(_LAYER_COLOURS)])


def draw_rects(rects: Int64s, window: Box, side: float) -> Markup:
    """Return the path of rectangles, cut to a window that is drawn `side` units wide."""
    x_0, y_0, x_1, y_1 = window.as_tuple()
    cut = np.clip(rects[:, :4], (x_0, y_0, x_0, y_0), (x_1, y_1, x_1, y_1))
    cut = cut[(cut[:, 0] < cut[:, 2]) & (cut[:, 1] < cut[:, 3])]
    corners = cut[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    return Markup("").join(_draw_ring(points.astype(float), window, side) for points in corners)


def draw_polygons(polygons: Iterable[shapely.Polygon], window: Box, side: float) -> Markup:
    """Return the path of polygons with their holes; fill it by the even-odd rule."""
    return Markup("").join(
        _draw_ring(shapely.get_coordinates(ring)[:-1], window, side)
        for polygon in polygons
        for ring in (polygon.exterior, *polygon.interiors)
    )


def draw_within(shapes: Iterable[BaseGeometry], window: Box, side: float) -> Markup:
    """Return the path of shapes, coarser the more of them there are; nothing if that fails."""
    given = np.array(_list_polygons(shapes), object)
    for off in _COARSER:
        least_dbu = off * window.width
        kept = given[shapely.area(given) >= least_dbu**2] if off else given
        coarse = shapely.simplify(kept, least_dbu) if off else kept
        if 4 * shapely.get_num_coordinates(coarse).sum() <= _LONGEST:  # "1 2L" is the least
            path = draw_polygons(_list_polygons(coarse), window, side)
            if len(path) <= _LONGEST:
                return path
    return Markup("")


def _list_polygons(geometries: Iterable[BaseGeometry]) -> list[shapely.Polygon]:
    """Return the polygons of geometries of any kind, without empty ones."""
    parts = shapely.get_parts(np.array(list(geometries), object))
    return [part for part in parts if isinstance(part, shapely.Polygon) and not part.is_empty]


def to_picture(x_dbu: float, y_dbu: float, window: Box, side: float) -> tuple[float, float]:
    """Return a place of the layout in units of the picture."""
    scale = side / window.width
    return round((x_dbu - window.x_min) * scale, 2), round((window.y_max - y_dbu) * scale, 2)


def locate_evidence(adds: Float32s, clip_px: int, core_px: int) -> tuple[float, float] | None:
    """Return where in the core a hotspot is most likely, in pixels right of and above its centre.

    The mean place of the evidence there, weighted by the square of what each place adds to the
    log odds; None where no place adds anything.

    Parameters
    ----------
    adds : (rows, columns) float32
        What each place of the clip adds, row 0 at the lowest y.
    clip_px, core_px : int
        Sides of clip and core.
    """
    rows, columns = (np.arange(n) + 0.5 for n in adds.shape)
    y, x = rows * clip_px / len(rows) - clip_px / 2, columns * clip_px / len(columns) - clip_px / 2
    high, wide = (clip_px / n for n in adds.shape)
    inside = (np.abs(y) < (core_px + high) / 2)[:, None] & (np.abs(x) < (core_px + wide) / 2)
    weight = np.where(inside, np.maximum(adds, 0), 0).astype(np.float64) ** 2
    total = weight.sum()
    if total == 0:
        return None
    return float((weight * x).sum() / total), float((weight * y[:, None]).sum() / total)


def _draw_ring(points: Floats, window: Box, side: float) -> Markup:
    """Return a closed path."""
    scale = side / window.width
    drawn = np.round((points - (window.x_min, window.y_max)) * (scale, -scale), 2)
    return Markup("M" + "L".join(f"{x:g} {y:g}" for x, y in drawn.tolist()) + "Z")


def encode_png(raster: Bytes) -> Markup:
    """Return a picture, (layer, row, column) with rows upward, as a PNG data URI.

    Layers are painted over one another in order; empty pixels are transparent. Of a larger one than
    `_MOST_PX` each pixel is the mean of some.
    """
    raster = _shrink(raster)
    _, height, width = raster.shape
    colour = np.zeros((height, width, 3))
    alpha = np.zeros((height, width, 1))
    for index, layer in enumerate(raster):
        cover = layer[::-1, :, None] / 255 * 0.9
        alpha_over = cover + alpha * (1 - cover)
        paint = np.array(_LAYER_COLOURS[index % len(_LAYER_COLOURS)])
        mixed = paint * cover + colour * alpha * (1 - cover)
        colour = mixed / np.maximum(alpha_over, 1e-9)
        alpha = alpha_over
    rgba = np.concatenate([colour, alpha * 255], axis=2).round().astype(np.uint8)  # (h, w, 4)
    png = _format_png(rgba.reshape(height, width * 4), width, colour_type=6, effort=9)
    return Markup("data:image/png;base64," + base64.b64encode(png).decode())


def encode_coverage(covered: Bytes, layer: int) -> bytes:
    """Return a picture of one layer, (row, column) with rows upward, as PNG in its colour.

    The picture is as opaque as each pixel is covered; made quickly rather than small.
    """
    palette = np.tile(np.array(_LAYER_COLOURS[layer % len(_LAYER_COLOURS)], np.uint8), 256)
    extra = ((b"PLTE", palette.tobytes()), (b"tRNS", bytes(range(256))))
    return _format_png(covered[::-1], covered.shape[1], colour_type=3, effort=1, extra=extra)


def _format_png(
    rows: Bytes,
    width: int,
    *,
    colour_type: int,
    effort: int,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """Return a PNG file of 8 bits from its rows of bytes, (height, bytes)."""
    header = struct.pack(">IIBBBBB", width, len(rows), 8, colour_type, 0, 0, 0)
    content = np.insert(rows, 0, 0, axis=1).tobytes()  # filter type 0 on each row
    chunks = (
        (b"IHDR", header), *extra, (b"IDAT", zlib.compress(content, effort)), (b"IEND", b"")
    )  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _shrink(raster: Bytes) -> Bytes:
    """Return the picture with at most `_MOST_PX` rows and columns, each the mean of some."""
    for axis in (1, 2):
        size = raster.shape[axis]
        if size > _MOST_PX:
            edges = np.arange(_MOST_PX + 1) * size // _MOST_PX
            sums = np.add.reduceat(raster, edges[:-1], axis=axis, dtype=np.float64)
            widths = np.diff(edges).reshape((-1, 1) if axis == 1 else (-1,))
            raster = (sums / widths).round().astype(np.uint8)
    return raster
