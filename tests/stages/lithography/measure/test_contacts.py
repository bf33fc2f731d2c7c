"""Prints of contacts against areas and centres known from formulas and from polygons."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from shapely import Polygon, box, union_all

from stages.contracts import Box, Float32s, Floats, Int64s
from stages.geometry.union import merge
from stages.lithography.measure.contacts import (
    ContactRules,
    _add_triangles,
    find_contact_failures,
    find_shapes,
    measure_prints,
)
from stages.lithography.measure.defects import find_defects
from stages.lithography.measure.sections import AREA, KINDS, OFF_CENTRE, Rules, Worst
from stages.lithography.optics.exposure import fit_spline
from stages.lithography.optics.fields import make_lattice
from stages.lithography.process import Resist, load_process

SIDE, PIXELS = 1000, 64
RULES = Rules(
    core=(0, 0, SIDE, SIDE), scale=2 * PIXELS / SIDE, pitch=16, step=4, straight=48, width=200,
    space=200, line_end=60, pinch_share=0.6, space_share=0.6, epe=16, line_end_epe=35,
)  # fmt: skip
CONTACTS = ContactRules(margin=40.0, area_share=0.6, centre=8.0)
LEVEL = 0.4


def spots(*at: tuple[float, float, float, float]) -> Float32s:
    """Coefficients of an image of Gaussians: x and y of the centre, deviations along x and y."""
    x, y = np.meshgrid(*[np.arange(PIXELS) * SIDE / PIXELS] * 2)
    image = sum(
        np.exp(-((x - cx) ** 2) / (2 * sx**2) - (y - cy) ** 2 / (2 * sy**2))
        for cx, cy, sx, sy in at
    )
    return fit_spline(torch.from_numpy(np.asarray(image, np.float32)))


def radius(deviation: float) -> float:
    """How far from its centre a Gaussian is `LEVEL`."""
    return deviation * math.sqrt(2 * math.log(1 / LEVEL))


def nothing(area: tuple[int, int, int, int] = (0, 0, SIDE, SIDE)) -> Worst:
    return Worst(np.full((len(KINDS), 1, 1), -1, np.float32), (0, 0), SIDE, area)


def test_area_and_centre_of_an_ellipse() -> None:
    coef = spots((503.7, 391.2, 30.0, 24.0))
    found = measure_prints(
        coef,
        np.array([[470.0, 360.0, 535.0, 425.0]]),
        np.array([LEVEL, 0.9, 1.5]),
        RULES.scale,
        40.0,
    )
    for corner, level in enumerate((LEVEL, 0.9)):
        grown = math.sqrt(2 * math.log(1 / level))
        assert abs(found[0, corner, 0] / (math.pi * 30 * 24 * grown**2) - 1) < 2e-3
        np.testing.assert_allclose(found[0, corner, 1:], (503.7, 391.2), atol=0.05)
    assert not found[0, 2].any(), "nothing prints over its peak"


def test_the_print_ends_at_the_margin() -> None:
    coef, whole = (
        np.ones((2 * PIXELS, 2 * PIXELS), np.float32),
        np.array([[100.0, 200.0, 165.0, 240.0]]),
    )
    (((area, x, y),),) = measure_prints(coef, whole, np.array([0.5]), RULES.scale, 10.0)
    np.testing.assert_allclose((area, x, y), (85 * 60, 132.5, 220), rtol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_triangles_that_a_line_cuts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (a, b), at = rng.normal(size=2), rng.uniform(0, 6, 2)
    x, y = np.meshgrid(np.arange(8.0), np.arange(6.0))
    over = a * (x - at[0]) + b * (y - at[1])
    normal = np.array([a, b]) / math.hypot(a, b)
    along = np.array([-normal[1], normal[0]])
    half = Polygon([at + 50 * along, at - 50 * along, at - 50 * along + 50 * normal,
                    at + 50 * along + 50 * normal])  # fmt: skip
    expected = half.intersection(box(0, 0, 7, 5))
    area, up_x, up_y = _add_triangles(over)
    centre = (
        (expected.area * expected.centroid.x, expected.area * expected.centroid.y)
        if (expected.area)
        else (0.0, 0.0)
    )
    np.testing.assert_allclose((area, up_x, up_y), (expected.area, *centre), atol=1e-9)


def test_rectangles_that_touch_are_one_shape() -> None:
    shapes = [
        [(0, 0, 65, 65)],
        [(200, 0, 265, 40), (200, 40, 230, 100)],  # an L
        [(400, 0, 420, 100), (480, 0, 500, 100), (400, 100, 500, 120)],  # a U, upside down
        [(500, 120, 520, 140)],  # meets the U at a corner
        [(600, 0, 620, 50), (600, 51, 620, 90)],  # a dbu apart: two
    ]
    target = merge(np.array([rect for shape in shapes for rect in shape], np.int64))
    boxes, drawn = find_shapes(target)
    expected = [*(union_all([box(*r) for r in shape]) for shape in shapes[:4]),
                *(box(*r) for r in shapes[4])]  # fmt: skip
    rows = sorted(
        (*shape.bounds, shape.area, shape.centroid.x, shape.centroid.y) for shape in expected
    )
    found = sorted(map(tuple, np.hstack([boxes, drawn]).tolist()))
    np.testing.assert_allclose(found, rows)
    assert not len(find_shapes(np.empty((0, 4), np.int64))[0])


HOLE = np.array([[470, 360, 535, 425]], np.int64)


def judge(coef: Float32s, hole: Int64s = HOLE, rules: Rules = RULES) -> tuple[Floats, Worst]:
    worst = nothing()
    return find_contact_failures(coef, hole, np.array([LEVEL]), rules, CONTACTS, worst), worst


@pytest.mark.parametrize("share", [0.2, 0.55, 0.65, 1.1])
def test_a_small_print_fails_by_what_it_lacks(share: float) -> None:
    deviation = math.sqrt(share * 65 * 65 / math.pi) / radius(1.0)
    rows, worst = judge(spots((502.5, 392.5, deviation, deviation)))
    margin = 1 - share / 0.6
    assert abs(worst.margin[AREA, 0, 0] - margin) < 0.01
    assert len(rows) == (margin > 0)
    if margin > 0:
        np.testing.assert_allclose(rows[0], (AREA, 502, 392, 0, margin), atol=0.01)


@pytest.mark.parametrize(("dx", "dy"), [(6.0, 0.0), (0.0, -9.0), (6.0, 8.0), (30.0, 0.0)])
def test_a_print_fails_by_how_far_it_lies_off(dx: float, dy: float) -> None:
    rows, worst = judge(spots((502.5 + dx, 392.5 + dy, 28.0, 28.0)))
    margin = math.hypot(dx, dy) / 8 - 1
    if dx < 30:
        assert abs(worst.margin[OFF_CENTRE, 0, 0] - min(margin, 1)) < 0.01
    assert len(rows) == (margin > 0)
    if margin > 0:
        assert (rows[0, 0], rows[0, 1], rows[0, 2]) == (OFF_CENTRE, 502, 392)
        assert rows[0, 4] == pytest.approx(min(margin, 1), abs=0.01)


def test_only_shapes_in_the_core_with_a_print_are_judged() -> None:
    rows, worst = judge(spots((100.0, 100.0, 20.0, 20.0)))
    assert not len(rows)
    assert (worst.margin == -1).all(), "what does not print is missing, not small"
    small = spots((502.5, 392.5, 15.0, 15.0))
    assert not len(judge(small, rules=RULES._replace(core=(503, 0, SIDE, SIDE)))[0])
    assert len(judge(small, rules=RULES._replace(core=(502, 392, SIDE, SIDE)))[0])


VIA = replace(load_process("arfi45-via"), resist=Resist())
"""Of scalar light, whose kernels are made in a moment."""
PITCH = 280


def holes(size: int = 65, *changed: tuple[int, int, int, int]) -> Int64s:
    """A sparse array around the core of the field at the origin, and other masks of some holes."""
    at = np.arange(-1000, 4600, PITCH)
    x, y = (each.ravel() for each in np.meshgrid(at, at))
    rects = np.stack([x, y, x + 65, y + 65], axis=1) + np.array([1, 1, -1, -1]) * ((65 - size) // 2)
    for near in changed:
        middle = np.array(near).reshape(2, 2).mean(axis=0)
        off = np.abs((rects[:, :2] + rects[:, 2:]) / 2 - middle).max(axis=1)
        rects = np.vstack([rects[off > 60], near])
    return merge(rects[rects[:, 0] < rects[:, 2]])


def find(target: Int64s, mask: Int64s) -> set[tuple[str, int, int]]:
    core = make_lattice(VIA, 1.0).core_dbu
    window = Box(0, 0, core, core)
    defects = find_defects(target, window, 1.0, VIA, np.insert(mask, 4, 1, axis=1))
    parts = [
        Box(x, y, x + core // 2, y + core // 2) for x in (0, core // 2) for y in (0, core // 2)
    ]
    cut = [
        d for part in parts for d in find_defects(target, part, 1.0, VIA, np.insert(mask, 4, 1, 1))
    ]
    assert core % 2 == 0
    assert Counter(defects) == Counter(cut), "cut in four: the same"
    return {(d.kind, d.x_dbu // PITCH, d.y_dbu // PITCH) for d in defects}


def test_each_kind_of_failure_where_the_mask_makes_it() -> None:
    """Holes at -1000 + 280 k print through masks of 97 nm; that of the one at 960 is changed."""
    target = holes()
    assert not find(target, holes(97))
    for changed, kinds in (
        ((968, 968, 1017, 1017), {"missing"}),
        ((949, 949, 1036, 1036), {"area"}),
        ((963, 945, 1056, 1040), {"off_centre"}),
        ((947, 947, 1318, 1038), {"bridge", "off_centre"}),
    ):
        found = find(target, holes(97, changed))
        assert {kind for kind, _, _ in found} == kinds
        assert all(3 <= i <= 4 and j == 3 for _, i, j in found), "at the hole, or the next to it"
    beside = merge(np.vstack([holes(97), [[1085, 1085, 1180, 1180]]]))
    assert {kind for kind, _, _ in find(target, beside)} == {"extra"}
