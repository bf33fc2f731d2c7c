"""Rectangles, wires and placements in nm, on gdstk cells."""

from __future__ import annotations

import datetime
import gzip
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path

import gdstk

Rect = tuple[int, int, int, int]
Point = tuple[int, int]

LI1, MCON, MET1, VIA, MET2, TEXT = (67, 20), (67, 44), (68, 20), (68, 44), (69, 20), (68, 5)
SITE, HEIGHT = 460, 2720
FIRST_TRACK, TRACK, TRACKS = 510, 340, 6
WIRE, SPACE = 140, 140
EPOCH = datetime.datetime(2000, 1, 1)


def um(*values: float) -> tuple[float, ...]:
    """Turn nm into the um that gdstk takes."""
    return tuple(value / 1000 for value in values)


def rect(cell: gdstk.Cell, layer: Point, box: Rect) -> None:
    """Draw a rectangle x0, y0, x1, y1."""
    x0, y0, x1, y1 = um(*box)
    cell.add(gdstk.rectangle((x0, y0), (x1, y1), layer=layer[0], datatype=layer[1]))


def wire(cell: gdstk.Cell, layer: Point, points: Iterable[Point], width: int = WIRE) -> None:
    """Draw a path with half-width ends."""
    corners = [um(*point) for point in points]
    path = gdstk.FlexPath(
        corners,
        width / 1000,
        ends="extended",
        simple_path=True,
        layer=layer[0],
        datatype=layer[1],
    )
    cell.add(path)


def place(
    cell: gdstk.Cell,
    child: gdstk.Cell,
    at: Point,
    turn: int = 0,
    mirror: bool = False,
    array: tuple[int, int, int, int] = (1, 1, 0, 0),
) -> None:
    """Place `child`: quarter turns after a mirror in x, array of columns, rows, step x, step y."""
    columns, rows, step_x, step_y = array
    reference = gdstk.Reference(child, um(*at), turn * math.pi / 2, 1, mirror)
    if columns * rows > 1:
        # gdstk keeps the two vectors of an array as they are placed, turns and mirrors included.
        reference.repetition = gdstk.Repetition(columns, rows, spacing=um(step_x, step_y))
    cell.add(reference)


def new_library() -> gdstk.Library:
    """Return an empty library with a database unit of 1 nm."""
    return gdstk.Library("samples", unit=1e-6, precision=1e-9)


def save(lib: gdstk.Library, path: Path) -> None:
    """Write GDSII, gzipped where the name ends so, with the same bytes at any time of day."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.gds")
        lib.write_gds(plain, timestamp=EPOCH)
        data = plain.read_bytes()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
