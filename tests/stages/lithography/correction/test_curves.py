"""Curved masks print better than drawn ones, keep the rules, and do not depend on windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import klayout.db as kdb
import numpy as np
import pytest
import shapely
import torch
from shapely import Polygon

from benchmarks.lithography.iccad13_masks import build_region
from stages.contracts import Box, Floats, Int64s
from stages.errors import ConfigError
from stages.geometry.union import merge
from stages.lithography.correction.curves import (
    correct_field_by_curves,
    correct_whole_by_curves,
    find_curved_corrections,
    find_curved_mask,
)
from stages.lithography.correction.level_set import Canvas
from stages.lithography.correction.outlines import (
    clip_rects,
    cut_into_signed_rects,
    cut_to_box,
    make_outline_rules,
    trace_outlines,
)
from stages.lithography.correction.window_cost import WindowCost, make_cost
from stages.lithography.optics.drawing import draw
from stages.lithography.optics.fields import Lattice, compute_slab_dbu, make_disjoint, make_lattice
from stages.lithography.optics.imaging import compute_spectrum
from stages.lithography.optics.kernels import make_field
from stages.lithography.process import Curves, Opc, Process, load_process
from tests.support.optical import runs_of, tracks

OPC = Opc(
    iterations=4, damping=0.6, fragment_nm=180, corner_nm=90, max_move_nm=60, min_mask_width_nm=70,
    min_mask_space_nm=70, curves=Curves(rounds=12),
)  # fmt: skip
KRF = replace(load_process("krf130"), opc=OPC, energy=0.9)
"""With few kernels: these tests are of the correction, not of the light."""
RULES = make_outline_rules(KRF, OPC, 1.0)
WINDOW = Lattice(39, 2000, 1500, 5000)
"""A small field, as clips have."""


def with_rounds(rounds: int) -> Process:
    return replace(KRF, opc=replace(OPC, curves=Curves(rounds=rounds)))


def sparse(seed: int, rows: int = 12) -> Int64s:
    """Wires of 160 nm with room between them."""
    drawn = tracks(seed, rows, rows, longest=12, gap=2, ties=0.3)
    rects: Int64s = merge(runs_of(drawn) * 160)
    return rects


def clip(seed: int) -> Int64s:
    return sparse(seed) + 1500


def cost_of(target: Int64s) -> WindowCost:
    field = make_field(KRF, 5000.0)
    return make_cost(Canvas(field, 5000, target, 292, 4 * field.pixels), KRF, 0.5)


def measure(target: Int64s, mask: Int64s) -> float:
    return cost_of(target).measure(
        draw(mask / np.array([5000, 5000, 5000, 5000, 1]), make_field(KRF, 5000.0))
    )


def assert_rules(polygons: Sequence[Polygon], box: kdb.Box) -> None:
    """No two sides face each other, within 60 degrees, at less than the least width or space.

    Where an outline turns round, as at the end of a line, sides further from parallel are nearer.
    """
    mask = build_region(polygons)
    facing = {"metrics": kdb.Metrics.Projection, "ignore_angle": 60}
    for found in (mask.width_check(70, **facing), mask.space_check(70, **facing)):
        assert [str(pair) for pair in found.each() if pair.bbox().inside(box)] == []
    whole = [polygon for polygon in mask.each() if polygon.bbox().inside(box)]
    assert all(polygon.area() >= 2 * 70**2 for polygon in whole)


@pytest.mark.parametrize("seed", range(2))
def test_a_curved_mask_prints_better_within_the_rules(seed: int) -> None:
    target = clip(seed)
    mask = correct_field_by_curves(target, WINDOW, 1.0, KRF)
    drawn = np.insert(target, 4, 1, axis=1)
    assert measure(target, mask) < 0.5 * measure(target, drawn)
    steps = make_disjoint(mask)
    assert len(steps) > 20 * len(target), "outlines are curved"


@pytest.mark.parametrize("rounds", [1, 2])
def test_too_few_rounds_leave_no_mask_worse_than_drawn(rounds: int) -> None:
    target = clip(2)
    mask = correct_field_by_curves(target, WINDOW, 1.0, with_rounds(rounds))
    drawn = np.insert(target, 4, 1, axis=1)
    assert measure(target, mask) <= measure(target, drawn)


def test_a_mask_that_costs_more_is_the_drawn_one(monkeypatch: pytest.MonkeyPatch) -> None:
    target = clip(2)
    module = "stages.lithography.correction.curves.find_levels"
    monkeypatch.setattr(module, lambda canvas, *_: np.full((canvas.nodes,) * 2, -1.0))
    mask = correct_field_by_curves(target, WINDOW, 1.0, KRF)
    np.testing.assert_array_equal(mask, np.insert(target, 4, 1, axis=1))


def noise(seed: int, smooth: int) -> tuple[Floats, Floats, Floats]:
    """A random function, rough at some multiple of a node's step of 22 dbu."""
    rng, n = np.random.default_rng(seed), 90
    order = np.fft.fftfreq(n)
    passed = np.exp(-2 * (np.pi * smooth * order) ** 2)
    levels = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * np.outer(passed, passed)).real
    at = np.arange(n, dtype=np.float64) * 22.0
    return at, at, levels


@pytest.mark.parametrize(("smooth", "seed"), [(1, 0), (2, 0), (2, 1), (4, 0), (4, 1)])
def test_outlines_of_anything_keep_the_rules(smooth: int, seed: int) -> None:
    x, y, levels = noise(seed, smooth)
    polygons = cut_to_box(trace_outlines(x, y, levels, RULES), Box(0, 0, 1958, 1958))
    assert sum(len(polygon.interiors) for polygon in polygons) or smooth > 1
    # Those that leave the picture are cut by its border.
    assert_rules(polygons, kdb.Box(100, 100, 1858, 1858))


def test_polygons_are_near_the_outline_where_no_rule_changes_it() -> None:
    at = np.arange(120, dtype=np.float64) * 22.0
    away = np.hypot(at - 1300, at[:, None] - 1250)
    (circle,) = trace_outlines(at, at, 700 - away, RULES)
    far = np.abs(np.hypot(*(shapely.get_coordinates(circle) - [1300, 1250]).T) - 700)
    assert far.max() < RULES.tolerance
    assert shapely.hausdorff_distance(circle, shapely.Point(1300, 1250).buffer(700, 64)) < 4


def test_islands_and_holes_under_the_least_area_are_dropped() -> None:
    at = np.arange(120, dtype=np.float64) * 22.0
    x, y = np.meshgrid(at, at)

    def disc(x_0: float, y_0: float, radius: float) -> Floats:
        away: Floats = np.hypot(x - x_0, y - y_0)
        return radius - away

    metal = np.maximum(disc(700, 700, 500), np.maximum(disc(1700, 700, 60), disc(1700, 1700, 50)))
    holes = np.maximum(disc(500, 700, 60), disc(900, 700, 50))
    shapes = trace_outlines(at, at, np.minimum(metal, -holes), RULES)
    shapes.sort(key=lambda shape: -shape.area)
    assert [len(shape.interiors) for shape in shapes] == [1, 0]
    assert [round(shape.centroid.x, -2) for shape in shapes] == [700, 1700]


def test_rectangles_image_as_their_polygons() -> None:
    ring = (
        shapely.Point(2500, 2400).buffer(600, 24).difference(shapely.Point(2550, 2380).buffer(300))
    )
    polygons = cut_to_box([ring], Box(0, 0, 5000, 5000))
    field = make_field(KRF, 5000.0)
    rects = torch.from_numpy(
        cut_into_signed_rects(polygons, compute_slab_dbu(KRF, 1.0))[None] * 1.0
    )
    spectrum = compute_spectrum(rects, field)[0].numpy()
    order = np.arange(-field.band, field.band + 1) / 5000
    expected = np.zeros((len(order), len(order)), complex)
    for each, sign in ((polygons[0].exterior, 1), (polygons[0].interiors[0], -1)):
        expected += sign * transform(np.array(each.coords), *np.meshgrid(order, order))
    assert np.abs(spectrum - expected / 5000**2).max() < 2e-5


def transform(ring: Floats, fx: Floats, fy: Floats) -> Floats:
    """The Fourier integral of a polygon, by the divergence theorem, side by side."""
    area = shapely.Polygon(ring).area
    squared = np.where((fx == 0) & (fy == 0), 1, fx**2 + fy**2)
    total = np.zeros(fx.shape, complex)
    for (x_0, y_0), (x_1, y_1) in pairwise(ring.tolist()):
        along = fx * (x_1 - x_0) + fy * (y_1 - y_0)
        middle = np.exp(-1j * np.pi * (fx * (x_0 + x_1) + fy * (y_0 + y_1)))
        across = fx * (y_1 - y_0) - fy * (x_1 - x_0)
        total += across * np.sinc(along) * middle
    total *= 1j / (2 * np.pi * squared)
    total = total if shapely.LinearRing(ring).is_ccw else -total
    out: Floats = np.where((fx == 0) & (fy == 0), area, total)
    return out


def test_windows_that_tile_an_area_have_its_mask() -> None:
    few = with_rounds(4)
    core = make_lattice(KRF, 1.0).core_dbu
    target = sparse(4) + np.array([core - 900, 2000] * 2)  # cores of two fields meet in it
    window = Box(core - 1200, 1500, core + 1400, 4200)

    def corrections(part: Box, rects: Int64s) -> Int64s:
        cores = find_curved_mask(rects, part, 1.0, few)
        return find_curved_corrections(cores, rects, part, 1.0, few)

    whole = np.concatenate([np.insert(target, 4, 1, axis=1), corrections(window, target)])
    parts = (replace(window, x_max=core + 77), replace(window, x_min=core + 77))
    apart = [corrections(part, target[::-1]) for part in parts]
    every = np.concatenate([np.insert(target, 4, 1, axis=1), *apart])
    np.testing.assert_array_equal(make_disjoint(every), make_disjoint(whole))
    assert len(make_disjoint(whole)) > 20 * len(target)


def test_outlines_go_on_from_core_to_core() -> None:
    core = 8580  # of fields of 512 nodes of 22 dbu
    few = with_rounds(4)
    target = sparse(4) + np.array([core - 900, 2000] * 2)
    window = Box(core - 1200, 1500, core + 1400, 4200)
    found = find_curved_mask(target, window, 1.0, few)
    assert [box.x_min for box, _ in found] == [0, core]
    every = [polygon for _, polygons in found for polygon in polygons]
    left, right = (
        shapely.union_all(polygons).intersection(shapely.LineString([(core, 0), (core, 9000)]))
        for _, polygons in found
    )
    assert left.length > 300
    assert left.symmetric_difference(right).length < 6 * len(shapely.get_parts(left))
    assert_rules(every, kdb.Box(*window.grow(-100).as_tuple()))


def test_a_core_without_shapes_has_none() -> None:
    target = np.array([[0, 0, 500, 160]])
    far = Box(61_000, 61_000, 61_100, 61_100)
    cores = find_curved_mask(target, far, 1.0, KRF)
    assert [polygons for _, polygons in cores] == [[]]
    assert not len(find_curved_corrections(cores, target, far, 1.0, KRF))


def test_rectangles_are_cut_to_a_box() -> None:
    rects = np.array([[0, 0, 10, 10, 1], [20, 0, 30, 10, -1]])
    assert clip_rects(rects, Box(5, 2, 20, 20)).tolist() == [[5, 2, 10, 10, 1]]


def test_a_process_without_opc_has_no_curved_mask() -> None:
    with pytest.raises(ConfigError, match="krf130 has no table opc"):
        correct_whole_by_curves(clip(0), 1.0, replace(KRF, opc=None))
