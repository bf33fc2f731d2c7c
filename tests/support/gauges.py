"""Gauges of a few patterns: what the tests of calibration share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.contracts import Floats
from stages.lithography.calibration.gauges import Gauges, gather_gauges, make_gauge_field
from stages.lithography.calibration.patterns import draw_pattern, parse_pattern
from stages.lithography.calibration.sections import Direction, find_section
from stages.lithography.process import Process

GRATINGS = (
    "line:140:280", "line:140:320", "line:140:380", "line:140:460", "line:140:600", "line:140",
    "line:210:420", "line:210", "line:280:700", "space:140", "space:140:460", "space:210:500",
    "space:280",
)  # fmt: skip
"""Patterns of one direction, which cost little."""


def gauges_of(
    process: Process, texts: Sequence[str], foci: Sequence[float] = (0.0,),
    direction: Direction = "x",
) -> Gauges:  # fmt: skip
    """Every pattern at every focus, at dose 1."""
    patterns = [parse_pattern(text) for text in texts]
    field = make_gauge_field(process, max(pattern.drawn_nm for pattern in patterns))
    half = field.side_nm / 2
    order = [0, 1, 2, 3] if direction == "x" else [1, 0, 3, 2]
    sections = [
        find_section(draw_pattern(p, half)[:, order] + half, field.side_nm, direction)
        for p in patterns
    ]
    section = np.tile(np.arange(len(texts)), len(foci))
    focus_nm: Floats = np.repeat(np.asarray(foci, float), len(texts))
    return gather_gauges(process, field, sections, section, np.ones(len(section)), focus_nm)
