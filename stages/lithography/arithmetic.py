"""The arithmetic of simulation in this process, by the images of a fixed mask."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stages.arithmetic import Arithmetic, make_noise, measure_arithmetic
from stages.lithography.optics.exposure import expose
from stages.lithography.optics.fields import make_lattice, make_lattice_field
from stages.lithography.process import Process

_RECTS = 64


@lru_cache(maxsize=4)
def measure_simulation(process: Process, dbu_nm: float) -> Arithmetic:
    """Return what a process is simulated with here: torch's products and transforms, and NumPy's.

    The kernels of the light are part of it: where they come from a cache, a processor that made
    other ones shows.
    """
    lattice = make_lattice(process, dbu_nm)
    field = make_lattice_field(lattice, process, dbu_nm)
    corner, size = make_noise((2, _RECTS, 2)).astype(np.int64)
    corner = corner * (lattice.side_dbu // 2) // 255
    mask = np.hstack([corner, corner + 1 + size * (lattice.side_dbu // 2 - 1) // 255])
    images = [exposure.coef for exposure in expose([mask], field, dbu_nm, process)]
    product = make_noise((64, 64)) / 255
    return measure_arithmetic([*images, product @ product])
