"""What is measured across slanted and curved edges: the same as along the axes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stages.contracts import Box, Defect, Int64s, Shapes
from stages.geometry.staircase import cut_into_rects
from stages.geometry.union import merge
from stages.lithography.measure.defects import find_defects
from stages.lithography.measure.slanted import list_slanted_edges
from tests.support.optical import KRF

FAR = 8_000
WINDOW = Box(-1000, -1000, 1000, 1000)
STEP = 5
NONE = np.empty((0, 4), np.int64)

Rects = list[tuple[int, int, int, int]]

LONE = [(-FAR, -200, FAR, 200)]
CLEAN = [(-FAR, y, FAR, y + 400) for y in range(-4_000, 4_001, 800)]
GAP_OF_60 = [(-FAR, 30, FAR, 330), (-FAR, -330, FAR, -30)]
GAP_OF_120 = [(-FAR, 60, FAR, 360), (-FAR, -360, FAR, -60)]
LINE_OF_60 = [(-FAR, -30, FAR, 30)]
LINE_OF_130 = [(-FAR, -65, FAR, 65)]


def shapes_of(outlines: list[Int64s]) -> Shapes:
    starts = np.cumsum([0, *map(len, outlines)])
    return Shapes(NONE, np.concatenate(outlines).astype(np.int64), starts.astype(np.int64))


def turned(rects: Rects, degrees: float) -> Shapes:
    """Rectangles about the origin as polygons, turned."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    outlines = []
    for x_0, y_0, x_1, y_1 in rects:
        corners = np.array([(x_0, y_0), (x_1, y_0), (x_1, y_1), (x_0, y_1)])
        outlines.append(np.rint(corners @ np.array([[c, s], [-s, c]])))
    return shapes_of(outlines)


def find(shapes: Shapes, window: Box = WINDOW) -> tuple[Defect, ...]:
    target = merge(cut_into_rects(shapes, STEP))
    return find_defects(target, window, 1.0, KRF, slanted=list_slanted_edges(shapes))


def axis_parallel(rects: Rects) -> tuple[Defect, ...]:
    return find_defects(np.array(rects, np.int64), WINDOW, 1.0, KRF)


@pytest.mark.parametrize("degrees", [17.0, 45.0, 120.0])
@pytest.mark.parametrize(
    "rects", [LONE, CLEAN, GAP_OF_60, GAP_OF_120, LINE_OF_60, LINE_OF_130],
    ids=["lone", "clean", "gap of 60", "gap of 120", "line of 60", "line of 130"],
)  # fmt: skip
def test_turned_shapes_fail_as_they_do_along_the_axes(rects: Rects, degrees: float) -> None:
    straight, slanted = axis_parallel(rects), find(turned(rects, degrees))
    lines = {"pinch", "space", "epe", "bridge", "open"}
    assert {d.kind for d in slanted} & lines == {d.kind for d in straight} & lines
    for kind in {d.kind for d in straight} & {"pinch", "space"}:
        worst = max(d.severity for d in straight if d.kind == kind)
        assert max(d.severity for d in slanted if d.kind == kind) == pytest.approx(worst, abs=0.1)


def test_nothing_slanted_nothing_measured() -> None:
    assert len(list_slanted_edges(Shapes(np.array(LONE), NONE[:, :2], np.array([0])))) == 0
    square = shapes_of([np.array([(0, 0), (9, 0), (9, 9), (0, 9)])])
    assert len(list_slanted_edges(square)) == 0


def ring(radius: int, width: int) -> Shapes:
    angle = np.arange(120) * (2 * math.pi / 120)
    circle = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    outer, inner = (circle * (radius + side * width / 2) for side in (1, -1))
    outline = np.concatenate((outer, outer[:1], inner[:1], inner[::-1]))
    return shapes_of([np.rint(outline)])


def test_a_thin_ring_pinches_all_around_and_a_wide_one_nowhere() -> None:
    assert find(ring(2000, 400), Box(-2500, -2500, 2500, 2500)) == ()
    thin = find(ring(2000, 115), Box(-2500, -2500, 2500, 2500))
    at = np.array([(d.x_dbu, d.y_dbu) for d in thin if d.kind in ("pinch", "open")])
    assert np.abs(np.hypot(*at.T) - 2000).max() < 30
    sectors = np.floor(np.degrees(np.arctan2(at[:, 1], at[:, 0])) / 30)
    assert len(set(sectors.tolist())) == 12


def test_defects_do_not_depend_on_the_window() -> None:
    shapes = ring(2000, 115)
    whole = find(shapes, Box(-2500, -2500, 2500, 2500))
    parts = [
        defect
        for x_0, x_1 in ((-2500, -700), (-700, 2500))
        for y_0, y_1 in ((-2500, 300), (300, 2500))
        for defect in find(shapes, Box(x_0, y_0, x_1, y_1))
    ]
    assert sorted(parts, key=lambda d: (d.y_dbu, d.x_dbu, d.kind)) == list(whole)


def test_an_edge_inside_other_metal_is_none() -> None:
    shapes = turned(LONE, 30)
    covered = Shapes(np.array([(-6000, -6000, 6000, 6000)]), shapes.points, shapes.point_start)
    assert find(covered) == ()
