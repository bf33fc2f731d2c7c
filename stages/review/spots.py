"""The hotspots of a scan as columns: filtered, ordered and found by place, a million of them.

in       a `SpotTable`, what is decided of each hotspot, a `Filter`
out      which hotspots pass; those in a box, one by one or counted
unit     a whole scan
promise  a box is answered in time that grows with the hotspots in it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stages.contracts import Box, Bytes, Floats, Int32s, Int64s
from stages.errors import UsageError
from stages.findings import Bools
from stages.review.decisions import STATES

LEVELS = (1, 2, 3, 0)
"""Of a hotspot, the worst first; 0 where it prints in simulation."""

_BINS = 256
"""Bins on a side, in which hotspots are found by place."""


@dataclass(frozen=True, eq=False)
class SpotTable:
    """Columns of the hotspots; row `i` is the hotspot of id `i + 1`."""

    place_dbu: Int64s
    """(n, 2) where it fails."""
    level: Bytes
    """(n,) of `LEVELS`."""
    severity: Floats
    """(n,) severity, margin or score: whatever the level is by."""
    class_id: Int64s
    """(n,)"""
    kind: Int32s
    """(n,) index into `kinds`."""
    cell: Int32s
    """(n,) index into `cells`."""
    kinds: Sequence[str]
    cells: Sequence[str]

    def __len__(self) -> int:
        return len(self.level)

    @cached_property
    def order(self) -> Int64s:
        """(n,) rows, the worst level first, then the most severe, then by id."""
        rank = np.array([4, 1, 2, 3], np.int64)[self.level]
        return np.lexsort((np.arange(len(self)), -self.severity, rank))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which hotspots are shown; of each field all where it is empty."""

    levels: frozenset[int] = frozenset()
    states: frozenset[str] = frozenset()
    class_id: int | None = None
    kind: str = ""
    cell: str = ""
    """A name; ``*`` stands for anything."""

    def __post_init__(self) -> None:
        for noun, given, known in (
            ("level", self.levels, LEVELS), ("state", self.states, STATES),
        ):  # fmt: skip
            if unknown := set(given) - set(known):
                named, all_of_them = sorted(map(str, unknown)), ", ".join(map(str, known))
                raise UsageError(f"{noun} {named[0]} is unknown; choose of {all_of_them}")


def select(table: SpotTable, state: Bytes, asked: Filter) -> Bools:
    """Return which rows pass a filter, (n,).

    Parameters
    ----------
    state : (n,) uint8
        What is decided of each hotspot: index into `STATES`.
    """
    chosen = np.ones(len(table), bool)
    if asked.levels:
        chosen &= np.isin(table.level, list(asked.levels))
    if asked.states:
        chosen &= np.isin(state, [STATES.index(name) for name in asked.states])
    if asked.class_id is not None:
        chosen &= table.class_id == asked.class_id
    for name, names, column in (
        (asked.kind, table.kinds, table.kind), (asked.cell, table.cells, table.cell),
    ):  # fmt: skip
        if name:
            pattern = re.compile(re.escape(name).replace(r"\*", ".*"))
            fits = [pattern.fullmatch(each) is not None for each in names]
            chosen &= np.array(fits, bool)[column]
    return chosen


@dataclass(frozen=True, slots=True, eq=False)
class SpotIndex:
    """Rows by place."""

    rows: Int64s
    """(n,) by bin, row of bins after row."""
    start: Int64s
    """(bins * bins + 1,) where each bin begins in `rows`."""
    corner_dbu: tuple[int, int]
    bin_dbu: int

    def find(self, place_dbu: Int64s, box: Box) -> Int64s:
        """Return the rows of the places in a box, in no order."""
        lower = np.array(box.as_tuple()[:2]), np.array(self.corner_dbu)
        low = (lower[0] - lower[1]) // self.bin_dbu
        high = (np.array(box.as_tuple()[2:]) - 1 - lower[1]) // self.bin_dbu
        if (high < 0).any() or (low >= _BINS).any():
            return np.empty(0, np.int64)
        (column_0, row_0), (column_1, row_1) = np.clip((low, high), 0, _BINS - 1).tolist()
        first = np.arange(row_0, row_1 + 1) * _BINS
        begin, end = self.start[first + column_0], self.start[first + column_1 + 1]
        parts = [self.rows[i:j] for i, j in zip(begin.tolist(), end.tolist(), strict=True)]
        rows = np.concatenate(parts)
        x, y = place_dbu[rows].T
        inside = (x >= box.x_min) & (x < box.x_max) & (y >= box.y_min) & (y < box.y_max)
        found: Int64s = rows[inside]
        return found


def index_places(place_dbu: Int64s) -> SpotIndex:
    """Return the index of (n, 2) places."""
    if not len(place_dbu):
        return SpotIndex(np.empty(0, np.int64), np.zeros(_BINS**2 + 1, np.int64), (0, 0), 1)
    corner = place_dbu.min(axis=0)
    bin_dbu = int((place_dbu.max(axis=0) - corner).max()) // _BINS + 1
    column, row = ((place_dbu - corner) // bin_dbu).T
    number = row * _BINS + column
    rows = np.argsort(number, kind="stable")
    start = np.searchsorted(number[rows], np.arange(_BINS**2 + 1))
    return SpotIndex(rows, start, (int(corner[0]), int(corner[1])), bin_dbu)


def count_in_grid(place_dbu: Int64s, level: Bytes, box: Box, cells: int) -> npt.NDArray[np.int64]:
    """Return the squares of a box that hold places, as (m, 6): column, row, and how many of 0 to 3.

    Parameters
    ----------
    place_dbu : (n, 2) int64
        Places in the box.
    level : (n,) uint8
        Of each.
    cells
        Squares on a side of the box.
    """
    column, row = ((place_dbu - np.array(box.as_tuple()[:2])) * cells // box.width).T
    number = (row * cells + column) * 4 + level
    counts = np.bincount(number, minlength=4 * cells**2).reshape(-1, 4)
    used = np.flatnonzero(counts.any(axis=1))
    return np.column_stack((used % cells, used // cells, counts[used]))
