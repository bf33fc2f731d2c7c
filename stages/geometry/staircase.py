"""Any-angle polygons cut into rectangles so thin that the optics do not resolve the steps.

in: flat geometry with polygons · out: rectangles, overlaps as drawn
unit: a window · promise: a rectangle ends within half a step of a slanted edge, and on average on
it; the area is kept up to rounding
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Int64s, Shapes
from stages.geometry.growing import reserve_row


def cut_into_rects(shapes: Shapes, step_dbu: int) -> Int64s:
    """Return the rectangles of `shapes`, with each polygon cut into slabs of `step_dbu`.

    Slabs lie on a lattice from the layout's origin, so a polygon is cut the same way in every
    window that holds all of it.

    Parameters
    ----------
    step_dbu : int
        Height of a slab: well below the resolution of the optics.

    Returns
    -------
    (n, 4) int64
        They may overlap, as the shapes may.

    Examples
    --------
    >>> square = np.array([[0, 0], [4, 4], [0, 8], [-4, 4]])
    >>> none = np.empty((0, 4), np.int64)
    >>> cut_into_rects(Shapes(none, square, np.array([0, 4])), 4).tolist()
    [[-2, 0, 2, 4], [-2, 4, 2, 8]]
    """
    if len(shapes.point_start) <= 1:
        return shapes.rects
    return np.concatenate([shapes.rects, cut_slabs(shapes.points, shapes.point_start, step_dbu)])


@kernel
def cut_slabs(points: Int64s, starts: Int64s, step: int) -> Int64s:
    """Return polygons as `cut_into_rects` cuts them: all their corners, and where each begins."""
    out, used = np.empty((64, 4), np.int64), 0
    for p in range(len(starts) - 1):
        ring = points[starts[p] : starts[p + 1]]
        y_lo, y_hi = ring[:, 1].copy(), ring[:, 1].copy()  # of the edge that ends at each corner
        for i in range(len(ring)):
            y_lo[i], y_hi[i] = min(ring[i - 1, 1], ring[i, 1]), max(ring[i - 1, 1], ring[i, 1])
        order, begun = np.argsort(y_lo), 0
        crossed, count = np.empty(len(ring), np.int64), 0
        at = np.empty(len(ring))
        low, high = ring[:, 1].min(), ring[:, 1].max()
        for slab in range(low // step, -(-high // step)):
            bottom, top = max(slab * step, low), min((slab + 1) * step, high)
            middle = (bottom + top) / 2
            while begun < len(ring) and y_lo[order[begun]] <= middle:
                crossed[count] = order[begun]
                count, begun = count + 1, begun + 1
            kept = 0
            for k in range(count):
                i = crossed[k]
                if y_hi[i] > middle:
                    (x_0, y_0), (x_1, y_1) = ring[i - 1], ring[i]
                    at[kept] = x_0 + (middle - y_0) * (x_1 - x_0) / (y_1 - y_0)
                    crossed[kept] = i
                    kept += 1
            count = kept
            winding = 0
            for k in np.argsort(at[:count]):
                i, before = crossed[k], winding
                winding += 1 if ring[i, 1] > ring[i - 1, 1] else -1
                x = int(np.floor(at[k] + 0.5))
                if before == 0:
                    out = reserve_row(out, used)
                    out[used, 0], out[used, 1], out[used, 3] = x, bottom, top
                elif winding == 0 and x > out[used, 0]:
                    out[used, 2] = x
                    used += 1
    return out[:used]
