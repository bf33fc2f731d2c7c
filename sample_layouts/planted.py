"""Places that keep the design rules, 0.14 um of width and space, and fail to print.

What fails, and how badly, is what ``hotscan simulate`` says under the process krf130.
"""

from __future__ import annotations

import random

from sample_layouts.cells import Risk
from sample_layouts.draw import WIRE, Rect

HALF = 900
"""Half the side of a planted place in nm: 0.22 um from the rails, and from the wires beside it."""
WIDE = 480


def line(y: int, x0: int, x1: int, width: int = WIRE) -> Rect:
    """Return a horizontal line about `y`."""
    return x0, y - width // 2, x1, y + width // 2


def ended(y: int, side: int, x: int) -> list[Rect]:
    """Return a line from a via pad at one side of the place (-1 or 1) to `x`."""
    pad = side * (HALF - 160)
    return [(pad - 160, y - 130, pad + 160, y + 130), line(y, *sorted((pad, x)))]


def tip_to_tip(rng: random.Random) -> list[Rect]:
    """Return two line ends that face each other between two lines: both are pulled back."""
    half, pitch = rng.choice((200, 240, 300)) // 2, rng.choice((450, 480))
    shapes = [*ended(0, -1, -half), *ended(0, 1, half)]
    for y in (-pitch, pitch):
        shapes += [*ended(y, -1, 0), *ended(y, 1, 0)]
    return shapes


def tip_to_side(rng: random.Random) -> list[Rect]:
    """Return a line end that stops before a wide line, its neighbours run into it."""
    gap, pitch = rng.choice((200, 240, 300)), rng.choice((450, 480))
    side = HALF - WIDE
    shapes = [(side, -HALF, HALF, HALF), *ended(0, -1, side - gap)]
    return [*shapes, *ended(-pitch, -1, side), *ended(pitch, -1, side)]


def squeezed(rng: random.Random) -> list[Rect]:
    """Return a narrow line between two wide ones, too far for them to help it: it pinches."""
    space, half = rng.choice((300, 320, 340)), rng.choice((500, 600))
    middle = (WIRE + WIDE) // 2 + space
    plates = [line(y, -half, half, WIDE) for y in (-middle, middle)]
    return [*ended(0, -1, 0), *ended(0, 1, 0), *plates]


def wide_pair(rng: random.Random) -> list[Rect]:
    """Return two wide lines at the least space: it closes."""
    width, half = rng.choice((300, 340, 360)), rng.choice((700, 900))
    return [line(y, -half, half, width) for y in (-(width + 140) // 2, (width + 140) // 2)]


def neck(rng: random.Random) -> list[Rect]:
    """Return a wide line with a stretch of the least width, between two lines: it pinches."""
    half, middle = rng.choice((350, 400)), rng.choice((570, 600))
    ends = [line(0, -HALF, -half, WIDE), line(0, half, HALF, WIDE)]
    return [*ends, line(0, -half, half), *(line(y, -HALF, HALF, 280) for y in (-middle, middle))]


def slit(rng: random.Random) -> list[Rect]:
    """Return a wide line with a slit of the least space along its middle."""
    width, end = rng.choice((340, 410, 480)), rng.choice((200, 300))
    sides = [line(y, -HALF, HALF, width) for y in (-(width + 140) // 2, (width + 140) // 2)]
    return [*sides, (-HALF, -70 - width, end - HALF, 70 + width)]


PLANTED: tuple[Risk, ...] = (tip_to_tip, tip_to_side, squeezed, wide_pair, neck, slit)
