"""Flatten references at odd angles or with a magnification.

in: `Elements`, a cell, a turn · out: the corners of every shape under the cell, turned, in dbu
unit: one placed cell · promise: each corner is transformed once, by the product of all turns above
it, and rounded once, half a dbu away from zero
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from stages.contracts import Floats, Int64s
from stages.errors import LayoutError
from stages.geometry.window_query import TURN_MATRIX
from stages.layout.gdsii.elements import REFERENCE, Elements

MOST_CORNERS = 50_000_000
"""Most corners that odd references may be flattened to: 1 GB; a mask at 45 degrees has few."""

OWNER, CELL, TURN, X = (REFERENCE.index(name) for name in ("owner", "cell", "turn", "x"))
IDENTITY = np.eye(2)
_FAR = 2.0**40  # dbu


def flatten_odd_references(elements: Elements, cells: Collection[int] | None = None) -> Elements:
    """Replace the references at odd angles or magnified by the shapes that they place.

    Parameters
    ----------
    cells
        Cells whose shapes are needed; None for all.

    Raises
    ------
    LayoutError
        More than `MOST_CORNERS`.
    """
    is_odd = elements.reference[:, TURN] < 0
    if not is_odd.any():
        return elements
    flattener, points, shapes = Flattener(elements), [elements.point], [elements.shape]
    counts = [np.diff(elements.point_start)]
    for reference in elements.reference[is_odd]:
        owner = int(reference[OWNER])
        if reference[CELL] < 0 or (cells is not None and owner not in cells):
            continue
        matrix = _compute_matrix(int(reference[TURN]), elements.odd)
        for place in flattener.compute_places(reference):
            for layer, corners, count in flattener.walk(int(reference[CELL]), matrix, place):
                points.append(corners)
                counts.append(count)
                shapes.append(np.stack((np.full(len(layer), owner), layer), axis=1))
    return replace(
        elements,
        point=np.concatenate(points),
        point_start=np.append(0, np.cumsum(np.concatenate(counts))),
        shape=np.concatenate(shapes),
        reference=elements.reference[~is_odd],
    )


class Flattener:
    """Yields the shapes under cells, at any turn; counts the corners against `MOST_CORNERS`."""

    def __init__(self, elements: Elements) -> None:
        owners = np.arange(len(elements.names) + 1)
        self._elements = elements
        self._shape_at = np.searchsorted(elements.shape[:, 0], owners)
        self._reference_at = np.searchsorted(elements.reference[:, OWNER], owners)
        self._left = MOST_CORNERS

    def walk(
        self, cell: int, matrix: Floats = IDENTITY, place: Sequence[float] | Floats = (0.0, 0.0)
    ) -> Iterator[tuple[Int64s, Int64s, Int64s]]:
        """Yield per cell the layers of its shapes, their corners, and the corners per shape."""
        elements, stack = self._elements, [(cell, matrix, np.array([place], float))]
        while stack:
            cell, matrix, places = stack.pop()
            first, last = self._shape_at[cell : cell + 2]
            starts = elements.point_start[first : last + 1]
            self._spend(len(places) * (1 + int(starts[-1] - starts[0])), cell)
            if first < last:
                corners = elements.point[starts[0] : starts[-1]] @ matrix.T
                every = (places[:, None] + corners).reshape(-1, 2)
                layers, counts = elements.shape[first:last, 1], np.diff(starts)
                yield (
                    np.tile(layers, len(places)),
                    _round_points(every),
                    np.tile(counts, len(places)),
                )
            placed = elements.reference[slice(*self._reference_at[cell : cell + 2])]
            for reference in placed[placed[:, CELL] >= 0][::-1]:  # the first is popped first
                inner = matrix @ _compute_matrix(int(reference[TURN]), elements.odd)
                copies = self.compute_places(reference) @ matrix.T
                self._spend(len(places) * len(copies), cell)
                under = (places[:, None] + copies).reshape(-1, 2)
                stack.append((int(reference[CELL]), inner, under))

    def compute_places(self, reference: Int64s) -> Floats:
        """Return the place of each copy of a reference, (n, 2)."""
        columns, rows = int(reference[5]), int(reference[6])
        self._spend(columns * rows, int(reference[CELL]))
        u, v = reference[7:9] / columns, reference[9:11] / rows
        across, up = np.arange(columns)[:, None, None] * u, np.arange(rows)[None, :, None] * v
        places: Floats = (reference[X : X + 2] + across + up).reshape(-1, 2)
        return places

    def _spend(self, corners: int, cell: int) -> None:
        self._left -= corners
        if self._left < 0:
            raise LayoutError(
                f"references at an odd angle, or magnified, place over {MOST_CORNERS} corners, the "
                f"last of cell {self._elements.names[cell]!r}; that many are not written out: "
                "flatten the cell, or turn it by a multiple of 90 degrees"
            )


def _compute_matrix(turn: int, odd: Floats) -> Floats:
    if turn >= 0:
        return TURN_MATRIX[turn].reshape(2, 2).astype(float)
    scale, angle, mirrored = odd[-1 - turn].tolist()
    cosine, sine = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    sign = -1.0 if mirrored else 1.0
    return np.array([[cosine, -sine * sign], [sine, cosine * sign]])


def _round_points(points: Floats) -> Int64s:
    # 1e-6 absorbs float noise, so that a nominal half is rounded as one.
    bounded = np.clip(points, -_FAR, _FAR)  # past 32 bits, which a packed layer refuses
    bounded += np.copysign(0.5 + 1e-6, bounded)
    return bounded.astype(np.int64)  # towards zero
