"""Masks drawn with smooth pixels: the spectrum of many rectangles in the time of one transform.

in       signed rectangles of a square, periodic field, in pixels
out      a picture of the mask blurred by a B-spline, its spectrum, and derivatives by its edges
promise  drawing is linear in the transmission and smooth in the edges; its derivative is exact

A picture holds the mask convolved with a B-spline of degree 5, sampled on twice the pixels of the
image. Dividing the transform by that of the B-spline gives the mask's spectrum within some 1e-4 of
its highest frequencies, which the samples alias. `stages.lithography.optics.imaging` is exact.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy
import torch

from stages.compiled import kernel
from stages.contracts import Floats
from stages.lithography.optics.kernels import Field

DEGREE = 5
_STEPS = 4096
"""Entries of the tables in a pixel; between them they are interpolated."""


def count_drawn_px(field: Field) -> int:
    """Return the side of the pictures of a field's masks."""
    return 2 * field.pixels


@lru_cache(maxsize=2)
def tabulate_steps(degree: int = DEGREE) -> Floats:
    """Return the integral of a B-spline up to an edge, (`_STEPS` + 1, degree + 1).

    Row t, column k is the share of an edge's lower side that the B-spline covers whose centre is
    pixel k - (degree + 1) // 2 + 1 from the pixel of the edge, t / `_STEPS` of a pixel past it.
    Degree 0 are pixels from k to k + 1.
    """
    knots = np.arange(degree + 2) - (degree + 1) / 2
    integral = scipy.interpolate.BSpline.basis_element(knots).antiderivative()
    t = np.arange(_STEPS + 1)[:, None] / _STEPS
    place = t - np.arange(degree + 1) + degree // 2 - (0.5 if degree % 2 == 0 else 0)
    half = (degree + 1) / 2
    table: Floats = np.clip(integral(np.clip(place, -half, half)) - integral(-half), 0, 1)
    return np.ascontiguousarray(table)


@kernel
def _project(low: float, high: float, table: Floats, out: Floats) -> tuple[int, int]:
    """Write what each pixel sees of the interval from `low` to `high`; return the first, how many.

    It is negative where `high` is less than `low`.
    """
    taps, steps = table.shape[1], table.shape[0] - 1
    before = (taps - 1) // 2
    first = int(np.floor(min(low, high))) - before
    count = int(np.floor(max(low, high))) - before + taps - first
    for j in range(count):
        out[j] = 0.0
    for sign, place in ((1, high), (-1, low)):
        whole = int(np.floor(place))
        at = (place - whole) * steps
        t = min(int(at), steps - 1)
        start = whole - before - first
        for j in range(start):
            out[j] += sign
        for k in range(taps):
            out[start + k] += sign * (table[t, k] + (at - t) * (table[t + 1, k] - table[t, k]))
    return first, count


@kernel
def add_rects(picture: Floats, rects: Floats, table: Floats) -> None:
    """Add signed rectangles, (r, 5) in pixels, to a periodic picture, (n, n), row 0 at y = 0.

    The sides of a rectangle may be in either order: each that is reversed changes its sign.
    """
    n = picture.shape[0]
    along, across = np.empty(4 * n), np.empty(4 * n)
    for r in range(len(rects)):
        x, columns = _project(rects[r, 0], rects[r, 2], table, across)
        y, rows = _project(rects[r, 1], rects[r, 3], table, along)
        for j in range(rows):
            row, weight = (y + j) % n, rects[r, 4] * along[j]
            if weight != 0:
                column = x % n
                for i in range(columns):
                    picture[row, column] += weight * across[i]
                    column = column + 1 if column + 1 < n else 0


@kernel
def sum_along_edges(gradient: Floats, edges: Floats, table: Floats) -> Floats:
    """Return how a sum over the picture changes as upright edges move to larger x, (k,).

    Parameters
    ----------
    gradient : (n, n) float64
        Derivative of the sum by each pixel of the picture.
    edges : (k, 3) float64
        x, and from and to which y, in pixels; the sign changes where they are reversed.
    """
    n, taps, steps = gradient.shape[0], table.shape[1], table.shape[0] - 1
    before = (taps - 1) // 2
    along, out = np.empty(4 * n), np.zeros(len(edges))
    for e in range(len(edges)):
        whole = int(np.floor(edges[e, 0]))
        t = min(int((edges[e, 0] - whole) * steps), steps - 1)
        y, rows = _project(edges[e, 1], edges[e, 2], table, along)
        for k in range(taps):
            column = (whole - before + k) % n
            slope = steps * (table[t + 1, k] - table[t, k])
            for j in range(rows):
                out[e] += slope * along[j] * gradient[(y + j) % n, column]
    return out


def transform_drawing(picture: torch.Tensor, field: Field, degree: int = DEGREE) -> torch.Tensor:
    """Return the mask's spectrum of a picture, (2 band + 1, 2 band + 1) as `compute_spectrum`.

    Parameters
    ----------
    picture : (n, n)
        Samples of the mask convolved with a B-spline of this degree, the first at the corner.
    """
    n, band = picture.shape[-1], field.band
    right = torch.fft.rfft2(picture, norm="forward")
    right = torch.cat([right[n - band :, : band + 1], right[: band + 1, : band + 1]])
    right = right * _sharpen(n, band, degree)
    left = right[:, 1:].flip(0, 1).conj()  # the mask is real
    return torch.cat([left, right], dim=1)


@lru_cache(maxsize=8)
def _sharpen(n: int, band: int, degree: int) -> torch.Tensor:
    """Return one over the transform of the B-spline, at the frequencies that the pupil passes."""
    blur = torch.sinc(torch.arange(-band, band + 1) / n) ** (degree + 1)
    return 1 / (blur[:, None] * blur[band:])


def draw_coverage(rects: Floats, pixels: int) -> Floats:
    """Return the covered share of each pixel, (pixels, pixels), of rectangles (r, 5) in pixels."""
    picture = np.zeros((pixels, pixels))
    add_rects(picture, rects, tabulate_steps(0))
    return picture


def draw(rects: Floats, field: Field) -> Floats:
    """Return the picture of signed rectangles, (r, 5) in shares of the field's side."""
    n = count_drawn_px(field)
    picture = np.zeros((n, n))
    add_rects(picture, rects * np.array([n, n, n, n, 1.0]), tabulate_steps())
    return picture
