"""Small fields of metal, each drawn by rules of its own: to train on what no one chip has."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

from sample_layouts.draw import MET1, Rect, new_library, rect, save

FIELD, MOAT = 12_000, 400
"""Side of a field and the space between two, in nm."""
WIDE, CLEAR, LEAST_UM2 = 140, 150, 0.08
"""Least width and space of most shapes, in nm, and the least area: what a process would allow."""
BIASES = (0,) * 10 + (-20, -10, 10, 20, 30)
"""How far all edges of a field are moved outwards, in nm: a third of the fields break the rules."""
GRID = 10
"""Step of the dimensions, in nm, but of those that follow from an area."""


def pick(rng: random.Random, low: int, high: int) -> int:
    """Return a dimension in nm; small ones are likelier, since they are where printing fails."""
    return low + int((high - low) * rng.random() ** 1.3) // GRID * GRID


def cut_lines(rng: random.Random) -> list[Rect]:
    """Return parallel lines, cut here and there, the cuts side by side or not."""
    width, space = pick(rng, WIDE, 340), pick(rng, CLEAR, 450)
    shortest, longest = pick(rng, 400, 1_500), pick(rng, 1_500, 9_000)
    cut, spread = pick(rng, 170, 450), rng.choice((0, 0, 60, 200))
    aligned = rng.random() < 0.4
    marks = walk(rng, shortest, longest, cut, spread)
    shapes = []
    for y in range(0, FIELD - width, width + space):
        if not aligned:
            marks = walk(rng, shortest, longest, cut, spread)
        shift = rng.choice((0, 0, 20, 60, 140)) if aligned else 0
        for x_0, x_1 in marks:
            if rng.random() < 0.97:
                shapes.append((x_0 + shift, y, min(x_1 + shift, FIELD), y + width))
    return shapes


def walk(
    rng: random.Random, shortest: int, longest: int, cut: int, spread: int
) -> list[tuple[int, int]]:
    """Return the ends of the pieces of a line across a field."""
    pieces, x = [], -rng.randrange(0, longest, GRID)
    while x < FIELD:
        end = x + rng.randrange(shortest, longest + GRID, GRID)
        if end > shortest and FIELD - x > shortest:
            pieces.append((max(x, 0), min(end, FIELD)))
        x = end + cut + rng.randrange(0, spread + GRID, GRID)
    return pieces


def mirrored_cells(rng: random.Random) -> list[Rect]:
    """Return four arrays, each of one small cell with every second row and column mirrored."""
    side = (FIELD - MOAT) // 2
    shapes = []
    for left, low in itertools.product((0, side + MOAT), repeat=2):
        width, height = rng.randrange(500, 2_600, GRID), rng.randrange(400, 2_200, GRID)
        cell = fill_cell(rng, width, height)
        for column, row in itertools.product(range(side // width), range(side // height)):
            x, y = left + column * width, low + row * height
            for x_0, y_0, x_1, y_1 in cell:
                if column % 2:
                    x_0, x_1 = width - x_1, width - x_0
                if row % 2:
                    y_0, y_1 = height - y_1, height - y_0
                shapes.append((x + x_0, y + y_0, x + x_1, y + y_1))
    return shapes


def fill_cell(rng: random.Random, width: int, height: int) -> list[Rect]:
    """Return rectangles that keep a space from each other, and from their mirror images.

    One either reaches the cell's edge, where it joins its mirror image, or keeps half the space.
    """
    space = pick(rng, CLEAR, 280)
    half = -(-space // 2 // GRID) * GRID
    kept: list[Rect] = []
    for _ in range(rng.randint(6, 40)):
        wide = pick(rng, WIDE, 420)
        long = pick(rng, max(wide, int(LEAST_UM2 * 1e6) // wide), max(width, height, 600))
        w, h = (long, wide) if rng.random() < 0.5 else (wide, long)
        x_0, y_0 = rng.randrange(-w, width, GRID), rng.randrange(-h, height, GRID)
        (x_0, x_1), (y_0, y_1) = snap(x_0, x_0 + w, width, half), snap(y_0, y_0 + h, height, half)
        # At an edge only half of a rectangle is drawn; the rest is its image.
        w, h = (
            (high - low) * (2 if low == 0 or high == size else 1)
            for low, high, size in ((x_0, x_1, width), (y_0, y_1, height))
        )
        large = min(w, h) >= WIDE and w * h >= LEAST_UM2 * 1e6
        if large and all(is_apart((x_0, y_0, x_1, y_1), other, space) for other in kept):
            kept.append((x_0, y_0, x_1, y_1))
    return kept


def snap(low: int, high: int, size: int, half: int) -> tuple[int, int]:
    """Return a range that reaches each end of ``0..size`` or keeps `half` from it."""
    low, high = max(low, 0), min(high, size)
    if 0 < low < half:
        low = half
    if size - half < high < size:
        high = size - half
    return low, high


def is_apart(one: Rect, other: Rect, space: int) -> bool:
    """Tell whether two rectangles overlap by a useful width, or are `space` apart."""
    gap_x = max(one[0], other[0]) - min(one[2], other[2])
    gap_y = max(one[1], other[1]) - min(one[3], other[3])
    if gap_x < 0 and gap_y < 0:
        return min(-gap_x, -gap_y) >= WIDE
    return max(gap_x, gap_y) >= space


def islands(rng: random.Random) -> list[Rect]:
    """Return short pieces on a grid, some joined to their neighbour."""
    height = pick(rng, WIDE, 420)
    width = pick(rng, max(height, int(LEAST_UM2 * 1e6) // height), 1_200)
    step_x, step_y = width + pick(rng, CLEAR, 500), height + pick(rng, CLEAR, 500)
    stagger = rng.choice((0, 0, step_x // 2 // GRID * GRID))
    jitter, kept, joined = rng.choice((0, 0, 20, 60)), rng.uniform(0.5, 1), rng.uniform(0, 0.3)
    shapes = []
    for row, y in enumerate(range(0, FIELD - height, step_y)):
        for x in range(row % 2 * stagger, FIELD - width, step_x):
            if rng.random() > kept:
                continue
            left = x + rng.randrange(0, jitter + GRID, GRID)
            shapes.append((left, y, left + width, y + height))
            if rng.random() < joined and x + step_x < FIELD - width:
                low = y + rng.randrange(0, max(height - WIDE, GRID), GRID)
                shapes.append((left, low, x + step_x + width, low + min(height, 140)))
            if rng.random() < joined / 2 and y + step_y < FIELD - height:
                shapes.append((left, y, left + min(width, 140), y + step_y + height))
    return shapes


def nets(rng: random.Random) -> list[Rect]:
    """Return wires that turn on a grid of tracks, with pads at their ends."""
    width = pick(rng, WIDE, 240)
    pitch = width + pick(rng, CLEAR, 340)
    pad, jump = width + rng.choice((0, 40, 90, 150)), rng.uniform(0.05, 0.4)
    count = FIELD // pitch
    free = set(itertools.product(range(count), range(count)))
    shapes = []
    for start in sorted(free, key=lambda _: rng.random()):
        if start not in free or rng.random() < 0.3:
            continue
        path = [start]
        free.discard(start)
        step = rng.choice(((1, 0), (0, 1)))
        for _ in range(rng.randint(2, 16)):
            if rng.random() < jump:
                step = rng.choice(((step[1], step[0]), (-step[1], -step[0])))
            following = path[-1][0] + step[0], path[-1][1] + step[1]
            if following not in free:
                break
            path.append(following)
            free.discard(following)
        shapes += draw_path(path, pitch, width)
        if rng.random() < 0.5:
            shapes.append(square(path[-1], pitch, pad))
    return shapes


def draw_path(path: list[tuple[int, int]], pitch: int, width: int) -> list[Rect]:
    """Return the pieces of a wire from place to place."""
    half = width // 2 // 5 * 5
    ends = itertools.pairwise(path) if len(path) > 1 else [(path[0], path[0])]
    return [
        (
            min(a[0], b[0]) * pitch - half, min(a[1], b[1]) * pitch - half,
            max(a[0], b[0]) * pitch + half, max(a[1], b[1]) * pitch + half,
        )
        for a, b in ends
    ]  # fmt: skip


def square(at: tuple[int, int], pitch: int, side: int) -> Rect:
    """Return a pad about a place of the grid."""
    half = side // 2 // 5 * 5
    return at[0] * pitch - half, at[1] * pitch - half, at[0] * pitch + half, at[1] * pitch + half


def plates(rng: random.Random) -> list[Rect]:
    """Return wide metal with lines between, some of them with a foot towards the metal."""
    shapes, x = list[Rect](), 0
    while x < FIELD - 400:
        wide = pick(rng, 400, 2_500)
        y = 0
        while y < FIELD - 200:
            high = pick(rng, 300, 6_000)
            shapes.append((x, y, min(x + wide, FIELD), min(y + high, FIELD)))
            y += high + pick(rng, CLEAR, 400)
        x += wide
        for _ in range(rng.randint(0, 4)):
            x += pick(rng, CLEAR + 60, 400)
            width = pick(rng, WIDE, 280)
            for low, high in walk(rng, 600, 6_000, pick(rng, 170, 400), 100):
                shapes.append((x, low, x + width, high))
                foot = rng.choice((0, 0, 60, 120))
                shapes.append((x - foot, low, x + width, min(low + 160, high)))
            x += width
        x += pick(rng, CLEAR + 60, 400)
    return shapes


FIELDS: tuple[Callable[[random.Random], list[Rect]], ...] = (
    cut_lines, mirrored_cells, mirrored_cells, islands, nets, plates,
)  # fmt: skip


def write_varied(path: Path, *, size_um: float = 360.0, seed: int) -> None:
    """Write fields of metal of many kinds side by side in a top cell ``varied``.

    Parameters
    ----------
    path
        A ``.gds`` or ``.gds.gz`` file, replaced if it is there.
    size_um
        Side of the whole, rounded down to whole fields.
    seed
        The same seed draws the same geometry.
    """
    rng, lib = random.Random(seed), new_library()
    top = lib.new_cell("varied")
    count = int(size_um * 1000) // (FIELD + MOAT)
    for number in range(count * count):
        row, column = divmod(number, count)
        x, y = column * (FIELD + MOAT), row * (FIELD + MOAT)
        turned, out = rng.random() < 0.5, rng.choice(BIASES)
        for x_0, y_0, x_1, y_1 in FIELDS[number % len(FIELDS)](rng):
            box = (y_0, x_0, y_1, x_1) if turned else (x_0, y_0, x_1, y_1)
            box = box[0] - out, box[1] - out, box[2] + out, box[3] + out
            rect(top, MET1, (x + box[0], y + box[1], x + box[2], y + box[3]))
    save(lib, Path(path))
