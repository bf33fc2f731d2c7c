"""Aerial images of polygons, sampled on a grid.

in       polygons of the mask in nm, a window, a process, one corner of its process window
out      the intensity, dose included, and the threshold above which it prints
unit     a window
promise  the image at a place does not depend on the window requested
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.contracts import Float32s, Floats, Int64s, Shapes
from stages.geometry.staircase import cut_into_rects
from stages.geometry.union import merge
from stages.lithography.optics.fields import compute_slab_dbu
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.optics.sampling import sample_images
from stages.lithography.process import Corner, Process

_DBU_NM = 0.1
"""Polygons are rounded to this."""


def image_window(
    rings_nm: Sequence[Floats],
    window_nm: tuple[float, float, float, float],
    process: Process,
    corner: Corner,
    step_nm: float,
) -> tuple[Float32s, float, Floats, Floats]:
    """Image polygons.

    Parameters
    ----------
    rings_nm
        Each (corners, 2); they may overlap. The rest of the mask is dark.
    window_nm
        x0, y0, x1, y1 of the samples, which are `step_nm` apart from the corner x0, y0.

    Returns
    -------
    intensity : (rows, columns) float32
        Row 0 at the lowest y; the clear field at dose 1 is 1.
    threshold : float
        Intensity above which it prints.
    x_nm, y_nm : (columns,), (rows,)
    """
    x_nm = np.arange(window_nm[0], window_nm[2] + 1e-9, step_nm)
    y_nm = np.arange(window_nm[1], window_nm[3] + 1e-9, step_nm)
    mask = _rectangles(rings_nm, process)
    (intensity,) = sample_images(mask, x_nm / _DBU_NM, y_nm / _DBU_NM, _DBU_NM, process, [corner])
    return intensity, compute_threshold(process), x_nm, y_nm


def _rectangles(rings_nm: Sequence[Floats], process: Process) -> Int64s:
    """Return disjoint rectangles in `_DBU_NM`, slanted edges in steps finer than the light sees."""
    rings = [np.rint(ring / _DBU_NM).astype(np.int64) for ring in rings_nm]
    starts = np.cumsum([0, *(len(ring) for ring in rings)])
    points = np.concatenate([np.empty((0, 2), np.int64), *rings])
    step = compute_slab_dbu(process, _DBU_NM)
    shapes = Shapes(np.empty((0, 4), np.int64), points, starts)
    return merge(cut_into_rects(shapes, step))
