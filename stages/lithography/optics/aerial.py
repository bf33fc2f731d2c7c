"""Aerial images of polygons, sampled on a grid.

in       polygons of the mask in nm, a window, a process, one corner of its process window
out      the intensity, dose included, and the threshold above which it prints
unit     a window
promise  the image at a place does not depend on the window requested
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import map_coordinates

from stages.contracts import Box, Float32s, Floats, Int64s, Shapes
from stages.geometry.staircase import cut_into_rects
from stages.geometry.union import merge
from stages.lithography.optics.exposure import count_spline_px, expose
from stages.lithography.optics.fields import (
    clip_to_field,
    compute_slab_dbu,
    make_lattice,
    make_lattice_field,
)
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
    lattice = make_lattice(process, _DBU_NM)
    field = make_lattice_field(lattice, process, _DBU_NM)
    scale = count_spline_px(field) / lattice.side_dbu
    x, y = x_nm / _DBU_NM, y_nm / _DBU_NM
    window = Box(*(int(v) for v in np.floor((x[0], y[0], x[-1] + 1, y[-1] + 1))))
    intensity, level = np.empty((len(y), len(x)), np.float32), 0.0
    for place in lattice.list_places(window):
        core = lattice.locate_core(place)
        columns = np.flatnonzero((x >= core.x_min) & (x < core.x_max))
        rows = np.flatnonzero((y >= core.y_min) & (y < core.y_max))
        if not len(columns) or not len(rows):
            continue
        (exposure,) = expose(
            [clip_to_field(mask, place, lattice.side_dbu)], field, _DBU_NM, process, [corner]
        )
        level = float(exposure.levels[0]) * corner.dose
        at = np.meshgrid(
            (y[rows] - place[1]) * scale, (x[columns] - place[0]) * scale, indexing="ij"
        )
        image = map_coordinates(exposure.coef[0], at, order=3, mode="grid-wrap", prefilter=False)
        intensity[np.ix_(rows, columns)] = image * corner.dose
    return intensity, level, x_nm, y_nm


def _rectangles(rings_nm: Sequence[Floats], process: Process) -> Int64s:
    """Return disjoint rectangles in `_DBU_NM`, slanted edges in steps finer than the light sees."""
    rings = [np.rint(ring / _DBU_NM).astype(np.int64) for ring in rings_nm]
    starts = np.cumsum([0, *(len(ring) for ring in rings)])
    points = np.concatenate([np.empty((0, 2), np.int64), *rings])
    step = compute_slab_dbu(process, _DBU_NM)
    shapes = Shapes(np.empty((0, 4), np.int64), points, starts)
    return merge(cut_into_rects(shapes, step))
