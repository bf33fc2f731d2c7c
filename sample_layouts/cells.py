"""Vias and standard cells: 2.72 um high on a site grid of 0.46 um."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import gdstk

from sample_layouts.draw import (
    FIRST_TRACK,
    HEIGHT,
    LI1,
    MCON,
    MET1,
    MET2,
    SITE,
    SPACE,
    TRACK,
    VIA,
    WIRE,
    Point,
    Rect,
    place,
    rect,
    wire,
)

Risk = Callable[[random.Random], list[Rect]]
"""Draws one kind of risky place about the origin."""
RAIL = 240
"""Half the width of a power rail, in nm."""


@dataclass
class Std:
    """A standard cell: its width in sites, and the places that its own met1 wires and pads take."""

    cell: gdstk.Cell
    sites: int
    blocked: list[Point] = field(default_factory=list)
    pads: list[Point] = field(default_factory=list)


@dataclass
class Kit:
    """What blocks are made of."""

    wire_nm: int
    pin: gdstk.Cell
    via: gdstk.Cell
    fill: list[Std]
    logic: list[Std]
    risks: list[gdstk.Cell]


def centred(cell: gdstk.Cell, layer: Point, width: int, height: int) -> None:
    """Draw a rectangle about the origin."""
    rect(cell, layer, (-width // 2, -height // 2, width // 2, height // 2))


def track_y(track: int) -> int:
    """Return the middle of a routing track above the row's lower edge."""
    return FIRST_TRACK + TRACK * track


def draw_risk(
    lib: gdstk.Library, rng: random.Random, kinds: Sequence[Risk], number: int
) -> gdstk.Cell:
    """Draw a risky place, each kind in its turn, about the origin."""
    shapes = kinds[number % len(kinds)]
    cell = lib.new_cell(f"risk_{shapes.__name__}_{number}")
    for box in shapes(rng):
        rect(cell, MET1, box)
    return cell


def draw_std(
    lib: gdstk.Library,
    rng: random.Random,
    name: str,
    sites: int,
    contact: gdstk.Cell,
    wire_nm: int,
    inner_tracks: tuple[int, int],
) -> Std:
    """Draw one cell: rails with contacts, li1 bars on the sites, links between some of them."""
    cell = lib.new_cell(name)
    width = sites * SITE
    for y in (0, HEIGHT):
        rect(cell, MET1, (0, y - RAIL, width, y + RAIL))
        rect(cell, LI1, (0, y - 85, width, y + 85))
    place(cell, contact, (SITE // 2, 0), array=(sites, 2, SITE, HEIGHT))
    std = Std(cell, sites)
    if name.startswith(("fill", "tap")):
        return std
    tops = [rng.choice((1105, 1445, 1785, 2125)) for _ in range(sites)]
    for site, top in enumerate(tops):
        x = SITE // 2 + SITE * site
        rect(cell, LI1, (x - 85, rng.choice((85, 425)), x + 85, top))
        if site and rng.random() < 0.4:
            y = min(top, tops[site - 1])
            rect(cell, LI1, (x - SITE, y - 170, x, y))
    if name.startswith("dff"):
        draw_inner_wires(std, rng, wire_nm, inner_tracks)
    return std


def draw_inner_wires(
    std: Std, rng: random.Random, wire_nm: int, inner_tracks: tuple[int, int]
) -> None:
    """Give a flip-flop the two met1 wires that cross it."""
    # Pads on neighbouring tracks must not share a site.
    firsts, lasts = rng.sample((1, 2, 3), 2), rng.sample((3, 4, 5), 2)
    for track, first, back in zip(inner_tracks, firsts, lasts, strict=True):
        last = std.sites - back
        points = [(SITE // 2 + SITE * site, track_y(track)) for site in (first, last)]
        wire(std.cell, MET1, points, wire_nm)
        half = min(115, TRACK - SPACE - wire_nm // 2)
        for x, y in points:
            rect(std.cell, MET1, (x - 145, y - half, x + 145, y + half))
        std.blocked += [(site, track) for site in range(first - 1, last + 2)]
        std.pads += [(first, track), (last, track)]


def make_kit(
    lib: gdstk.Library,
    rng: random.Random,
    kinds: Sequence[Risk],
    risks: int,
    wire_nm: int = WIRE,
    inner_tracks: tuple[int, int] = (2, 3),
) -> Kit:
    """Draw the vias, 27 standard cells and as many risky places as `risks` says.

    `inner_tracks` are those of the two wires in a flip-flop.
    """
    contact, pin, via = (lib.new_cell(name) for name in ("mcon", "pin", "via"))
    centred(contact, MCON, 170, 170)
    for layer, width, height in ((LI1, 170, 330), (MCON, 170, 170), (MET1, 290, 230)):
        centred(pin, layer, width, height)
    for layer, width, height in ((MET1, 320, 260), (VIA, 150, 150), (MET2, 260, 320)):
        centred(via, layer, width, height)
    fill = [
        draw_std(lib, rng, f"{kind}_{sites}", sites, contact, wire_nm, inner_tracks)
        for kind, sites in (
            ("fill", 1), ("fill", 2), ("tap", 1), ("decap", 3), ("decap", 4), ("decap", 6),
            ("decap", 8), ("decap", 12),
        )
    ]  # fmt: skip
    logic = [
        draw_std(lib, rng, f"{kind}_{size}", sites, contact, wire_nm, inner_tracks)
        for kind, size, sites in (
            ("inv", 1, 3), ("inv", 2, 3), ("buf", 1, 3), ("buf", 2, 4), ("buf", 4, 6),
            ("nand2", 1, 3), ("nand3", 1, 4), ("nand4", 1, 5), ("nor2", 1, 3), ("nor3", 1, 4),
            ("or3", 1, 5), ("or4", 1, 6), ("aoi21", 1, 4), ("aoi22", 1, 6), ("ao22", 1, 7),
            ("mux2", 1, 9), ("xor2", 1, 7), ("dff", 1, 16), ("dff", 2, 18),
        )
    ]  # fmt: skip
    drawn = [draw_risk(lib, rng, kinds, number) for number in range(risks)]
    return Kit(wire_nm, pin, via, fill, logic, drawn)
