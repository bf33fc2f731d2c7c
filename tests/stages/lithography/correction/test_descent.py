"""Derivatives are those of the cost; no number of rounds, and no step, ends with a worse mask."""

from __future__ import annotations

from dataclasses import replace

import klayout.db as kdb
import numpy as np
import pytest

from stages.contracts import Box, Int64s
from stages.lithography.correction.descent import descend, round_moves
from stages.lithography.correction.fragments import cut_boundary
from stages.lithography.correction.model_bars import make_bar_rules, place_model_bars
from stages.lithography.correction.opc import correct_whole, find_corrections, make_rules
from stages.lithography.correction.views import View, add_bars, make_whole_view
from stages.lithography.correction.window_cost import WindowCost, make_cost
from stages.lithography.optics.fields import make_disjoint, make_lattice
from stages.lithography.optics.kernels import make_field
from stages.lithography.process import Opc, load_process
from tests.support.optical import runs_of, tracks

OPC = Opc(
    iterations=4, damping=0.6, fragment_nm=180, corner_nm=90, max_move_nm=60, min_mask_width_nm=70,
    min_mask_space_nm=70, bar_nm=90, descent=8,
)  # fmt: skip
KRF = replace(load_process("krf130"), opc=OPC, energy=0.9)
"""With few kernels: these tests are of the correction, not of the light."""
RULES = make_rules(KRF, 1.0)
FIELD = make_field(KRF)
SIDE = round(FIELD.side_nm)


def sparse(seed: int, rows: int = 18) -> Int64s:
    """Wires of 160 nm with room between them, in the middle of a field."""
    drawn = tracks(seed, rows, rows, longest=12, gap=2, ties=0.3)
    rects: Int64s = runs_of(drawn) * 160 + 4000
    return rects


def viewed(seed: int) -> tuple[View, WindowCost]:
    target = sparse(seed)
    view = make_whole_view(target, cut_boundary(target, RULES), SIDE, FIELD)
    return view, make_cost(view, KRF, 0.5)


def test_the_gradient_is_that_of_finite_differences() -> None:
    view, cost = viewed(0)
    assert len(view.boundary.turn) > 20, "corners, whose patches two moves share"
    rng = np.random.default_rng(0)
    moves = view.limit(rng.normal(0, 15, len(view.boundary)))
    _, by_pixel = cost.differentiate(view.draw_mask(moves))
    gradient = view.project_gradient(by_pixel, moves)
    for direction in rng.normal(size=(3, len(moves))):
        ahead, behind = (cost.measure(view.draw_mask(moves + s * direction)) for s in (0.5, -0.5))
        assert ahead - behind == pytest.approx(gradient @ direction, rel=0.02)


@pytest.mark.parametrize(("rounds", "step"), [(0, 5.0), (1, 5.0), (8, 5.0), (8, 500.0), (5, 1e-9)])
def test_no_rounds_and_no_step_cost_more_than_what_is_given(rounds: int, step: float) -> None:
    view, cost = viewed(1)
    given = np.rint(view.limit(np.full(len(view.boundary), 7.0))).astype(np.int64)
    before = cost.measure(view.draw_mask(given))
    moved = descend(view, cost, given, rounds, step)
    kept = round_moves(view, cost, given, moved)
    assert cost.measure(view.draw_mask(moved)) <= before
    assert cost.measure(view.draw_mask(kept)) <= before
    assert (kept >= -view.boundary.inward).all()
    assert (kept <= view.boundary.outward).all()
    if (rounds, step) == (8, 5.0):
        assert cost.measure(view.draw_mask(kept)) < 0.7 * before


def test_moves_that_cost_more_once_rounded_are_not_used() -> None:
    view, cost = viewed(1)
    given = np.zeros(len(view.boundary), np.int64)
    worse = view.limit(np.full(len(given), -50.0))
    assert cost.measure(view.draw_mask(worse)) > cost.measure(view.draw_mask(given))
    assert round_moves(view, cost, given, worse) is given


def test_bars_pay_and_keep_the_rules_of_the_mask() -> None:
    view, cost = viewed(2)
    moves = descend(view, cost, np.zeros(len(view.boundary)), 6, 7.0)
    rules, wide = make_bar_rules(RULES, 90), 90
    bars = place_model_bars(view, cost, moves, wide, rules, 250.0)
    assert len(bars) > 3
    assert ((bars[:, 2:] - bars[:, :2]).min(axis=1) == wide).all()
    barred = add_bars(view, bars, cut_boundary(bars, rules))
    start = np.concatenate([moves, np.zeros(len(barred.boundary) - len(moves))])
    assert cost.measure(barred.draw_mask(descend(barred, cost, start, 10, 7.0))) < cost.measure(
        view.draw_mask(descend(view, cost, moves, 10, 7.0))
    )


def region(rects: Int64s) -> kdb.Region:
    drawn = kdb.Region()
    for rect in rects[:, :4].tolist():
        drawn.insert(kdb.Box(*rect))
    return drawn.merged()


def test_a_whole_layout_is_corrected_with_bars_within_the_rules() -> None:
    target = sparse(3)
    mask = make_disjoint(correct_whole(target, 1.0, KRF))
    shown = region(mask)
    assert shown.count() > region(target).count(), "bars"
    assert shown.width_check(RULES.width).is_empty()
    assert shown.space_check(RULES.space).is_empty()


def test_windows_that_tile_an_area_have_its_bars() -> None:
    core = make_lattice(KRF, 1.0).core_dbu
    few = replace(KRF, opc=replace(OPC, iterations=1, descent=2))
    target = sparse(4) + np.array([core - 5000, 1000] * 2)  # two fields meet in it
    window = Box(core - 2000, 5000, core + 2000, 8000)
    whole = find_corrections(target, window, 1.0, few)
    x = core + 333
    left, right = replace(window, x_max=x), replace(window, x_min=x)
    apart = np.concatenate([find_corrections(target, part, 1.0, few) for part in (left, right)])
    assert sorted(apart.tolist()) == sorted(whole.tolist())
    mask = region(make_disjoint(np.concatenate([np.insert(target, 4, 1, axis=1), whole])))
    assert mask.count() > region(target).count(), "bars"
    inside = kdb.Box(*window.grow(-500).as_tuple())
    for found in (mask.width_check(RULES.width), mask.space_check(RULES.space)):
        assert not any(pair.bbox().inside(inside) for pair in found.each())
