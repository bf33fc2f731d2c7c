"""Contours against fringes of two beams and against images interpolated by their harmonics."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import shapely
from shapely import Polygon
from shapely.geometry import box

from stages.contracts import Box, Float32s, Floats
from stages.lithography.measure.contours import Images, find_band, trace_contours
from stages.lithography.optics.exposure import Exposure, count_spline_px, expose
from stages.lithography.optics.fields import clip_to_field, make_lattice, make_lattice_field
from stages.lithography.optics.kernels import make_field
from tests.support.optical import KRF, imaged, routed

DBU_NM = 0.01
"""So that putting vertices on whole dbu moves them by a hundredth of a nm at most."""
SPLINE = 96
FRINGES = 6
Where = Literal["any", "all"]


def fringes(share: float, phase: float = 0.0) -> Float32s:
    """Coefficients of 1 + share cos(2 pi FRINGES x / side + phase), the same all along y."""
    angle = 2 * np.pi * FRINGES / SPLINE
    through = (2 + math.cos(angle)) / 3  # what the cubic B-spline makes of this frequency
    row = 1 + share / through * np.cos(angle * np.arange(SPLINE) + phase)
    return np.tile(row, (SPLINE, 1)).astype(np.float32)


def alone(coef: Float32s, window: Box, scale: float, level: float) -> list[Polygon]:
    """What prints of one image whose field begins at the origin."""
    return trace_contours(Images([window], [(0, 0)], [[coef]], scale), [(0, level)])


def area_nm2(polygons: list[Polygon]) -> float:
    return sum(polygon.area for polygon in polygons) * DBU_NM**2


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("level", [0.55, 0.9, 1.2, 1.6])
def test_two_beams_print_lines_where_the_cosine_says(level: float, turned: bool) -> None:
    side = 200_000
    pitch = side / FRINGES
    window = Box(10_000, 13_000, 190_000, 187_000)
    coef = fringes(0.7)
    found = alone(coef.T.copy() if turned else coef, window, SPLINE / side, level)
    half = math.acos((level - 1) / 0.7) / (2 * math.pi) * pitch
    if turned:
        found = [shapely.transform(polygon, lambda points: points[:, ::-1]) for polygon in found]
        window = Box(window.y_min, window.x_min, window.y_max, window.x_max)
    expected = [
        box(max(k * pitch - half, window.x_min), window.y_min,
            min(k * pitch + half, window.x_max), window.y_max)
        for k in range(FRINGES + 1)
        if k * pitch - half < window.x_max and k * pitch + half > window.x_min
    ]  # fmt: skip
    assert len(found) == len(expected)
    for mine, line in zip(sorted(found, key=lambda p: p.bounds), expected, strict=True):
        # Half a nm at a window's edge, where vertices are not moved onto the level.
        np.testing.assert_allclose(mine.bounds, line.bounds, atol=0.5 / DBU_NM)
        middle = mine.intersection(box(-1e9, 30_000, 1e9, 170_000))
        np.testing.assert_allclose(middle.bounds[::2], line.bounds[::2], atol=0.05 / DBU_NM)


def routed_image(process_side_nm: float = 3000.0) -> tuple[Floats, Exposure, float]:
    """A mask of random wires, its image on the coarse grid, and what the resist sees of it."""
    field = make_field(KRF, process_side_nm)
    rects = routed(5, process_side_nm, 150)
    coarse = imaged(KRF, 0.0, rects, field)
    (exposure,) = expose(
        [np.round(rects / DBU_NM).astype(np.int64)], field, DBU_NM, KRF, KRF.corners[:1]
    )
    return coarse, exposure, count_spline_px(field) / (process_side_nm / DBU_NM)


def harmonics_of(coarse: Floats) -> Floats:
    order = np.arange(1 - len(coarse) // 2, len(coarse) // 2)
    return np.fft.fft2(coarse, norm="forward")[np.ix_(order, order)]


def test_vertices_lie_on_the_level_of_the_image_itself() -> None:
    side_nm = 3000.0
    coarse, exposure, scale = routed_image(side_nm)
    level, whole = float(exposure.levels[0]), round(side_nm / DBU_NM)
    window = Box(20_000, 30_000, whole - 30_000, whole - 20_000)
    found = alone(exposure.coef[0], window, scale, level)
    points = np.concatenate([shapely.get_coordinates(polygon) for polygon in found])
    low, high = (window.x_min, window.y_min), (window.x_max, window.y_max)
    points = points[((points > low) & (points < high)).all(axis=1)] * DBU_NM
    assert len(points) > 200
    order = np.arange(1 - len(coarse) // 2, len(coarse) // 2)
    waves = [np.exp(2j * np.pi * np.outer(points[:, axis], order) / side_nm) for axis in (0, 1)]
    harmonics, rate = harmonics_of(coarse), 2j * np.pi * order / side_nm
    height = np.einsum("py,yx,px->p", waves[1], harmonics, waves[0]).real - level
    along_x = np.einsum("py,yx,px->p", waves[1], harmonics, waves[0] * rate).real
    along_y = np.einsum("py,yx,px->p", waves[1] * rate, harmonics, waves[0]).real
    slope = np.hypot(along_x, along_y)
    steep = slope > 0.2 * np.percentile(slope, 90)
    assert steep.mean() > 0.8
    away_nm = np.abs(height / slope)[steep]
    assert np.median(away_nm) < 0.05
    assert away_nm.max() < 0.15, "the spline is not the image: it differs by what it smooths"


def test_area_is_that_of_an_image_of_2048_points_along_a_side() -> None:
    side_nm, fine = 3000.0, 2048
    coarse, exposure, scale = routed_image(side_nm)
    whole = round(side_nm / DBU_NM)
    found = alone(exposure.coef[0], Box(0, 0, whole, whole), scale, float(exposure.levels[0]))
    order = np.arange(1 - len(coarse) // 2, len(coarse) // 2)
    wide = np.zeros((fine, fine), complex)
    wide[np.ix_(order % fine, order % fine)] = harmonics_of(coarse)
    image = np.fft.ifft2(wide, norm="forward").real
    expected = (image > exposure.levels[0]).mean() * side_nm**2
    # Over the whole outline, chords of curves included, the mean error is under a tenth of a nm.
    outline_nm = sum(polygon.length for polygon in found) * DBU_NM
    assert abs(area_nm2(found) - expected) < 0.1 * outline_nm


def tiled(brighter: float, parts: int) -> tuple[Images, Box]:
    """One random image cut into parts x parts fields, each `brighter` than the one before."""
    side = 200_000
    core = side // (2 * parts)
    window = Box(50_000, 50_000, 50_000 + parts * core, 50_000 + parts * core)
    places, cores = [], []
    for row in range(parts):
        for column in range(parts):
            x, y = 50_000 + column * core, 50_000 + row * core
            cores.append(Box(x, y, x + core, y + core))
            places.append((0, 0))
    every = [[blobs(1 + brighter * index)] for index in range(len(cores))]
    return Images(cores, places, every, SPLINE / side), window


def blobs(gain: float) -> Float32s:
    rng = np.random.default_rng(3)
    order = np.fft.fftfreq(SPLINE, 1 / SPLINE)
    low = np.exp(-((order[:, None] ** 2 + order[None, :] ** 2) / 2 / 10**2))
    image = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SPLINE, SPLINE))) * low).real
    return (gain * (1 + 0.5 * image / image.std())).astype(np.float32)


@pytest.mark.parametrize("parts", [2, 3])
def test_fields_leave_no_seam(parts: int) -> None:
    images, window = tiled(0.0, parts)
    one = Images([window], [(0, 0)], [[blobs(1)]], images.scale)
    cut, whole = trace_contours(images, [(0, 1.0)]), trace_contours(one, [(0, 1.0)])
    assert len(cut) == len(whole) > 5
    apart = shapely.symmetric_difference(shapely.union_all(cut), shapely.union_all(whole))
    # The lattices differ and so do the chords, by a share of a nm.
    assert apart.buffer(-0.3 / DBU_NM).is_empty
    assert sum(len(polygon.interiors) for polygon in cut) == sum(
        len(polygon.interiors) for polygon in whole
    )


def test_fields_that_differ_a_little_still_leave_no_sliver() -> None:
    images, _ = tiled(0.002, 2)
    polygons = trace_contours(images, [(0, 1.0)])
    same = trace_contours(tiled(0.0, 2)[0], [(0, 1.0)])
    assert len(polygons) == len(same)
    assert min(polygon.area for polygon in polygons) > 0.5 * min(p.area for p in same)


def test_polygons_are_whole_valid_apart_and_in_the_window() -> None:
    images, window = tiled(0.001, 3)
    polygons = trace_contours(images, [(0, 1.1)])
    assert all(polygon.is_valid and polygon.area > 0 for polygon in polygons)
    points = np.concatenate([shapely.get_coordinates(polygon) for polygon in polygons])
    np.testing.assert_array_equal(points, np.round(points))
    assert (points >= (window.x_min, window.y_min)).all()
    assert (points <= (window.x_max, window.y_max)).all()
    whole = shapely.union_all(polygons)
    assert math.isclose(whole.area, sum(polygon.area for polygon in polygons), rel_tol=1e-12)


@pytest.mark.parametrize("where", ["any", "all"])
def test_any_and_all_of_two_corners_are_the_wider_and_the_narrower(where: Where) -> None:
    # Of two fringes of one phase, above their mean, the flatter prints inside the steeper.
    window, scale = Box(50_000, 50_000, 150_000, 150_000), SPLINE / 200_000
    images = Images([window], [(0, 0)], [[fringes(0.7), fringes(0.4)]], scale)
    at = [(0, 1.2), (1, 1.2)]
    halves = {each: math.acos(0.2 / each) for each in (0.7, 0.4)}
    half = max(halves.values()) if where == "any" else min(halves.values())
    covered = sum(polygon.area for polygon in trace_contours(images, at, where)) / window.area
    assert abs(covered - half / math.pi) < 1e-4


def test_the_band_is_the_union_less_the_intersection() -> None:
    images, _ = tiled(0.0, 2)
    levels = (0.9, 1.0, 1.15)
    at = [(0, level) for level in levels]
    each = [shapely.union_all(trace_contours(images, [corner])) for corner in at]
    expected = shapely.difference(
        shapely.union_all(each), shapely.intersection_all(np.array(each, object))
    )
    found = find_band(trace_contours(images, at, "any"), trace_contours(images, at, "all"))
    apart = shapely.symmetric_difference(shapely.union_all(found), expected)
    assert expected.area > 0
    assert apart.area < 1e-3 * expected.area


def test_one_corner_has_no_band_and_darkness_no_contour() -> None:
    images, _ = tiled(0.0, 2)
    once = trace_contours(images, [(0, 1.0)])
    assert find_band(once, once) == []
    assert trace_contours(images, [(0, 99.0)]) == []
    window = Box(10_000, 13_000, 190_000, 187_000)
    (all_of_it,) = alone(fringes(0.7), window, images.scale, 0.2)
    assert all_of_it.area == window.area


def test_where_nothing_is_drawn_nothing_prints() -> None:
    images, _ = tiled(0.0, 2)
    empty = Images(images.cores, images.places, [[], *images.coef[1:]], images.scale)
    dark = images.cores[0]
    found = shapely.union_all(trace_contours(empty, [(0, 1.0)]))
    assert not found.is_empty
    assert found.intersection(box(*dark.grow(-3000).as_tuple())).is_empty


def test_real_fields_meet_at_their_cores() -> None:
    lattice = make_lattice(KRF, 1.0)
    field = make_lattice_field(lattice, KRF, 1.0)
    window = Box(lattice.core_dbu - 1200, 300, lattice.core_dbu + 1200, 2700)
    rects = np.round(routed(2, 2 * lattice.core_dbu, 160)).astype(np.int64)
    places = lattice.list_places(window)
    local = [clip_to_field(rects, place, lattice.side_dbu) for place in places]
    exposures = expose(local, field, 1.0, KRF, KRF.corners[:1])
    cores = [core for place in places if (core := lattice.locate_core(place).intersect(window))]
    coef = [[exposures[0].coef[index]] for index in range(len(places))]
    scale = count_spline_px(field) / lattice.side_dbu
    level = float(exposures[0].levels[0])
    at = [(0, level)]
    together = shapely.union_all(trace_contours(Images(cores, places, coef, scale), at))
    across = box(lattice.core_dbu - 60, 300, lattice.core_dbu + 60, 2700)
    apart = [
        shapely.union_all(trace_contours(Images([core], [place], [mine], scale), at))
        for core, place, mine in zip(cores, places, coef, strict=True)
    ]
    assert len(apart) == 2
    outline = together.intersection(across)
    assert outline.area > 0
    split = shapely.symmetric_difference(shapely.union_all(apart).intersection(across), outline)
    assert split.buffer(-1.0).is_empty, "nothing differs by more than two dbu anywhere"
