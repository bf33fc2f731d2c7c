"""A crowded block: rows, memories and buses with some hundred risky places, for tests."""

from __future__ import annotations

import math
import random
from pathlib import Path

import gdstk

from sample_layouts.cells import Kit, make_kit
from sample_layouts.draw import MET1, MET2, Point, new_library, place, rect, save, wire
from sample_layouts.risks import RISKS
from sample_layouts.rows import SLOT, Style, draw_logic, place_centred

STYLE = Style(roomy_pads=False, off_track=0.05, risks_in_rows=(0, 1, 1, 2))
CHANNEL = 1_500
"""Half of what is left between two blocks for wires, in nm."""


def draw_memory(lib: gdstk.Library, rng: random.Random, kit: Kit, name: str) -> gdstk.Cell:
    """Draw a memory-like array: a bit cell, four of them mirrored, and two arrays of those."""
    bit, quad, memory = (lib.new_cell(f"{name}{part}") for part in ("_bit", "_quad", ""))
    height = rng.randrange(1400, 1801, 20)
    rect(bit, MET1, (0, 0, rng.choice((200, 240, 290)), height))
    x = 290 + rng.choice((190, 200, 230))
    for _ in range(rng.randint(2, 4)):
        width = rng.choice((170, 170, 200, 230))
        rect(bit, MET1, (x, 0, x + width, height))
        x += width + rng.choice((190, 200, 230))
    pad, cut = rng.choice((320, 380, 440)), rng.choice((0, 60, 80))
    for y in (height // 4, height * 3 // 4):
        draw_pad(bit, (x + pad // 2, y // 5 * 5), pad, cut)
        place(bit, kit.via, (x + pad // 2, y // 5 * 5))
        wire(bit, MET2, [(0, y // 5 * 5), (x + pad + 100, y // 5 * 5)], 280)
    width = x + pad + 100
    for at, turn, mirror in (
        ((0, 0), 0, False), ((2 * width, 0), 2, True),
        ((0, 2 * height), 0, True), ((2 * width, 2 * height), 2, False),
    ):  # fmt: skip
        place(quad, bit, at, turn, mirror)
    columns, rows = 70_000 // (2 * width), 34_000 // (2 * height)
    for y in (0, rows * 2 * height + 800):
        place(memory, quad, (0, y), array=(columns, rows, 2 * width, 2 * height))
    # A strap between the two halves faces the ends of all their lines.
    y = rows * 2 * height + 300
    rect(memory, MET1, (0, y, columns * 2 * width, y + 200))
    return memory


def draw_pad(cell: gdstk.Cell, at: Point, side: int, cut: int) -> None:
    """Draw a square pad whose outer corners are cut at 45 degrees."""
    (x, y), half = at, side // 2
    height = min(half, 150)
    points = [
        (x - half, y - height), (x + half - cut, y - height), (x + half, y - height + cut),
        (x + half, y + height - cut), (x + half - cut, y + height), (x - half, y + height),
    ]  # fmt: skip
    distinct = list(dict.fromkeys(points))
    cell.add(gdstk.Polygon([(a / 1000, b / 1000) for a, b in distinct], *MET1))


def draw_bus(
    top: gdstk.Cell, rng: random.Random, middle: int, start: int, end: int, upright: bool
) -> None:
    """Draw parallel wires along a channel, broken here and there by gaps of every degree."""
    pitch = rng.choice((280, 300, 320, 340, 400))
    lanes = (2 * CHANNEL - 800) // pitch
    for lane in range(lanes):
        across = middle + lane * pitch - (lanes - 1) * pitch // 2 // 5 * 5
        along = start
        while along < end - 1000:
            stop = min(end, along + rng.randrange(8000, 80_000, 5))
            points = [(along + 70, across), (stop - 70, across)]
            wire(top, MET1, [(b, a) for a, b in points] if upright else points)
            along = stop + rng.choice((140, 150, 170, 200, 240, 300, 600))


def draw_top(lib: gdstk.Library, rng: random.Random, kit: Kit, slots: int) -> None:
    """Fill the slots with blocks, each design used about twice, turned and mirrored."""
    memories = max(1, slots * slots // 5)
    logics = max(1, slots * slots - memories)
    logic = [draw_logic(lib, rng, kit, STYLE, f"logic_{n}") for n in range(math.ceil(logics / 2))]
    memory = [draw_memory(lib, rng, kit, f"memory_{n}") for n in range(math.ceil(memories / 2))]
    blocks = [logic[n % len(logic)] for n in range(logics)]
    blocks += [memory[n % len(memory)] for n in range(memories)]
    rng.shuffle(blocks)
    top = lib.new_cell("dense")
    for number in range(slots * slots):
        row, column = divmod(number, slots)
        at = column * SLOT + SLOT // 2, row * SLOT + SLOT // 2
        place_centred(top, blocks[number], at, rng.randrange(4), rng.random() < 0.5)
    for edge in range(slots + 1):
        draw_bus(top, rng, edge * SLOT, 0, slots * SLOT, upright=False)
        for row in range(slots):
            start = row * SLOT + CHANNEL
            draw_bus(top, rng, edge * SLOT, start, start + SLOT - 2 * CHANNEL, upright=True)
    drawn = top.dependencies(True)
    lib.remove(*(cell for cell in lib.cells if cell not in drawn and cell is not top))


def write_dense(path: Path, *, size_um: float = 300.0, seed: int) -> None:
    """Write a sky130-like block with top cell ``dense``, another for every seed.

    Parameters
    ----------
    path
        A ``.gds`` or ``.gds.gz`` file, replaced if it is there.
    size_um
        Side of the block, rounded to whole slots of 75 um.
    seed
        The same seed draws the same geometry.
    """
    slots = max(1, round(size_um * 1000 / SLOT))
    rng, lib = random.Random(seed), new_library()
    kit = make_kit(lib, rng, RISKS, 12 * slots * slots)
    draw_top(lib, rng, kit, slots)
    save(lib, Path(path))
