"""Fixes carried from one hotspot of a class to the others, and into the cells that they are in.

in       moves at the place of one hotspot, how its surroundings and others' lie
out      the moves at the place of another; the change of a cell that moves are
unit     one hotspot
promise  geometry that is equal but for its place, turn and the tolerance of its class gets the same
         moves
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.contracts import Int64s, PackedLayer, PackedLayout
from stages.findings import Finding
from stages.fixes.moves import Change, EdgeMove, to_change
from stages.geometry.owners import Chain, find_frames
from stages.geometry.symmetry import invert_symmetry


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the surroundings of a hotspot lie in its class."""

    symmetry: int
    """Turns them to the pattern that was compared."""
    turn: int
    """Turns the representative's pattern as this one lies."""
    move_x: float
    """Moves this pattern onto the turned one of the representative, in dbu."""
    move_y: float

    @classmethod
    def of(cls, finding: Finding) -> Alignment:
        """Return what a finding says."""
        return cls(finding.symmetry, finding.turn, finding.move_x_dbu, finding.move_y_dbu)


def carry_move(move: EdgeMove, source: Alignment, goal: Alignment) -> EdgeMove:
    """Return a move at the place of one hotspot as it lies at another's of the class.

    It may lie at half a dbu: `stages.fixes.moves.fit_moves` finds the edge.
    """
    compared = _turn(move, source.symmetry).shift(source.move_x, source.move_y)
    common = _turn(compared, invert_symmetry(source.turn))
    there = _turn(common, goal.turn).shift(-goal.move_x, -goal.move_y)
    return _turn(there, invert_symmetry(goal.symmetry))


def _turn(move: EdgeMove, symmetry: int) -> EdgeMove:
    """Return a move turned about the place, see `stages.geometry.symmetry.SYMMETRIES`."""
    flips_across, flips_along = (symmetry & 1, symmetry & 2)[:: -1 if move.axis else 1]
    if flips_across:
        move = replace(move, side=-move.side, at=-move.at)
    if flips_along:
        move = replace(move, low=-move.high, high=-move.low)
    return replace(move, axis=1 - move.axis) if symmetry & 4 else move


@dataclass(frozen=True, slots=True, order=True)
class CellChange:
    """A change of the shapes of one cell, in its coordinates."""

    cell: int
    """Its number in the packed layer."""
    change: Change


def find_cell_changes(
    packed: PackedLayer, moves: Sequence[EdgeMove], origin: tuple[int, int]
) -> tuple[tuple[CellChange, tuple[int, int, int]], ...]:
    """Return what moves change in the cells whose shapes they are on, and where those are placed.

    Parameters
    ----------
    origin
        The place that the moves count from.

    Returns
    -------
    tuple of (CellChange, (turn, x, y))
        One per placed cell; empty where the edge of a move is of several shapes in several cells.
    """
    x, y = origin
    windows = np.concatenate([_find_inside(move) for move in moves]) + np.array([x, y, x, y])
    frames = find_frames(packed, windows)
    of_move: dict[int, set[tuple[int, int, int, int]]] = {}
    for at in np.flatnonzero(frames.owns).tolist():
        placed = (frames.cell[at], frames.turn[at], frames.x_dbu[at], frames.y_dbu[at])
        of_move.setdefault(int(frames.window[at]), set()).add(tuple(int(each) for each in placed))  # type: ignore[arg-type]
    grouped: dict[tuple[int, int, int, int], list[EdgeMove]] = {}
    for number, move in enumerate(moves):
        if len(owners := of_move.get(number, set())) != 1:
            return ()
        grouped.setdefault(owners.pop(), []).append(move)
    return tuple(
        (
            CellChange(placed[0], to_change(each).shift(x, y).unplace(*placed[1:])),
            placed[1:],
        )
        for placed, each in sorted(grouped.items())
    )


def _find_inside(move: EdgeMove) -> Int64s:
    """Return what a move takes away, or else a dbu of the shape beside what it adds, (1, 4)."""
    return (move if move.out < 0 else replace(move, out=-1)).to_rect()


@dataclass(frozen=True, slots=True)
class PlacedChange:
    """A change of one placement of a cell."""

    chain: Chain
    """From the top cell down to the cell."""
    change: Change
    """In the coordinates of the cell, in dbu."""


def locate_changes(layout: PackedLayout, changes: Iterable[Change]) -> list[PlacedChange]:
    """Return what changes of the first layer change in the placed cells whose shapes they touch."""
    pieces = [
        (Change((rect,), ()) if taken else Change((), (rect,)), rect)
        for change in changes
        for taken, rects in ((True, change.removed), (False, change.added))
        for rect in rects
    ]
    if not pieces:
        return []
    # What is added touches the shape that it is added to, and by the rules nothing else.
    windows = np.array([rect for _, rect in pieces]) + np.array([-1, -1, 1, 1])
    frames, names = find_frames(layout.packed[0], windows), layout.cells[0]
    found = []
    for owns, window, chain in zip(
        frames.owns, frames.window.tolist(), frames.list_chains(names), strict=True
    ):
        if owns:
            found.append(PlacedChange(chain, pieces[window][0].unplace(*chain[-1][1:])))
    return found
