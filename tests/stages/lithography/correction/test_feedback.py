"""Edges are placed better at every corner, and never worse, however rounds are damped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import Int64s
from stages.lithography.correction import feedback
from stages.lithography.correction.feedback import Placement, place_edges
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
    drawn, after = (found.weigh(found.measure(each, ARFI.corners)) for each in (0 * moves, moves))
    assert after < drawn or not moves.any()
    if cell == 45 and rounds == 8:
        assert after < drawn / 10
        longer = found.weigh(found.measure(place_edges(found, 1.0, 40), ARFI.corners))
        assert longer < 1.5 * after, "a damping of 1 overshoots, and is taken back"


def test_the_settings_of_arfi45_suit_vector_light() -> None:
    """With a share of 0.6 at first, rounds overshoot, gain little and end: over 40 nm2 is left."""
    opc, found = VECTOR.opc, placement(dense(4), VECTOR)
    assert opc is not None
    moves = place_edges(found, opc.damping, opc.iterations)
    boundary = found.view.boundary
    length = (boundary.high - boundary.low)[found.view.free].sum()
    assert found.weigh(found.measure(moves, VECTOR.corners)) / length < 25


def test_a_round_that_only_makes_worse_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    found = placement(dense(2), ARFI)
    measure, calls = Placement.measure, []

    def fail_after_drawn(self: Placement, *asked: object) -> object:
        calls.append(1)
        errors = measure(self, *asked)  # type: ignore[arg-type]
        return errors if len(calls) == 1 else 3 * np.sign(errors) + 10 * errors

    monkeypatch.setattr(Placement, "measure", fail_after_drawn)
    assert not place_edges(found, 0.5, 8).any()
    assert len(calls) < 8, "it ends before its rounds do"


def test_steps_that_overshoot_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    found = placement(dense(4), ARFI)
    drawn = found.weigh(found.measure(np.zeros(len(found.view.boundary)), ARFI.corners))
    monkeypatch.setattr(feedback, "_answer", lambda shares, *_: np.full_like(shares, 2.5))
    after = found.weigh(found.measure(place_edges(found, 0.6, 12), ARFI.corners))
    assert after < drawn / 5


def test_edges_are_placed_for_the_whole_window_not_for_nominal() -> None:
    target = dense(3)
    weak = replace(ARFI, corners=(ARFI.corners[0], replace(ARFI.corners[2], dose=0.92)))
    alone = replace(ARFI, corners=ARFI.corners[:1])
    found = placement(target, weak)
    window, nominal = (
        found.weigh(found.measure(place_edges(placement(target, each), 0.6, 8), weak.corners))
        for each in (weak, alone)
    )
    assert window < 0.8 * nominal
