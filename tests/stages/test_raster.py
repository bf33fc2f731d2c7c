from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely

from stages.contracts import Shapes
from stages.errors import LayoutError
from stages.geometry.windows import find_touched_windows
from stages.raster import draw_clips

Corners = list[tuple[int, int]]
OCTAGON: Corners = [(0, 40), (40, 0), (160, 0), (200, 40), (200, 160), (160, 200), (40, 200),
                    (0, 160)]  # fmt: skip


def shapes_of(rects: np.ndarray | list[tuple[int, ...]], polygons: list[Corners]) -> Shapes:
    starts = np.concatenate(([0], np.cumsum([len(corners) for corners in polygons])))
    points = np.array([corner for corners in polygons for corner in corners], np.int64)
    return Shapes(
        np.array(rects, np.int64).reshape(-1, 4), points.reshape(-1, 2), starts.astype(np.int64)
    )


def moved(corners: Corners, dx: int, dy: int) -> Corners:
    return [(x + dx, y + dy) for x, y in corners]


def draw(layers: list[Shapes], x: int, y: int, clip_px: int, pixel_dbu: int) -> np.ndarray:
    return draw_clips(layers, np.array([x]), np.array([y]), clip_px=clip_px, pixel_dbu=pixel_dbu)[0]


def share(layer: Shapes, x: int, y: int, clip_px: int, pixel_dbu: int) -> np.ndarray:
    """Covered share of each pixel, from shapely's union."""
    parts = [shapely.box(*rect) for rect in layer.rects.tolist()]
    starts = layer.point_start
    parts += [shapely.Polygon(layer.points[a:b]) for a, b in pairwise(starts.tolist())]
    region, half = shapely.union_all(parts), clip_px // 2 * pixel_dbu
    row, column = np.mgrid[:clip_px, :clip_px] * pixel_dbu
    left, low = x - half + column, y - half + row
    pixels = shapely.box(left, low, left + pixel_dbu, low + pixel_dbu)
    return shapely.area(shapely.intersection(region, pixels)) / pixel_dbu**2


def scene(seed: int, angled: bool) -> Shapes:
    """Overlapping wires, and octagons with 45-degree sides whose pixels are often half covered."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(-60, 60, (60, 2)) * 10
    rects = np.concatenate((corner, corner + rng.integers(1, 25, (60, 2)) * 10), axis=1)
    places = (rng.integers(-60, 60, (12, 2)) * 5).tolist() if angled else []
    return shapes_of(rects, [moved(OCTAGON, dx, dy) for dx, dy in places])


def test_row_0_is_at_y_min_and_column_0_at_x_min() -> None:
    picture = draw([shapes_of([(-20, -20, -10, 0)], [])], 0, 0, 4, 10)
    assert picture.shape == (1, 4, 4)
    expected = np.zeros((4, 4))
    expected[0:2, 0] = 255
    np.testing.assert_array_equal(picture[0], expected)


def test_layers_are_channels_in_their_order() -> None:
    one, two = shapes_of([(0, 0, 10, 10)], []), shapes_of([], [[(0, 0), (20, 0), (0, 20)]])
    both = draw([one, two], 0, 0, 4, 10)
    np.testing.assert_array_equal(both[0], draw([one], 0, 0, 4, 10)[0])
    np.testing.assert_array_equal(both[1], draw([two], 0, 0, 4, 10)[0])
    assert both[0].sum() == 255
    # A whole pixel and two half ones; 127.5 is rounded up.
    assert sorted(both[1][both[1] > 0].tolist()) == [128, 128, 255]


@pytest.mark.parametrize("angled", [False, True])
@pytest.mark.parametrize(("pixel_dbu", "clip_px"), [(7, 16), (40, 6), (1, 32)])
def test_grey_is_the_covered_share(angled: bool, pixel_dbu: int, clip_px: int) -> None:
    layer = scene(pixel_dbu, angled)
    for x, y in ((0, 0), (-333, 171), (600, -590)):
        expected = 255 * share(layer, x, y, clip_px, pixel_dbu)
        found = draw([layer], x, y, clip_px, pixel_dbu)[0]
        assert np.abs(found - expected).max() <= 0.5 + 1e-5


@pytest.mark.parametrize("angled", [False, True])
def test_a_picture_is_the_same_from_any_window(angled: bool) -> None:
    """Drawn from all shapes, and one by one from those of a small window in another order."""
    layer, clip_px, pixel_dbu = scene(5, angled), 16, 10
    rng = np.random.default_rng(0)
    x, y = rng.integers(-500, 500, (2, 40))
    together = draw_clips([layer], x, y, clip_px=clip_px, pixel_dbu=pixel_dbu)
    assert len({picture.tobytes() for picture in together}) > 30
    polygons = np.split(layer.points, layer.point_start[1:-1]) if angled else []
    boxes = [np.concatenate((p.min(axis=0), p.max(axis=0))) for p in polygons]
    half = clip_px // 2 * pixel_dbu
    for n in range(len(x)):
        low = np.array([x[n] - half]), np.array([y[n] - half])
        near = [rect for rect in layer.rects if find_touched_windows(rect[None], *low, 2 * half)[0]]
        reaching = [
            [tuple(corner) for corner in polygon.tolist()]
            for polygon, box in zip(polygons, boxes, strict=True)
            if find_touched_windows(box[None], *low, 2 * half)[0]
        ]
        small = shapes_of(np.array(near[::-1]), reaching[::-1])
        np.testing.assert_array_equal(draw([small], x[n], y[n], clip_px, pixel_dbu), together[n])


@pytest.mark.parametrize("angled", [False, True])
@pytest.mark.parametrize(("dx", "dy"), [(10, -30), (123_457, -7), (10**9, -(10**9))])
def test_a_picture_moves_with_the_layout(angled: bool, dx: int, dy: int) -> None:
    layer = scene(11, angled)
    shifted = Shapes(
        layer.rects + np.array([dx, dy, dx, dy]), layer.points + np.array([dx, dy]),
        layer.point_start,
    )  # fmt: skip
    for x, y in ((0, 0), (-215, 130), (395, 395)):
        here, there = draw([layer], x, y, 16, 10), draw([shifted], x + dx, y + dy, 16, 10)
        np.testing.assert_array_equal(there, here)


def test_a_box_that_reaches_in_without_its_polygon_changes_nothing() -> None:
    """The clip lies in the corner that the octagon cuts off: both ways of drawing must agree."""
    wires = [(0, 0, 13, 7), (5, 3, 29, 9)]
    with_octagon = draw([shapes_of(wires, [OCTAGON])], 10, 10, 2, 10)
    np.testing.assert_array_equal(with_octagon, draw([shapes_of(wires, [])], 10, 10, 2, 10))
    assert with_octagon.any()


@pytest.mark.parametrize("corners", [[(0, 0), (20, 20), (10, 10)], [(0, 0), (9, 9), (9, 9)]])
def test_a_polygon_without_area_draws_nothing(corners: Corners) -> None:
    assert not draw([shapes_of([], [corners])], 10, 10, 4, 10).any()


def test_touching_is_not_overlapping() -> None:
    boxes = np.array([[0, 0, 10, 10]])
    left = np.array([-5, -4, 9, 10])
    assert find_touched_windows(boxes, left, np.zeros(4, np.int64), 5).tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_no_clips_no_pictures() -> None:
    nowhere = np.empty(0, np.int64)
    layers = [scene(1, True), shapes_of([], [])]
    assert draw_clips(layers, nowhere, nowhere, clip_px=8, pixel_dbu=10).shape == (0, 2, 8, 8)


def test_a_clip_of_too_many_slanted_edges_is_refused() -> None:
    """Crossing edges cost the square of their number: a million of them would not end."""
    x = np.arange(250_001) % 1999
    zigzag = np.column_stack([x, np.where(np.arange(len(x)) % 2, 1900, np.arange(len(x)) % 7)])
    layer = shapes_of([], [[(int(a), int(b)) for a, b in zigzag]])
    with pytest.raises(LayoutError, match=r"from \(0, 0\) dbu, 2000 dbu wide, has over 200000"):
        draw([layer], 1000, 1000, 200, 10)
