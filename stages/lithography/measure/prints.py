"""What prints of a window: contours at every corner, and the band between them.

in: the mask around a window; out: `Prints`, polygons in dbu.
unit: a window; promise: where it is larger than the core of a field it is cut into the fields that
tile the plane, else it is imaged in one field of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.contracts import Box, Float32s, Int64s, Prints
from stages.lithography.measure.contours import Images, band, contours
from stages.lithography.optics.exposure import expose, pixels_of
from stages.lithography.optics.fields import around, clipped, disjoint, field_for, lattice_of
from stages.lithography.process import Corner, Process


def printed(
    mask: Int64s,
    window: Box,
    dbu_nm: float,
    process: Process,
    corners: Sequence[Corner] | None = None,
    device: str = "cpu",
) -> Prints:
    """Return what prints of a window at every corner, or at some.

    Parameters
    ----------
    mask : (m, 4) or (m, 5) int64
        Rectangles of the mask, in dbu, and what passes there; complete up to `halo_nm` outside
        the window.
    """
    side = max(window.width, window.height)
    lattice = lattice_of(process, dbu_nm)
    places, cores = lattice.places(window), [window]
    if side <= lattice.core_dbu:
        lattice = around(process, dbu_nm, side)
        pitch, guard = lattice.pitch_dbu, lattice.guard_dbu
        places = [(window.x_min // pitch * pitch - guard, window.y_min // pitch * pitch - guard)]
    else:
        cores = [core for p in places if (core := lattice.core_of(p).intersect(window))]
    field = field_for(lattice, process, dbu_nm)
    coef: list[list[Float32s]] = []
    at: dict[str, tuple[int, float]] = {}
    for place in places:
        shown = disjoint(clipped(mask, place, lattice.side_dbu))
        exposures = expose([shown], field, dbu_nm, process, corners, device)
        for focus, exposure in enumerate(exposures):
            for corner, level in zip(exposure.corners, exposure.levels.tolist(), strict=True):
                at[process.corners[corner].name] = focus, level
        coef.append([each.coef[0] for each in exposures])
    images = Images(cores, places, coef, pixels_of(field) / lattice.side_dbu)
    by_corner = {name: contours(images, [at[name]]) for name in at}
    if len(at) == 1:
        return Prints(by_corner, [])
    every = list(at.values())
    return Prints(by_corner, band(contours(images, every, "any"), contours(images, every, "all")))
