"""The threshold prints the anchor to size; diffusion blurs by the formula."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.contracts import Floats
from stages.lithography.optics.exposure import expose
from stages.lithography.optics.kernels import Field, make_field
from stages.lithography.optics.resist import compute_threshold, diffuse
from stages.lithography.process import Anchor, Corner, Process, Resist
from tests.support.optical import KRF, SHIPPED, imaged, interpolated, name_of


def blurred(process: Process, sigma_nm: float) -> Process:
    return replace(process, resist=replace(process.resist, diffusion_nm=sigma_nm))


def grating(line_nm: float, pitch_nm: float, lines: int = 12) -> Floats:
    """Equal lines, each wholly inside the field."""
    x = np.arange(lines) * pitch_nm + (pitch_nm - line_nm) / 2
    return np.stack([x, 0 * x, x + line_nm, 0 * x + lines * pitch_nm], axis=1)


def printed_nm(process: Process, line_nm: float, space_nm: float, dose: float = 1.0) -> float:
    """Width of a printed line among equal ones."""
    lines, fine = 12, 4096
    pitch_nm = line_nm + space_nm
    field = make_field(process, lines * pitch_nm)
    seen = imaged(process, 0.0, grating(line_nm, pitch_nm, lines), field)
    row = diffuse(torch.from_numpy(seen[None]), field, process)[0, 0].numpy()
    harmonics = np.fft.rfft(row, norm="forward")
    profile = np.fft.irfft(harmonics, fine * lines, norm="forward") * dose
    return float((profile > compute_threshold(process)).sum() / lines / fine * pitch_nm)


@pytest.mark.parametrize("diffusion_nm", [0.0, 20.0])
@pytest.mark.parametrize("process", SHIPPED, ids=name_of)
def test_the_anchor_prints_to_size(process: Process, diffusion_nm: float) -> None:
    assert process.anchor is not None
    line_nm, space_nm = process.anchor.line_nm, process.anchor.space_nm
    diffusing = blurred(process, diffusion_nm)
    assert 0 < compute_threshold(diffusing) < 1
    # The kernels that are left out differ with the field, by some 0.001 of the clear field.
    assert abs(printed_nm(diffusing, line_nm, space_nm) - line_nm) < 0.5
    assert (compute_threshold(diffusing) == compute_threshold(process)) == (diffusion_nm == 0)


@pytest.mark.parametrize("process", SHIPPED, ids=name_of)
def test_another_anchor_prints_to_size_too(process: Process) -> None:
    anchor = Anchor(2.0 * process.min_width_nm, 3.0 * process.min_width_nm)
    wide = replace(process, anchor=anchor)
    assert abs(printed_nm(wide, anchor.line_nm, anchor.space_nm) - anchor.line_nm) < 0.5
    assert compute_threshold(wide) != compute_threshold(process)


@pytest.mark.parametrize("process", SHIPPED, ids=name_of)
def test_more_light_prints_wider_lines(process: Process) -> None:
    assert process.anchor is not None
    line_nm, space_nm = process.anchor.line_nm, process.anchor.space_nm
    under, nominal, over = (printed_nm(process, line_nm, space_nm, dose) for dose in (0.9, 1, 1.1))
    assert under < nominal - 1 < over - 2


@pytest.mark.parametrize("share", [0.2, 0.31])
def test_a_threshold_may_be_given_in_place_of_an_anchor(share: float) -> None:
    given = replace(KRF, anchor=None, resist=Resist(threshold=share))
    assert compute_threshold(given) == share
    doses = tuple(Corner(f"{dose}", dose, 0) for dose in (0.8, 1.0, 1.25))
    mask = np.array([[0, 0, 500, 500]])
    (exposure,) = expose([mask], make_field(KRF, 2000), 1.0, replace(given, corners=doses))
    np.testing.assert_allclose(exposure.levels, [share / 0.8, share, share / 1.25])


@pytest.mark.parametrize("kept", [KRF.anchor, None])
def test_a_threshold_and_an_anchor_are_both_or_neither_refused(kept: Anchor | None) -> None:
    resist = Resist(threshold=0.3 if kept else 0.0)
    with pytest.raises(ValueError, match="one of them"):
        replace(KRF, anchor=kept, resist=resist)


@pytest.mark.parametrize("sigma_nm", [5.0, 30.0, 80.0])
@pytest.mark.parametrize("turned", [False, True])
def test_diffusion_damps_a_grating_by_the_gaussian_of_its_pitch(
    sigma_nm: float, turned: bool
) -> None:
    field = Field(3000.0, 96, 20)
    x = np.arange(96) / 96
    rows = np.stack([1 + 0.5 * np.cos(2 * np.pi * k * x + 0.3) for k in (1, 7, 20)])
    pictures = np.tile(rows[:, None, :], (1, 96, 1))
    if turned:
        pictures = pictures.transpose(0, 2, 1).copy()
    found = diffuse(torch.from_numpy(pictures), field, blurred(KRF, sigma_nm)).numpy()
    pitch_nm = 3000.0 / np.array([1, 7, 20])
    passed = np.exp(-2 * math.pi**2 * sigma_nm**2 / pitch_nm**2)
    np.testing.assert_allclose(found, 1 + (pictures - 1) * passed[:, None, None], atol=1e-12)


def test_diffusion_is_the_convolution_with_a_round_gaussian() -> None:
    side_nm, sigma_nm, times = 2000.0, 40.0, 4
    field = make_field(KRF, side_nm)
    seen = imaged(KRF, 0.0, np.array([[600.0, 500, 900, 1500], [900, 500, 1300, 700]]), field)
    found = diffuse(torch.from_numpy(seen[None]), field, blurred(KRF, sigma_nm))[0].numpy()
    fine = interpolated(seen, times)
    step_nm = side_nm / len(fine)
    away_nm = np.arange(-len(fine) // 2, len(fine) // 2) * step_nm
    bell = np.exp(-(away_nm**2) / (2 * sigma_nm**2)) / (sigma_nm * math.sqrt(2 * math.pi))
    for place in (np.s_[0, 0], np.s_[len(seen) // 3, len(seen) // 2]):
        y, x = (at * times for at in place)
        around = np.roll(fine, (len(fine) // 2 - y, len(fine) // 2 - x), axis=(0, 1))
        assert abs(found[place] - bell @ around @ bell * step_nm**2) < 2e-6


@pytest.mark.parametrize("share", [0.3, -0.2])
def test_a_tail_is_a_share_of_another_gaussian(share: float) -> None:
    field = make_field(KRF, 2000.0)
    seen = torch.from_numpy(imaged(KRF, 0.0, np.array([[600.0, 500, 900, 1500]]), field)[None])
    resist = Resist(diffusion_nm=20.0, tail_share=share, tail_nm=150.0)
    found = diffuse(seen, field, replace(KRF, resist=resist)).numpy()
    near, far = (diffuse(seen, field, blurred(KRF, each)).numpy() for each in (20.0, 150.0))
    np.testing.assert_allclose(found, (1 - share) * near + share * far, atol=1e-12)
    assert np.abs(found - near).max() > 0.01


def test_diffusion_reaches_the_exposure() -> None:
    sigma_nm, mask, field = 60.0, np.array([[500, 0, 900, 3000]]), make_field(KRF, 3000)
    sharp, soft = (
        np.fft.rfft(expose([mask], field, 1.0, blurred(KRF, each))[0].coef[0, 0], norm="forward")
        for each in (0.0, sigma_nm)
    )
    strong = np.flatnonzero(np.abs(sharp) > 0.01)
    assert strong[-1] > 5
    passed = np.exp(-2 * math.pi**2 * sigma_nm**2 * (strong / 3000) ** 2)
    np.testing.assert_allclose(soft[strong] / sharp[strong], passed, atol=1e-4)
