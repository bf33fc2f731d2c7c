"""Fixes carried to other hotspots of a class and into cells: they lie where the geometry lies."""

from __future__ import annotations

import numpy as np
import pytest

from stages.classes.patterns import turn_rects
from stages.contracts import Layer, PackedLayout
from stages.fixes.members import (
    Alignment,
    carry_move,
    find_cell_changes,
    locate_changes,
)
from stages.fixes.moves import Change, EdgeMove, fit_moves, to_change
from stages.geometry.owners import list_placements
from stages.geometry.symmetry import invert_symmetry
from stages.geometry.union import merge
from stages.geometry.window_query import turn_box
from stages.layout.builder import pack_layout
from tests.support.hierarchy import list_shapes, make_library

MET1 = Layer(68, 20)

HOOK = np.array([[-40, -10, 60, 12], [30, 12, 60, 90]])
MOVE = EdgeMove(1, -1, 12, -40, 30, 6)
AS_IT_LIES = Alignment(0, 0, 0.0, 0.0)


@pytest.mark.parametrize("symmetry", range(8))
@pytest.mark.parametrize("turn", range(8))
def test_a_move_is_carried_as_the_geometry_is_turned(symmetry: int, turn: int) -> None:
    # The other hotspot's pattern, turned by `symmetry`, lies as the first one turned by `turn`.
    other = turn_rects(turn_rects(merge(HOOK), turn), invert_symmetry(symmetry))
    carried = carry_move(MOVE, AS_IT_LIES, Alignment(symmetry, turn, 0.0, 0.0))
    (fitted,) = fit_moves(merge(other), [carried], tolerance=0, step=1)
    after = turn_rects(
        turn_rects(to_change([MOVE]).apply_to(merge(HOOK)), turn), invert_symmetry(symmetry)
    )
    assert (to_change([fitted]).apply_to(merge(other)) == merge(after)).all()


def test_carrying_there_and_back_changes_nothing() -> None:
    here, there = Alignment(5, 3, 1.5, -2.0), Alignment(6, 4, -3.0, 0.5)
    assert carry_move(carry_move(MOVE, here, there), there, here) == MOVE


def test_a_move_of_what_is_shifted_is_shifted() -> None:
    assert carry_move(MOVE, AS_IT_LIES, Alignment(0, 0, 3.0, 5.0)) == MOVE.shift(-3.0, -5.0)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedLayout:
    file = tmp_path_factory.mktemp("hierarchy") / "cells.gds"
    make_library().write_gds(file)
    return pack_layout(file, (MET1,), "top")


def test_placements_are_those_of_writing_out_the_hierarchy(packed: PackedLayout) -> None:
    top = make_library().top_level()[0]
    chains = {chain for _, chain in list_shapes(top, np.eye(2, dtype=int), 0, 0, ())}
    for number, name in enumerate(packed.cells[0]):
        found = [tuple(row) for row in list_placements(packed.packed[0], number).tolist()]
        flat = {
            chain[: at + 1] for chain in chains for at, node in enumerate(chain) if node[0] == name
        }
        assert sorted(found) == sorted(chain[-1][1:] for chain in flat)


def test_the_cell_whose_shape_a_move_is_on(packed: PackedLayout) -> None:
    # The lower edge of the wire of the first block, which lies as the top cell does.
    move, origin = EdgeMove(1, 1, 0, -100, 100, 10), (1000, 1400)
    ((found, placed),) = find_cell_changes(packed.packed[0], [move], origin)
    assert packed.cells[0][found.cell] == "block"
    assert placed == (0, 0, 0)
    assert found.change == Change((), ((900, 1390, 1100, 1400),))


def test_a_change_is_located_in_the_placed_cell(packed: PackedLayout) -> None:
    top = make_library().top_level()[0]
    shapes = list_shapes(top, np.eye(2, dtype=int), 0, 0, ())
    points, chain = next(each for each in shapes if len(each[1]) == 4 and len(each[0]) == 4)
    rect = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    placed = [each for each in locate_changes(packed, [Change((rect,), ())]) if each.chain == chain]
    assert len(placed) == 1
    box = np.array(placed[0].change.removed[0])
    assert tuple(turn_box(box, *chain[-1][1:]).tolist()) == rect
