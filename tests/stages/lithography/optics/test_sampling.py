"""Images on a grid: the same from any window, and the same light as the contours."""

from __future__ import annotations

import numpy as np
import shapely

from stages.contracts import Box
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.optics.sampling import sample_images
from stages.lithography.process import load_process

PROCESS = load_process("krf130")
WIRES = np.array([[0, 0, 140, 12_000], [300, 0, 440, 5000], [300, 5200, 440, 12_000]])


def test_a_sample_does_not_depend_on_the_window() -> None:
    """To the bit, across the border of a field, too: one lies at y = 8970."""
    x, y = np.arange(-100.5, 600, 50), np.arange(8000.5, 10_000, 50)
    whole = sample_images(WIRES, x, y, 1.0, PROCESS, PROCESS.corners)
    part = sample_images(WIRES, x[3:7], y[10:30], 1.0, PROCESS, PROCESS.corners)
    assert np.array_equal(whole[:, 10:30, 3:7], part)
    (over,) = sample_images(WIRES, x, y, 1.0, PROCESS, [PROCESS.corners[1]])
    assert np.array_equal(whole[1], over)


def test_contours_lie_where_the_samples_cross_the_threshold() -> None:
    window, level = Box(-100, 4600, 540, 5600), compute_threshold(PROCESS)
    prints = simulate_prints(WIRES, window, 1.0, PROCESS)
    across, up = np.arange(-98.0, 540, 4), np.arange(4602.0, 5600, 4)
    light = sample_images(WIRES, across, up, 1.0, PROCESS, PROCESS.corners)
    x, y = np.meshgrid(across, up)
    for index, corner in enumerate(PROCESS.corners):
        inside = shapely.contains_xy(shapely.union_all(prints.by_corner[corner.name]), x, y)
        differ = inside != (light[index] > level)
        assert inside.any()
        # Contours are rounded to whole nm: within a nm of one the two may differ.
        assert np.abs(light[index][differ] - level).max(initial=0) < 0.02
        assert differ.mean() < 0.01
