"""The window of a clip: what its verdict depends on, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from stages.contracts import Box, Int64s, Shapes
from stages.errors import ConfigError
from stages.geometry.signature import sign_windows
from stages.geometry.union import merge
from stages.lithography.clip_window import (
    ClipPrint,
    compute_reach_nm,
    find_clip_failures,
    find_first,
    make_window,
    read_window,
    simulate_clips,
    trace_print,
    turn_back,
)
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.process import Curves, KernelFile, KernelSet, Process
from tests.support.optical import DIPOLE, KRF, OFF_CENTRE

CORE = 1280
NECK = np.array([[-9000, -70, -40, 70], [-40, -35, 40, 35], [40, -70, 9000, 70],
                 [-9000, 250, 9000, 400], [300, -9000, 420, -300]])  # fmt: skip
"""A wire with a neck that pinches, and no symmetry."""
assert KRF.opc is not None
CORRECTED = ["none", "model", "curvy"]
EXACT = replace(KRF, limits=replace(KRF.limits, epe_nm=0.5))
CURVED = replace(EXACT, opc=replace(KRF.opc, curves=Curves(rounds=8)))
STRICT = {"none": KRF, "model": EXACT, "curvy": CURVED}
"""Something fails even after the mask was corrected."""


def shapes_of(rects: Int64s) -> Shapes:
    return Shapes(rects.astype(np.int64), np.empty((0, 2), np.int64), np.zeros(1, np.int64))


def turned(rects: Int64s, symmetry: int) -> Int64s:
    """Rectangles turned about the origin as `SYMMETRIES` says."""
    x, y = rects[:, [0, 2]], rects[:, [1, 3]]
    x, y = (-x if symmetry & 1 else x), (-y if symmetry & 2 else y)
    x, y = (y, x) if symmetry & 4 else (x, y)
    x, y = np.sort(x, axis=1), np.sort(y, axis=1)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def simulate(
    rects: Int64s, process: Process = KRF, opc: str = "none", at: tuple[int, int] = (0, 0)
) -> tuple[ClipPrint, int]:
    """Simulate the clip at a place; return its print and how its window is turned."""
    window = make_window(process, 1.0, CORE, opc)
    half = CORE // 2 + window.guard_dbu
    x, y = place = at[0] - half, at[1] - half
    shapes, side = shapes_of(rects), window.side_dbu
    _, (symmetry,) = sign_windows([shapes], np.array([x]), np.array([y]), side, process.symmetries)
    target, slanted = read_window(shapes, place, window, int(symmetry), process, 1.0)
    (found,) = simulate_clips([(target, slanted)], window, 1.0, process, opc)
    return found, int(symmetry)


def bytes_of(found: ClipPrint) -> tuple[bytes, bytes]:
    assert found.image is not None
    return found.samples.tobytes(), found.image.tobytes()


@pytest.mark.parametrize("opc", CORRECTED)
def test_what_lies_beyond_the_reach_changes_nothing_and_what_lies_within_does(opc: str) -> None:
    process = STRICT[opc]
    window = make_window(process, 1.0, CORE, opc)
    assert window.guard_dbu >= compute_reach_nm(process, opc)
    edge = CORE // 2 + window.guard_dbu
    beyond = np.array([[edge, -edge, edge + 500, edge], [-edge, edge, edge, edge + 90]])
    alone = bytes_of(simulate(NECK, process, opc)[0])
    assert bytes_of(simulate(np.concatenate([NECK, beyond]), process, opc)[0]) == alone
    within = beyond - [[200, 0, 0, 0], [0, 0, 0, 0]]
    assert bytes_of(simulate(np.concatenate([NECK, within]), process, opc)[0]) != alone


@pytest.mark.parametrize("process", [KRF, DIPOLE, OFF_CENTRE], ids=lambda each: each.name)
def test_equal_clips_have_equal_prints_wherever_and_however_they_lie(process: Process) -> None:
    strict = replace(process, limits=KRF.limits)
    first, symmetry = simulate(NECK, strict)
    side = make_window(strict, 1.0, CORE, "none").side_dbu
    places = turn_back(first.samples[:, 1:3], symmetry, side) - side // 2
    for turn in range(strict.symmetries):
        copy = turned(NECK, turn) + np.array([12_345, -777] * 2)
        again, back = simulate(copy, strict, at=(12_345, -777))
        assert bytes_of(again) == bytes_of(first)
        found = turn_back(again.samples[:, 1:3], back, side) - side // 2
        mine = np.column_stack([places, places])
        np.testing.assert_array_equal(found, turned(mine.astype(np.int64), turn)[:, :2])


@pytest.mark.parametrize("opc", CORRECTED)
def test_clips_simulated_together_have_the_bytes_of_each_alone(opc: str) -> None:
    process, window = STRICT[opc], make_window(STRICT[opc], 1.0, CORE, opc)
    half = np.array([window.side_dbu // 2] * 4)
    nothing = np.empty((0, 4), np.int64)
    clips = [merge(np.clip(NECK + half, 0, 2 * half)), nothing, merge(np.clip(NECK, 0, 2 * half))]
    drawn = [(target, nothing) for target in clips]
    together = simulate_clips(drawn, window, 1.0, process, opc)
    for each, found in zip(drawn, together, strict=True):
        (alone,) = simulate_clips([each], window, 1.0, process, opc)
        assert fields_of(alone) == fields_of(found)
    turned_round = simulate_clips(drawn[::-1], window, 1.0, process, opc)[::-1]
    assert [*map(fields_of, turned_round)] == [*map(fields_of, together)]
    failing = find_clip_failures(clips, window, 1.0, process, opc)
    assert [*map(np.ndarray.tobytes, failing)] == [each.samples.tobytes() for each in together]
    assert [len(samples) > 0 for samples in failing][:2] == [True, False]
    hardest = [corner for corner in process.corners if corner.defocus_nm]
    (some,) = find_clip_failures(clips[:1], window, 1.0, process, opc, hardest)
    np.testing.assert_array_equal(some, failing[0][failing[0][:, 3] > 0])


def fields_of(found: ClipPrint) -> tuple[bytes, bytes, bytes | None]:
    image = None if found.image is None else found.image.tobytes()
    return found.samples.tobytes(), found.margin.tobytes(), image


@pytest.mark.parametrize("opc", CORRECTED)
def test_however_the_target_is_cut_the_print_is_the_same(opc: str) -> None:
    halves = np.concatenate([NECK, NECK + np.array([10, 0, -10, 0])])
    cut = np.concatenate([np.minimum(halves, [9000, 9000, 13, 9000]),
                          np.maximum(halves, [13, -9000, 13, -9000])])  # fmt: skip
    cut = cut[(cut[:, 0] < cut[:, 2]) & (cut[:, 1] < cut[:, 3])]
    np.testing.assert_array_equal(merge(cut), merge(NECK))
    found, wanted = (simulate(rects, STRICT[opc], opc)[0] for rects in (cut[::-1], NECK))
    assert bytes_of(found) == bytes_of(wanted)


def test_contours_follow_from_the_image_alone() -> None:
    found, symmetry = simulate(NECK)
    window = make_window(KRF, 1.0, CORE, "none")
    corner = int(found.samples[find_first(found.samples), 3])
    assert found.image is not None
    drawn, contours = trace_print(found.image, corner, window, 1.0, KRF)
    half = window.side_dbu // 2

    def move(points: np.ndarray) -> np.ndarray:
        return turn_back(points, symmetry, window.side_dbu) - half

    mine = shapely.union_all([shapely.transform(each, move) for each in contours])
    box = Box(-half, -half, half, half).grow(-drawn.x_min)
    prints = simulate_prints(merge(NECK), box, 1.0, KRF, [KRF.corners[corner]])
    wanted = shapely.union_all(list(prints.by_corner[KRF.corners[corner].name]))
    assert wanted.area > 0
    core = shapely.box(-CORE // 2, -CORE // 2, CORE // 2, CORE // 2)
    off = mine.symmetric_difference(wanted).intersection(core)
    assert off.area < 2.0 * wanted.intersection(core).length  # within 2 nm along the edges


def test_nothing_drawn_prints_nothing() -> None:
    found, _ = simulate(np.empty((0, 4), np.int64))
    assert len(found.samples) == 0
    assert found.image is None


def test_kernels_for_a_smaller_field_than_the_clip_are_refused() -> None:
    kernels = KernelFile("none.npz", 1500.0, (KernelSet(0.0, "k", "w"),))
    corners = (replace(KRF.corners[0], defocus_nm=0.0),)
    with pytest.raises(ConfigError, match=r"cores of 1280 nm .* fields of 1500 nm"):
        make_window(replace(KRF, corners=corners, kernels=kernels), 1.0, CORE, "none")
