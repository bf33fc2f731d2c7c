"""The curved mask of one field: a smooth function, positive on it, down the gradient of its cost.

in       a target, its field
out      the function on the nodes of the field, (n, n), row 0 at y = 0
unit     a field
promise  the function depends on what lies in the field alone

The function is a picture blurred by a Gaussian, which bounds how tightly outlines bend, and its
pixels move by the steps of Adam. At first the mask is grey near outlines, and a little everywhere,
so that bars grow where light pays; in the last rounds a node shows the share that is covered of the
square around it, and outlines move by parts of it.

A. Poonawala and P. Milanfar, IEEE Trans. Image Process. 16, 774 (2007); F. Wang et al., Struct.
Multidisc. Optim. 43, 767 (2011), for blurring and projecting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy

from stages.contracts import Box, Floats, Int64s
from stages.lithography.correction.fragments import Bools
from stages.lithography.correction.window_cost import WindowCost, make_cost
from stages.lithography.optics.drawing import draw_coverage
from stages.lithography.optics.kernels import Field
from stages.lithography.process import Opc, Process

FINER = 4
"""Nodes in a sample of the image."""
SMOOTH = 0.1
"""Standard deviation of the blur, in wavelength / NA, where the process does not say."""
_STEP = 0.6
"""First step of a pixel, which is -1 off the target and 1 on it."""
_LAST = 0.1
"""Share of it that the last round takes."""
_STEEP = ((0.0, 4.0), (0.5, 8.0), (0.7, math.inf))
"""From which share of the rounds on, how steeply the mask rises where the function is 0."""
_RULED = (0.5, 0.75)
"""Shares of the rounds after which the mask is brought within its rules: the other rounds make up
for what that changes."""
_AROUND, _FIRM = 2, 2.0
"""How many nodes around what the rules change are drawn again, and how firmly."""
_FEW = 0.6
"""Share of the rounds that image with the strongest kernels."""
_SHARE = 0.9
"""Of the light that these carry."""
_SHARPNESS = (10.0, 30.0)
"""How steeply prints rise at the threshold, in the first round and in the last: at first soft, so
that what does not print is found, then as steep as outlines can follow."""
_DECAYS = (0.8, 0.95)
"""How much of the mean gradient, and of the mean square, a round keeps."""
_TINY = 0.1
"""Gradients under this share of the usual one hardly move."""


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A field whose mask is drawn freely."""

    field: Field
    side_dbu: int
    target: Int64s
    """(r, 4) from the field's corner, in canonical order."""
    margin_dbu: int
    """Width of the border where nothing moves, and nothing counts."""
    nodes: int
    """Along a side."""

    @property
    def step_dbu(self) -> float:
        """Distance of two nodes."""
        return self.side_dbu / self.nodes


def draw_levels(rects: Int64s, canvas: Canvas) -> Floats:
    """Return the covered share of the square around each node as -1 to 1, (n, n).

    Parameters
    ----------
    rects : (r, 5)
        Signed rectangles, in dbu from the field's corner.
    """
    pixels = rects.astype(np.float64)
    pixels[:, :4] = pixels[:, :4] / canvas.step_dbu + 0.5
    return 2 * draw_coverage(pixels, canvas.nodes) - 1


def find_levels(
    canvas: Canvas, process: Process, opc: Opc, keep_rules: Callable[[Floats], Int64s]
) -> Floats:
    """Return the function whose zero is the mask's outline, (n, n).

    Parameters
    ----------
    keep_rules
        Returns the signed rectangles of the mask that a function becomes by the rules.
    """
    resolution_dbu = process.wavelength_nm / process.na * canvas.side_dbu / canvas.field.side_nm
    smooth_dbu = opc.curves.smooth_nm * canvas.side_dbu / canvas.field.side_nm
    blur = _make_blur(canvas.nodes, (smooth_dbu or SMOOTH * resolution_dbu) / canvas.step_dbu)
    cost = replace(make_cost(canvas, process, opc.curves.band_weight), degree=0, share=_SHARE)
    pixels = draw_levels(np.insert(canvas.target, 4, 1, axis=1), canvas)
    free, rounds, since = _find_free(canvas), opc.curves.rounds, 0
    mean, square = np.zeros_like(pixels), np.zeros_like(pixels)
    for turn in range(rounds):
        if turn in {math.ceil(share * rounds) for share in _RULED} - {0}:
            levels = _smooth(pixels, blur)
            pixels = _follow(pixels, levels, draw_levels(keep_rules(levels), canvas))
            mean, square, since = np.zeros_like(pixels), np.zeros_like(pixels), 0
        if turn == math.ceil(_FEW * rounds):
            cost = replace(cost, share=1.0)
        sharpness = _SHARPNESS[0] * (_SHARPNESS[1] / _SHARPNESS[0]) ** (turn / rounds)
        cost = replace(cost, sharpness=sharpness)
        gradient = _differentiate(cost, pixels, blur, turn / rounds)
        gradient[~free] = 0
        since += 1
        mean += (1 - _DECAYS[0]) * (gradient - mean)
        square += (1 - _DECAYS[1]) * (gradient**2 - square)
        size = np.sqrt(square / (1 - _DECAYS[1] ** since))
        size += _TINY * math.sqrt(float(np.mean(size**2))) + 1e-300
        step = _STEP * _LAST ** (turn / rounds) / (1 - _DECAYS[0] ** since)
        pixels -= step * mean / size
    return _smooth(pixels, blur)


def _follow(pixels: Floats, levels: Floats, ruled: Floats) -> Floats:
    """Return the pixels with those of the mask within the rules where the two differ."""
    differ = scipy.ndimage.binary_dilation((levels > 0) != (ruled > 0), iterations=_AROUND)
    return np.where(differ, _FIRM * ruled, pixels)


def _differentiate(cost: WindowCost, pixels: Floats, blur: Floats, done: float) -> Floats:
    """Return the derivative of the cost by the pixels, after a share of the rounds."""
    levels = _smooth(pixels, blur)
    steep = next(value for since, value in reversed(_STEEP) if done >= since)
    slope = steep if math.isfinite(steep) else 4 / np.maximum(_measure_slope(levels), 1e-6)
    mask = 1 / (1 + np.exp(np.clip(-slope * levels, -60, 60)))
    _, by_mask = cost.differentiate(mask)
    return _smooth(by_mask * slope * mask * (1 - mask), blur)


def _measure_slope(levels: Floats) -> Floats:
    """Return how much a periodic function changes from node to node along its gradient."""
    across, up = (np.roll(levels, -1, axis) - np.roll(levels, 1, axis) for axis in (1, 0))
    slope: Floats = np.hypot(across, up) / 2
    return slope


def _make_blur(nodes: int, sigma_px: float) -> Floats:
    """Return the transform of a Gaussian, at the frequencies of `rfft2`."""
    order = np.fft.fftfreq(nodes)
    passed = np.exp(-2 * (np.pi * sigma_px * order) ** 2)
    blur: Floats = passed[:, None] * passed[: nodes // 2 + 1]
    return blur


def _smooth(picture: Floats, blur: Floats) -> Floats:
    smooth: Floats = scipy.fft.irfft2(scipy.fft.rfft2(picture) * blur, s=picture.shape)
    return smooth


def _find_free(canvas: Canvas) -> Bools:
    """Find the nodes that move."""
    at = np.arange(canvas.nodes) * canvas.step_dbu
    inside = (at >= canvas.margin_dbu) & (at <= canvas.side_dbu - canvas.margin_dbu)
    free: Bools = inside[:, None] & inside
    return free


def cut_levels(levels: Floats, canvas: Canvas, box: Box) -> tuple[Floats, Floats, Floats]:
    """Return x, y and the function on the nodes around a box of the periodic field, in dbu."""
    step = canvas.step_dbu
    columns, rows = (
        np.arange(math.floor(low / step), math.ceil(high / step) + 1, dtype=np.int64)
        for low, high in ((box.x_min, box.x_max), (box.y_min, box.y_max))
    )
    n = canvas.nodes
    inside: Floats = levels[np.ix_(rows % n, columns % n)]
    return np.multiply(columns, step), np.multiply(rows, step), inside
