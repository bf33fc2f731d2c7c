"""One row of pixels, into which the areas right of slanted sides are summed.

in       sides of a region in one row: x at the bottom and at the top, signed height
out      the grey levels of the row
promise  areas are integers, so the order of summing does not matter

A side adds the area to its right, pixel by pixel; what every further pixel gets is added once (the
accumulation buffer of font rasterisers).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Int64s
from stages.geometry.coverage import FULL


class Canvas(NamedTuple):
    """The areas of one row of pixels, in integer units."""

    sums: Int64s
    """(2, size + 1) area of each pixel alone; area added to every pixel from this one on."""
    pixel_dbu: float
    scale: float
    """Units per dbu squared."""


@kernel
def make_canvas(pixel_dbu: int, size_px: int) -> Canvas:
    """Return an empty row of `size_px` pixels."""
    bits = 0
    while pixel_dbu * pixel_dbu >> bits:
        bits += 1
    scale = 2.0 ** (50 - bits)  # 510 whole pixels stay within 64 bits
    return Canvas(np.zeros((2, size_px + 1), np.int64), float(pixel_dbu), scale)


@kernel
def add_side(low: float, high: float, height: float, canvas: Canvas) -> None:
    """Add the area right of a side to the pixels of its row; a negative height subtracts it."""
    if height == 0.0:
        return
    sums, pixel, scale = canvas
    columns = sums.shape[1] - 1
    left, right = min(low, high), max(low, high)
    if left >= columns * pixel:
        return
    units = height * scale
    each = _round(units * pixel)
    if right <= 0.0:
        sums[1, 0] += each
        return
    first = int(max(left, 0.0) * (1.0 / pixel))
    if right <= (first + 1) * pixel and left >= 0.0:
        sums[0, first] += _round(units * ((first + 1) * pixel - 0.5 * (left + right)))
        sums[1, first + 1] += each
        return
    # The area left of x is height * (x - left)^2 / (2 * (right - left)), up to the side's end.
    curve = units * (0.5 / (right - left))
    past = curve * (first * pixel - left) ** 2 if first * pixel > left else 0.0
    for column in range(first, columns):
        x = (column + 1) * pixel
        if x >= right:
            sums[0, column] += _round(units * (x - 0.5 * (left + right)) - past)
            sums[1, column + 1] += each
            break
        here = curve * (x - left) ** 2
        sums[0, column] += _round(here - past)
        past = here


@kernel
def _round(value: float) -> int:
    return int(np.floor(value + 0.5))


@kernel
def write_row(canvas: Canvas, pixels: Bytes) -> None:
    """Write the grey levels of the row, rounded to nearest, and clear the areas."""
    sums, pixel, scale = canvas
    whole = int(pixel * pixel * scale)
    # Ties are rounded up as between rectangles, whatever float rounding took off.
    tie = int(scale) >> 16
    everywhere = 0
    for column in range(len(pixels)):
        everywhere += sums[1, column]
        covered = sums[0, column] + everywhere
        # Most pixels are empty or full; the division is the slowest part of this loop.
        if covered == 0:
            pixels[column] = 0
        elif covered == whole:
            pixels[column] = FULL
        else:
            pixels[column] = (2 * FULL * covered + whole + tie) // (2 * whole)
    sums[:] = 0
