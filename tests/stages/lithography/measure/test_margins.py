"""Margins against what fails under other limits, and whatever the window."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import Box, Float32s, Int64s
from stages.geometry.union import merge
from stages.lithography.measure.defects import check_window
from stages.lithography.measure.margins import (
    LEAST,
    CellMargins,
    merge_cells,
    name_kinds,
    round_margins,
    split_by_margin,
    take_clip_margins,
)
from stages.lithography.measure.sections import KINDS
from tests.support.optical import KRF

WINDOW = Box(-1280, -1280, 1280, 1280)
LOOSER = 1.4
CELL = 640


@pytest.fixture(scope="module")
def scene() -> Int64s:
    """Lines of several widths and spaces, a neck, a line end: much passes, a little fails."""
    rects, x = [], -1500
    for width, space in ((140, 150), (134, 180), (160, 140), (132, 300), (200, 150)):
        rects.append((x, -9000, x + width, 9000))
        x += width + space
    rects += [(x, -9000, x + 140, -300), (x, -300, x + 118, 300), (x, 300, x + 140, 9000)]
    rects.append((x + 400, -9000, x + 540, 100))
    return merge(np.array(rects))


def find(scene: Int64s, window: Box = WINDOW, cell: int = CELL) -> CellMargins:
    return check_window(scene, window, 1.0, KRF, cell).margins


def test_a_margin_is_that_of_the_worst_sample_under_looser_or_tighter_limits(scene: Int64s) -> None:
    """With tighter limits the samples that pass fail, and their severity says how far they are."""
    limits = KRF.limits
    tighter = replace(KRF, limits=replace(
        limits, pinch_share=min(limits.pinch_share * LOOSER, 0.99),
        space_share=min(limits.space_share * LOOSER, 0.99), epe_nm=limits.epe_nm / LOOSER,
        line_end_epe_nm=limits.line_end_epe_nm / LOOSER,
    ))  # fmt: skip
    found = find(scene, cell=2560)
    stricter = check_window(scene, WINDOW, 1.0, tighter, 2560)
    corner = (found.x_dbu == -2560) & (found.y_dbu == -2560)
    margin = found.margin[corner][0]
    there = [d for d in stricter.defects if d.x_dbu < 0 and d.y_dbu < 0]
    passing = 0
    for kind, ratio in (
        ("pinch", tighter.limits.pinch_share / limits.pinch_share),
        ("space", tighter.limits.space_share / limits.space_share),
        ("epe", LOOSER), ("line_end", LOOSER),
    ):  # fmt: skip
        severity = max((d.severity for d in there if d.kind == kind), default=None)
        if severity is None or severity == 1:
            continue
        extent = kind in ("pinch", "space")
        expected = 1 - (1 - severity) * ratio if extent else (1 + severity) / ratio - 1
        assert margin[KINDS.index(kind)] == pytest.approx(expected, abs=2e-4), kind
        passing += expected < 0
    assert passing > 0


def test_what_fails_is_over_0_and_as_severe_as_the_defects_say(scene: Int64s) -> None:
    checked = check_window(scene, WINDOW, 1.0, KRF, CELL)
    worst = checked.margins.margin.max(axis=1)
    assert 0 < (worst > 0).sum() < len(worst)
    assert len(checked.defects) > 0
    for defect in checked.defects:
        at = (checked.margins.x_dbu == defect.x_dbu // CELL * CELL) & (
            checked.margins.y_dbu == defect.y_dbu // CELL * CELL
        )
        kind = KINDS.index(defect.kind)
        assert checked.margins.margin[at, kind].item() > 0
        if defect.severity < 1:
            assert checked.margins.margin[at, kind].item() >= defect.severity - 1e-4


def test_margins_do_not_depend_on_the_window(scene: Int64s) -> None:
    whole = find(scene)
    cuts = (-1280, -333, 100, 1280)
    parts = [
        find(scene, Box(x_0, y_0, x_1, y_1))
        for x_0, x_1 in itertools.pairwise(cuts)
        for y_0, y_1 in itertools.pairwise(cuts)
    ]
    merged = merge_cells(parts)
    for name in ("x_dbu", "y_dbu", "margin"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))


@pytest.mark.parametrize(("core", "side"), [(1280, 640), (640, 640), (30, 10)])
def test_a_clip_has_the_worst_of_its_cells(core: int, side: int) -> None:
    rng = np.random.default_rng(0)
    at = np.unique(rng.integers(-9, 9, (60, 2)), axis=0) * side
    margin = rng.uniform(-1, 1, (len(at), len(KINDS))).astype(np.float32)
    cells = merge_cells([CellMargins(*at[i::3].T, margin[i::3]) for i in range(3)])
    x, y = (rng.integers(-12, 12, (2, 40))) * side + core // 2
    got = take_clip_margins(cells, side, x, y, core)
    for row, cx, cy in zip(got, x, y, strict=True):
        low = np.array([cx, cy]) - core // 2
        inside = ((at >= low) & (at < low + core)).all(axis=1)
        expected = margin[inside].max(axis=0) if inside.any() else np.full(len(KINDS), LEAST)
        np.testing.assert_array_equal(row, expected.astype(np.float32))
    assert (got > LEAST).any()


def test_no_cell_gives_no_margin() -> None:
    none = merge_cells([])
    assert (take_clip_margins(none, 640, np.array([0]), np.array([0]), 1280) == LEAST).all()


def test_rounding_never_crosses_the_limit() -> None:
    margin = np.array([1e-7, -1e-7, 0.12345, -0.99999, 0.0], np.float32)
    assert round_margins(margin).tolist() == pytest.approx([1e-4, 0, 0.1234, -1, 0], abs=5e-5)
    assert (round_margins(margin) > 0).tolist() == (margin > 0).tolist()


def test_a_clip_within_the_noise_is_marginal_either_way() -> None:
    fails, passes = split_by_margin(np.array([0.031, 0.03, 0, -0.03, -0.031], np.float32))
    assert fails.tolist() == [True, False, False, False, False]
    assert passes.tolist() == [False, False, False, False, True]


def named(**margins: float) -> str:
    row: Float32s = np.array([[margins.get(kind, LEAST) for kind in KINDS]], np.float32)
    return KINDS[name_kinds(row)[0]]


def test_what_is_gone_is_worse_than_what_is_narrow_but_only_where_it_fails() -> None:
    assert named(open=0.02, pinch=1.0) == "open"
    assert named(open=-0.01, pinch=0.3) == "pinch"
    assert named(bridge=0.2, extra=0.4, space=1.0) == "extra"
    assert named(epe=-0.2, line_end=-0.3) == "epe"
    fewer = np.array([[0.9, 0.1]], np.float32)  # of a model from when there were other kinds
    assert name_kinds(fewer, ("pinch", "open")).tolist() == [1]
    assert name_kinds(fewer, ("pinch", "space")).tolist() == [0]
