"""Moves of drawn edges.

in       the disjoint rectangles around a place, in dbu from it
out      `EdgeMove`s, the stretches that may be moved, and `Change`s, what moves add and take away
unit     one hotspot
promise  the list depends on the region alone, not on how it is cut into rectangles
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.contracts import Box, Int64s
from stages.geometry.union import find_edges, merge, swap_xy
from stages.geometry.window_query import turn_box, turn_box_back

_NAMES = {(0, 1): "left", (0, -1): "right", (1, 1): "lower", (1, -1): "upper"}
_WAYS = {(0, 1): "right", (0, -1): "left", (1, 1): "up", (1, -1): "down"}


@dataclass(frozen=True, slots=True, order=True)
class EdgeMove:
    """A stretch of an edge, and how far it moves; lengths in dbu from the hotspot's place."""

    axis: int
    """0: the edge is vertical and moves in x; 1: it is horizontal and moves in y."""
    side: int
    """1 where the shape lies at larger coordinates than the edge, -1 where at smaller."""
    at: float
    """The edge's coordinate across; whole, but for moves that are carried to another place."""
    low: float
    """Ends of the stretch along the edge."""
    high: float
    out: int = 0
    """Distance away from the shape: positive widens it, negative narrows it."""

    @property
    def area(self) -> float:
        """What the move adds or takes away, in square dbu."""
        return abs(self.out) * (self.high - self.low)

    def to_rect(self) -> Int64s:
        """Return what lies between the edge before and after, (1, 4)."""
        a, b = sorted((self.at, self.at - self.side * self.out))
        rect = np.array([[a, self.low, b, self.high]], np.int64)
        return swap_xy(rect) if self.axis else rect

    def shift(self, x: float, y: float) -> EdgeMove:
        """Return the same move further by x and y, which may be half a dbu."""
        across, along = (y, x) if self.axis else (x, y)
        return replace(self, at=self.at + across, low=self.low + along, high=self.high + along)

    def describe(self, dbu_nm: float) -> str:
        """Say the move in words.

        Examples
        --------
        >>> EdgeMove(0, 1, 0, -170, 170, 20).describe(1.0)
        'move the left edge 20 nm left over 340 nm'
        """
        way = _WAYS[self.axis, -self.side if self.out > 0 else self.side]
        return (
            f"move the {_NAMES[self.axis, self.side]} edge {abs(self.out) * dbu_nm:g} nm {way} "
            f"over {(self.high - self.low) * dbu_nm:g} nm"
        )


def list_stretches(rects: Int64s, near: int, whole: int, half: int) -> list[EdgeMove]:
    """Return the stretches of edges near the place that may be moved, nearest first.

    Parameters
    ----------
    rects : (n, 4) int64
        The region.
    near
        Edges are moved that come as near as this to the place, in both coordinates; of longer ones
        the part within this, within `half` of it, and within `whole`.
    whole
        Edges that lie within this are moved from end to end.
    """
    found = set()
    for axis in (0, 1):
        for x, y_lo, y_hi, side, *_ in find_edges(swap_xy(rects) if axis else rects).tolist():
            if abs(x) > near or y_lo >= near or y_hi <= -near:
                continue
            if -whole <= y_lo and y_hi <= whole:
                found.add(EdgeMove(axis, side, x, y_lo, y_hi))
                continue
            for reach in (whole, near, half):
                low, high = max(y_lo, -reach), min(y_hi, reach)
                if low < high:
                    found.add(EdgeMove(axis, side, x, low, high))
    return sorted(found, key=lambda edge: (_measure_distance(edge), edge))


def _measure_distance(edge: EdgeMove) -> float:
    """Return how far a stretch is from the place, in square dbu."""
    along = max(edge.low, -edge.high, 0)
    return edge.at**2 + along**2


Rects = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """What is taken from a layer, and what is added afterwards, as rectangles in dbu."""

    removed: Rects
    added: Rects

    @property
    def box(self) -> Box:
        """What it lies in."""
        every = np.array(self.removed + self.added)
        return Box(*every[:, :2].min(axis=0).tolist(), *every[:, 2:].max(axis=0).tolist())

    @property
    def middle(self) -> tuple[int, int]:
        """The middle of its box."""
        box = self.box
        return (box.x_min + box.x_max) // 2, (box.y_min + box.y_max) // 2

    def clip(self, box: Box) -> Change:
        """Return what of it is within a box."""

        def cut(rects: Int64s) -> Int64s:
            inside = np.clip(rects, box.as_tuple()[:2] * 2, box.as_tuple()[2:] * 2)
            return inside[(inside[:, :2] < inside[:, 2:]).all(axis=1)]

        return self._map(cut)

    def shift(self, x: int, y: int) -> Change:
        """Return the same change further by x and y."""
        return self._map(lambda rects: rects + np.array([x, y, x, y]))

    def place(self, turn: int, x: int, y: int) -> Change:
        """Return a change of a cell where it is placed, see `PackedLayer.inst_turn`."""
        return self._map(lambda rects: np.array([turn_box(each, turn, x, y) for each in rects]))

    def unplace(self, turn: int, x: int, y: int) -> Change:
        """Return a change of the layout in the coordinates of a placed cell."""
        return self._map(
            lambda rects: np.array([turn_box_back(each, turn, x, y) for each in rects])
        )

    def _map(self, move: Callable[[Int64s], Int64s]) -> Change:
        removed, added = (
            to_rows(move(np.array(rects, np.int64))) if rects else ()
            for rects in (self.removed, self.added)
        )
        return Change(removed, added)

    def apply_to(self, rects: Int64s) -> Int64s:
        """Return a region after the change, as disjoint rectangles."""
        for taken in self.removed:
            rects = subtract_rect(rects, np.array(taken))
        return merge(np.concatenate([rects, np.array(self.added, np.int64).reshape(-1, 4)]))


UNCHANGED = Change((), ())


def to_rows(rects: Int64s) -> Rects:
    """Return rectangles as sorted tuples."""
    return tuple(sorted((int(a), int(b), int(c), int(d)) for a, b, c, d in rects))


def join_moves(moves: Iterable[EdgeMove]) -> tuple[EdgeMove, ...]:
    """Return moves with those of one edge by one distance that touch as one, sorted."""
    joined: list[EdgeMove] = []
    for move in sorted(moves, key=lambda each: (each.axis, each.side, each.at, each.out, each.low)):
        last = joined[-1] if joined else move
        if replace(last, low=move.low, high=move.high) == move and move.low <= last.high:
            joined[-1:] = [replace(last, high=max(last.high, move.high))]
        else:
            joined.append(move)
    return tuple(sorted(joined))


def to_change(moves: Iterable[EdgeMove]) -> Change:
    """Return what moves take away and add."""
    every = [(move.out > 0, to_rows(move.to_rect())) for move in moves]
    removed, added = (
        tuple(sorted(row for way, rows in every if way == grows for row in rows))
        for grows in (False, True)
    )
    return Change(removed, added)


def join_changes(changes: Iterable[Change]) -> Change:
    """Return the change that several make together."""
    every = list(changes)
    return Change(
        tuple(sorted({row for each in every for row in each.removed})),
        tuple(sorted({row for each in every for row in each.added})),
    )


def subtract_rect(rects: Int64s, taken: Int64s) -> Int64s:
    """Return what is left of disjoint rectangles without one, (m, 4)."""
    x_0, y_0, x_1, y_1 = taken
    low, high = rects[:, 1], rects[:, 3]
    middle_low, middle_high = np.clip(y_0, low, high), np.clip(y_1, low, high)
    left, right = rects[:, 0], rects[:, 2]
    parts = (
        (left, low, right, middle_low),
        (left, middle_low, np.minimum(right, x_0), middle_high),
        (np.maximum(left, x_1), middle_low, right, middle_high),
        (left, middle_high, right, high),
    )
    every = np.concatenate([np.column_stack(part) for part in parts])
    kept: Int64s = every[(every[:, 0] < every[:, 2]) & (every[:, 1] < every[:, 3])]
    return kept


def fit_moves(
    rects: Int64s, moves: Sequence[EdgeMove], tolerance: float, step: int
) -> tuple[EdgeMove, ...]:
    """Return moves on the edges of another region that correspond; empty if one has none there.

    Parameters
    ----------
    tolerance
        How far edges of the region, and their ends, may be from those of the moves.
    step
        Ends that are not those of an edge are multiples of this.
    """
    found = []
    for move in moves:
        edges = find_edges(swap_xy(rects) if move.axis else rects)
        edges = edges[
            (edges[:, 3] == move.side) & (np.abs(edges[:, 0] - move.at) <= tolerance)
            & (edges[:, 1] <= move.low + tolerance) & (edges[:, 2] >= move.high - tolerance)
        ]  # fmt: skip
        if not len(edges):
            return ()
        nearest = np.lexsort((edges[:, 1], edges[:, 0], np.abs(edges[:, 0] - move.at)))[0]
        x, low, high = edges[nearest, :3].tolist()
        ends = [
            end if abs(end - wanted) <= tolerance else round(wanted / step) * step
            for end, wanted in ((low, move.low), (high, move.high))
        ]
        found.append(replace(move, at=x, low=ends[0], high=ends[1]))
    return tuple(found)
