"""The print of a window: contours at every corner, and the process variation band.

in       the mask around a window
out      `Prints`, polygons in dbu
unit     a window
promise  a window larger than the core of a field is cut into the fields that tile the plane; a
         smaller one is imaged in one field of its own
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.contracts import Box, Float32s, Int64s
from stages.findings import Prints
from stages.lithography.measure.contours import Images, find_band, trace_contours
from stages.lithography.optics.exposure import count_spline_px, expose
from stages.lithography.optics.fields import (
    clip_to_field,
    make_disjoint,
    make_lattice,
    make_lattice_around,
    make_lattice_field,
)
from stages.lithography.process import Corner, Process


def simulate_prints(
    mask: Int64s,
    window: Box,
    dbu_nm: float,
    process: Process,
    corners: Sequence[Corner] | None = None,
    device: str = "cpu",
) -> Prints:
    """Return the contours of a window at every corner, or at some.

    Parameters
    ----------
    mask : (m, 4) or (m, 5) int64
        Rectangles of the mask, in dbu, and the transmission there; complete up to
        `compute_halo_nm` outside the window.
    """
    side = max(window.width, window.height)
    lattice = make_lattice(process, dbu_nm)
    places, cores = lattice.list_places(window), [window]
    if side <= lattice.core_dbu:
        lattice = make_lattice_around(process, dbu_nm, side)
        pitch, guard = lattice.pitch_dbu, lattice.guard_dbu
        places = [(window.x_min // pitch * pitch - guard, window.y_min // pitch * pitch - guard)]
    else:
        cores = [core for p in places if (core := lattice.locate_core(p).intersect(window))]
    field = make_lattice_field(lattice, process, dbu_nm)
    coef: list[list[Float32s]] = []
    at: dict[str, tuple[int, float]] = {}
    for place in places:
        shown = make_disjoint(clip_to_field(mask, place, lattice.side_dbu))
        exposures = expose([shown], field, dbu_nm, process, corners, device)
        for focus, exposure in enumerate(exposures):
            for corner, level in zip(exposure.corners, exposure.levels.tolist(), strict=True):
                at[process.corners[corner].name] = focus, level
        coef.append([each.coef[0] for each in exposures])
    images = Images(cores, places, coef, count_spline_px(field) / lattice.side_dbu)
    by_corner = {name: trace_contours(images, [at[name]]) for name in at}
    if len(at) == 1:
        return Prints(by_corner, [])
    every = list(at.values())
    return Prints(
        by_corner,
        find_band(trace_contours(images, every, "any"), trace_contours(images, every, "all")),
    )
