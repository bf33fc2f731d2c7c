"""A block of rows, memories and routing between them."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import gdstk

from sample_layouts.cells import Kit, Std, make_kit, track_y
from sample_layouts.draw import (
    HEIGHT,
    MET1,
    MET2,
    SITE,
    TRACKS,
    Point,
    new_library,
    place,
    rect,
    save,
    wire,
)
from sample_layouts.routes import STUB, Net, Place, Row, route, wanted_lengths

SLOT, ROWS, SITES = 75_000, 26, 156
"""A slot is 75 um square and holds 26 rows of 156 sites, or a memory."""
RISK_SITES = 5
"""Sites that a risky place takes in its row."""
CHANNEL = 1_500
"""Half of what is left between two blocks for wires, in nm."""


def draw_row(lib: gdstk.Library, rng: random.Random, kit: Kit, name: str) -> Std:
    """Fill a row with cells, and arrays of fill and decap, to its end."""
    row = Std(lib.new_cell(name), SITES)
    filled = rng.uniform(0.15, 0.5)
    site = 0
    while site < SITES:
        fits = [std for std in kit.fill if std.sites <= SITES - site]
        if rng.random() > filled:
            fits = [std for std in kit.logic if std.sites <= SITES - site] or fits
        std = rng.choice(fits)
        repeats = rng.randint(1, 4) if std in kit.fill else 1
        repeats = min(repeats, (SITES - site) // std.sites)
        place(row.cell, std.cell, (site * SITE, 0), array=(repeats, 1, std.sites * SITE, 0))
        row.blocked += [(site + x, track) for x, track in std.blocked]
        row.pads += [(site + x, track) for x, track in std.pads]
        site += repeats * std.sites
    return row


def position(place_: Place, row: int) -> Point:
    """Return the middle of a site and track of a row, in nm."""
    return SITE // 2 + SITE * place_[0], HEIGHT * row + track_y(place_[1])


def draw_net(
    cell: gdstk.Cell, rng: random.Random, kit: Kit, net: Net, row: int
) -> list[tuple[int, int]]:
    """Draw a wire with its pads; return the (site, y) of those that go up to met2."""
    points = [position(corner, row) for corner in net.corners]
    if len(points) == 1:
        points.append((points[0][0] + 160 + STUB - 70, points[0][1]))
    wire(cell, MET1, points)
    up = []
    for pad in net.pads:
        x, y = position(pad, row)
        if len(net.pads) > 1 and rng.random() < 0.35:
            # A pin is where its cell has it, now and then a little off the track.
            place(cell, kit.pin, (x, y + rng.choice((-15, 15)) * (rng.random() < 0.05)))
        else:
            place(cell, kit.via, (x, y))
            up.append((pad[0], y))
    return up


def draw_risks(cell: gdstk.Cell, rng: random.Random, kit: Kit, row: int, taken: Row) -> None:
    """Put up to two risky places into a row, in any orientation."""
    for _ in range(rng.choice((0, 1, 1, 2))):
        first = taken.reserve(rng, RISK_SITES)
        if first is not None:
            middle = SITE * first + SITE * RISK_SITES // 2, HEIGHT * row + HEIGHT // 2
            place(cell, rng.choice(kit.risks), middle, rng.randrange(4), rng.random() < 0.5)


def draw_logic(lib: gdstk.Library, rng: random.Random, kit: Kit, name: str) -> gdstk.Cell:
    """Draw rows, every second one mirrored, their met1 wires, and met2 across them."""
    cell = lib.new_cell(name)
    pool = [draw_row(lib, rng, kit, f"{name}_row_{number}") for number in range(ROWS // 2)]
    crowded, columns = rng.uniform(0.35, 0.75), dict[int, list[int]]()
    for row in range(ROWS):
        std, mirror = rng.choice(pool), row % 2
        place(cell, std.cell, (0, (row + mirror) * HEIGHT), mirror=bool(mirror))
        used, pads = (
            {(site, TRACKS - 1 - track if mirror else track) for site, track in places}
            for places in (std.blocked, std.pads)
        )
        taken = Row(SITES, used, pads)
        draw_risks(cell, rng, kit, row, taken)
        full = min(0.9, crowded * rng.uniform(0.7, 1.3))
        for length in wanted_lengths(rng, full * SITES * TRACKS):
            net = route(rng, taken, length)
            for site, y in draw_net(cell, rng, kit, net, row) if net else ():
                columns.setdefault(site, []).append(y)
    draw_met2(cell, rng, columns)
    return cell


def draw_met2(cell: gdstk.Cell, rng: random.Random, columns: dict[int, list[int]]) -> None:
    """Join the pads of each column upwards, now and then leaving one out."""
    for site, ys in sorted(columns.items()):
        x, ys = SITE // 2 + SITE * site, sorted(ys)
        for low, high in itertools.pairwise(ys):
            if rng.random() < 0.6:
                wire(cell, MET2, [(x, low), (x, high)])


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
    logic = [draw_logic(lib, rng, kit, f"logic_{n}") for n in range(math.ceil(logics / 2))]
    memory = [draw_memory(lib, rng, kit, f"memory_{n}") for n in range(math.ceil(memories / 2))]
    blocks = [logic[n % len(logic)] for n in range(logics)]
    blocks += [memory[n % len(memory)] for n in range(memories)]
    rng.shuffle(blocks)
    top = lib.new_cell("block")
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


def place_centred(top: gdstk.Cell, child: gdstk.Cell, at: Point, turn: int, mirror: bool) -> None:
    """Place `child` so that the middle of its box lies at `at`, on the 5 nm grid."""
    (x0, y0), (x1, y1) = child.bounding_box()
    x, y = (round((low + high) * 100) * 5 for low, high in ((x0, x1), (y0, y1)))
    y = -y if mirror else y
    for _ in range(turn):
        x, y = -y, x
    place(top, child, (at[0] - x, at[1] - y), turn, mirror)


def write_block(path: Path, *, size_um: float = 300.0, seed: int) -> None:
    """Write a sky130-like block with top cell ``block``, another for every seed.

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
    kit = make_kit(lib, rng, risks=12 * slots * slots)
    draw_top(lib, rng, kit, slots)
    save(lib, Path(path))
