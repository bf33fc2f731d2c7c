"""The tables of light give what the simulator prints, for any source, focus and blur."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.lithography.calibration.gauges import simulate_gauges
from stages.lithography.calibration.light import Foci, cut_into_rings
from stages.lithography.calibration.model import predict, shine
from stages.lithography.calibration.parameters import make_process, make_ranges, start_from
from stages.lithography.calibration.sections import Direction
from stages.lithography.process import Mask, Process
from tests.support.gauges import gauges_of
from tests.support.optical import CIRCULAR, DIPOLE, KRF, MAP

SHIFTED = replace(
    KRF, name="phase-shift mask, vector light", na=0.9, mask=Mask(0.06, 180),
    resist=replace(KRF.resist, refractive_index=1.7), source=replace(KRF.source, polarization="y"),
)  # fmt: skip
PATTERNS = ("line:140:300", "line:180", "space:160:420", "tips:180:220")


@pytest.mark.parametrize(
    ("process", "direction", "count"),
    [(KRF, "y", 4), (CIRCULAR, "x", 2), (DIPOLE, "y", 3), (MAP, "x", 2), (SHIFTED, "x", 2)],
)
def test_widths_are_those_of_the_simulator(
    process: Process, direction: Direction, count: int
) -> None:
    gauges = gauges_of(process, PATTERNS[:count], (100.0,), direction)
    values = replace(
        start_from(process), focus_nm=15.0, diffusion_nm=20.0, tail_share=0.05, tail_nm=150.0
    )
    found = predict(shine(process, gauges, make_ranges(process)), gauges, values)
    # The simulator's source is of cells, and its kernels leave out a share of the light.
    apart = found - simulate_gauges(make_process(process, values), gauges, 15.0)
    assert np.abs(apart).max() < 1.0
    assert np.abs(apart).mean() < 0.35


def test_directions_of_a_dipole_differ() -> None:
    ranges = make_ranges(DIPOLE)
    x, y = (
        predict(shine(DIPOLE, gauges, ranges), gauges, start_from(DIPOLE))
        for gauges in (
            gauges_of(DIPOLE, PATTERNS[:1]),
            gauges_of(DIPOLE, PATTERNS[:1], (0.0,), "y"),
        )
    )
    assert abs(x - y) > 5


def test_rings_weigh_as_their_areas() -> None:
    rings = cut_into_rings(KRF, 0.2, 0.9)
    weights = rings.weigh(0.4, 0.8)
    assert weights.sum() == pytest.approx(1)
    # The mean of r over an annulus is 2 (b^3 - a^3) / 3 (b^2 - a^2).
    assert weights @ rings.radius == pytest.approx(2 * (0.8**3 - 0.4**3) / 3 / (0.8**2 - 0.4**2))
    assert (weights[(rings.radius < 0.38) | (rings.radius > 0.82)] == 0).all()
    near = rings.weigh(0.4, 0.8001) - weights
    assert np.abs(near).max() < 1e-3, "a step in sigma is no jump"


def test_a_quarter_of_the_source_has_the_weight_of_all() -> None:
    rings = cut_into_rings(KRF, 0.2, 0.9)
    quarter = rings.keep_quarter()
    assert len(quarter.points) * 4 == len(rings.points)
    sums = np.add.reduceat(quarter.weights, quarter.start[:-1])
    assert sums == pytest.approx(np.ones(len(rings.radius)))


@pytest.mark.parametrize("even", [True, False])
def test_focus_is_interpolated(even: bool) -> None:
    foci = Foci(even, 290.0)
    nodes = foci.nodes_nm
    for z in (-250.0, -40.0, 0.0, 130.0, 290.0):
        wave = np.cos(2.1 * nodes / 290) + (0 if even else np.sin(2.1 * nodes / 290))
        expected = np.cos(2.1 * z / 290) + (0 if even else np.sin(2.1 * z / 290))
        assert foci.weigh(z) @ wave == pytest.approx(expected, abs=1e-5)
