"""Patterns to measure: gratings, tips, line ends and squares, dense or alone.

in       a pattern's text, such as ``line:140:280``
out      rectangles around the measured place; what is measured runs along x
unit     nm

| text | measured | the rest |
|---|---|---|
| ``line:W`` or ``line:W:P`` | a line of width W | alone, or of a grating of pitch P |
| ``space:W`` or ``space:W:P`` | a space of width W | in a plate, or of a grating of pitch P |
| ``tips:W:G`` or ``tips:W:G:P`` | a gap G between line ends | of width W, alone or at pitch P |
| ``end:W:L`` or ``end:W:L:P`` | the length L of a line | of width W, alone or at pitch P |
| ``square:W`` or ``square:W:P`` | a side W of a square | alone, or in an array of pitch P |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.contracts import Floats
from stages.errors import UsageError

_SIZES = {"line": 1, "space": 1, "tips": 2, "end": 2, "square": 1}
"""Sizes of each kind without the pitch."""
METAL = ("line", "end", "square")
"""Kinds of which the drawn shape is measured; of the others the space is."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern to measure."""

    kind: str
    sizes_nm: tuple[float, ...]
    """Width first; of tips and ends, then the gap or the length."""
    pitch_nm: float | None
    """None where the pattern is alone."""

    @property
    def drawn_nm(self) -> float:
        """The size that is measured."""
        return self.sizes_nm[-1]

    def __str__(self) -> str:
        pitch = () if self.pitch_nm is None else (self.pitch_nm,)
        return ":".join([self.kind, *(f"{size:g}" for size in (*self.sizes_nm, *pitch))])


def parse_pattern(text: str) -> Pattern:
    """Read a pattern.

    Raises
    ------
    UsageError
        When it is none.

    Examples
    --------
    >>> parse_pattern("tips:140:200:280")
    Pattern(kind='tips', sizes_nm=(140.0, 200.0), pitch_nm=280.0)
    """
    kind, *words = text.strip().split(":")
    try:
        sizes = [float(word) for word in words]
    except ValueError:
        sizes = []
    count = _SIZES.get(kind, math.inf)
    if len(sizes) not in (count, count + 1) or not all(0 < size < math.inf for size in sizes):
        raise UsageError(
            f"{text!r} is no pattern; it is one of line:W, space:W, tips:W:G, end:W:L, square:W, "
            "in nm, with :P at the end for an array of pitch P"
        )
    own = tuple(sizes[: _SIZES[kind]])
    pattern = Pattern(kind, own, sizes[-1] if len(sizes) > len(own) else None)
    across = pattern.sizes_nm[0]
    if pattern.pitch_nm is not None and pattern.pitch_nm <= across:
        raise UsageError(f"{text!r} has pitch {pattern.pitch_nm:g}; more than {across:g} is needed")
    return pattern


def draw_pattern(pattern: Pattern, reach_nm: float) -> Floats:
    """Return disjoint rectangles, (r, 4), that fill a square of ``2 * reach_nm`` about (0, 0).

    What is measured is along x, through (0, 0).
    """
    width, half, far = pattern.sizes_nm[0], pattern.drawn_nm / 2, reach_nm
    rows = _repeat(width, pattern.pitch_nm, far)
    if pattern.kind == "line":
        return np.array([(a, -far, b, far) for a, b in rows])
    if pattern.kind == "space":
        # The lines lie between the spaces.
        ends = np.clip([-math.inf, *(end for row in rows for end in row), math.inf], -far, far)
        return np.array([(a, -far, b, far) for a, b in ends.reshape(-1, 2) if b > a])
    if pattern.kind == "tips":
        return np.array([(s, a, e, b) for a, b in rows for s, e in ((-far, -half), (half, far))])
    if pattern.kind == "end":
        return np.array([(-half, a, half, b) for a, b in rows])
    return np.array([(s, a, e, b) for a, b in rows for s, e in rows])


def _repeat(width: float, pitch: float | None, far: float) -> list[tuple[float, float]]:
    """Return the intervals of an array, cut to the square, the middle one about 0."""
    count = 0 if pitch is None else math.ceil((far + width / 2) / pitch)
    middles = [n * (pitch or 0.0) for n in range(-count, count + 1)]
    cut = [(max(m - width / 2, -far), min(m + width / 2, far)) for m in middles]
    return [(a, b) for a, b in cut if b > a]


def choose_patterns(min_width_nm: float, min_space_nm: float) -> list[Pattern]:
    """Return patterns that tell source, resist and threshold apart at a process's scale."""
    width, pitch = min_width_nm, min_width_nm + min_space_nm
    steps = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
    through_pitch = [Pattern("line", (width,), round(pitch * step)) for step in steps]
    larger = [
        Pattern("line", (round(width * w),), round(width * w * p))
        for w in (1.25, 1.5, 2.0, 3.0) for p in (2.0, 3.0)
    ]  # fmt: skip
    spaces = [Pattern("space", (round(min_space_nm * s),), round(pitch * s + width * 2 * (s > 1)))
              for s in (1.0, 1.25, 1.5, 2.0)]  # fmt: skip
    alone = [
        Pattern(kind, (round(width * s),), None)
        for kind in ("line", "space") for s in (1.0, 1.25, 1.5, 2.0, 3.0)
    ]  # fmt: skip
    tips = [
        Pattern("tips", (width, round(width * gap)), p)
        for gap in (1.25, 1.5, 2.0, 3.0) for p in (None, 2 * pitch)
    ]  # fmt: skip
    ends = [Pattern("end", (width, round(width * length)), None) for length in (4, 8)]
    squares = [
        Pattern("square", (round(width * w),), p and round(width * w * p))
        for w in (1.5, 2.0) for p in (2.0, 3.0, None)
    ]  # fmt: skip
    return list(dict.fromkeys([*through_pitch, *larger, *spaces, *alone, *tips, *ends, *squares]))
