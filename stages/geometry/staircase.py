"""Any-angle polygons as thin rectangles: what the optics cannot tell from the polygon.

in: flat geometry with polygons; out: rectangles alone, overlaps as drawn.
unit: a window; promise: where an edge slants, a rectangle ends at most half a step of height away
from it, and on average on it; the area is kept to the rounding.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Int64s, Shapes
from stages.geometry.growing import room


def as_rects(shapes: Shapes, step_dbu: int) -> Int64s:
    """Return the rectangles of `shapes`, with each polygon cut into slabs of `step_dbu`.

    Slabs lie on a lattice from the layout's origin, so a polygon is cut alike in every window
    that shows it whole.

    Parameters
    ----------
    step_dbu : int
        Height of a slab: small against what the optics resolve.

    Returns
    -------
    (n, 4) int64
        They may overlap, as the shapes may.

    Examples
    --------
    >>> square = np.array([[0, 0], [4, 4], [0, 8], [-4, 4]])
    >>> none = np.empty((0, 4), np.int64)
    >>> as_rects(Shapes(none, square, np.array([0, 4])), 4).tolist()
    [[-2, 0, 2, 4], [-2, 4, 2, 8]]
    """
    if len(shapes.point_start) <= 1:
        return shapes.rects
    return np.concatenate([shapes.rects, _slabs(shapes.points, shapes.point_start, step_dbu)])


@kernel
def _slabs(points: Int64s, starts: Int64s, step: int) -> Int64s:
    out, used = np.empty((64, 4), np.int64), 0
    for p in range(len(starts) - 1):
        ring = points[starts[p] : starts[p + 1]]
        low, high = ring[:, 1].min(), ring[:, 1].max()
        at, turn = np.empty(len(ring)), np.empty(len(ring), np.int64)
        for slab in range(low // step, -(-high // step)):
            y_lo, y_hi = max(slab * step, low), min((slab + 1) * step, high)
            middle = (y_lo + y_hi) / 2
            crossings = 0
            for i in range(len(ring)):
                x_0, y_0 = ring[i - 1]
                x_1, y_1 = ring[i]
                if (y_0 <= middle) != (y_1 <= middle):
                    at[crossings] = x_0 + (middle - y_0) * (x_1 - x_0) / (y_1 - y_0)
                    turn[crossings] = 1 if y_1 > y_0 else -1
                    crossings += 1
            order = np.argsort(at[:crossings])
            winding = 0
            for k in range(crossings):
                before = winding
                winding += turn[order[k]]
                x = int(np.floor(at[order[k]] + 0.5))
                if before == 0:
                    out = room(out, used)
                    out[used, 0], out[used, 1], out[used, 3] = x, y_lo, y_hi
                elif winding == 0 and x > out[used, 0]:
                    out[used, 2] = x
                    used += 1
    return out[:used]
