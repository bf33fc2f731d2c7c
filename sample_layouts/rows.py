"""Rows of standard cells with their met1 wires, and met2 across them."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import gdstk

from sample_layouts.cells import Kit, Std, track_y
from sample_layouts.draw import (
    HEIGHT,
    MET1,
    MET2,
    SITE,
    TRACKS,
    Point,
    place,
    wire,
)
from sample_layouts.routes import STUB, Net, Place, Row, route, wanted_lengths

SLOT, ROWS, SITES = 75_000, 26, 156
"""A slot is 75 um square and holds 26 rows of 156 sites."""
RISK_SITES = 5
"""Sites that a risky place takes in its row."""


@dataclass(frozen=True, slots=True)
class Style:
    """How the rows of a block are wired."""

    roomy_pads: bool
    """Whether the places around a pad stay free, or only those of the pads above and below it."""
    off_track: float
    """Share of the pins that lie 15 nm off their track."""
    risks_in_rows: tuple[int, ...]
    """How many risky places a row may hold, each number as likely."""


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
    cell: gdstk.Cell, rng: random.Random, kit: Kit, style: Style, net: Net, row: int
) -> list[tuple[int, int]]:
    """Draw a wire with its pads; return the (site, y) of those that go up to met2."""
    points = [position(corner, row) for corner in net.corners]
    if len(points) == 1:
        points.append((points[0][0] + 160 + STUB - 70, points[0][1]))
    wire(cell, MET1, points, kit.wire_nm)
    up = []
    for pad in net.pads:
        x, y = position(pad, row)
        if len(net.pads) > 1 and rng.random() < 0.35:
            # A pin is where its cell has it, now and then a little off the track.
            place(cell, kit.pin, (x, y + rng.choice((-15, 15)) * (rng.random() < style.off_track)))
        else:
            place(cell, kit.via, (x, y))
            up.append((pad[0], y))
    return up


def draw_risks(
    cell: gdstk.Cell, rng: random.Random, kit: Kit, style: Style, row: int, taken: Row
) -> None:
    """Put some risky places into a row, in any orientation."""
    for _ in range(rng.choice(style.risks_in_rows)):
        first = taken.reserve(rng, RISK_SITES)
        if first is not None:
            middle = SITE * first + SITE * RISK_SITES // 2, HEIGHT * row + HEIGHT // 2
            place(cell, rng.choice(kit.risks), middle, rng.randrange(4), rng.random() < 0.5)


def draw_logic(
    lib: gdstk.Library, rng: random.Random, kit: Kit, style: Style, name: str
) -> gdstk.Cell:
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
        taken = Row(SITES, style.roomy_pads, used, pads)
        draw_risks(cell, rng, kit, style, row, taken)
        full = min(0.9, crowded * rng.uniform(0.7, 1.3))
        for length in wanted_lengths(rng, full * SITES * TRACKS):
            net = route(rng, taken, length)
            for site, y in draw_net(cell, rng, kit, style, net, row) if net else ():
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


def place_centred(top: gdstk.Cell, child: gdstk.Cell, at: Point, turn: int, mirror: bool) -> None:
    """Place `child` so that the middle of its box lies at `at`, on the 5 nm grid."""
    (x0, y0), (x1, y1) = child.bounding_box()
    x, y = (round((low + high) * 100) * 5 for low, high in ((x0, x1), (y0, y1)))
    y = -y if mirror else y
    for _ in range(turn):
        x, y = -y, x
    place(top, child, (at[0] - x, at[1] - y), turn, mirror)
