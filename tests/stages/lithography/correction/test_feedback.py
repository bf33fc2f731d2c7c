"""Edges are placed better at every corner, and never worse, however rounds are damped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import Int64s
from stages.lithography.correction.feedback import Placement, _round_apart, place_edges
from stages.lithography.correction.fragments import cut_boundary
from stages.lithography.correction.opc import make_rules
from stages.lithography.correction.views import make_whole_view
from stages.lithography.optics.kernels import make_field
from stages.lithography.process import Anchor, Process, Resist, load_process
from tests.support.optical import runs_of, tracks

VECTOR = load_process("arfi45")
ARFI = replace(VECTOR, resist=Resist(), anchor=Anchor(45, 45))
"""Of scalar light, in which edges move about as far as those of the mask; dense lines as drawn."""
FIELD = make_field(ARFI)


def dense(seed: int, cell: int = 45) -> Int64s:
    """Wires of least width and space, in a field of `ARFI`."""
    rects: Int64s = runs_of(tracks(seed, 56, 56, longest=30, gap=2, ties=0.7)) * cell + 1000
    return rects


def placement(target: Int64s, process: Process) -> Placement:
    boundary = cut_boundary(target, make_rules(process, 1.0))
    view = make_whole_view(target, boundary, round(FIELD.side_nm), FIELD)
    assert process.opc is not None
    return Placement(view, process, 2 * process.opc.max_move_nm)


@pytest.mark.parametrize(
    ("damping", "rounds"), [(0.6, 8), (1.0, 1), (1.0, 3), (1.0, 40), (0.001, 1), (0.01, 30)]
)
@pytest.mark.parametrize("cell", [45, 35], ids=["printable", "under the limit"])
def test_no_setting_places_edges_worse_than_the_drawn_mask(
    damping: float, rounds: int, cell: int
) -> None:
    found = placement(dense(1, cell), ARFI)
    moves = place_edges(found, damping, rounds)
    drawn, after = (
        found.weigh_core(found.measure(each, ARFI.corners)) for each in (0 * moves, moves)
    )
    assert after < drawn or not moves.any()
    if cell == 45 and rounds == 8:
        assert after < drawn / 10
        longer = found.weigh_core(found.measure(place_edges(found, 1.0, 40), ARFI.corners))
        assert longer < 1.5 * after, "a damping of 1 overshoots, and is taken back"


def test_the_settings_of_arfi45_suit_vector_light() -> None:
    """With a share of 0.6 at first, rounds overshoot, gain little and end: over 40 nm2 is left."""
    opc, found = VECTOR.opc, placement(dense(4), VECTOR)
    assert opc is not None
    moves = place_edges(found, opc.damping, opc.iterations)
    boundary = found.view.boundary
    length = (boundary.high - boundary.low)[found.view.free].sum()
    assert found.weigh_core(found.measure(moves, VECTOR.corners)) / length < 25


def test_edges_are_placed_for_the_whole_window_not_for_nominal() -> None:
    target = dense(3)
    weak = replace(ARFI, corners=(ARFI.corners[0], replace(ARFI.corners[2], dose=0.92)))
    alone = replace(ARFI, corners=ARFI.corners[:1])
    found = placement(target, weak)
    window, nominal = (
        found.weigh_core(found.measure(place_edges(placement(target, each), 0.6, 8), weak.corners))
        for each in (weak, alone)
    )
    assert window < 0.8 * nominal


def test_what_lies_far_away_hardly_moves_a_fragment() -> None:
    """A field that decided for all of its fragments, such as how many rounds, would move all."""
    every, opc = dense(5), VECTOR.opc
    assert opc is not None
    near = every[(every[:, 0] < 3200) & (every[:, 2] > 1200)]
    moved = []
    for target in (every, near):
        found = placement(target, VECTOR)
        moves, boundary = place_edges(found, opc.damping, opc.iterations), found.view.boundary
        x, y = boundary.locate(boundary.control)
        kept = (x > 2000) & (x < 2400)
        at = zip(
            x[kept].tolist(), y[kept].tolist(), boundary.horizontal[kept].tolist(), strict=True
        )
        moved.append(dict(zip(at, moves[kept].tolist(), strict=True)))
    assert len(moved[0]) > 100
    apart = np.array([abs(move - moved[1][place]) for place, move in moved[0].items()])
    assert (apart <= 1).mean() > 0.99
    assert apart.mean() < 0.2


def test_moves_are_rounded_apart() -> None:
    """Four sides of eight fragments of a via print its area to a quarter of a dbu."""
    boundary = placement(np.array([[1000, 1000, 1065, 1065]]), VECTOR).view.boundary
    assert len(boundary) == 8
    means = [
        _round_apart(boundary, np.full(8, share)).mean() for share in np.arange(10, 11.01, 0.05)
    ]
    assert np.abs(np.array(means) - np.arange(10, 11.01, 0.05)).max() <= 0.126
