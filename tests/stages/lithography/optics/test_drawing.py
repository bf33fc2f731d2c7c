"""Pictures hold the spectrum of the rectangles, and their derivatives are those of their sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.contracts import Floats
from stages.lithography.optics.drawing import (
    add_rects,
    draw,
    draw_coverage,
    sum_along_edges,
    tabulate_steps,
    transform_drawing,
)
from stages.lithography.optics.imaging import compute_image, compute_image_at_once, compute_spectrum
from stages.lithography.optics.kernels import compute_kernels, select_strongest
from tests.support.optical import KRF, square_of

FIELD = square_of(KRF, 64)


def scattered(count: int) -> Floats:
    """Random rectangles, as shares of the side, one in three cut out."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.9, (count, 2))
    size = rng.uniform(0.01, 0.1, (count, 2))
    sign = np.where(np.arange(count) % 3 == 0, -1.0, 1.0)
    return np.concatenate([low, low + size, sign[:, None]], axis=1)


def test_the_spectrum_of_a_picture_is_that_of_its_rectangles() -> None:
    rects = scattered(60)
    nm = rects * np.array([FIELD.side_nm] * 4 + [1])
    exact = compute_spectrum(torch.from_numpy(nm)[None], FIELD)
    drawn = transform_drawing(torch.from_numpy(draw(rects, FIELD).astype(np.float32)), FIELD)
    assert exact.abs().max() > 0.01
    assert (drawn - exact[0]).abs().max() < 2e-6
    kernels = compute_kernels(KRF, 0.0, FIELD)
    image = compute_image(exact, kernels, FIELD)[0]
    assert (compute_image_at_once(drawn, kernels, FIELD) - image).abs().max() < 1e-4 * image.max()


def test_few_kernels_and_the_mean_of_the_others_carry_the_same_light() -> None:
    kernels = compute_kernels(KRF, 120.0, FIELD)
    few = select_strongest(kernels, 0.9)
    assert 1 < len(few.waves) < len(kernels.waves) / 2
    for each in (kernels, few):
        light = each.waves.abs().square().sum(0) + each.rest
        torch.testing.assert_close(
            light, kernels.waves.abs().square().sum(0) + kernels.rest, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("degree", [0, 5])
def test_pictures_keep_areas_and_wrap_around(degree: int) -> None:
    rects = np.array([[1.5, 2.25, 4.0, 3.5, 1.0], [14.5, 15.25, 17.5, 18.0, 1.0]])
    picture = np.zeros((16, 16))
    add_rects(picture, rects, tabulate_steps(degree))
    assert picture.sum() == pytest.approx(2.5 * 1.25 + 3.0 * 2.75)
    assert picture[0, 0] > 0.2
    reversed_sides = rects[:, [2, 1, 0, 3, 4]]
    add_rects(picture, reversed_sides, tabulate_steps(degree))
    assert np.abs(picture).max() < 1e-12


def test_coverage_is_the_share_of_each_pixel() -> None:
    coverage = draw_coverage(np.array([[1.25, 2.0, 3.0, 3.5, 1.0]]), 8)
    assert coverage[2, 1:4].tolist() == pytest.approx([0.75, 1.0, 0.0])
    assert coverage[3, 1] == pytest.approx(0.375)
    assert np.count_nonzero(coverage) == 4


def test_sums_along_edges_are_the_slopes_of_sums_over_pictures() -> None:
    rng = np.random.default_rng(1)
    weights, table = rng.normal(size=(32, 32)), tabulate_steps()
    edges = np.array([[5.3, 2.2, 9.7], [31.1, 8.0, 3.5], [12.9, 28.0, 35.0]])
    slopes = sum_along_edges(weights, edges, table)
    for (x, low, high), slope in zip(edges, slopes, strict=True):
        sums = []
        for moved in (-1e-4, 1e-4):
            picture = np.zeros((32, 32))
            add_rects(picture, np.array([[x - 3, low, x + moved, high, 1.0]]), table)
            sums.append((weights * picture).sum())
        assert (sums[1] - sums[0]) / 2e-4 == pytest.approx(slope, rel=1e-3, abs=1e-5)
