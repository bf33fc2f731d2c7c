"""The mask of moved fragments is that of moved polygons, keeps its rules, and prints better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import klayout.db as kdb
import numpy as np
import numpy.typing as npt
import pytest
import shapely

from stages.contracts import Box, Int64s
from stages.errors import ConfigError
from stages.geometry.union import find_edges, merge, swap_xy
from stages.lithography.correction.fragments import Boundary, cut_boundary
from stages.lithography.correction.opc import (
    correct,
    find_corrections,
    make_rules,
)
from stages.lithography.correction.placement import measure_displacements, measure_edge_errors
from stages.lithography.correction.scatter_bars import place_scatter_bars
from stages.lithography.measure.defects import find_defects
from stages.lithography.optics.fields import compute_halo_nm, make_disjoint, make_lattice
from stages.lithography.process import Opc, load_process
from tests.support.optical import metal_of, runs_of, tracks

OPC = Opc(
    iterations=8, damping=0.5, fragment_nm=120, corner_nm=100, max_move_nm=80,
    min_mask_width_nm=60, min_mask_space_nm=60,
)  # fmt: skip
KRF = replace(load_process("krf130"), opc=OPC)
QUICK = replace(KRF, opc=replace(OPC, iterations=2))
RULES = make_rules(KRF, 1.0)
CORE = make_lattice(KRF, 1.0).core_dbu
REACH = round(compute_halo_nm(KRF)) + 1


def without_touching(full: npt.NDArray[np.bool_]) -> None:
    """Fill cells until none touch by a corner alone."""
    a, b, c, d = full[:-1, :-1], full[:-1, 1:], full[1:, :-1], full[1:, 1:]
    while (cross := (a == d) & (b == c) & (a != b)).any():
        a |= cross
        b |= cross


def shapes(
    seed: int, cells: int = 30, cell: int = 140, step: int = 0, touching: bool = True
) -> Int64s:
    """Random cells of a lattice, filled, some side by side, some `touching` by a corner.

    With `step`, rows are moved by a random multiple of it, up to four: edges have jogs.
    """
    rng = np.random.default_rng(seed)
    full = rng.random((cells, cells)) < 0.4
    if not touching:
        without_touching(full)
    y, x = np.nonzero(full)
    off = rng.integers(0, 5, cells)[y] * step
    x, y = x * cell + off, y * cell
    return merge(np.stack([x, y, x + cell, y + cell], axis=1))


def wires(seed: int, box: Box, step: int = 140) -> Int64s:
    """Random wires on tracks and ties between them, of least width and space: disjoint."""
    drawn = tracks(seed, box.height // step, box.width // step, longest=30, gap=2, ties=1)
    without_touching(drawn)
    return runs_of(drawn) * step + np.array([box.x_min, box.y_min] * 2)


def seen(rects: Int64s, box: Box) -> Int64s:
    inside = (rects[:, 0] < box.x_max) & (rects[:, 2] > box.x_min)
    return rects[inside & (rects[:, 1] < box.y_max) & (rects[:, 3] > box.y_min)]


def signed(target: Int64s, changes: Int64s) -> Int64s:
    return np.concatenate([np.insert(target, 4, 1, axis=1), changes])


def winding(rects: Int64s) -> Int64s:
    """Sum signed rectangles on every cell of the grid that their sides make, (rows, columns)."""
    x, y = np.unique(rects[:, [0, 2]]), np.unique(rects[:, [1, 3]])
    steps = np.zeros((len(y), len(x)), np.int64)
    left, low, right, high = (
        np.searchsorted(axis, rects[:, i]) for i, axis in enumerate((x, y, x, y))
    )
    for row, column, sign in ((low, left, 1), (low, right, -1), (high, left, -1), (high, right, 1)):
        np.add.at(steps, (row, column), sign * rects[:, 4])
    return steps.cumsum(axis=0).cumsum(axis=1)


def rows(rects: Int64s) -> list[list[int]]:
    return sorted(rects.tolist())


def polygon_of(rects: Int64s) -> shapely.Geometry:
    return shapely.union_all(shapely.box(*rects[:, :4].T))


def moved_polygons(target: Int64s, boundary: Boundary, moves: Int64s) -> shapely.Geometry:
    """Move the fragments of traced polygons: each corner goes where its two lines then meet."""
    pieces: dict[tuple[bool, int, int], list[tuple[int, int, int]]] = {}
    for i in range(len(boundary)):
        lies, at, side = bool(boundary.horizontal[i]), int(boundary.at[i]), int(boundary.side[i])
        span = int(boundary.low[i]), int(boundary.high[i]), at - side * int(moves[i])
        pieces.setdefault((lies, at, side), []).append(span)

    def ring_of(ring: shapely.LinearRing, anticlockwise: bool) -> list[tuple[float, float]]:
        points = np.array(shapely.orient_polygons(shapely.Polygon(ring)).exterior.coords, int)
        points = points if anticlockwise else points[::-1]
        lines: list[tuple[bool, int, int, int]] = []  # horizontal, where now, from, to
        for (x_0, y_0), (x_1, y_1) in zip(points[:-1].tolist(), points[1:].tolist(), strict=True):
            lies = y_0 == y_1
            at, begin, end = (y_0, x_0, x_1) if lies else (x_0, y_0, y_1)
            # The interior is to the left.
            side = (1 if end > begin else -1) * (1 if lies else -1)
            low, high = min(begin, end), max(begin, end)
            cuts = sorted(s for s in pieces.get((lies, at, side), []) if low <= s[0] < high)
            spans = [(lies, now, a, b) for a, b, now in cuts] or [(lies, at, low, high)]
            if end < begin:
                spans = [(lies, now, b, a) for lies, now, a, b in reversed(spans)]
            lines += spans
        corners: list[tuple[float, float]] = []
        for before, after in zip([lines[-1], *lines[:-1]], lines, strict=True):
            if before[0] != after[0]:
                corners.append((before[1], after[1]) if after[0] else (after[1], before[1]))
            else:
                cut = after[2]
                turns = [(cut, before[1]), (cut, after[1])]
                corners += turns if after[0] else [(y, x) for x, y in turns]
        return corners

    # Shapes that touch at a corner stay apart, as do two holes.
    parts = shapely.get_parts(polygon_of(target))
    return shapely.union_all(
        [
            shapely.Polygon(
                ring_of(part.exterior, True), [ring_of(hole, False) for hole in part.interiors]
            )
            for part in parts
        ]
    )


@pytest.mark.parametrize("step", [0, 15])
@pytest.mark.parametrize("seed", range(4))
def test_the_mask_is_that_of_moved_polygons(seed: int, step: int) -> None:
    target = shapes(seed, cells=14, step=step)
    boundary = cut_boundary(target, RULES._replace(move=20))
    rng = np.random.default_rng(seed)
    moves = rng.integers(-boundary.inward, boundary.outward, endpoint=True)
    assert len(np.unique(moves)) > 20
    mask = signed(target, boundary.make_rects(moves))
    assert set(np.unique(winding(mask))) == {0, 1}
    expected = moved_polygons(target, boundary, moves)
    assert polygon_of(make_disjoint(mask)).symmetric_difference(expected).area == 0


def region(rects: Int64s) -> kdb.Region:
    drawn = kdb.Region()
    for rect in rects[:, :4].tolist():
        drawn.insert(kdb.Box(*rect))
    return drawn.merged()


@pytest.mark.parametrize(("cell", "step"), [(140, 0), (140, 15), (100, 0), (60, 0), (430, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_the_furthest_moves_keep_the_rules_of_the_mask(seed: int, cell: int, step: int) -> None:
    target = shapes(seed, cell=cell, step=step, touching=False)
    boundary = cut_boundary(target, RULES)
    rng = np.random.default_rng(seed)
    # Of each fragment one of its limits, or none: the roughest mask there is.
    limits = np.stack([-boundary.inward, boundary.outward, np.zeros_like(boundary.at)])
    measured = np.stack([boundary.horizontal, boundary.at, boundary.side, boundary.control])
    _, alike = np.unique(measured, axis=1, return_inverse=True)  # the halves of a line end
    moves = limits[rng.integers(0, 3, len(boundary))[alike], np.arange(len(boundary))]
    mask = make_disjoint(signed(target, boundary.make_rects(moves)))
    assert np.count_nonzero(moves) > 50
    for shown in (region(target), region(mask)):
        assert shown.width_check(RULES.width).is_empty()
        assert shown.space_check(RULES.space).is_empty()


def test_fragments_cover_what_is_no_jog_and_halves_are_measured_in_the_middle() -> None:
    target = shapes(1, cell=430, step=20, touching=False)
    boundary = cut_boundary(target, RULES)
    assert not (boundary.inward < 0).any()
    assert not (boundary.outward < 0).any()
    assert max(boundary.inward.max(), boundary.outward.max()) == RULES.move
    assert (boundary.high - boundary.low).min() >= RULES.fragment // 2
    for lies, drawn in ((False, find_edges(target)), (True, find_edges(swap_xy(target)))):
        long = drawn[:, 2] - drawn[:, 1] >= RULES.corner
        same = drawn[:, 4] == drawn[:, 5]
        length = (drawn[:, 2] - drawn[:, 1])[long | same].sum()
        of_these = boundary.horizontal == lies
        assert (boundary.high - boundary.low)[of_these].sum() == length


def test_a_slanted_edge_in_fine_steps_stays() -> None:
    steps = np.arange(0, 2000, 5)
    stairs = np.stack([0 * steps, steps, 3000 - steps, steps + 5], axis=1)
    boundary = cut_boundary(merge(stairs), RULES)
    x, y = boundary.locate(boundary.control)
    assert len(boundary) > 0
    assert not ((x > 1010) & (x < 2990) & (y > 10) & (y < 1990)).any()


SQUARE = Box(CORE - 3000, CORE - 2000, CORE + 2500, CORE + 3000)  # four fields meet in it
WIRES = wires(3, SQUARE.grow(REACH + 300))


def test_windows_that_tile_an_area_have_its_corrections() -> None:
    whole = find_corrections(seen(WIRES, SQUARE.grow(REACH)), SQUARE, 1.0, QUICK)
    assert len(whole) > 1000
    x, y = SQUARE.x_min + 1234, CORE
    parts = [
        Box(SQUARE.x_min, SQUARE.y_min, x, y), Box(x, SQUARE.y_min, SQUARE.x_max, y),
        Box(SQUARE.x_min, y, x, SQUARE.y_max), Box(x, y, SQUARE.x_max, SQUARE.y_max),
    ]  # fmt: skip
    apart = [find_corrections(seen(WIRES, part.grow(REACH)), part, 1.0, QUICK) for part in parts]
    assert rows(np.concatenate(apart)) == rows(whole)


def test_order_and_cutting_of_the_rectangles_do_not_matter() -> None:
    window = Box(CORE - 900, CORE - 900, CORE, CORE)
    whole = find_corrections(WIRES, window, 1.0, QUICK)
    middle = (WIRES[:, 0] + WIRES[:, 2]) // 2
    left, right = WIRES.copy(), WIRES.copy()
    left[:, 2] = right[:, 0] = middle
    cut = np.random.default_rng(0).permutation(np.concatenate([right, left]))
    assert len(whole) > 50
    assert rows(find_corrections(cut, window, 1.0, QUICK)) == rows(whole)


def test_a_shift_by_whole_fields_shifts_the_corrections() -> None:
    core = make_lattice(KRF, 1.0, corrected=True).core_dbu
    fields = RULES.fragment // np.gcd(RULES.fragment, core)  # and by whole fragments
    dx, dy = int(fields) * core, -2 * int(fields) * core
    window = Box(CORE - 900, CORE - 900, CORE, CORE)
    moved = Box(window.x_min + dx, window.y_min + dy, window.x_max + dx, window.y_max + dy)
    there = find_corrections(WIRES + np.array([dx, dy, dx, dy]), moved, 1.0, QUICK)
    assert rows(there - np.array([dx, dy, dx, dy, 0])) == rows(
        find_corrections(WIRES, window, 1.0, QUICK)
    )


def test_an_empty_target_has_an_empty_mask() -> None:
    nothing = np.empty((0, 4), np.int64)
    mask = correct(nothing, SQUARE, 1.0, QUICK)
    assert mask.shape == (0, 5)
    assert make_disjoint(mask).shape == (0, 4)


def test_a_corrected_mask_prints_nearer_to_the_target_and_keeps_the_rules() -> None:
    window = Box(0, 0, 4000, 4000)
    target = wires(5, window.grow(2 * REACH))
    mask = correct(target, window.grow(1500), 1.0, KRF)
    assert set(np.unique(winding(mask))) == {0, 1}
    places, drawn = measure_edge_errors(target, window, 1.0, KRF)
    again, corrected = measure_edge_errors(target, window, 1.0, KRF, mask)
    np.testing.assert_array_equal(places, again)
    for is_end, gain in ((0, 6), (1, 3)):
        chosen = places[:, 2] == is_end
        assert chosen.sum() > 20
        assert np.abs(drawn[chosen]).mean() > gain * np.abs(corrected[chosen]).mean()
    before = find_defects(target, window, 1.0, KRF)
    after = find_defects(target, window, 1.0, KRF, mask)
    assert len(before) > 5 * len(after)
    shown, inside = region(make_disjoint(mask)), kdb.Box(*window.as_tuple())
    for found in (shown.width_check(RULES.width), shown.space_check(RULES.space)):
        assert not any(pair.bbox().inside(inside) for pair in found.each())


def test_the_anchor_has_no_error_and_hardly_needs_correction() -> None:
    window = Box(0, 0, 2000, 2000)
    x = np.arange(-REACH // 350 - 40, REACH // 350 + 80) * 350
    lines = np.stack([x, 0 * x - 2 * REACH, x + 140, 0 * x + 2 * REACH], axis=1)
    places, errors = measure_edge_errors(lines, window, 1.0, KRF)
    assert len(places) > 500
    assert (places[:, 2] == 0).all()
    assert np.abs(errors).max() < 0.5
    # Off nominal, its mean error is about a dbu.
    strips = find_corrections(lines, window, 1.0, QUICK)
    assert (strips[:, 2] - strips[:, 0]).max(initial=0) <= 1


def test_displacements_are_those_of_a_cosine() -> None:
    n, period, scale = 64, 16, 0.05
    k = 2 * np.pi / period
    # The spline through samples of a cosine: its B-splines add (4 + 2 cos k) / 6 of one.
    coef = np.tile(np.cos(k * np.arange(n)) * 6 / (4 + 2 * np.cos(k)), (n, 1)).astype(np.float32)
    level, half = 0.4, np.arccos(0.4) / k  # prints within `half` of each multiple of the period
    levels = np.array([level])
    inner = np.array([16 - 3, 16 - 2, 32 - 4, 48 - 1]) / scale
    x, y = inner.astype(np.int64), np.array([0, 77, 500, 1279])
    left = measure_displacements(coef, x, y, np.ones(4, np.int64), scale, levels, 100.0)[0]
    expected = (inner * scale - (np.array([16, 16, 32, 48]) - half)) / scale
    np.testing.assert_allclose(left, expected, atol=0.05)
    # The same places as right edges see the right flank, further than the reach.
    right = measure_displacements(coef, x, y, -np.ones(4, np.int64), scale, levels, 10.0)[0]
    np.testing.assert_array_equal(right, np.where(expected > 0, 10.0, -10.0))


def test_the_mask_of_a_strip_of_a_chip_keeps_the_rules(
    shared_data: Callable[[str], Path],
) -> None:
    process = load_process("krf130")
    metal, extent = metal_of(shared_data("layouts/tt02_jar_pi.gds"))
    middle = (extent.x_min + extent.x_max) // 2, (extent.y_min + extent.y_max) // 2
    strip = Box(*middle, middle[0] + CORE, middle[1] + CORE // 4)
    target = seen(metal, strip.grow(REACH))
    mask = make_disjoint(correct(target, strip, 1.0, process))
    assert len(mask) > len(target) + 100
    inside = kdb.Box(*strip.grow(-500).as_tuple())
    for found in (region(mask).width_check(90), region(mask).space_check(90)):
        assert [str(pair) for pair in found.each() if pair.bbox().inside(inside)] == []


@pytest.mark.parametrize("space", [700, 400, 300])
def test_scatter_bars_stand_where_there_is_room(space: int) -> None:
    opc = replace(OPC, bar_nm=60, bar_distance_nm=180)
    y = np.arange(4) * (300 + space)
    target = np.stack([0 * y, y, 0 * y + 4000, y + 300], axis=1)
    boundary = cut_boundary(target, RULES)
    bars = place_scatter_bars(boundary, target, RULES, opc, 1.0)
    lines = merge(bars)
    lines = lines[(lines[:, 0] > 0) & (lines[:, 2] < 4000)]
    between = [((lines[:, 1] > a) & (lines[:, 3] < b)).sum() for a, b in pairwise(y)]
    # Both edges ask; the bars need 180 + 60 + 140 from one, and 60 between each other.
    assert between == [2 if space == 700 else 1 if space == 400 else 0] * 3
    clear = RULES.space + RULES.move
    assert polygon_of(lines).distance(polygon_of(target)) >= clear
    assert (lines[:, 3] - lines[:, 1] == 60).all()


@pytest.mark.parametrize("seed", range(3))
def test_scatter_bars_keep_the_rules_of_the_mask_anywhere(seed: int) -> None:
    opc = replace(OPC, bar_nm=60, bar_distance_nm=150)
    target = shapes(seed, cells=12, cell=600)
    bars = place_scatter_bars(cut_boundary(target, RULES), target, RULES, opc, 1.0)
    assert len(bars) > 10
    assert len(merge(bars)) < len(bars), "those of one edge join"
    assert polygon_of(bars).area == ((bars[:, 2] - bars[:, 0]) * (bars[:, 3] - bars[:, 1])).sum()
    assert region(bars).width_check(RULES.width).is_empty()
    assert region(bars).space_check(RULES.space).is_empty()
    assert polygon_of(bars).distance(polygon_of(target)) >= RULES.space + RULES.move


def test_windows_share_out_the_bars() -> None:
    barred = replace(QUICK, opc=replace(QUICK.opc or OPC, bar_nm=60, bar_distance_nm=150))
    target = shapes(0, cells=40, cell=600)
    window = Box(9000, 9000, 13_000, 13_000)
    whole = find_corrections(target, window, 1.0, barred)
    assert len(whole) > len(find_corrections(target, window, 1.0, QUICK))
    halves = [Box(9000, 9000, 11_111, 13_000), Box(11_111, 9000, 13_000, 13_000)]
    apart = [find_corrections(target, half, 1.0, barred) for half in halves]
    assert rows(np.concatenate(apart)) == rows(whole)


WRONG = [
    # what is wrong with the table opc, and what the error must say
    ({"corner_nm": 50.0}, "opc.corner_nm is 50 .* at least 60"),
    ({"fragment_nm": 90.0}, "opc.fragment_nm is 90 .* at least 120"),
    ({"fragment_nm": 300.0}, "opc.fragment_nm is 300 .* make them shorter"),
    ({"bar_nm": 40.0}, "opc.bar_nm is 40, .* at least 60"),
    ({"bar_nm": 60.0, "bar_distance_nm": 100.0}, "opc.bar_distance_nm is 100, .* at least 140"),
]


@pytest.mark.parametrize(("lengths", "said"), WRONG, ids=[said for _, said in WRONG])
def test_lengths_that_contradict_each_other_are_refused(
    lengths: dict[str, float], said: str
) -> None:
    wrong = replace(KRF, opc=replace(OPC, **lengths))
    with pytest.raises(ConfigError, match=said):
        find_corrections(WIRES, SQUARE, 1.0, wrong)


def test_a_process_without_opc_corrects_no_mask() -> None:
    with pytest.raises(ConfigError, match="krf130 has no table opc"):
        find_corrections(WIRES, SQUARE, 1.0, replace(KRF, opc=None))
