"""Cells written out where a reference turns them by no whole quarter, or magnifies them.

in: `Elements`, a cell, a turn · out: the corners of every shape under the cell, turned, in dbu
unit: one placed cell · promise: each corner is turned once, by all that is above it, and rounded
once; half a dbu goes away from zero
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from stages.contracts import Floats, Int64s
from stages.errors import LayoutError
from stages.geometry.window_query import TURN_MATRIX
from stages.layout.gdsii_elements import REFERENCE, Elements

MOST_CORNERS = 200_000_000
"""Corners that a reference at an odd angle may write out: 3 GB; a mask at 45 degrees has few."""

Outlines = list[tuple[int, int, Int64s]]
OWNER, CELL, TURN, X = (REFERENCE.index(name) for name in ("owner", "cell", "turn", "x"))
UNTURNED = np.eye(2)


def write_out_odd(
    elements: Elements, odd: Floats, cells: Collection[int] | None = None
) -> tuple[Elements, Outlines]:
    """Return elements whose references turn by quarters, and the outlines of what others place.

    Parameters
    ----------
    odd
        (n, 3) magnification, angle in degrees and mirroring of the turn ``-1 - row``.
    cells
        Those of which outlines are needed; None is all.

    Raises
    ------
    LayoutError
        More than `MOST_CORNERS`.
    """
    is_odd = elements.reference[:, TURN] < 0
    outlines: Outlines = []
    for reference in elements.reference[is_odd]:
        owner = int(reference[OWNER])
        if reference[CELL] < 0 or (cells is not None and owner not in cells):
            continue
        matrix = _matrix(int(reference[TURN]), odd)
        for place in _copies(reference):
            for layer, corners in flatten(elements, odd, int(reference[CELL]), matrix, place):
                outlines.append((owner, layer, corners))
    return replace(elements, reference=elements.reference[~is_odd]), outlines


def flatten(
    elements: Elements, odd: Floats, cell: int, matrix: Floats = UNTURNED,
    place: Sequence[float] | Floats = (0.0, 0.0),
) -> Iterator[tuple[int, Int64s]]:  # fmt: skip
    """Yield layer and corners of each shape under a cell, turned by `matrix`, moved to `place`."""
    shape_at = np.searchsorted(elements.shape[:, 0], np.arange(len(elements.names) + 1))
    reference_at = np.searchsorted(
        elements.reference[:, OWNER], np.arange(len(elements.names) + 1)
    )
    written = 0
    stack = [(cell, matrix, np.asarray(place, float))]
    while stack:
        cell, matrix, place = stack.pop()
        for shape in range(shape_at[cell], shape_at[cell + 1]):
            corners = elements.point[elements.point_start[shape] : elements.point_start[shape + 1]]
            written += len(corners)
            yield int(elements.shape[shape, 1]), _rounded(corners @ matrix.T + place)
        if written > MOST_CORNERS:
            raise LayoutError(
                f"a reference at an odd angle, or magnified, places over {MOST_CORNERS} corners of "
                f"cell {elements.names[cell]!r}; that many cannot be written out"
            )
        for reference in elements.reference[reference_at[cell] : reference_at[cell + 1]]:
            if reference[CELL] >= 0:
                inner = matrix @ _matrix(int(reference[TURN]), odd)
                child = int(reference[CELL])
                stack += [(child, inner, matrix @ copy + place) for copy in _copies(reference)]


def _copies(reference: Int64s) -> Floats:
    """Return the place of each copy of a reference, (n, 2)."""
    columns, rows = int(reference[5]), int(reference[6])
    if columns * rows > MOST_CORNERS:
        raise LayoutError(f"an array of {columns} x {rows} copies at an odd angle is too many")
    u, v = reference[7:9] / columns, reference[9:11] / rows
    across, up = np.arange(columns)[:, None, None] * u, np.arange(rows)[None, :, None] * v
    places: Floats = (reference[X : X + 2] + across + up).reshape(-1, 2)
    return places


def _matrix(turn: int, odd: Floats) -> Floats:
    if turn >= 0:
        return TURN_MATRIX[turn].reshape(2, 2).astype(float)
    scale, angle, mirrored = odd[-1 - turn].tolist()
    cosine, sine = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    sign = -1.0 if mirrored else 1.0
    return np.array([[cosine, -sine * sign], [sine, cosine * sign]])


def _rounded(points: Floats) -> Int64s:
    # 1e-6 swallows float noise, so that a half that was meant goes where a half goes.
    return (np.sign(points) * np.floor(np.abs(points) + 0.5 + 1e-6)).astype(np.int64)
