"""What is read between the samples of an image, and what the corners of a process share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from stages.contracts import Float32s, Floats, Int64s
from stages.geometry.union import find_runs_gaps_edges
from stages.lithography.measure.sections import Rules, measure
from stages.lithography.optics.exposure import Exposure, count_spline_px, expose
from stages.lithography.optics.kernels import Field
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.process import Corner, Process
from tests.support.optical import (
    ARFI,
    DIPOLE,
    KRF,
    OFF_CENTRE,
    SHIPPED,
    imaged,
    images,
    interpolated,
    make_cell,
    name_of,
    real_clips,
    routed,
    square_of,
)

DBU_NM = 0.1
TIMES = 8
"""Samples that are compared in a step of the image."""


def in_dbu(clips: list[Floats]) -> list[Int64s]:
    return [np.round(clip / DBU_NM).astype(np.int64) for clip in clips]


def between(coef: Float32s, times: int) -> Floats:
    """A spline on a lattice `times` as fine, by scipy."""
    steps = np.arange(len(coef) * times) / times
    places = np.meshgrid(steps, steps, indexing="ij")
    fine: Floats = map_coordinates(
        coef.astype(float), places, order=3, mode="grid-wrap", prefilter=False
    )
    return fine


def displacement_nm(
    one: Floats, other: Floats, level: float, step_nm: float, process: Process
) -> Floats:
    """How far the contour of one image lies from that of another, at many places of it.

    Places are left out where the image is so flat (a hundredth of the dose moves the contour by
    more than a fiftieth of wavelength / NA) that a contour is hardly one.
    """
    up, across = (
        (np.roll(one, -1, axis=axis) - np.roll(one, 1, axis=axis)) / (2 * step_nm)
        for axis in (0, 1)
    )
    slope, flat = np.hypot(up, across), level * process.na / (2 * process.wavelength_nm)
    on_level = (one > level) != (np.roll(one, -1, axis=1) > level)
    assert (slope[on_level] > flat).mean() > 0.8
    chosen = on_level & (slope > flat)
    found: Floats = np.abs(one - other)[chosen] / slope[chosen]
    return found


def test_displacement_is_measured_in_nm() -> None:
    x = np.arange(4000) * 0.5
    one, other = (
        np.tile(0.3 + 0.2 * np.cos(2 * np.pi * (x - shift) / 400), (3, 1)) for shift in (0, 0.4)
    )
    found = displacement_nm(one, other, 0.35, 0.5, KRF)
    assert len(found) == 3 * 10
    np.testing.assert_allclose(found, 0.4, rtol=0.05)


@pytest.mark.parametrize("process", SHIPPED, ids=name_of)
def test_the_spline_reads_what_lies_between_samples(
    process: Process, shared_data: Callable[[str], Path]
) -> None:
    """Against exact interpolation; 20 clips of real met1, shrunk to the process's least width."""
    field = square_of(process, 48)
    clips = in_dbu(real_clips(shared_data, int(field.side_nm), shrunk=process.min_width_nm / 140))
    (exposure,) = expose(clips, field, DBU_NM, process, process.corners[:1])
    exact = interpolated(images(process, 0.0, [clip * DBU_NM for clip in clips], field), TIMES)
    spline = np.stack([between(coef, TIMES // 2) for coef in exposure.coef])
    assert np.abs(exact - spline).max() < 1e-3, "under what the kernels leave out"
    step_nm, level = field.side_nm / field.pixels / TIMES, compute_threshold(process)
    moved = np.concatenate(
        [
            displacement_nm(*pair, level, step_nm, process)
            for pair in zip(exact, spline, strict=True)
        ]
    )
    assert len(moved) > 5000
    assert np.quantile(moved, 0.985) < 0.1
    assert moved.max() < 0.5


@pytest.mark.parametrize(
    ("process", "limit_nm"), [(KRF, 1.0), (ARFI, 0.5)], ids=["krf130", "arfi45"]
)
def test_half_the_grid_step_moves_no_contour(
    process: Process, limit_nm: float, shared_data: Callable[[str], Path]
) -> None:
    """At nominal and out of focus; 20 clips of real met1, shrunk to the process's least width."""
    field = square_of(process, 48)
    finer = replace(field, pixels=2 * field.pixels)
    clips = in_dbu(real_clips(shared_data, int(field.side_nm), shrunk=process.min_width_nm / 140))
    step_nm, worst = field.side_nm / field.pixels / TIMES, 0.0
    pairs = zip(*(expose(clips, each, DBU_NM, process) for each in (field, finer)), strict=True)
    for coarse, fine in pairs:
        for one, other in zip(coarse.coef, fine.coef, strict=True):
            halves = between(one, TIMES // 2), between(other, TIMES // 4)
            for level in coarse.levels:
                moved = displacement_nm(*halves, level, step_nm, process)
                worst = max(worst, float(moved.max()))
    assert 0 < worst < limit_nm


def measured_widths(exposure: Exposure, rects: Int64s, field: Field, level: float) -> Floats:
    """Rows of x, y, printed width in nm, as sections reads them along lines across the shapes."""
    side = round(field.side_nm / DBU_NM)
    parts = find_runs_gaps_edges(rects, 0)
    share = 100.0  # far more than prints: every width is reported, as a share of this
    rules = Rules(
        core=(0, 0, side, side), scale=count_spline_px(field) / side, pitch=400, step=400,
        straight=1, width=2000, space=0, line_end=0, pinch_share=share, space_share=0.5,
        epe=900.0, line_end_epe=900.0,
    )  # fmt: skip
    rows = measure(exposure.coef[0], *parts, np.array([level]), rules, make_cell(side))
    drawn = 1400
    printed = (1 - rows[:, 4]) * share * drawn * DBU_NM
    return np.stack([rows[:, 1], rows[:, 2], printed], axis=1)


def test_widths_are_read_along_lines_as_exactly() -> None:
    field = square_of(KRF, 48)
    middle, far = round(field.side_nm / DBU_NM / 2), round(field.side_nm / DBU_NM)
    # Upright lines of 140 nm, shifted against the samples, one of them broken off.
    rects = np.array(
        [[middle + x, 0, middle + x + 1400, far] for x in (-9127, -3001, 555, 4810)]
        + [[middle + 9003, 0, middle + 10403, middle]]
    )
    (exposure,) = expose([rects], field, DBU_NM, KRF, KRF.corners[:1])
    level = compute_threshold(KRF)
    rows = measured_widths(exposure, rects, field, level)
    picture = interpolated(imaged(KRF, 0.0, rects * DBU_NM, field), 1)
    order = np.arange(1 - field.pixels // 2, field.pixels // 2)
    harmonics = np.fft.fft2(picture, norm="forward")[np.ix_(order, order)]
    seen = 0
    for x, y, printed_nm in rows[::5]:
        near = (x * DBU_NM + np.arange(-120, 120, 0.01)) / field.side_nm
        row = np.exp(2j * np.pi * order * y * DBU_NM / field.side_nm) @ harmonics
        profile = (np.exp(2j * np.pi * np.outer(near, order)) @ row).real
        assert abs((profile > level).sum() * 0.01 - printed_nm) < 0.2, "a tenth of a nm at each end"
        seen += 1
    assert seen > 20


CORNERS = (
    Corner("nominal", 1, 0),
    Corner("over", 1.25, 90),
    Corner("under", 0.8, -90),
    Corner("more", 1.5, 0),
)


@pytest.mark.parametrize("source", [DIPOLE, OFF_CENTRE], ids=name_of)
def test_corners_share_the_images_of_one_focus(source: Process) -> None:
    process = replace(source, corners=CORNERS)
    field = square_of(process, 32)
    mask = in_dbu([routed(9, field.side_nm, 140)])
    exposures = expose(mask, field, DBU_NM, process)
    groups = [(0, 3), (1, 2)] if process.even_in_focus else [(0, 3), (1,), (2,)]
    assert [exposure.corners for exposure in exposures] == groups
    for exposure in exposures:
        for corner, level in zip(exposure.corners, exposure.levels, strict=True):
            expected = imaged(process, CORNERS[corner].defocus_nm, mask[0] * DBU_NM, field)
            on_samples = between(exposure.coef[0], 1)[::2, ::2]
            assert np.abs(on_samples - expected).max() < 0.004  # the spline's, away from contours
            assert math.isclose(level * CORNERS[corner].dose, compute_threshold(process))
    (some,) = expose(mask, field, DBU_NM, process, (CORNERS[2],))
    assert some.corners == (2,)
    np.testing.assert_array_equal(some.coef, exposures[-1].coef)


def test_a_mask_may_be_of_signed_rectangles_and_a_batch_of_any_lengths() -> None:
    field = square_of(KRF, 32)
    plain = np.array([[2000, 3000, 9000, 5000], [2000, 5000, 4000, 15000]])
    signed = np.array([[2000, 3000, 9000, 15000, 1], [4000, 5000, 9000, 15000, -1]])
    none = np.empty((0, 4), np.int64)
    (exposure,) = expose([plain, none, signed], field, DBU_NM, KRF, KRF.corners[:1])
    np.testing.assert_allclose(exposure.coef[2], exposure.coef[0], atol=1e-5)
    assert not exposure.coef[1].any()
    assert exposure.coef[0].max() > 0.5
    (alone,) = expose([plain], field, DBU_NM, KRF, KRF.corners[:1])
    np.testing.assert_allclose(alone.coef[0], exposure.coef[0], atol=1e-6)
