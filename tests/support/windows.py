"""Windows of rectangles as pictures with a pixel per unit, for comparing them by brute force."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter

from stages.classes.matching import NO_MATCH
from stages.contracts import Int64s

Picture = npt.NDArray[np.bool_]


def draw(rects: Int64s, reach: int) -> Picture:
    """Return a picture of the window with a pixel per unit."""
    picture = np.zeros((2 * reach, 2 * reach), bool)
    for x0, y0, x1, y1 in np.clip(rects + reach, 0, 2 * reach).tolist():
        picture[y0:y1, x0:x1] = True
    return picture


def measure(p: Picture, q: Picture, reach: int, half: int, most: int) -> int:
    """Return the distance by growing both pictures and what they leave free, pixel by pixel."""
    inner = slice(reach - half, reach + half)
    for grow in range(most + 1):
        size = 2 * grow + 1
        if all(
            (maximum_filter(b, size)[inner, inner] >= a[inner, inner]).all()
            for one, other in ((p, q), (~p, ~q))
            for a, b in ((one, other), (other, one))
        ):
            return grow
    return int(NO_MATCH)


def random_rects(random: np.random.Generator, reach: int) -> Int64s:
    low = random.integers(-reach, reach - 8, (random.integers(1, 5), 2)) // 8 * 8
    size = random.integers(1, 5, low.shape) * 8
    return np.minimum(np.concatenate((low, low + size), axis=1), reach)


def jitter(rects: Int64s, random: np.random.Generator, most: int) -> Int64s:
    moved: Int64s = rects + random.integers(-most, most + 1, rects.shape)
    return moved


def cut(rects: Int64s, reach: int) -> Int64s:
    clipped = np.clip(rects, -reach, reach)
    return clipped[(clipped[:, 0] < clipped[:, 2]) & (clipped[:, 1] < clipped[:, 3])]
