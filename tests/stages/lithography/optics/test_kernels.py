"""Kernels against an Abbe sum over all source points, and against what diffraction says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.contracts import Floats
from stages.lithography.optics.kernels import compute_kernels, make_field, sample_source
from stages.lithography.process import Process, Resist, Source
from tests.support.optical import (
    ARFI,
    CIRCULAR,
    DIPOLE,
    KRF,
    MAP,
    OFF_CENTRE,
    PHASE_SHIFT,
    QUASAR,
    SHIPPED,
    Waves,
    abbe,
    grating,
    imaged,
    images,
    name_of,
    pupils,
    real_clips,
    routed,
    square_of,
)


@pytest.mark.parametrize("focus", [0, 1], ids=["focus", "defocus"])
@pytest.mark.parametrize(
    "process", [KRF, ARFI, QUASAR, DIPOLE, OFF_CENTRE, PHASE_SHIFT], ids=name_of
)
def test_all_kernels_give_the_abbe_sum(process: Process, focus: int) -> None:
    defocus_nm, field = process.corners[focus].defocus_nm, square_of(process, 40)
    rects = routed(1, field.side_nm, process.min_width_nm)
    difference = imaged(process, defocus_nm, rects, field, 0.99999) - abbe(
        process, defocus_nm, [rects], field
    )
    assert np.abs(difference).max() < 5e-5


@pytest.mark.parametrize("focus", [0, 1], ids=["focus", "defocus"])
@pytest.mark.parametrize("process", [KRF, ARFI, QUASAR, DIPOLE, MAP], ids=name_of)
def test_the_kernels_that_are_kept_suffice_on_real_clips(
    process: Process, focus: int, shared_data: Callable[[str], Path]
) -> None:
    """Met1 of a real block, fields of 5.7 um, shrunk from 140 nm to the process's least width."""
    defocus_nm, field = process.corners[focus].defocus_nm, square_of(process, 64)
    count = 5 if process.is_vector else 20  # rays of six components take their time
    clips = real_clips(shared_data, int(field.side_nm), count, process.min_width_nm / 140)
    difference = images(process, defocus_nm, clips, field) - abbe(process, defocus_nm, clips, field)
    assert np.abs(difference).max() < 1e-3
    assert np.abs(difference.mean(axis=(1, 2))).max() < 1e-5, "what is left out has a known mean"


@pytest.mark.parametrize("process", [KRF, ARFI, QUASAR, DIPOLE, OFF_CENTRE], ids=name_of)
@pytest.mark.parametrize("defocus_nm", [0, 100])
def test_packed_kernels_image_as_the_decomposition(process: Process, defocus_nm: float) -> None:
    field = square_of(process, 24)
    optics, rects = compute_kernels(process, defocus_nm, field), routed(5, field.side_nm, 140)
    inner = slice(field.pixels // 2 - 1 - field.band, field.pixels // 2 + field.band)
    shifted, missing = (each[..., inner, inner] for each in pupils(process, defocus_nm, field))
    even = process.is_vector and process is not OFF_CENTRE
    if even:  # of vector light, both sides of focus are one real TCC
        shifted = np.concatenate([shifted.real, shifted.imag])
    side = shifted.shape[1]
    _, sizes, waves = np.linalg.svd(shifted.reshape(len(shifted), -1), full_matrices=False)
    kept, whole = float(optics.waves.abs().square().sum()), (sizes**2).sum()
    share = np.cumsum(sizes**2) / whole
    count = int(np.abs(share - kept / whole).argmin()) + 1
    assert abs(share[count - 1] - kept / whole) < 1e-5
    assert share[count - 1] >= process.energy - 1e-6
    ties = sizes[:count] ** 2 < sizes[count - 1] ** 2 / 0.99
    assert count == ties.sum() or share[count - 1 - ties.sum()] < process.energy, "fewest"
    real = even or (defocus_nm == 0 and process is not OFF_CENTRE)
    assert len(optics.waves) == (math.ceil(count / 2) if real else count)
    np.testing.assert_allclose(
        float(optics.waves.abs().square().sum() + optics.rest.sum()),
        whole + missing.sum(),
        rtol=1e-5,
    )
    chosen = (sizes[:count, None] * waves[:count]).reshape(count, side, side)
    mask = mask_waves(rects, field.side_nm, field.band)
    spectrum = np.zeros((count, field.pixels, field.pixels), complex)
    spectrum[:, :side, :side] = chosen * mask
    expected = (np.abs(np.fft.ifft2(spectrum, norm="forward")) ** 2).sum(axis=0)
    rest = (np.abs(shifted) ** 2).sum(axis=0) + missing - (np.abs(chosen) ** 2).sum(axis=0)
    expected += (np.abs(mask) ** 2 * rest).sum()
    np.testing.assert_allclose(imaged(process, defocus_nm, rects, field), expected, atol=2e-5)


def mask_waves(rects: Floats, side_nm: float, band: int) -> Waves:
    """Spectrum of rectangles, (2 band + 1, 2 band + 1), in double precision."""
    order = np.arange(-band, band + 1)
    length, middle = (rects[:, 2:] - rects[:, :2]) / side_nm, (rects[:, 2:] + rects[:, :2]) / 2
    x, y = (
        length[:, axis, None]
        * np.sinc(np.outer(length[:, axis], order))
        * np.exp(-2j * np.pi * np.outer(middle[:, axis], order) / side_nm)
        for axis in (0, 1)
    )
    waves: Waves = y.T @ x
    return waves


@pytest.mark.parametrize("process", SHIPPED, ids=name_of)
def test_contrast_changes_smoothly_with_the_pitch(process: Process) -> None:
    """Where points of the source pass the pupil's edge one by one, it goes up and down."""
    pitches_nm = 2.1 * process.min_width_nm * (1 + 0.004 * np.arange(25))
    contrast = np.array([grating(process, pitch, lines=3)[1].real for pitch in pitches_nm])
    smooth = np.polynomial.Polynomial.fit(pitches_nm, contrast, 4)(pitches_nm)
    assert np.ptp(contrast) > 0.01
    assert np.abs(contrast - smooth).max() < 3e-4


@pytest.mark.parametrize("defocus_nm", [0, 100])
@pytest.mark.parametrize(
    "process", [*SHIPPED, CIRCULAR, QUASAR, DIPOLE, MAP, OFF_CENTRE], ids=name_of
)
def test_clear_field_is_1_and_dark_field_0(process: Process, defocus_nm: float) -> None:
    field = square_of(process, 32)
    clear = np.array([[0, 0, field.side_nm, field.side_nm]])
    np.testing.assert_allclose(imaged(process, defocus_nm, clear, field), 1, atol=1e-5)
    assert not imaged(process, defocus_nm, clear * 0, field).any()


@pytest.mark.parametrize("process", [*SHIPPED, DIPOLE, OFF_CENTRE], ids=name_of)
def test_either_side_of_focus_is_the_same_if_the_source_is_even(process: Process) -> None:
    field = square_of(process, 40)
    rects = routed(3, field.side_nm, process.min_width_nm)
    over, under = (imaged(process, z, rects, field) for z in (90.0, -90.0))
    apart = np.abs(over - under).max()
    assert process.even_in_focus == (process is not OFF_CENTRE)
    assert apart < 2e-5 if process.even_in_focus else apart > 0.02
    assert np.abs(over - imaged(process, 0.0, rects, field)).max() > 0.005


@pytest.mark.parametrize("process", SHIPPED, ids=name_of)
def test_lines_under_the_resolution_limit_have_no_contrast(process: Process) -> None:
    shortest_nm = process.wavelength_nm / (process.na * (1 + process.source.sigma_out))
    mean, *waves = grating(process, 0.99 * shortest_nm)
    assert abs(mean - 0.25) < 1e-4, "order 0 alone: the square of the clear half"
    assert np.abs(waves).max() < 1e-5
    mean, *waves = grating(process, 1.15 * shortest_nm)
    assert np.abs(waves[0]) > 1e-3


@pytest.mark.parametrize("defocus_nm", [0, 150, 300])
def test_two_beams(defocus_nm: float) -> None:
    # Orders 0 and 1 at equal angles: amplitudes 1/2 and 1/pi, and no phase between them.
    process = replace(KRF, source=Source("dipole", 0.82, 0.78, 4))
    mean, first, *_ = grating(process, KRF.wavelength_nm / (1.6 * KRF.na), defocus_nm)
    assert abs(mean - (1 / 4 + 1 / np.pi**2)) < 2e-3
    assert abs(first - 1 / (2 * np.pi)) < 2e-3
    assert abs(2 * first / mean - 0.906) < 5e-3  # contrast


@pytest.mark.parametrize("defocus_nm", [0, 200])
@pytest.mark.parametrize("process", [KRF, replace(ARFI, resist=Resist())], ids=name_of)
def test_three_beams(process: Process, defocus_nm: float) -> None:
    # Coherent: |1/2 + 2/pi e^(i phase) cos|^2, where the phase is of the paths' difference.
    coherent = replace(process, source=Source("circular", 0.02))
    pitch_nm = 1.5 * process.wavelength_nm / process.na
    medium = process.refractive_index / process.wavelength_nm
    phase = 2 * np.pi * defocus_nm * (math.sqrt(medium**2 - pitch_nm**-2) - medium)
    mean, first, second, *_ = grating(coherent, pitch_nm, defocus_nm)
    assert abs(mean - (1 / 4 + 2 / np.pi**2)) < 2e-3
    assert abs(first - math.cos(phase) / np.pi) < 4e-3
    assert abs(second - 1 / np.pi**2) < 2e-3
    # At the edge of a line the moving term vanishes: a quarter is the isofocal intensity.
    assert abs(mean - 2 * second - 1 / 4) < 4e-3


def line_nm(harmonics: Waves, pitch_nm: float, level: float) -> float:
    """Width over which the image of a grating is brighter than `level`."""
    x = np.arange(20_000) / 20_000
    order = np.arange(1, len(harmonics))
    profile = harmonics[0].real + 2 * harmonics[1:].real @ np.cos(2 * np.pi * np.outer(order, x))
    return float((profile > level).mean() * pitch_nm)


def test_a_line_keeps_its_width_through_focus_at_the_isofocal_level() -> None:
    pitch_nm, foci = 600.0, (0.0, 80.0, 160.0, 240.0)
    pictures = [grating(KRF, pitch_nm, z, duty=0.35) for z in foci]
    levels = np.arange(0.12, 0.45, 0.005)
    widths = np.array([[line_nm(each, pitch_nm, level) for each in pictures] for level in levels])
    spread = np.ptp(widths, axis=1)
    isofocal = int(spread.argmin())
    assert 0 < isofocal < len(levels) - 1
    assert spread[isofocal] < 2 < 10 < min(spread[0], spread[-1])
    # Under that level a line widens as focus is lost, and over it the line narrows.
    assert (np.diff(widths[0]) > 0).all()
    assert (np.diff(widths[-1]) < 0).all()
    # Blur goes with the square of defocus, while it is small.
    near, far = widths[-1, 0] - widths[-1, 1], widths[-1, 0] - widths[-1, 2]
    assert 3.2 < far / near < 5


@pytest.mark.parametrize("process", [*SHIPPED, QUASAR], ids=name_of)
def test_equal_lines_and_spaces_are_imaged_alike_on_both_sides(process: Process) -> None:
    harmonics = grating(process, 2 * process.min_width_nm + 100, 60.0)
    assert np.abs(harmonics.imag).max() < 1e-5, "even about the line's middle"
    assert np.abs(harmonics[1]) > 0.05


SOURCES = [
    Source("circular", 0.6),
    Source("annular", 0.75, 0.45),
    Source("quasar", 0.85, 0.55, 40, 45),
    Source("quasar", 0.85, 0.55, 90, 0),
    Source("dipole", 0.9, 0.5, 60, 0),
    Source("dipole", 0.9, 0.5, 90, 0),
]
IDS = [f"{source.shape} {source.opening_deg:g}" for source in SOURCES]


@pytest.mark.parametrize("source", SOURCES, ids=IDS)
def test_source_points_have_the_moments_of_the_source(source: Source) -> None:
    points, weights = sample_source(source)
    assert abs(weights.sum() - 1) < 1e-12
    np.testing.assert_allclose(weights @ points, 0, atol=1e-12)
    np.testing.assert_allclose(points, -points[::-1], atol=1e-12)
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-12, err_msg="opposite points")
    mean_square = (source.sigma_out**2 + source.sigma_in**2) / 2  # of the radius, on any sector
    x_2, y_2 = weights @ points**2
    assert abs(x_2 + y_2 - mean_square) < 0.01
    opening = math.radians(source.opening_deg)
    tilt = math.sin(opening) / opening if source.shape == "dipole" else 0.0
    assert abs(x_2 - y_2 - tilt * mean_square) < 0.01


def drawn_source(size: int, sigma: float, bright: Callable[[Floats, Floats], Floats]) -> Source:
    """A map of what is bright at the middle of each pixel, in shares of the pupil's radius."""
    steps = ((np.arange(size) + 0.5) / size * 2 - 1) * sigma
    x, y = np.meshgrid(steps, steps[::-1])
    return Source("map", sigma, map=tuple(map(tuple, bright(x, y).astype(float).tolist())))


def test_a_map_of_an_annulus_is_an_annulus() -> None:
    def ring(x: Floats, y: Floats) -> Floats:
        radius = np.hypot(x, y)
        return (radius <= 0.75) & (radius >= 0.45)

    field = square_of(KRF, 40)
    rects = routed(6, field.side_nm, KRF.min_width_nm)
    mapped = replace(KRF, source=drawn_source(128, 0.75, ring))
    expected = imaged(KRF, 100.0, rects, field, 0.9999)
    difference = imaged(mapped, 100.0, rects, field, 0.9999) - expected
    assert np.abs(difference).max() < 1e-3
    coarse = replace(KRF, source=drawn_source(8, 0.75, ring))
    assert np.abs(imaged(coarse, 100.0, rects, field, 0.9999) - expected).max() > 2e-3


def test_rows_of_a_map_read_from_the_top() -> None:
    rows = np.zeros((5, 5))
    rows[1, 4] = 1  # second row from the top, last column
    points, weights = sample_source(Source("map", 0.5, map=tuple(map(tuple, rows.tolist()))))
    np.testing.assert_allclose(weights @ points, (0.4, 0.2), atol=0.01)
    half = np.abs(points - weights @ points).max(axis=0)
    np.testing.assert_allclose(half, 0.1, atol=0.02)


def test_what_a_map_lights_outside_the_pupil_is_dark() -> None:
    points, weights = sample_source(Source("map", 1.0, map=((1.0,),)))
    assert np.hypot(*points.T).max() < 1
    assert abs(weights @ (points**2).sum(axis=1) - 0.5) < 0.01, "a disc of radius 1"


@pytest.mark.parametrize("process", [*SHIPPED, DIPOLE], ids=name_of)
def test_a_field_samples_the_image_often_enough(process: Process) -> None:
    for side_nm in (None, 1000.0, 3333.3):
        field = make_field(process, side_nm)
        assert field.side_nm / field.pixels <= process.wavelength_nm / (4 * process.na) * (1 + 1e-9)
        reach = (1 + process.source.sigma_out) * process.na / process.wavelength_nm
        passed = math.floor(reach * field.side_nm + 1e-9)
        assert field.band == min(passed, field.pixels // 2 - 1)
