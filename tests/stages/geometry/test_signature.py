from __future__ import annotations

import numpy as np
import pytest

from stages.contracts import Int64s, Shapes
from stages.geometry.signature import signatures
from stages.geometry.symmetry import SYMMETRIES, first_of_twins

SIDE = 60


def layer(rects: object, *polygons: list[tuple[int, int]]) -> Shapes:
    starts = np.concatenate(([0], np.cumsum([len(corners) for corners in polygons])))
    points = np.array([corner for corners in polygons for corner in corners], np.int64)
    return Shapes(
        np.array(rects, np.int64).reshape(-1, 4), points.reshape(-1, 2), starts.astype(np.int64)
    )


def signed(layers: list[Shapes], places: list[tuple[int, int]], symmetries: int = 1) -> list[bytes]:
    left, bottom = np.array(places, np.int64).T
    return [s.tobytes() for s in signatures(layers, left, bottom, SIDE, symmetries)]


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
    twins = first_of_twins(np.stack(turned)[:, None], SYMMETRIES[symmetries])
    assert len(found) == len({twin.tobytes() for twin in twins})


def test_layers_are_told_apart() -> None:
    here, nothing = layer([(5, 5, 30, 30)]), layer([])
    assert signed([here, nothing], [(0, 0)]) != signed([nothing, here], [(0, 0)])


def test_a_window_that_a_slanted_shape_reaches_into_equals_no_other() -> None:
    slanted = [[(x, 0), (x + 20, 0), (x, 20)] for x in (5, 1005)]
    both = layer([(0, 40, 60, 50), (1000, 40, 1060, 50), (2000, 40, 2060, 50)], *slanted)
    found = signed([both], [(0, 0), (1000, 0), (2000, 0)], 8)
    assert len(set(found)) == 3
    assert found[2] == signed([layer([(0, 10, 60, 20)])], [(0, 0)], 8)[0]


def test_a_slanted_shape_reaches_into_a_window_with_part_of_its_box() -> None:
    slanted = layer([], [(40, 40), (100, 40), (40, 100)])
    reached, beside = signed([slanted], [(0, 0), (-20, 0)])
    assert reached != bytes(16)
    assert beside == bytes(16)  # its right edge is the left edge of the shape
