"""Patterns are read, refused, and drawn with what is measured in the middle."""

from __future__ import annotations

import numpy as np
import pytest

from stages.errors import UsageError
from stages.geometry.union import merge
from stages.lithography.calibration.patterns import (
    METAL,
    choose_patterns,
    draw_pattern,
    parse_pattern,
)
from stages.lithography.calibration.sections import find_section

REACH = 1500.0


@pytest.mark.parametrize("pattern", choose_patterns(140, 140), ids=str)
def test_what_is_measured_runs_through_the_middle(pattern: object) -> None:
    read = parse_pattern(str(pattern))
    assert read == pattern
    rects = draw_pattern(read, REACH)
    section = find_section(rects + REACH, 2 * REACH, "x")
    assert section.drawn_nm == pytest.approx(read.drawn_nm)
    assert section.low_nm == pytest.approx(-section.high_nm)
    assert section.metal == (read.kind in METAL)
    assert np.abs(rects).max() <= REACH
    cells = np.rint(2 * rects).astype(np.int64)  # halves of a nm
    area = (cells[:, 2:] - cells[:, :2]).prod(axis=1).sum()
    union = merge(cells)
    assert area == (union[:, 2:] - union[:, :2]).prod(axis=1).sum(), "rectangles overlap"


def test_an_array_repeats_at_its_pitch() -> None:
    starts = draw_pattern(parse_pattern("line:140:400"), 1000)[:, 0]
    assert np.diff(np.sort(starts))[1:-1] == pytest.approx(400)
    assert len(draw_pattern(parse_pattern("line:140"), 1000)) == 1
    assert len(draw_pattern(parse_pattern("square:100:500"), 1000)) == 25


@pytest.mark.parametrize(
    "text", ["", "line", "line:x", "line:-3", "line:140:280:3", "dot:3", "line:nan", "tips:140"]
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no pattern"):
        parse_pattern(text)


def test_a_pitch_within_a_width_is_refused() -> None:
    with pytest.raises(UsageError, match="has pitch 140; more than 140"):
        parse_pattern("line:140:140")
