"""Spectra of masks against masks drawn finely, and what images owe to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.contracts import Floats
from stages.lithography.optics import imaging
from stages.lithography.optics.imaging import compute_image, compute_spectrum
from stages.lithography.optics.kernels import compute_kernels, make_field
from stages.lithography.process import Process
from tests.support.optical import (
    ARFI,
    DIPOLE,
    KRF,
    MAP,
    OFF_CENTRE,
    QUASAR,
    imaged,
    images,
    interpolated,
    name_of,
    routed,
    spectra,
    square_of,
)


def test_a_spectrum_is_that_of_a_finely_drawn_mask() -> None:
    pixels, side_nm = 512, 5120.0
    field = make_field(KRF, side_nm)
    passes = np.zeros((pixels, pixels))
    rects = (routed(4, pixels, 14) + np.array([3, 5, 3, 5])).clip(0, pixels).astype(int)
    weight = np.random.default_rng(0).choice([1.0, -1.0, 0.25], len(rects))
    weight[rects[:, 1] == rects[:, 3]] = 0
    for (x_0, y_0, x_1, y_1), each in zip(rects, weight, strict=True):
        passes[y_0:y_1, x_0:x_1] += each
    assert len(np.unique(passes)) > 3
    order = np.arange(-field.band, field.band + 1)
    # A pixel is a box: its own transform, and its centre lies half a pixel past its corner.
    box = np.sinc(order / pixels) * np.exp(-1j * np.pi * order / pixels)
    expected = np.fft.fft2(passes, norm="forward")[np.ix_(order, order)] * np.outer(box, box)
    rows = np.concatenate([rects * (side_nm / pixels), weight[:, None]], axis=1)
    got = compute_spectrum(torch.from_numpy(rows[None]), field)[0].numpy()
    assert np.abs(got - expected).max() < 1e-6
    assert abs(got[field.band, field.band] - passes.mean()) < 1e-6


def test_what_is_cut_out_again_is_not_there() -> None:
    field = square_of(KRF, 40)
    whole = np.array([[500, 500, 2500, 2500, 1], [1000, 800, 1500, 2500, -1]], float)
    pieces = np.array(
        [[500, 500, 1000, 2500, 1], [1500, 500, 2500, 2500, 1], [1000, 500, 1500, 800, 1]], float
    )
    one, other = (
        compute_spectrum(torch.from_numpy(rects[None]), field) for rects in (whole, pieces)
    )
    assert (one - other).abs().max() < 1e-6
    assert one.abs().max() > 0.1


def test_masks_of_a_batch_are_strangers() -> None:
    field = square_of(KRF, 40)
    masks = [routed(seed, field.side_nm, 140)[: 10 + 30 * seed] for seed in range(3)]
    together = images(KRF, 120.0, masks, field)
    for mask, picture in zip(masks, together, strict=True):
        np.testing.assert_allclose(imaged(KRF, 120.0, mask, field), picture, atol=1e-6)
    assert np.ptp(together, axis=0).max() > 0.1


def turned(rects: Floats, side_nm: float, turn: int) -> Floats:
    """Quarter turns about the field's corner, which is its middle too; 4 and over: mirrored."""
    x_0, y_0, x_1, y_1 = rects.T
    if turn >= 4:
        y_0, y_1 = side_nm - y_1, side_nm - y_0
    for _ in range(turn % 4):
        x_0, y_0, x_1, y_1 = side_nm - y_1, x_0, side_nm - y_0, x_1
    return np.stack([x_0, y_0, x_1, y_1], axis=1)


def turned_image(picture: Floats, turn: int) -> Floats:
    """The same of samples: the first is at the field's corner and stays there."""
    if turn >= 4:
        picture = np.roll(picture[::-1], 1, axis=0)
    for _ in range(turn % 4):
        picture = np.roll(picture.T[:, ::-1], 1, axis=1)
    return picture


@pytest.mark.parametrize("defocus_nm", [0, 100])
@pytest.mark.parametrize("process", [KRF, QUASAR, DIPOLE, MAP, OFF_CENTRE], ids=name_of)
def test_images_have_the_symmetries_that_a_process_promises(
    process: Process, defocus_nm: float
) -> None:
    field = square_of(process, 40)
    rects = routed(7, field.side_nm, 140)
    picture = imaged(process, defocus_nm, rects, field)
    alike = [
        np.abs(
            imaged(process, defocus_nm, turned(rects, field.side_nm, turn), field)
            - turned_image(picture, turn)
        ).max()
        < 1e-4
        for turn in range(8)
    ]
    assert sum(alike) >= process.symmetries
    promised = {8: range(8), 4: (0, 2, 4, 6), 1: (0,)}[process.symmetries]
    assert all(alike[turn] for turn in promised)
    assert sum(alike) < 8 or process.source.shape in ("annular", "quasar")


@pytest.mark.parametrize(("energy", "limit"), [(0.99999, 2e-5), (None, 5e-4)], ids=["all", "kept"])
@pytest.mark.parametrize("process", [KRF, ARFI], ids=name_of)
def test_a_finer_grid_shows_the_same_image(
    process: Process, energy: float | None, limit: float
) -> None:
    # All kernels together have no frequency over 2 NA / wavelength; some alone have a little.
    coarse = square_of(process, 48)
    asked = process if energy is None else replace(process, energy=energy)
    mask = [routed(8, coarse.side_nm, process.min_width_nm)]
    optics = compute_kernels(asked, process.corners[1].defocus_nm, coarse)
    fine = replace(coarse, pixels=3 * coarse.pixels)
    picture, finer = (
        compute_image(spectra(mask, field), optics, field)[0].numpy() for field in (coarse, fine)
    )
    assert np.abs(interpolated(picture, 3) - finer).max() < limit
    assert np.ptp(finer) > 0.5


@pytest.mark.parametrize("pixels", [42, 64, 128])
def test_waves_that_are_transformed_together_give_the_same_bytes(
    pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = square_of(KRF, pixels)
    kernels = compute_kernels(KRF, 120.0, field)
    rng = np.random.default_rng(pixels)
    low = rng.uniform(0, 0.8 * field.side_nm, (1, 20, 2))
    rects = np.concatenate([low, low + rng.uniform(50, 400, low.shape), np.ones((1, 20, 1))], 2)
    spectrum = compute_spectrum(torch.from_numpy(rects), field)
    together = compute_image(spectrum, kernels, field)
    monkeypatch.setattr(imaging, "_TOGETHER", 1)
    assert torch.equal(compute_image(spectrum, kernels, field), together)
