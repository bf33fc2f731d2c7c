"""What packed layers draw, as KLayout's regions."""

from __future__ import annotations

import klayout.db as kdb

from stages.contracts import Box, PackedLayer
from stages.geometry.window_query import query, split_polygons

EVERYWHERE = Box(-(2**31), -(2**31), 2**31, 2**31)


def region_of(packed: PackedLayer, window: Box = EVERYWHERE) -> kdb.Region:
    """Return the shapes of a packed layer that overlap a window, whole and merged."""
    shapes, drawn = query(packed, window), kdb.Region()
    for rect in shapes.rects.tolist():
        drawn.insert(kdb.Box(*rect))
    for corners in split_polygons(shapes):
        drawn.insert(kdb.Polygon([kdb.Point(*corner) for corner in corners.tolist()]))
    return drawn.merged()


def is_within_slivers(one: kdb.Region, other: kdb.Region, thickness_dbu: int) -> bool:
    """Whether two regions differ by nothing thicker than what rounding leaves along an edge."""
    return all(
        part.area() <= thickness_dbu * part.perimeter() / 2 for part in (one ^ other).each_merged()
    )
