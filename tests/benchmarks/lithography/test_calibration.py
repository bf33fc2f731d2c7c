"""The benchmarks of calibration and of the foundry's masks, on what needs no data."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.lithography.calibration import Lens, build_fab, hide, measure_truth
from stages.lithography.calibration.gauges import simulate_gauges
from stages.lithography.calibration.parameters import make_process
from stages.lithography.calibration.patterns import parse_pattern
from tests.support.optical import KRF

PATTERNS = tuple(parse_pattern(text) for text in ("line:140:420", "line:180"))


def test_the_truth_is_what_the_simulator_prints_and_a_lens_is_not() -> None:
    fab = build_fab(KRF, hide(KRF, 0.0), Lens(), 3, PATTERNS)
    assert fab.hidden is not None
    process = make_process(KRF, fab.hidden)
    printed = simulate_gauges(process, fab.gauges, fab.hidden.focus_nm)
    assert fab.truth == pytest.approx(printed, abs=1.5)
    worse = measure_truth(process, fab.gauges, fab.hidden.focus_nm, Lens(0.03, 0.02, soft=True))
    assert np.abs(worse - fab.truth).max() > 2
