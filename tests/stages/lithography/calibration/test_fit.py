"""A hidden process is found again; what the gauges do not determine is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest

from stages.contracts import Floats
from stages.errors import UsageError
from stages.lithography.calibration.fit import Fit, fit_process
from stages.lithography.calibration.gauges import Gauges
from stages.lithography.calibration.light import Light
from stages.lithography.calibration.model import predict, shine
from stages.lithography.calibration.parameters import NAMES, make_process, make_ranges, start_from
from stages.lithography.process import KernelFile, KernelSet
from tests.support.gauges import GRATINGS, gauges_of
from tests.support.optical import KRF, MAP

HIDDEN = replace(
    start_from(KRF), sigma_in=0.48, sigma_out=0.71, focus_nm=30.0, threshold=0.305,
    diffusion_nm=16.0,
)  # fmt: skip
NOISE = 0.5


@pytest.fixture(scope="module")
def gauges() -> Gauges:
    return gauges_of(KRF, GRATINGS, (-120.0, 0.0, 120.0))


@pytest.fixture(scope="module")
def light(gauges: Gauges) -> Light:
    return shine(KRF, gauges, make_ranges(KRF))


@pytest.fixture(scope="module")
def measured(gauges: Gauges, light: Light) -> Floats:
    truth = predict(light, gauges, HIDDEN)
    return truth + np.random.default_rng(3).normal(0, NOISE, len(truth))


def fit(gauges: Gauges, light: Light, measured: Floats, held: Sequence[int] = ()) -> Fit:
    held_out = np.isin(np.arange(len(measured)), held)
    return fit_process(KRF, gauges, measured, np.full(len(measured), NOISE), held_out, light)


def test_a_hidden_process_is_found(gauges: Gauges, light: Light, measured: Floats) -> None:
    found = fit(gauges, light, measured, held=range(0, 39, 6))
    by_name = {each.name: each for each in found.parameters}
    for name, true in zip(NAMES, astuple(HIDDEN), strict=True):
        each = by_name[name]
        if not each.fixed:
            assert each.low - (each.high - each.low) / 2 <= true <= each.high * 1.5, name
            assert each.low <= each.value <= each.high
    assert {name for name in NAMES if not by_name[name].fixed} >= {
        "sigma_in", "sigma_out", "focus_nm", "threshold", "diffusion_nm"
    }  # fmt: skip
    assert by_name["threshold"].high - by_name["threshold"].low < 0.005
    assert "threshold" in by_name["dose"].fixed
    assert by_name["tail_share"].value == 0, "no tail is hidden"
    assert found.explained
    truth = predict(light, gauges, HIDDEN)
    assert np.sqrt(np.mean((found.predicted_nm - truth)[found.held_out] ** 2)) < 0.6


def test_what_is_written_is_what_was_fitted(gauges: Gauges, light: Light, measured: Floats) -> None:
    found = fit(gauges, light, measured)
    values = {each.name: each.value for each in found.parameters}
    process = found.process
    assert process.anchor is None
    assert process.source.sigma_in == values["sigma_in"]
    assert process.resist.threshold == values["threshold"]
    assert [corner.defocus_nm for corner in process.corners] == pytest.approx(
        [corner.defocus_nm + values["focus_nm"] for corner in KRF.corners]
    )


def test_what_few_patterns_do_not_determine_is_fixed_and_named() -> None:
    few = gauges_of(KRF, ("line:140:280", "line:150:300", "line:145:290") * 4)
    light = shine(KRF, few, make_ranges(KRF))
    measured = predict(light, few, HIDDEN)
    fixed = {each.name: each.fixed for each in fit(few, light, measured).parameters}
    assert fixed["sigma_in"] or fixed["sigma_out"]
    reasons = [why for name, why in fixed.items() if why and name != "dose"]
    assert reasons
    assert all("do not determine" in why or "as well without" in why for why in reasons)


def test_a_misfit_is_reported_and_widens_the_intervals(
    gauges: Gauges, light: Light, measured: Floats
) -> None:
    off = measured + 6.0 * (gauges.section % 3 == 0)
    found, right = fit(gauges, light, off), fit(gauges, light, measured)
    assert not found.explained
    widths = [
        next(p.high - p.low for p in each.parameters if p.name == "threshold")
        for each in (found, right)
    ]
    assert widths[0] > 2 * widths[1]


def test_too_few_gauges_are_refused(gauges: Gauges, light: Light, measured: Floats) -> None:
    with pytest.raises(UsageError, match="7 gauges are fitted"):
        fit(gauges, light, measured, held=range(32))


def test_a_map_has_no_radii_to_fit() -> None:
    fixed = {each.name: each.fixed for each in make_ranges(MAP)}
    assert "map" in fixed["sigma_out"]
    assert not fixed["threshold"]


def test_kernels_of_a_file_are_refused() -> None:
    kernels = KernelFile("k.npz", 2048, (KernelSet(0, "a", "b"), KernelSet(120, "a", "b")))
    with pytest.raises(UsageError, match="takes its kernels from a file"):
        make_ranges(replace(KRF, kernels=kernels))


def test_the_values_of_a_process_make_it_again() -> None:
    again = make_process(KRF, start_from(KRF))
    assert again.source == KRF.source
    assert again.corners == KRF.corners
    assert again.resist.tail_nm == 0
