"""Images sampled on a grid, of a window of any shape.

in       the mask around a window, the places of the samples, a process, some of its corners
out      the intensity at each corner, dose included
unit     a window
promise  the image at a place does not depend on the window
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from stages.contracts import Box, Float32s, Floats, Int64s
from stages.lithography.optics.exposure import Exposure, count_spline_px, expose
from stages.lithography.optics.fields import (
    clip_to_field,
    make_disjoint,
    make_lattice,
    make_lattice_field,
)
from stages.lithography.process import Corner, Process


def sample_images(
    mask: Int64s,
    x_dbu: Floats,
    y_dbu: Floats,
    dbu_nm: float,
    process: Process,
    corners: Sequence[Corner],
    device: str = "cpu",
) -> Float32s:
    """Return the image at the points of a grid, at some corners of the process.

    Parameters
    ----------
    mask : (m, 4) or (m, 5) int64
        Rectangles of the mask, in dbu, and the transmission there; complete up to
        `compute_halo_nm` outside the samples.
    x_dbu, y_dbu : (columns,), (rows,)
        Places of the samples, rising; they need not be whole.

    Returns
    -------
    (corners, rows, columns) float32
        The clear field at dose 1 is 1; what is over `compute_threshold` prints.
    """
    lattice = make_lattice(process, dbu_nm)
    field = make_lattice_field(lattice, process, dbu_nm)
    scale = count_spline_px(field) / lattice.side_dbu
    ends = np.floor([x_dbu[0], y_dbu[0], x_dbu[-1] + 1, y_dbu[-1] + 1])
    intensity = np.empty((len(corners), len(y_dbu), len(x_dbu)), np.float32)
    for place in lattice.list_places(Box(*ends.astype(int).tolist())):
        core = lattice.locate_core(place)
        rows, columns = (
            slice(*np.searchsorted(at, (low, high)))
            for at, low, high in ((y_dbu, core.y_min, core.y_max), (x_dbu, core.x_min, core.x_max))
        )
        y, x = (y_dbu[rows] - place[1]) * scale, (x_dbu[columns] - place[0]) * scale
        shown = make_disjoint(clip_to_field(mask, place, lattice.side_dbu))
        for exposure in expose([shown], field, dbu_nm, process, corners, device):
            image = _evaluate(exposure, x, y)
            for corner in (process.corners[index] for index in exposure.corners):
                intensity[corners.index(corner), rows, columns] = image * corner.dose
    return intensity


def _evaluate(exposure: Exposure, x: Floats, y: Floats) -> Float32s:
    """Return the splines of one field at the points of a grid, in steps of the spline."""
    points = np.meshgrid(y, x, indexing="ij")
    values: Float32s = scipy.ndimage.map_coordinates(
        exposure.coef[0], points, order=3, mode="grid-wrap", prefilter=False
    )
    return values
