"""What fails in a core is what a scan of its clip finds."""

from __future__ import annotations

import numpy as np
import pytest

from stages.fixes.bench import SAFETY, make_bench, simulate, simulate_core
from stages.fixes.rules import DesignRules
from stages.geometry.union import merge
from stages.lithography.clip_window import make_window, turn_back
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
    core, far = simulate_core(merge(NECK), BENCH, CORE), simulate(merge(NECK), BENCH)
    kind = core[0, 0]
    worst, tighter = (samples[samples[:, 0] == kind, 4].max() for samples in (core, far))
    assert 0.5 * SAFETY < tighter - worst < 2 * SAFETY
