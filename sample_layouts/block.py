"""A routed block that prints, but for a handful of places: what the demo scans."""

from __future__ import annotations

import math
import random
from pathlib import Path

import gdstk

from sample_layouts.cells import Kit, make_kit
from sample_layouts.draw import MET1, new_library, place, save, wire
from sample_layouts.planted import PLANTED
from sample_layouts.rows import SLOT, Style, draw_logic, place_centred

STYLE = Style(roomy_pads=True, off_track=0.0, risks_in_rows=(0, 0, 1))
WIRE_NM = 180
INNER_TRACKS = 1, 4
"""On the two middle tracks, as the rules allow, spaces beside pads fail or print by a hair."""
BUS_PITCH, BUS_LANES = 480, 4


def draw_bus(
    top: gdstk.Cell, rng: random.Random, kit: Kit, middle: int, ends: tuple[int, int], upright: bool
) -> None:
    """Draw parallel wires along a channel, in pieces that end in vias."""
    for lane in range(BUS_LANES):
        across = middle + (2 * lane - BUS_LANES + 1) * BUS_PITCH // 2
        along, end = ends
        while along < end - 2000:
            stop = min(end, along + rng.randrange(20_000, 120_000, 5))
            points = [(b, a) if upright else (a, b) for a, b in ((along, across), (stop, across))]
            wire(top, MET1, points, kit.wire_nm)
            for point in points:
                place(top, kit.via, point, int(upright))
            along = stop + rng.randrange(700, 3000, 5)


def draw_top(lib: gdstk.Library, rng: random.Random, kit: Kit, slots: int) -> None:
    """Fill the slots with logic, each design used about twice, turned and mirrored."""
    designs = [
        draw_logic(lib, rng, kit, STYLE, f"logic_{n}") for n in range(math.ceil(slots * slots / 2))
    ]
    top = lib.new_cell("block")
    for number in range(slots * slots):
        row, column = divmod(number, slots)
        at = column * SLOT + SLOT // 2, row * SLOT + SLOT // 2
        design = designs[number % len(designs)]
        place_centred(top, design, at, rng.randrange(4), rng.random() < 0.5)
    for edge in range(slots + 1):
        draw_bus(top, rng, kit, edge * SLOT, (400, slots * SLOT - 400), upright=False)
        for row in range(slots):
            ends = row * SLOT + 1900, (row + 1) * SLOT - 1900
            draw_bus(top, rng, kit, edge * SLOT, ends, upright=True)
    drawn = top.dependencies(True)
    lib.remove(*(cell for cell in lib.cells if cell not in drawn and cell is not top))


def write_block(
    path: Path, *, size_um: float = 300.0, seed: int, inner_tracks: tuple[int, int] = INNER_TRACKS
) -> None:
    """Write a sky130-like block with top cell ``block``, another for every seed.

    Parameters
    ----------
    path
        A ``.gds`` or ``.gds.gz`` file, replaced if it is there.
    size_um
        Side of the block, rounded to whole slots of 75 um.
    seed
        The same seed draws the same geometry.
    inner_tracks
        Those of the two wires in a flip-flop, of the six of a row.
    """
    slots = max(1, round(size_um * 1000 / SLOT))
    rng, lib = random.Random(seed), new_library()
    kit = make_kit(lib, rng, PLANTED, 4 * len(PLANTED), WIRE_NM, inner_tracks)
    draw_top(lib, rng, kit, slots)
    save(lib, Path(path))
