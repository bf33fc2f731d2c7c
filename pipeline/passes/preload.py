"""Imports and kernels, loaded once in the process that local workers are forked from.

Both take a worker seconds, and are done here once, while the layout is read. No torch code runs:
its threads would not survive the fork.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

import pipeline.passes.units  # noqa: F401 - for its imports
from stages.clips import place_grid_clips
from stages.compiled import interpreting
from stages.contracts import Box, PackedLayer
from stages.geometry.polygons.coverage import draw_edges
from stages.geometry.signature import compute_signatures
from stages.geometry.window_query import query
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder, place_copies
from stages.patterns import canonicalize, find_distinct
from stages.raster import draw_clips


def _build_layer() -> PackedLayer:
    """Build a layer with a placed cell; its arrays are read-only, as mapped ones are."""
    builder = LayerBuilder()
    wire = np.array([[0, 0, 100, 20], [0, 0, 20, 100]])
    cell = builder.add_cell("cell", wire, [], NO_PLACEMENTS)
    slanted = np.array([[100, 100], [150, 120], [100, 140]])
    builder.add_cell("top", wire, [slanted], place_copies(cell, 0, np.array([[200, 0]])))
    packed = builder.build()
    arrays = {field.name: getattr(packed, field.name) for field in fields(packed)}
    for array in arrays.values():
        array.flags.writeable = False
    return replace(packed, **arrays)


def _load_kernels() -> None:
    """Turn, draw and sign a few clips: what a scan needs last comes first."""
    pictures, none = np.zeros((1, 1, 8, 8), np.uint8), np.zeros(1, np.int64)
    canonicalize(pictures)
    draw_edges(np.empty((0, 6), np.int64), none, none, 20, pictures[0])
    area = Box(0, 0, 320, 160)
    with interpreting(True):  # a layer is built elsewhere
        layer = _build_layer()
    shapes = [query(layer, area)]
    clips = place_grid_clips(area, area, 80, 80)
    draw_clips(shapes, clips.x_dbu, clips.y_dbu, clip_px=8, pixel_dbu=20)
    signed = compute_signatures(shapes, clips.x_dbu - 80, clips.y_dbu - 80, 160, 8)
    find_distinct(signed.view(np.uint8), clips.x_dbu, clips.y_dbu)


_load_kernels()
