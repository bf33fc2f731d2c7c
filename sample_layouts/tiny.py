"""One small file with every construct that a layout reader meets."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path
from typing import TypeVar

import gdstk

from sample_layouts.draw import (
    EPOCH,
    LI1,
    MET1,
    MET2,
    TEXT,
    Point,
    new_library,
    place,
    rect,
    wire,
)

Corner = tuple[float, float]
Element = TypeVar("Element", gdstk.Polygon, gdstk.Reference)
KEYHOLE = [(0, 0), (2, 0), (2, 2), (0, 2), (0, 1), (0.5, 1), (0.5, 1.5), (1.5, 1.5), (1.5, 0.5),
           (0.5, 0.5), (0.5, 1), (0, 1)]  # fmt: skip
"""A square ring as GDSII has it: one boundary with a cut line to its hole."""
ELBOW = [(0, 0), (0.6, 0), (0.6, 0.3), (0.3, 0.3), (0.3, 0.6), (0, 0.6)]
ENDSTR, BOX = 0x0700, 0x2D00


def polygon(
    cell: gdstk.Cell, points: list[Corner], at: Corner, layer: Point = MET1
) -> gdstk.Polygon:
    """Draw a polygon of corners in um, moved to `at`."""
    drawn = gdstk.Polygon([(x + at[0], y + at[1]) for x, y in points], *layer)
    cell.add(drawn)
    return drawn


def draw_polygons(lib: gdstk.Library, rng: random.Random) -> gdstk.Cell:
    """Draw boundaries: rectilinear, with a hole, at 45 degrees, at any angle, and round."""
    cell = lib.new_cell("polygons")
    side = 1 + rng.randrange(0, 50) / 100
    rect(cell, MET1, (-1000, -1000, -1000 + round(side * 1000), -300))
    polygon(cell, [(0, 0), (2, 0), (2, 0.5), (0.5, 0.5), (0.5, side), (0, side)], (1, -1))
    polygon(cell, KEYHOLE, (4, -1))
    polygon(cell, [(0.5, 0), (1.5, 0), (2, 0.5), (2, 1.5), (1.5, 2), (0.5, 2), (0, 1.5),
                   (0, 0.5)], (7, -1))  # fmt: skip
    polygon(cell, [(0, 0), (2, 0.3), (1.4, 1.7), (0.2, side)], (10, -1))
    polygon(cell, [(0, 0), (2, 0), (1, side)], (13, -1), MET2)
    cell.add(gdstk.ellipse((17, 0), 1, 0.5, tolerance=0.002, layer=MET1[0], datatype=MET1[1]))
    arc = {"initial_angle": math.pi / 6, "final_angle": math.pi, "tolerance": 0.002}
    cell.add(gdstk.ellipse((20, -0.5), 1.2, inner_radius=0.8, layer=68, datatype=20, **arc))
    return cell


def draw_paths(lib: gdstk.Library) -> gdstk.Cell:
    """Draw paths with flush, round, square and custom ends, straight, bent and slanted."""
    cell = lib.new_cell("paths")
    ends = ("flush", "round", "extended", (0.1, 0.35))
    for row, end in enumerate(ends):
        for points in (
            [(0, 0), (3, 0)], [(4, 0), (6, 0), (6, 1)], [(7, 0), (8, 0), (9, 1)],
            [(10, 0), (12, 0.7)],
        ):  # fmt: skip
            shifted = [(x, y + 2 * row) for x, y in points]
            path = gdstk.FlexPath(shifted, 0.2, ends=end, simple_path=True, layer=68, datatype=20)
            cell.add(path)
    return cell


def draw_arrays(lib: gdstk.Library, unit: gdstk.Cell) -> gdstk.Cell:
    """Draw arrays: plain, turned, mirrored, slanted, and an array of arrays."""
    cell, group = lib.new_cell("arrays"), lib.new_cell("group")
    place(group, unit, (0, 0), array=(3, 2, 1000, 1500))
    place(cell, unit, (0, 0), array=(4, 3, 1000, 1400))
    for turn, mirror, x in ((1, False, 10), (2, True, 16), (3, True, 20)):
        steps = gdstk.Repetition(3, 2, v1=rotated((1, 0), turn), v2=rotated((0, 1.5), turn))
        cell.add(repeated(gdstk.Reference(unit, (x, 0), turn * math.pi / 2, 1, mirror), steps))
    place(cell, group, (0, 6000), array=(2, 2, 4000, 4000))
    place(cell, group, (14_000, 6000), 1)
    place(cell, group, (16_000, 12_000), 2, True)
    return cell


def rotated(vector: Corner, turn: int) -> Corner:
    """Return a vector after quarter turns."""
    x, y = vector
    return ((x, y), (-y, x), (-x, -y), (y, -x))[turn]


def repeated(element: Element, steps: gdstk.Repetition) -> Element:
    """Give an element its repetition."""
    element.repetition = steps
    return element


def draw_repetitions(lib: gdstk.Library, unit: gdstk.Cell) -> gdstk.Cell:
    """Draw OASIS repetitions of shapes and references; GDSII holds them one by one."""
    cell = lib.new_cell("repetitions")
    kinds = (
        gdstk.Repetition(4, 2, spacing=(1, 1.2)),
        gdstk.Repetition(3, 2, v1=(1, 0.3), v2=(-0.2, 1.3)),
        gdstk.Repetition(offsets=[(1, 0.2), (2.5, -0.3), (3.1, 1)]),
        gdstk.Repetition(x_offsets=[0.8, 2.1, 3.3]),
        gdstk.Repetition(y_offsets=[0.9, 2.2]),
    )
    for row, steps in enumerate(kinds):
        y = 4 * row
        cell.add(repeated(gdstk.rectangle((0, y), (0.5, y + 0.4), layer=68, datatype=20), steps))
        repeated(polygon(cell, ELBOW, (6, y)), steps)
        cell.add(repeated(gdstk.Reference(unit, (12, y)), steps))
    return cell


def draw_placements(top: gdstk.Cell, unit: gdstk.Cell, inner: gdstk.Cell) -> None:
    """Place `unit` in all eight orientations, at 30 degrees and magnified, and nested turns."""
    for number in range(8):
        place(top, unit, (-20_000 + 2000 * number, -6000), number % 4, number >= 4)
    for x, angle, scale, mirror in (
        (0, 30, 1, False), (3, 0, 2, False), (6, 0, 0.5, False), (9, 30, 2, True),
        (12, 45, 1, True), (15, 90, 0.5, True),
    ):  # fmt: skip
        turn = math.radians(angle)
        top.add(gdstk.Reference(unit, (x, -8), turn, scale, mirror))
    place(top, inner, (-12_000, -12_000), 1)
    place(top, inner, (-6000, -12_000), 3, True)
    place(top, inner, (-6000, -12_000), 3, True)


def draw_tiny(seed: int) -> gdstk.Library:
    """Return the library, top cell ``tiny``; the seed changes a few dimensions."""
    rng, lib = random.Random(seed), new_library()
    unit, inner, empty = (lib.new_cell(name) for name in ("unit", "inner", "empty"))
    rect(unit, MET1, (0, 0, 600, 200))
    rect(unit, MET1, (0, 200, 200, 200 + rng.randrange(300, 600, 5)))
    rect(unit, LI1, (-100, -100, 300, 300))
    place(inner, unit, (1000, 0), 1)
    place(inner, unit, (2000, 0), 2, True, (1, 2, 0, 1500))
    children = (
        (draw_polygons(lib, rng), (-20_000, 12_000)),
        (draw_paths(lib), (8000, 10_000)),
        (draw_arrays(lib, unit), (-20_000, 16_000)),
        (draw_repetitions(lib, unit), (8000, 20_000)),
        (empty, (0, 0)),
    )
    top = lib.new_cell("tiny")
    for child, at in children:
        place(top, child, at)
    draw_placements(top, unit, inner)
    wire(top, MET2, [(-20_000, -2000), (0, -2000), (0, 2000)])
    for text, at in (("A", (0, 0)), ("a label, not a shape", (5, -2))):
        top.add(gdstk.Label(text, at, layer=TEXT[0], texttype=TEXT[1]))
    return lib


def box_element(layer: Point, corners: list[Point]) -> bytes:
    """Return a GDSII BOX, which gdstk reads and does not write."""
    xy = struct.pack(f">{2 * len(corners)}i", *(value for point in corners for value in point))
    records = (
        (BOX, b""), (0x0D02, struct.pack(">h", layer[0])), (0x2E02, struct.pack(">h", layer[1])),
        (0x1003, xy), (0x1100, b""),
    )  # fmt: skip
    return b"".join(struct.pack(">HH", 4 + len(body), tag) + body for tag, body in records)


def write_tiny(gds: Path, oas: Path, *, seed: int) -> None:
    """Write the same geometry as GDSII, plus a BOX, and as OASIS with repetitions kept."""
    lib = draw_tiny(seed)
    lib.write_oas(oas, compression_level=0)
    lib.write_gds(gds, timestamp=EPOCH)
    x0, y0, x1, y1 = 2000, 0, 4000, 1000
    box = box_element(MET1, [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
    data = gds.read_bytes()
    # The top cell is the last structure: its end is the last ENDSTR, before ENDLIB.
    end = data.rindex(struct.pack(">HH", 4, ENDSTR))
    gds.write_bytes(data[:end] + box + data[end:])
