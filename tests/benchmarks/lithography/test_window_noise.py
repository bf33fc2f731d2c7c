"""What the noise of windows is counted as."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.lithography.window_noise import report


def test_only_what_is_sure_in_full_simulation_counts(capsys: pytest.CaptureFixture[str]) -> None:
    stored = np.array([0.05, 0.04, 0.02, -0.02, -0.05, -0.04, -0.06])
    judged = np.array([0.01, -0.01, -0.01, 0.01, 0.02, 0.01, -0.06])
    report("these", "1.0", judged, stored)
    spread = "4.0 %, 5.8 %, 6.9 %"
    assert capsys.readouterr().out == f"| these | 1.0 | 1 | 2 | {spread} |\n"
