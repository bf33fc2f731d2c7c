"""Aerial images, against what the optics promise."""

from __future__ import annotations

import numpy as np
import pytest

import hotscan

WIRE = [(0, 0), (200, 0), (200, 20_000), (0, 20_000)]


def test_a_wide_wire_is_bright_inside_and_dark_far_away() -> None:
    seen = hotscan.aerial_image(
        [[(0, 0), (8000, 0), (8000, 8000), (0, 8000)]], window_nm=(-2500, 3990, 4010, 4010)
    )
    row = seen.intensity[len(seen.y_nm) // 2]
    assert row[-1] == pytest.approx(1, abs=0.02)
    assert row[0] < 0.01
    assert seen.intensity.shape == (len(seen.y_nm), len(seen.x_nm))
    edge = np.interp(0.0, seen.x_nm, row)
    assert 0.2 < edge < 0.4


def test_an_image_does_not_depend_on_its_window() -> None:
    """Across a field's border, too: the window is larger than one."""
    large = hotscan.aerial_image([WIRE], window_nm=(-400, 0, 600, 18_000), step_nm=20)
    small = hotscan.aerial_image([WIRE], window_nm=(-400, 9000, 600, 9400), step_nm=20)
    rows = np.searchsorted(large.y_nm, small.y_nm)
    np.testing.assert_allclose(large.intensity[rows], small.intensity, atol=2e-4)


def test_dose_and_focus_are_those_of_the_corner() -> None:
    from stages.lithography.process import load_process

    process, window = load_process("krf130"), (0, 10_000, 200, 10_100)
    images = {
        corner.name: hotscan.aerial_image([WIRE], "krf130", corner.name, window_nm=window)
        for corner in process.corners
    }
    levels = {image.threshold for image in images.values()}
    assert max(levels) == pytest.approx(min(levels))
    by_dose = sorted(process.corners, key=lambda corner: corner.dose)
    same_focus = [c for c in by_dose if c.defocus_nm == by_dose[0].defocus_nm]
    peaks = [images[corner.name].intensity.max() for corner in same_focus]
    assert len(peaks) > 1
    assert np.allclose(
        np.array(peaks) / peaks[0], [c.dose / same_focus[0].dose for c in same_focus]
    )
    with pytest.raises(hotscan.ConfigError, match="has no corner 'nowhere'"):
        hotscan.aerial_image([WIRE], "krf130", "nowhere")


def test_something_is_asked_for() -> None:
    with pytest.raises(hotscan.ConfigError, match="no polygon and no window_nm"):
        hotscan.aerial_image([])
