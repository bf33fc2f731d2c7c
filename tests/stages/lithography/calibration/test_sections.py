"""Sections are found where they are drawn, and measured where a profile crosses a level."""

from __future__ import annotations

import numpy as np
import pytest

from stages.contracts import Floats
from stages.errors import UsageError
from stages.lithography.calibration.sections import find_section, measure_widths

SIDE = 1000.0


def widths(levels: Floats, sign: int = 1, amplitude: float = 0.4) -> Floats:
    """Measure 0.5 + 0.4 cos(2 pi x / 400): lines of half the pitch at a level of 0.5."""
    x = np.linspace(-180, 180, 96)
    middle = x if sign > 0 else x + 200
    profile = 0.5 + amplitude * np.cos(2 * np.pi * middle / 400)
    n = len(levels)
    return measure_widths(
        np.tile(profile, (n, 1)), np.tile(x, (n, 1)), np.tile([-100.0, 100.0], (n, 1)),
        np.full(n, sign), levels,
    )  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_a_cosine_is_measured_by_its_formula(sign: int) -> None:
    levels = np.linspace(0.2, 0.8, 25)
    expected = 400 / np.pi * np.arccos(sign * (levels - 0.5) / 0.4)
    assert widths(levels, sign) == pytest.approx(expected, abs=0.01)


def test_where_nothing_prints_a_width_is_negative_and_falls_with_the_light() -> None:
    found = widths(np.array([0.89, 0.91, 1.0, 2.0]))
    assert found[0] > 0 > found[1] > found[2] > found[3]


def test_a_width_that_never_ends_is_that_of_the_profile() -> None:
    assert widths(np.array([0.01]))[0] == pytest.approx(360)


RECTS = np.array([[400.0, 0, 450, 1000], [450, 300, 600, 700], [700, 0, 760, 1000]])


@pytest.mark.parametrize(
    ("move", "direction", "low", "high", "metal"),
    [
        ((0, 0), "x", -100, 100, True),  # two touching rectangles are one width
        ((-150, 0), "x", -50, 50, False),  # the space between
        ((0, 0), "y", -200, 200, True),
    ],
)
def test_the_section_at_the_middle(
    move: tuple[int, int], direction: str, low: float, high: float, metal: bool
) -> None:
    section = find_section(RECTS + np.array([*move, *move]), SIDE, direction)  # type: ignore[arg-type]
    assert (section.low_nm, section.high_nm, section.metal) == (low, high, metal)
    assert section.turned == (direction == "y")


@pytest.mark.parametrize(
    "rects", [np.empty((0, 4)), RECTS[:1] - 300, np.array([[0.0, 0, 1e3, 1e3]])]
)
def test_what_does_not_end_is_refused(rects: Floats) -> None:
    with pytest.raises(UsageError, match="nothing drawn begins and ends"):
        find_section(rects, SIDE, "x")
