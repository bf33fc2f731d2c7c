from __future__ import annotations

import numpy as np
import pytest
import shapely

from stages.geometry.decompose import decompose

Corners = list[tuple[int, int]]


def cut(*polygons: Corners) -> tuple[np.ndarray, list[int], list[int]]:
    starts = np.concatenate(([0], np.cumsum([len(p) for p in polygons], dtype=np.int64)))
    points = np.array([c for p in polygons for c in p], np.int64).reshape(-1, 2)
    rects, owner, others = decompose(points, starts)
    return rects, owner.tolist(), others.tolist()


def painted(rects: np.ndarray, size: int) -> np.ndarray:
    """How many rectangles cover each unit square of [0, size)."""
    count = np.zeros((size, size), int)
    for x_min, y_min, x_max, y_max in rects.tolist():
        count[y_min:y_max, x_min:x_max] += 1
    return count


def winding(corners: Corners, size: int) -> np.ndarray:
    """Winding number of each unit square: upright edges to its left, signed."""
    count = np.zeros((size, size), int)
    for (x_0, y_0), (x_1, y_1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if x_0 == x_1:
            count[min(y_0, y_1) : max(y_0, y_1), x_0:] += 1 if y_0 < y_1 else -1
    return count


def random_walk(rng: np.random.Generator, corners: int, size: int) -> Corners:
    """A closed rectilinear polygon that may cross, touch and double back on itself."""
    x, y = rng.integers(0, size + 1, corners), rng.integers(0, size + 1, corners)
    return [(int(x[i]), int(y[j])) for i in range(corners) for j in (i - 1, i)]


@pytest.mark.parametrize("seed", range(40))
def test_the_region_is_where_the_winding_is_not_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = random_walk(rng, int(rng.integers(2, 12)), 12)
    rects, owner, others = cut(corners)
    assert others == []
    assert set(owner) <= {0}
    np.testing.assert_array_equal(painted(rects, 12), winding(corners, 12) != 0)


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([(0, 0), (4, 0), (4, 3), (0, 3)], [[0, 0, 4, 3]]),
        ([(0, 3), (4, 3), (4, 0), (0, 0)], [[0, 0, 4, 3]]),  # clockwise
        ([(0, 0), (2, 0), (4, 0), (4, 3), (0, 3), (0, 3), (0, 1)], [[0, 0, 4, 3]]),  # needless
        ([(-4, -3), (0, -3), (0, 0), (-4, 0)], [[-4, -3, 0, 0]]),
        ([(0, 0), (9, 0), (9, 9), (0, 9), (0, 3), (3, 3), (3, 6), (6, 6), (6, 3), (0, 3)],
         [[0, 0, 9, 3], [0, 3, 3, 6], [6, 3, 9, 6], [0, 6, 9, 9]]),  # keyhole around a hole
        ([], []),
        ([(5, 5)], []),
        ([(0, 0), (5, 0)], []),
        ([(0, 0), (0, 5)], []),
        ([(0, 0), (5, 0), (5, 5), (5, 0)], []),  # there and back
    ],
)  # fmt: skip
def test_known_polygons(corners: Corners, expected: list[list[int]]) -> None:
    rects, _, others = cut(corners)
    assert sorted(rects.tolist()) == sorted(expected)
    assert others == []


def test_polygons_with_a_slanted_edge_are_named_and_not_cut() -> None:
    square: Corners = [(0, 0), (4, 0), (4, 4), (0, 4)]
    closing: Corners = [(0, 0), (4, 0), (4, 4)]  # only the edge that closes it is slanted
    rects, owner, others = cut(closing, square, [(0, 0), (1, 5), (5, 5)], square[::-1])
    assert others == [0, 2]
    assert owner == [1, 3]
    assert rects.tolist() == [[0, 0, 4, 4], [0, 0, 4, 4]]


def test_many_polygons_keep_their_owners() -> None:
    rng = np.random.default_rng(3)
    polygons = []
    for _ in range(50):
        (x, y), (w, h) = rng.integers(-100, 100, 2).tolist(), rng.integers(2, 9, 2).tolist()
        polygons.append([(x, y), (x + 2 * w, y), (x + 2 * w, y + h), (x + w, y + h),
                         (x + w, y + 2 * h), (x, y + 2 * h)])  # fmt: skip
    rects, owner, _ = cut(*polygons)
    for number, corners in enumerate(polygons):
        own = rects[np.array(owner) == number]
        union = shapely.union_all(shapely.box(*own.T.astype(float)))
        assert union.equals(shapely.Polygon(corners))
        assert union.area == shapely.area(shapely.box(*own.T.astype(float))).sum()
