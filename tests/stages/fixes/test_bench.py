"""What fails in a core is what a scan of its clip finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.fixes.bench import SAFETY, make_bench, simulate, simulate_core
from stages.fixes.rules import DesignRules
from stages.geometry.union import merge
from stages.lithography.clip_window import make_window, turn_back
from stages.lithography.measure.sections import PINCH
from tests.stages.lithography.test_clip_window import CORE, NECK, turned
from tests.stages.lithography.test_clip_window import simulate as scan_clip
from tests.support.optical import KRF

BENCH = make_bench(KRF, "none", 1.0, DesignRules(140, 140), 5)


@pytest.mark.parametrize("symmetry", [0, 3, 6])
def test_a_core_fails_as_in_a_scan(symmetry: int) -> None:
    rects = merge(turned(NECK, symmetry))
    found, turn = scan_clip(rects)
    side = make_window(KRF, 1.0, CORE, "none").side_dbu
    wanted = turn_back(found.samples[:, 1:3], turn, side) - side // 2
    samples = simulate_core(rects, BENCH, CORE)
    np.testing.assert_array_equal(samples[:, 1:3], wanted)
    np.testing.assert_array_equal(samples[:, [0, 3, 4]], found.samples[:, [0, 3, 4]])
    assert len(samples)


def test_large_fields_are_judged_by_tighter_limits() -> None:
    found, tighter = (
        simulate(merge(NECK), each) for each in (replace(BENCH, process=BENCH.scanned), BENCH)
    )
    as_scanned, worst = (samples[samples[:, 0] == PINCH, 4].max() for samples in (found, tighter))
    assert 1 - worst == pytest.approx((1 - as_scanned) / (1 + SAFETY), rel=1e-3)
