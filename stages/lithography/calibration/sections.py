"""Sections: the drawn interval that a gauge measures, and how wide it prints.

in       the mask around a gauge; profiles of images along it
out      the drawn ends; printed widths
unit     nm, along the gauge's direction, from the middle of its field
promise  a width changes smoothly with the image, also where nothing prints and it is negative
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stages.contracts import Float32s, Floats, Int64s
from stages.errors import UsageError

Direction = Literal["x", "y"]
Waves = npt.NDArray[np.complexfloating[Any, Any]]
"""Fourier coefficients."""
SAMPLES = 96
"""Of a profile."""
_NEWTON_STEPS = 4


class Section(NamedTuple):
    """What a gauge measures."""

    rects: Floats
    """(r, 4) disjoint rectangles of the mask from the field's corner; along x is measured."""
    low_nm: float
    high_nm: float
    metal: bool
    """Whether a drawn shape is measured; else the space between."""
    turned: bool
    """Whether the layout's y is along x here."""

    @property
    def drawn_nm(self) -> float:
        """Return the drawn width or space."""
        return self.high_nm - self.low_nm


def find_section(rects: Floats, side_nm: float, direction: Direction) -> Section:
    """Find the drawn width or space through the middle of a field.

    Raises
    ------
    UsageError
        When it does not end within the field.
    """
    along = rects if direction == "x" else rects[:, [1, 0, 3, 2]]
    middle = side_nm / 2
    crossed = along[(along[:, 1] <= middle) & (along[:, 3] > middle)]
    crossed = crossed[np.argsort(crossed[:, 0])] - middle
    starts, ends = crossed[:, 0], crossed[:, 2]
    apart = np.flatnonzero(starts[1:] > ends[:-1])
    starts, ends = starts[np.r_[0, apart + 1][: len(starts)]], ends[np.r_[apart, -1][: len(ends)]]
    here = (starts <= 0) & (ends > 0)
    metal = bool(here.any())
    low, high = (starts, ends) if metal else (ends, starts)
    before, after = low[low <= 0], high[high > 0]
    if not len(before) or not len(after) or before[-1] <= -middle or after[0] >= middle:
        raise UsageError(f"nothing drawn begins and ends within {side_nm:.0f} nm of the gauge")
    return Section(along, float(before[-1]), float(after[0]), metal, direction == "y")


def place_samples(sections: Sequence[Section], reach_nm: float) -> Floats:
    """Return where profiles are sampled, (sections, `SAMPLES`): up to `reach_nm` past the ends."""
    low = np.array([section.low_nm for section in sections]) - reach_nm
    high = np.array([section.high_nm for section in sections]) + reach_nm
    return np.linspace(low, high, SAMPLES, axis=1)


def measure_widths(profiles: Floats | Float32s, places: Floats, drawn: Floats, metal: Int64s,
                   levels: Floats) -> Floats:  # fmt: skip
    """Return how wide sections print, (g,).

    Parameters
    ----------
    profiles, places : (g, samples)
        Intensity, and where, evenly.
    drawn : (g, 2)
        The drawn ends.
    metal : (g,)
        1 where what is brighter than the level is measured, -1 where what is darker is.
    levels : (g,)

    Returns
    -------
    (g,)
        Where nothing prints, less than 0: how far from printing it is, in drawn widths.
    """
    height = metal[:, None] * (profiles / levels[:, None] - 1.0)
    inside = (places >= drawn[:, :1] - 1e-6) & (places <= drawn[:, 1:] + 1e-6)
    peak = np.argmax(np.where(inside, height, -np.inf), axis=1)
    index = np.arange(height.shape[1])
    below = height <= 0
    last = height.shape[1] - 1
    left = np.where(below & (index < peak[:, None]), index, -1).max(axis=1)
    right = np.where(below & (index > peak[:, None]), index, last + 1).min(axis=1)
    start, end = _cross(height, np.maximum(left, 0)), _cross(height, np.minimum(right, last) - 1)
    start, end = np.where(left < 0, 0, start), np.where(right > last, last, end)
    step = places[:, 1] - places[:, 0]
    highest = height[np.arange(len(height)), peak]
    printed: Floats = np.where(
        highest > 0, (end - start) * step, highest * (drawn[:, 1] - drawn[:, 0])
    )
    return printed


def _cross(height: Floats, i: Int64s) -> Floats:
    """Return where profiles cross 0 between samples i and i + 1, by cubics through four samples."""
    rows, last = np.arange(len(height)), height.shape[1] - 1
    a, b, c, d = (height[rows, np.clip(i + k, 0, last)] for k in (-1, 0, 1, 2))
    c_1 = -a / 3 - b / 2 + c - d / 6
    c_2 = (a + c) / 2 - b
    c_3 = (d - a) / 6 + (b - c) / 2
    t = b / np.where(b == c, 1, b - c)
    for _ in range(_NEWTON_STEPS):
        slope = c_1 + t * (2 * c_2 + 3 * t * c_3)
        value = b + t * (c_1 + t * (c_2 + t * c_3))
        t = np.clip(t - value / np.where(np.abs(slope) < 1e-12, 1e-12, slope), 0, 1)
    crossed: Floats = i + t
    return crossed
