"""Places that may fail to print, in degrees from surely to never, in every orientation."""

from __future__ import annotations

import random

from sample_layouts.cells import Risk
from sample_layouts.draw import WIRE, Rect

RISK_HALF = 980
"""Half the side of a risky place in nm: what fits between two rails, 0.14 um off each."""


def graded(rng: random.Random, low: int = 120, high: int = 240) -> int:
    """Return a dimension in nm on a 10 nm grid, so that its half is on the 5 nm grid."""
    return rng.randrange(low, high + 1, 10)


def line(y: int, x0: int = -RISK_HALF, x1: int = RISK_HALF, width: int = WIRE) -> Rect:
    """Return a horizontal line about `y`."""
    return x0, y - width // 2, x1, y + width // 2


def bar(x: int, y0: int = -RISK_HALF, y1: int = RISK_HALF, width: int = WIRE) -> Rect:
    """Return a vertical line about `x`."""
    return x - width // 2, y0, x + width // 2, y1


def lines_beside(rng: random.Random, inner: int) -> list[Rect]:
    """Return lines above and below a place that reaches to `inner` nm from the middle."""
    pitch = rng.choice((280, 300, 320, 340, 400))
    keep = rng.choice((1.0, 1.0, 0.7, 0.3))
    first = inner + pitch - WIRE // 2
    return [
        line(sign * y)
        for y in range(first, RISK_HALF - WIRE // 2, pitch)
        for sign in (-1, 1)
        if rng.random() < keep
    ]


def tip_to_tip(rng: random.Random) -> list[Rect]:
    """Return two line ends that face each other between lines."""
    half = graded(rng) // 2
    width = rng.choice((140, 140, 160, 200))
    tips = [line(0, -RISK_HALF, -half, width), line(0, half, RISK_HALF, width)]
    return tips + lines_beside(rng, width // 2)


def tip_to_side(rng: random.Random) -> list[Rect]:
    """Return line ends that face the side of a line, each as far off as chance has it."""
    gap, pitch, width = graded(rng), rng.choice((340, 400, 440)), graded(rng, 140, 240)
    shapes = [bar(0), bar(-RISK_HALF + 120, width=240)]
    for y in range(-pitch, pitch + 1, pitch):
        back = 0 if y == 0 else rng.choice((0, 40, 100, 200, 600))
        shapes.append(line(y, -RISK_HALF, -WIRE // 2 - gap - back, min(width, pitch - WIRE)))
    beside = range(rng.choice((280, 340, 420)), 900, pitch)
    # The lines end in a common one: their own ends would be the first to fail.
    ties = [line(y, -70, beside[-1] + 70) for y in (-RISK_HALF + 70, RISK_HALF - 70)]
    return [*shapes, *ties, *(bar(x) for x in beside)]


def neck(rng: random.Random) -> list[Rect]:
    """Return a wide line with a narrow stretch."""
    wide, narrow, half = graded(rng, 260, 480), graded(rng, 100, 170), graded(rng, 80, 700) // 2
    ends = [line(0, -RISK_HALF, -half, wide), line(0, half, RISK_HALF, wide)]
    return [*ends, line(0, -half, half, narrow), *lines_beside(rng, wide // 2)]


def h_shape(rng: random.Random) -> list[Rect]:
    """Return an H with a line end in each of its mouths."""
    gap, side = graded(rng), graded(rng, 140, 220)
    leg, cross = side + WIRE, rng.choice((140, 170, 240)) // 10 * 10
    shapes = [bar(-leg), bar(leg), line(0, -leg, leg, cross)]
    for sign in (-1, 1):
        y0, y1 = sorted((sign * (cross // 2 + gap), sign * RISK_HALF))
        shapes.append(bar(0, y0, y1))
    return shapes + [bar(sign * x) for sign in (-1, 1) for x in range(leg + 300, 900, 300)]


def u_shape(rng: random.Random) -> list[Rect]:
    """Return a cup with a line end in it."""
    gap, side, width = graded(rng), graded(rng, 140, 240), graded(rng, 140, 240)
    leg = side + (WIRE + width) // 2
    beside = range(leg + 320, 900, 320)
    reach = max([leg, *beside]) + 70
    cup = [bar(-leg, -450, 600), bar(leg, -450, 600), line(-520, -leg - 70, leg + 70)]
    tip = [bar(0, -450 + gap, width=width), line(RISK_HALF - 70, -reach, reach)]
    base = [line(-RISK_HALF + 70, -reach, reach)]
    return cup + tip + base + [bar(sign * x) for sign in (-1, 1) for x in beside]


def comb(rng: random.Random) -> list[Rect]:
    """Return two combs with their fingers in each other."""
    gap, end = graded(rng, 130, 240), graded(rng)
    reach = RISK_HALF - WIRE - end
    shapes = [bar(-RISK_HALF + WIRE // 2), bar(RISK_HALF - WIRE // 2)]
    for number, y in enumerate(range(-RISK_HALF + 70, RISK_HALF - 69, WIRE + gap)):
        x0, x1 = (-RISK_HALF, reach) if number % 2 else (-reach, RISK_HALF)
        shapes.append(line(y, x0, x1))
    return shapes


def corners(rng: random.Random) -> list[Rect]:
    """Return two outer corners that face each other across a diagonal."""
    dx, dy = graded(rng, 60, 180) // 2, graded(rng, 100, 180) // 2
    width = rng.choice((140, 200, 320))
    low = (-dx - width, -RISK_HALF, -dx, -dy), (-RISK_HALF, -dy - width, -dx, -dy)
    high = (dx, dy, dx + width, RISK_HALF), (dx, dy, RISK_HALF, dy + width)
    lone = rng.random() < 0.3
    return [low[0], high[1]] if lone else [*low, *high]


def pads(rng: random.Random) -> list[Rect]:
    """Return nine via pads, some with wires."""
    width, height = rng.choice(((290, 230), (320, 260), (260, 320)))
    gap_x, gap_y = graded(rng), graded(rng, 140, 240)
    shapes = []
    for column in (-1, 0, 1):
        for row in (-1, 0, 1):
            x, y = column * (width + gap_x), row * (height + gap_y)
            shapes.append((x - width // 2, y - height // 2, x + width // 2, y + height // 2))
            if column and rng.random() < 0.8:
                shapes.append(line(y, *sorted((x, column * RISK_HALF))))
    return shapes


def jogs(rng: random.Random) -> list[Rect]:
    """Return parallel wires that change track one beside the other."""
    pitch, gap = rng.choice((280, 300, 340)), graded(rng, 120, 220)
    shapes = []
    for number in range(-2, 2):
        y, x = number * pitch, -number * (WIRE + gap)
        shapes += [line(y, -RISK_HALF, x + 70), bar(x, y - 70, y + pitch + 70)]
        shapes.append(line(y + pitch, x - 70, RISK_HALF))
    return shapes


RISKS: tuple[Risk, ...] = (
    tip_to_tip, tip_to_side, neck, h_shape, u_shape, comb, corners, pads, jogs,
)  # fmt: skip
