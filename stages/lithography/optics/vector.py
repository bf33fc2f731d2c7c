"""Vector light: the field in the resist, of light of any polarization that the mask lets through.

in       where light comes from, and where it goes, in shares of the pupil
out      the components of the field that it makes in the resist
promise  at a low NA, where light hardly bends, all that is left is the scalar amplitude

A plane wave keeps its part across the plane of incidence (s) through the lens and into the resist,
and turns the part in that plane (p), such that it stays across its direction. Behind the lens the
wave is in the liquid: a lens without losses, which reduces four times, makes it stronger the more
it is inclined, by the root of the cosines (the radiometric factor). Refraction bends it towards
the axis, and s and p enter the resist by Fresnel's coefficients. The print is made by |E|^2 there,
just under the surface. Nothing is reflected from below.

With A = (t_s + t_p cos) / 2 and B = (t_p cos - t_s) / 2, and phi the direction in the pupil, the
field of an incoming (e_x, e_y) is

    E_x = (A + B cos 2 phi) e_x + B sin 2 phi e_y
    E_y = B sin 2 phi e_x + (A - B cos 2 phi) e_y
    E_z = -t_p sin (cos phi e_x + sin phi e_y)

D. Flagello, T. Milster and A. Rosenbluth, J. Opt. Soc. Am. A 13, 53 (1996); A. Wong, Optical
Imaging in Projection Microlithography, SPIE (2005), for polarized sources.
"""

from __future__ import annotations

import math

import numpy as np

from stages.contracts import Floats
from stages.lithography.process import Process

_REDUCTION = 4
"""How much smaller the image is than the mask, in every scanner."""


def compute_field(
    fx: Floats, fy: Floats, source_point: tuple[float, float], process: Process
) -> Floats:
    """Return the field in the resist of waves that leave the lens at these frequencies.

    Parameters
    ----------
    fx, fy : (n, n)
        In 1/nm. What lies outside the pupil is not defined.
    source_point
        Where the light comes from, in any unit.

    Returns
    -------
    (c, n, n) float64
        Amplitudes whose squares add up to the intensity. Each is even or odd in x and in y, if the
        source's polarization at mirrored points is mirrored.
    """
    slope = np.hypot(fx, fy)
    transmitted_s, transmitted_p, sine, cosine = _enter_resist(slope, process)
    mean = (transmitted_s + transmitted_p * cosine) / 2
    apart = (transmitted_p * cosine - transmitted_s) / 2
    around = np.where(slope > 0, slope, 1.0)
    along_x, along_y = fx / around, fy / around
    by_cos, by_sin = apart * (along_x**2 - along_y**2), apart * 2 * along_x * along_y
    down = transmitted_p * sine
    if process.source.polarization == "unpolarized":
        # The sum over x and y, half of the light each, in five terms instead of six.
        depth = down / math.sqrt(2)
        return np.stack([mean, by_cos, by_sin, depth * along_x, depth * along_y])
    x, y = _polarize(source_point, process)
    return np.stack(
        [
            (mean + by_cos) * x + by_sin * y,
            by_sin * x + (mean - by_cos) * y,
            down * (along_x * x + along_y * y),
        ]
    )


def _polarize(source_point: tuple[float, float], process: Process) -> tuple[float, float]:
    """Return the direction of the electric field at a point of a polarized source."""
    kind, radius = process.source.polarization, math.hypot(*source_point)
    if kind == "x":
        return 1.0, 0.0
    if kind == "y":
        return 0.0, 1.0
    x, y = (at / radius for at in source_point)
    return (x, y) if kind == "tm" else (-y, x)


def _enter_resist(slope: Floats, process: Process) -> tuple[Floats, Floats, Floats, Floats]:
    """Return what enters the resist of s and of p, and the sine and cosine of its direction.

    The radiometric factor is in both.
    """
    above, resist = process.refractive_index, process.resist.refractive_index
    sine = np.minimum(slope, process.na / process.wavelength_nm) * process.wavelength_nm

    def incline(index: float) -> Floats:
        cosine: Floats = np.sqrt(1 - (sine / index) ** 2)
        return cosine

    before, within = incline(above), incline(resist)
    inclined = np.sqrt(incline(_REDUCTION) / before)
    s = inclined * 2 * above * before / (above * before + resist * within)
    p = inclined * 2 * above * before / (resist * before + above * within)
    return s, p, sine / resist, within
