"""The cubic B-splines that represent images, see `stages.lithography.optics.exposure`."""

from __future__ import annotations

from stages.compiled import kernel


@kernel
def blend(t: float) -> tuple[float, float, float, float]:
    """Return the four B-splines that reach a place `t` past the second one's centre, 0 <= t < 1.

    ``blend.py_func`` takes arrays.
    """
    s = 1 - t
    middle_0 = (4 - 6 * t * t + 3 * t * t * t) / 6
    middle_1 = (4 - 6 * s * s + 3 * s * s * s) / 6
    return s * s * s / 6, middle_0, middle_1, t * t * t / 6
