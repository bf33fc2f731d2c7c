"""Polygons of any angle against exact areas of their union, and the bytes that must not change."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.compiled import interpreting
from stages.contracts import Box, Bytes, Floats, Int64s, Shapes
from stages.geometry.polygons import coverage
from stages.geometry.window_query import query
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder, place_copies
from stages.raster import draw_clips

Corner = tuple[int, int]


def shapes_of(polygons: Sequence[Sequence[Corner] | Int64s], rects: object = ()) -> Shapes:
    starts = np.cumsum([0, *(len(corners) for corners in polygons)])
    points = np.concatenate([np.empty((0, 2), np.int64), *(np.array(p) for p in polygons)])
    return Shapes(
        np.array(rects, np.int64).reshape(-1, 4), points.astype(np.int64), starts.astype(np.int64)
    )


def draw(shapes: Shapes, x: int = 0, y: int = 0, clip_px: int = 8, pixel_dbu: int = 10) -> Bytes:
    """Draw one clip by its lower left corner, (clip_px, clip_px)."""
    half = clip_px // 2 * pixel_dbu
    centre = np.array([x + half]), np.array([y + half])
    return draw_clips([shapes], *centre, clip_px=clip_px, pixel_dbu=pixel_dbu)[0, 0]


def winding(corners: Int64s, x: float, y: float) -> int:
    """Return how often an outline goes around a place that is not on it."""
    turns = 0
    for (x_0, y_0), (x_1, y_1) in pairwise([*corners.tolist(), corners[0].tolist()]):
        if (y_0 <= y) != (y_1 <= y) and x_0 + (y - y_0) * (x_1 - x_0) / (y_1 - y_0) > x:
            turns += 1 if y_1 > y_0 else -1
    return turns


def wound_region(corners: Int64s) -> shapely.Geometry:
    """Return where the winding of an outline is not zero, however it crosses itself."""
    lines = shapely.union_all(shapely.LineString([*corners, corners[0]]), grid_size=None)
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(lines)))
    inside = [f for f in faces if winding(corners, *f.representative_point().coords[0])]
    return shapely.union_all(inside)


def expected(shapes: Shapes, x: int, y: int, clip_px: int, pixel_dbu: int) -> Floats:
    """Return the grey levels before they are rounded, from shapely's union."""
    polygons = np.split(shapes.points, shapes.point_start[1:-1]) if len(shapes.points) else []
    parts = [wound_region(corners) for corners in polygons]
    parts += [shapely.box(*rect) for rect in shapes.rects.tolist()]
    row, column = np.mgrid[:clip_px, :clip_px] * pixel_dbu
    pixels = shapely.box(x + column, y + row, x + column + pixel_dbu, y + row + pixel_dbu)
    # On a grid: without one shapely may lose a part whose outline touches another's at places that
    # are no floats.
    whole = shapely.union_all(parts, grid_size=1e-7)
    covered = shapely.area(shapely.intersection(whole, pixels))
    return np.asarray(255 * covered / pixel_dbu**2)


def assert_exact(
    shapes: Shapes, x: int = 0, y: int = 0, clip_px: int = 8, pixel_dbu: int = 10
) -> None:
    drawn = draw(shapes, x, y, clip_px, pixel_dbu)
    assert np.abs(drawn - expected(shapes, x, y, clip_px, pixel_dbu)).max() <= 0.5 + 1e-4


corner = st.tuples(st.integers(-30, 110), st.integers(-30, 110))
outline = st.lists(corner, min_size=3, max_size=9).filter(
    lambda corners: any(
        x_0 != x_1 and y_0 != y_1 for (x_0, y_0), (x_1, y_1) in pairwise([*corners, corners[0]])
    )
)
rect = st.tuples(corner, st.integers(1, 60), st.integers(1, 60)).map(
    lambda r: (*r[0], r[0][0] + r[1], r[0][1] + r[2])
)
scenes = st.tuples(st.lists(outline, min_size=1, max_size=4), st.lists(rect, max_size=3))


@settings(max_examples=150, deadline=None)
@given(scene=scenes, size=st.sampled_from([(8, 10), (10, 8), (40, 2), (80, 1)]))
@example(
    scene=([[(0, 0), (-10, 1), (35, 84)], [(0, 0), (35, 84), (-10, 1), (0, 95), (72, 0)]], []),
    size=(8, 10),
)
def test_any_polygons_and_rectangles_cover_what_their_union_does(
    scene: tuple[list[list[Corner]], list[tuple[int, ...]]], size: tuple[int, int]
) -> None:
    assert_exact(shapes_of(*scene), 0, 0, *size)


@settings(max_examples=60, deadline=None)
@given(scenes, st.data())
def test_no_order_start_or_orientation_changes_a_byte(
    scene: tuple[list[list[Corner]], list[tuple[int, ...]]], data: st.DataObject
) -> None:
    polygons, rects = scene
    drawn = draw(shapes_of(polygons, rects))
    other = []
    for corners in data.draw(st.permutations(polygons)):
        first = data.draw(st.integers(0, len(corners) - 1))
        turned = corners[first:] + corners[:first]
        other.append(turned[::-1] if data.draw(st.booleans()) else turned)
    other.append(data.draw(st.sampled_from(other)))  # one of them twice
    again = draw(shapes_of(other, data.draw(st.permutations(rects))))
    np.testing.assert_array_equal(again, drawn)


@settings(max_examples=40, deadline=None)
@given(st.lists(outline, min_size=1, max_size=4), st.integers(-40, 40), st.integers(-40, 40))
def test_a_clip_is_the_same_whatever_is_drawn_with_it(
    polygons: list[list[Corner]], x: int, y: int
) -> None:
    shapes = shapes_of(polygons, [(5, 5, 25, 95)])
    left = np.array([x, 0, -70, 35, x])
    bottom = np.array([y, 0, 90, -35, y + 40])
    batch = draw_clips([shapes], left + 40, bottom + 40, clip_px=8, pixel_dbu=10)[:, 0]
    for n in range(len(left)):
        np.testing.assert_array_equal(batch[n], draw(shapes, int(left[n]), int(bottom[n])))


@settings(max_examples=40, deadline=None)
@given(scenes)
def test_what_lies_outside_the_clip_changes_nothing(
    scene: tuple[list[list[Corner]], list[tuple[int, ...]]],
) -> None:
    polygons, rects = scene
    beside = [(-900, -500), (-10, -300), (-10, 700)]  # all around, and never in it
    above = [(-500, 85), (600, 90), (100, 2000)]
    far = [(81, -100), (500, -400), (300, 900)]
    drawn = draw(shapes_of(polygons, rects))
    crowded = shapes_of([beside, *polygons, above, far], [*rects, (-100, -100, 0, 300)])
    np.testing.assert_array_equal(draw(crowded), drawn)


NASTY = {
    "corners that touch": [[(0, 0), (40, 10), (10, 40)], [(40, 10), (80, 0), (70, 50)]],
    "a shared edge": [[(0, 0), (60, 20), (20, 60)], [(60, 20), (80, 80), (20, 60)]],
    "a corner on an edge": [[(0, 0), (80, 40), (0, 60)], [(40, 20), (80, 0), (80, 30)]],
    "a keyhole": [[(5, 5), (75, 8), (70, 77), (3, 60), (5, 5), (25, 25), (20, 50), (55, 55),
                   (50, 20), (25, 25)]],
    "a spike": [[(10, 10), (60, 15), (70, 70), (60, 15), (20, 50)]],
    "no area": [[(0, 0), (80, 80), (40, 40)], [(10, 70), (30, 20), (10, 70)]],
    "a bow tie": [[(5, 5), (75, 70), (75, 10), (10, 70)]],
    "a pentagram": [[(40, 78), (63, 8), (3, 52), (77, 52), (17, 8)]],
    "a bow tie over a triangle": [[(5, 5), (75, 70), (75, 10), (10, 70)],
                                  [(0, 40), (80, 20), (80, 60)]],
    "a polygon twice": [[(3, 7), (71, 13), (44, 69)]] * 2,
    "a polygon and its mirror image": [[(3, 7), (71, 13), (44, 69)], [(44, 69), (71, 13), (3, 7)]],
    "an outline walked twice": [[(3, 7), (71, 13), (44, 69)] * 2],
    "across the window": [[(-500, 30), (600, 47), (600, 60), (-500, 41)]],
    "around the window": [[(-300, -200), (500, -250), (480, 700), (-350, 600)]],
    "around the window, wound twice": [[(-300, -200), (500, -250), (480, 700), (-350, 600)] * 2],
    "left of the window, bent around it": [[(-50, 10), (-3, 200), (-90, 300), (-99, -90)]],
    "through three corners": [[(0, 0), (80, 80), (0, 80)], [(0, 80), (80, 0), (80, 80)],
                              [(0, 40), (80, 40), (80, 41)]],
    "many edges through one place": [[(40, 40), (40 + dx, 40 + dy), (40 + dx, 45 + dy)]
                                     for dx, dy in ((30, 7), (-30, 3), (25, -33), (-31, -20))],
    "a needle thinner than a pixel": [[(-20, 3), (100, 71), (-20, 4)]],
    "nearly parallel": [[(-100, 10), (300, 50), (300, 90), (-100, 11)],
                        [(-100, 11), (300, 49), (300, 20)]],
}  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_nasty_polygons(name: str) -> None:
    for rects in ((), [(20, 10, 33, 77), (-5, 31, 90, 40)]):
        for pixel_dbu in (10, 1):
            assert_exact(shapes_of(NASTY[name], rects), 0, 0, 80 // pixel_dbu, pixel_dbu)


def test_a_pentagram_is_full_and_a_keyhole_is_not() -> None:
    assert draw(shapes_of(NASTY["a pentagram"]))[4, 4] == 255
    assert draw(shapes_of(NASTY["a keyhole"]))[3, 3] == 0


def test_opposite_turns_do_not_cancel() -> None:
    """A bow tie's lobes turn against each other: neither may take off another polygon's turn."""
    alone = draw(shapes_of([NASTY["around the window"][0]]))
    over = draw(shapes_of(NASTY["around the window"] + NASTY["a bow tie"]))
    assert (alone == 255).all()
    np.testing.assert_array_equal(over, alone)


def star(corners: int, outer: int, inner: int) -> Int64s:
    angle = np.arange(corners) * (2 * math.pi / corners)
    radius = np.where(np.arange(corners) % 2, inner, outer)
    points = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    return np.rint(points).astype(np.int64)


@pytest.mark.parametrize(("outer", "inner"), [(50_000, 50_000), (50_000, 49_000)])
def test_a_large_outline_is_drawn_in_every_clip(outer: int, inner: int) -> None:
    """100,000 corners: the sum of all clips is the area, and it takes seconds at most."""
    shapes = shapes_of([star(100_000, outer, inner)])
    at = np.arange(-outer - 1280, outer + 1280, 2560) + 1280
    x, y = (axis.ravel() for axis in np.meshgrid(at, at))
    draw(shapes)  # compiled
    started = time.process_time()
    pictures = draw_clips([shapes], x, y, clip_px=64, pixel_dbu=40)
    assert time.process_time() - started < 5
    area = pictures.sum(dtype=np.int64) / 255 * 40**2
    x_0, y_0 = shapes.points.T
    x_1, y_1 = np.roll(shapes.points, -1, axis=0).T
    assert area == pytest.approx(abs((x_0 * y_1 - x_1 * y_0).sum()) / 2, rel=1e-3)


def test_chords_of_a_circle_in_a_clip() -> None:
    circle = star(700, 5_000, 5_000)
    for x, y in ((4_000, -500), (-5_100, -900), (3_000, 3_100), (-1_000, -5_200)):
        assert_exact(shapes_of([circle], [(x, y, x + 700, y + 300)]), x, y, 32, 40)


def test_thousands_of_crossings() -> None:
    """Every second corner of a circle joined: all edges cross others, at every scale."""
    points = star(301, 400, 400)[np.arange(301) * 150 % 301]
    assert_exact(shapes_of([points], [(-30, -10, 200, 20)]), -400, -400, 20, 40)


def test_far_corners_lose_nothing() -> None:
    far = 10**9
    wedge = [(-far, -far + 7), (far, far - 20), (far, far), (-far, -far + 50)]
    assert_exact(shapes_of([wedge]), 0, 0, 8, 10)


def test_a_clip_is_the_same_in_every_tile_turn_and_batch() -> None:
    """A ring and a bar placed eight ways: what is read around a clip does not change it."""
    ring = np.concatenate((star(90, 700, 700), star(60, 500, 500)[::-1]))
    builder = LayerBuilder()
    bar = np.array([[-900, -40, 900, 40]])
    cell = builder.add_cell("ring", bar, [ring], NO_PLACEMENTS)
    places = np.array([(2000 * (k % 4), 2000 * (k // 4)) for k in range(8)])
    builder.add_cell("top", bar[:0], [], place_copies(cell, np.arange(8), places))
    packed = builder.build()
    x, y = (axis.ravel() for axis in np.meshgrid(range(-800, 7000, 333), range(-800, 3000, 333)))
    whole = draw_clips(
        [query(packed, Box(-5000, -5000, 9000, 9000))], x, y, clip_px=16, pixel_dbu=40
    )
    assert len({picture.tobytes() for picture in whole}) > 100
    for n in range(0, len(x), 7):
        near = query(packed, Box(x[n], y[n], x[n], y[n]).grow(320 + 40 * (n % 5)))
        again = draw_clips([near], x[n : n + 1], y[n : n + 1], clip_px=16, pixel_dbu=40)
        np.testing.assert_array_equal(again[0], whole[n])


def test_how_many_windows_are_gathered_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = shapes_of([star(40, 90, 50), star(7, 30, 12) + 60], [[20, 20, 70, 50]])
    x, y = (each.ravel() for each in np.mgrid[-160:160:80, -160:160:80])
    whole = draw_clips([shapes], x, y, clip_px=8, pixel_dbu=10)
    monkeypatch.setattr(coverage, "PART_EDGES", 30)
    with interpreting(True):  # compiled, a kernel keeps the value that it had
        parted = draw_clips([shapes], x, y, clip_px=8, pixel_dbu=10)
    assert np.array_equal(parted, whole)
    assert len({picture.tobytes() for picture in whole}) > 8
