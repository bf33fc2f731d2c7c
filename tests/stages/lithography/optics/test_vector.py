"""Vector light against an Abbe sum ray by ray, against formulas of two beams, and at low NA."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from stages.lithography.optics.kernels import compute_kernels
from stages.lithography.process import Polarization, Process, Resist, Source
from tests.support.optical import ARFI, KRF, abbe, grating, imaged, name_of, routed, square_of

POLARIZED = [
    replace(ARFI, name=kind, source=replace(ARFI.source, polarization=kind))
    for kind in get_args(Polarization)
]
TILTED = replace(ARFI, name="tilted", source=Source("dipole", 0.9, 0.6, 40, 30, polarization="te"))
UNEVEN = replace(
    ARFI, name="uneven", source=Source("map", 0.6, map=((0.0, 0.0), (0.0, 1.0)), polarization="x")
)
CORNERED = replace(ARFI, name="cornered", source=Source("map", 0.4, map=((0.0, 0.0), (1.0, 0.0))))


@pytest.mark.parametrize("defocus_nm", [0, 40])
@pytest.mark.parametrize("process", [*POLARIZED[1:], TILTED, UNEVEN, CORNERED], ids=name_of)
def test_all_kernels_give_the_sum_over_rays(process: Process, defocus_nm: float) -> None:
    field = square_of(process, 24)
    rects = routed(2, field.side_nm, process.min_width_nm)
    expected = abbe(process, defocus_nm, [rects], field)
    difference = imaged(process, defocus_nm, rects, field, 0.99999) - expected
    assert np.abs(difference).max() < 5e-5
    assert np.abs(imaged(process, defocus_nm, rects, field) - expected).max() < 2e-3


@pytest.mark.parametrize("sigma", [0.5, 0.8])
def test_two_beams_in_the_resist(sigma: float) -> None:
    """Orders 0 and 1 of amplitudes 1/2 and 1/pi, at equal angles."""
    poles = Source("dipole", sigma + 0.02, sigma - 0.02, 4)
    pitch_nm = ARFI.wavelength_nm / (2 * sigma * ARFI.na)
    sine = sigma * ARFI.na / ARFI.resist.refractive_index
    turned = 1 - 2 * sine**2  # cosine of the angle between the beams, and between their fields
    found = {}
    for kind, contrast in (("y", 1.0), ("te", 1.0), ("x", turned), ("tm", turned)):
        process = replace(ARFI, source=replace(poles, polarization=kind))
        mean, first, *_ = grating(process, pitch_nm)
        assert abs(mean - (1 / 4 + 1 / np.pi**2)) < 2e-3
        assert abs(first - contrast / (2 * np.pi)) < 2e-3
        found[kind] = first
    # Of light polarized both ways, each counts by what enters the resist of it (Fresnel).
    one, two = math.asin(sigma * ARFI.na / ARFI.refractive_index), math.asin(sine)
    entered_p = 1 / math.cos(one - two) ** 2
    _, first, *_ = grating(replace(ARFI, source=poles), pitch_nm)
    expected = (found["y"] + entered_p * found["x"]) / (1 + entered_p)
    assert abs(first - expected) < 1e-3


def test_three_beams_are_as_strong_as_a_lens_and_the_resist_let_in() -> None:
    """Order 0 goes straight down, orders 1 are inclined: radiometry and Fresnel tell them apart."""
    sine = 0.9 * ARFI.na
    pitch_nm = ARFI.wavelength_nm / sine
    above, resist = ARFI.refractive_index, ARFI.resist.refractive_index
    one, two = math.asin(sine / above), math.asin(sine / resist)
    straight = 2 * above / (above + resist)
    inclined = 2 * above * math.cos(one) / (above * math.cos(one) + resist * math.cos(two))
    inclined *= math.sqrt(math.cos(math.asin(sine / 4)) / math.cos(one))
    ratio = inclined / straight
    lines = replace(ARFI, source=Source("circular", 0.02, polarization="y"))
    mean, first, second, *_ = grating(lines, pitch_nm)
    assert abs(mean - (1 / 4 + 2 * (ratio / np.pi) ** 2)) < 3e-3
    assert abs(first - ratio / np.pi) < 3e-3
    assert abs(second - (ratio / np.pi) ** 2) < 2e-3


def test_at_low_na_light_is_scalar() -> None:
    field_of = replace(KRF, na=0.03)
    vector = replace(field_of, resist=Resist(refractive_index=1.7))
    field = square_of(field_of, 24)
    rects = routed(4, field.side_nm, 140 * KRF.na / field_of.na)
    apart = imaged(vector, 0.0, rects, field, 0.9999) - imaged(field_of, 0.0, rects, field, 0.9999)
    assert np.abs(apart).max() < 5e-4
    high, scalar = (replace(each, na=0.7) for each in (vector, field_of))
    field = square_of(high, 24)
    rects = routed(4, field.side_nm, 140)
    apart = imaged(high, 0.0, rects, field, 0.9999) - imaged(scalar, 0.0, rects, field, 0.9999)
    assert np.abs(apart).max() > 1e-2


@pytest.mark.parametrize("process", [*POLARIZED, TILTED, UNEVEN], ids=name_of)
def test_what_the_symmetries_of_a_process_turn_prints_alike(process: Process) -> None:
    field = square_of(process, 24)
    side = math.floor(field.side_nm)
    field, rects = replace(field, side_nm=side), routed(5, side, process.min_width_nm)
    drawn = imaged(process, 30.0, rects, field, 0.9999)
    mirrored = imaged(
        process, 30.0, np.abs(rects[:, [2, 1, 0, 3]] - [side, 0, side, 0]), field, 0.9999
    )
    exchanged = imaged(process, 30.0, rects[:, [1, 0, 3, 2]], field, 0.9999)
    back = np.roll(mirrored[:, ::-1], 1, axis=1)  # row and column 0 lie on the border
    as_mirrored, as_exchanged = np.abs(back - drawn).max(), np.abs(exchanged.T - drawn).max()
    assert (as_mirrored < 1e-4) == (process.symmetries >= 4)
    assert (as_exchanged < 1e-4) == (process.symmetries == 8)


def test_the_kernels_of_one_polarization_are_not_those_of_another() -> None:
    field = square_of(ARFI, 24)
    counts = [len(compute_kernels(each, 0.0, field).waves) for each in POLARIZED]
    x, y = (compute_kernels(each, 0.0, field).waves.abs() for each in POLARIZED[1:3])
    assert counts[1] == counts[2] < counts[0], "light of one direction has fewer components"
    assert (x[0] - y[0].T).abs().max() < 1e-4 < (x[0] - y[0]).abs().max()
