from __future__ import annotations

import numpy as np
import pytest

from stages.contracts import Int64s, Shapes
from stages.geometry.signature import compute_signatures
from stages.geometry.symmetry import SYMMETRIES, canonicalize_pictures
from stages.patterns import canonicalize, compute_keys
from stages.raster import draw_clips

SIDE = 60


def layer(rects: object, *polygons: list[tuple[int, int]]) -> Shapes:
    starts = np.concatenate(([0], np.cumsum([len(corners) for corners in polygons])))
    points = np.array([corner for corners in polygons for corner in corners], np.int64)
    return Shapes(
        np.array(rects, np.int64).reshape(-1, 4), points.reshape(-1, 2), starts.astype(np.int64)
    )


def signed(layers: list[Shapes], places: list[tuple[int, int]], symmetries: int = 1) -> list[bytes]:
    left, bottom = np.array(places, np.int64).T
    return [s.tobytes() for s in compute_signatures(layers, left, bottom, SIDE, symmetries)]


def scene(seed: int) -> Int64s:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, SIDE - 10, (8, 2))
    return np.concatenate((corner, corner + rng.integers(1, 30, (8, 2))), axis=1)


def picture(rects: Int64s) -> np.ndarray:
    """One pixel a dbu, row 0 at y_min."""
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    for x_0, y_0, x_1, y_1 in rects.tolist():
        drawn[y_0:y_1, x_0:x_1] = 1
    return drawn


def rects_of(drawn: np.ndarray) -> Int64s:
    y, x = np.nonzero(drawn)
    return np.stack((x, y, x + 1, y + 1), axis=1).astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_however_cut_into_shapes_and_wherever_it_is_a_region_has_one_signature(seed: int) -> None:
    rects = scene(seed)
    drawn = picture(rects)
    moved = rects_of(drawn) + np.array([1000, -70] * 2)
    first, second = signed([layer(np.concatenate((rects, moved)))], [(0, 0), (1000, -70)])
    assert first == second
    drawn[30, 30] ^= 1
    assert signed([layer(rects_of(drawn))], [(0, 0)]) != [first]


def test_a_window_sees_what_is_in_it_alone() -> None:
    strap = layer([(-500, 10, 900, 20)])
    beside = layer([(0, 10, 60, 20), (0, -9, 60, 0), (60, 0, 90, 60)])
    assert signed([strap], [(0, 0)]) == signed([beside], [(0, 0)])
    assert signed([strap], [(0, 100)]) == signed([layer([])], [(0, 0)]) == [bytes(16)]


@pytest.mark.parametrize("symmetries", SYMMETRIES)
@pytest.mark.parametrize("seed", range(3))
def test_twins_share_one_where_the_process_allows(seed: int, symmetries: int) -> None:
    drawn = picture(scene(seed))
    turned = [drawn, drawn[:, ::-1], drawn[::-1], drawn[::-1, ::-1], *(
        part.T for part in (drawn, drawn[:, ::-1], drawn[::-1], drawn[::-1, ::-1]))]  # fmt: skip
    found = {signed([layer(rects_of(part))], [(0, 0)], symmetries)[0] for part in turned}
    twins = canonicalize_pictures(np.stack(turned)[:, None], SYMMETRIES[symmetries])
    assert len(found) == len({twin.tobytes() for twin in twins})


def test_layers_are_told_apart() -> None:
    here, nothing = layer([(5, 5, 30, 30)]), layer([])
    assert signed([here, nothing], [(0, 0)]) != signed([nothing, here], [(0, 0)])


TRIANGLE = [(5, 0), (25, 0), (5, 20)]


def shifted(corners: list[tuple[int, int]], dx: int, dy: int = 0) -> list[tuple[int, int]]:
    return [(x + dx, y + dy) for x, y in corners]


def test_a_slanted_shape_has_one_signature_wherever_it_is() -> None:
    bars = [(0, 40, 60, 50), (1000, 40, 1030, 50), (1030, 40, 1060, 50)]
    turned = shifted(TRIANGLE, 1000)
    both = layer(bars, TRIANGLE, turned[1:] + turned[:1])
    first, second, nothing = signed([both], [(0, 0), (1000, 0), (0, 500)], 8)
    assert first == second
    assert nothing == bytes(16)


def test_what_differs_beside_or_on_a_slanted_shape_is_told_apart() -> None:
    bar = (0, 40, 60, 50)
    scenes = [
        layer([], TRIANGLE), layer([bar], TRIANGLE), layer([bar]),
        layer([bar], shifted(TRIANGLE, 1)), layer([bar], [(5, 0), (25, 0), (6, 20)]),
        layer([bar], TRIANGLE, shifted(TRIANGLE, 3, 3)), layer([bar], [(5, 0), (25, 0), (25, 20)]),
    ]  # fmt: skip
    found = [signed([scene], [(0, 0)], 8)[0] for scene in scenes]
    assert len(set(found)) == len(found)
    other = signed([layer([bar]), layer([], TRIANGLE)], [(0, 0)], 8)[0]
    assert other != signed([layer([bar], TRIANGLE), layer([])], [(0, 0)], 8)[0]


def test_a_polygon_around_a_window_that_it_does_not_cover_changes_nothing() -> None:
    ring = [(-90, -90), (150, -95), (150, 150), (-90, 150), (-90, -90), (-50, -50), (-50, 110),
            (110, 110), (110, -50), (-50, -50)]  # fmt: skip
    bar = (0, 40, 60, 50)
    around, alone = layer([bar], ring), layer([bar])
    assert signed([around], [(0, 0)], 8) == signed([alone], [(0, 0)], 8)
    covered = layer([], [(-90, -90), (150, -95), (150, 150), (-90, 150)])
    assert signed([covered], [(0, 0)]) == signed([covered], [(5, 7)]) != [bytes(16)]


@pytest.mark.parametrize("seed", range(4))
def test_windows_of_one_signature_have_one_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [
        [(int(x), int(y)) for x, y in rng.integers(0, 45, (5, 2)) + 100 * rng.integers(0, 6, 2)]
        for _ in range(40)
    ]
    copies = [shifted(corners, 1200) for corners in polygons]
    layout = layer([(0, 0, 30, 2000), (1200, 0, 1230, 2000)], *polygons, *copies[::-1])
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(0, 1800, 20), np.arange(0, 600, 20)))
    signs = compute_signatures([layout], x, y, SIDE, 8)
    drawn = draw_clips([layout], x + SIDE // 2, y + SIDE // 2, clip_px=12, pixel_dbu=5)
    keys = compute_keys(canonicalize(drawn, 8))
    by_sign: dict[bytes, set[bytes]] = {}
    for sign, key in zip(signs, keys, strict=True):
        by_sign.setdefault(sign.tobytes(), set()).add(key.tobytes())
    assert all(len(found) == 1 for found in by_sign.values())
    assert len(by_sign) < 0.7 * len(x)


def test_a_slanted_shape_reaches_into_a_window_with_part_of_its_box() -> None:
    slanted = layer([], [(40, 40), (100, 40), (40, 100)])
    reached, beside = signed([slanted], [(0, 0), (-20, 0)])
    assert reached != bytes(16)
    assert beside == bytes(16)  # its right edge is the left edge of the shape
