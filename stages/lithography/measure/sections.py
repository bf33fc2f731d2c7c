"""Printed widths, spaces and edges, measured along lines across the drawn shapes.

in       an image as spline coefficients, the drawn runs and edges
out      a row per failing sample, and the worst margin of each kind in each cell
unit     one field in one direction
promise  no sample outside the field's core

A line at every pitch crosses the drawn runs: an interval is a drawn width, the gap between two a
drawn space. The image along the line is a sum of cubic B-splines, and a contour lies where it
crosses the threshold. A sample counts only where the drawn edges continue straight for some lines
either way, since corners round; line ends are measured at their middle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.compiled import kernel
from stages.contracts import Float32s, Floats, Int64s
from stages.lithography.optics.splines import blend

KINDS = (
    "bridge", "open", "pinch", "space", "epe", "line_end", "missing", "extra", "area", "off_centre",
)  # fmt: skip
BRIDGE, OPEN, PINCH, SPACE, EPE, LINE_END, MISSING, EXTRA, AREA, OFF_CENTRE = range(10)
HAIR = 1e-4
"""Least margin of what fails."""
FINE = 4
"""Samples of the profile in a step of the spline."""


class Rules(NamedTuple):
    """What to measure, and the limits of failure; lengths in dbu."""

    core: tuple[int, int, int, int]
    """Core of the field, half-open, from the field's corner."""
    scale: float
    """Spline steps in a dbu."""
    pitch: int
    """Distance between lines."""
    straight: int
    """For how many lines either way an edge must continue."""
    width: int
    """Drawn widths up to this are measured."""
    space: int
    """Drawn spaces up to this are measured."""
    line_end: int
    """Longest edge that is a line end."""
    pinch_share: float
    space_share: float
    epe: float
    line_end_epe: float


class Worst(NamedTuple):
    """The worst margin of each kind in each cell of a field so far.

    A margin is how far a sample is past its limit, as a share of the limit: over 0 where it fails.
    The limit of ``bridge``, ``open``, ``missing`` and ``extra`` is the intensity that prints, that
    of others the least extent or the largest error.
    """

    margin: Float32s
    """(kinds, rows, columns) -1 where nothing was measured, or only what is as far from failing."""
    corner: tuple[int, int]
    """x, y of the first cell, in dbu from the field's corner."""
    side: int
    """Of a cell, in dbu."""
    area: tuple[int, int, int, int]
    """Half-open; only samples in it count, from the field's corner."""


class Line(NamedTuple):
    """The image along one line."""

    profile: Float32s
    """`FINE` samples in a step of the spline."""
    y: int
    levels: Floats
    """(c,) intensity above which each corner of the process window prints."""


@kernel
def blend32(t: float) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Return `blend` in the precision of images."""
    w_0, w_1, w_2, w_3 = blend(t)
    return np.float32(w_0), np.float32(w_1), np.float32(w_2), np.float32(w_3)


@kernel
def _trace(coef: Float32s, row: float, line: Float32s, profile: Float32s) -> None:
    """Write the image along a row, `FINE` samples a step; the field is periodic."""
    n = coef.shape[0]
    k = int(np.floor(row))
    w_0, w_1, w_2, w_3 = blend32(row - k)
    a, b, c, d = coef[(k - 1) % n], coef[k % n], coef[(k + 1) % n], coef[(k + 2) % n]
    for i in range(n):
        line[i + 1] = w_0 * a[i] + w_1 * b[i] + w_2 * c[i] + w_3 * d[i]
    line[0], line[n + 1], line[n + 2] = line[n], line[1], line[2]
    for f in range(FINE):
        w_0, w_1, w_2, w_3 = blend32(f / FINE)
        for i in range(n):
            profile[i * FINE + f] = (
                w_0 * line[i] + w_1 * line[i + 1] + w_2 * line[i + 2] + w_3 * line[i + 3]
            )


@kernel
def _find_crossing(profile: Float32s, i: int, level: float) -> float:
    """Return where the profile crosses `level` between samples i and i + 1, by a parabola."""
    rise = profile[i + 1] - profile[i]
    bend = (profile[i + 2] - profile[i + 1] - profile[i] + profile[i - 1]) / 2
    s = (level - profile[i]) / rise
    slope = rise + (s - 0.5) * bend
    if abs(slope) > 0.2 * abs(rise):
        s -= (profile[i] + s * rise + s * (s - 1) / 2 * bend - level) / slope
    return i + min(max(s, 0.0), 1.0)


@kernel
def measure_extent(
    profile: Float32s, lo: float, hi: float, level: float, sign: int, reach: float
) -> tuple[float, float]:
    """Return the printed extent of a drawn interval, 0 where nothing prints there, and its height.

    The height is by how much of `level` the image is past it where it is furthest.

    `sign` is +1 for what is brighter than `level` and -1 for what is darker; the extent is
    followed for `reach` past the drawn ends. All lengths are in samples of the profile.
    """
    best, at = -np.inf, 0
    for i in range(int(np.ceil(lo)), int(np.floor(hi)) + 1):
        height = sign * (profile[i] - level)
        if height > best:
            best, at = height, i
    if best <= 0:
        return 0.0, best / level
    left, right = lo - reach, hi + reach
    i = at
    while i > left and sign * (profile[i] - level) > 0:
        i -= 1
    if sign * (profile[i] - level) <= 0:
        left = _find_crossing(profile, i, level)
    i = at
    while i < right and sign * (profile[i] - level) > 0:
        i += 1
    if sign * (profile[i] - level) <= 0:
        right = _find_crossing(profile, i - 1, level)
    return right - left, best / level


@kernel
def measure_displacement(
    profile: Float32s, edge: float, side: int, level: float, reach: float
) -> float:
    """Return how far the contour lies outside a drawn edge, at most `reach` either way.

    `side` is +1 where the drawn interior lies at larger coordinates.
    """
    i = int(np.floor(edge))
    here = profile[i] + (edge - i) * (profile[i + 1] - profile[i])
    outward = here > level
    step = -side if outward else side
    if step > 0:
        while i <= edge + reach and (profile[i + 1] > level) == outward:
            i += 1
    else:
        while i + 1 >= edge - reach and (profile[i] > level) == outward:
            i -= 1
    if (profile[i] > level) == (profile[i + 1] > level):
        return reach if outward else -reach
    return min(max((edge - _find_crossing(profile, i, level)) * side, -reach), reach)


@kernel
def cross_lines(runs: Int64s, pitch_dbu: int, lines: int) -> tuple[Int64s, Int64s, Int64s]:
    """Return the intervals of the runs on each line, sorted: start (lines + 1,), x_lo, x_hi.

    Line `j` is at y = j * pitch_dbu + pitch_dbu // 2.
    """
    order = np.argsort(runs[:, 0], kind="mergesort")
    half = pitch_dbu // 2
    first = np.maximum(-((half - runs[:, 1]) // pitch_dbu), 0)
    last = np.minimum(-((half - runs[:, 3]) // pitch_dbu), lines)  # the first line not crossed
    start = np.zeros(lines + 1, np.int64)
    for i in range(len(runs)):
        for j in range(first[i], last[i]):
            start[j + 1] += 1
    start = np.cumsum(start)
    used = start[:-1].copy()
    x_lo, x_hi = np.empty(start[-1], np.int64), np.empty(start[-1], np.int64)
    for i in order:
        for j in range(first[i], last[i]):
            x_lo[used[j]], x_hi[used[j]] = runs[i, 0], runs[i, 2]
            used[j] += 1
    return start, x_lo, x_hi


@kernel
def _find_beyond(x_hi: Int64s, low: int, high: int, x: int) -> int:
    """Return the first interval of ``low..high`` that ends beyond `x`."""
    while low < high:
        middle = (low + high) // 2
        if x_hi[middle] > x:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def _check_straight(
    start: Int64s, x_lo: Int64s, x_hi: Int64s, j: int, lines: int, a: int, b: int
) -> tuple[bool, bool, bool, bool]:
    """Check how the interval [a, b) of line `j` continues for `lines` lines up and down.

    Returns
    -------
    covered : the interval is metal on all of them
    clear : it is space on all of them
    left, right : metal begins at `a` on all of them, ends at `b` on all of them
    """
    covered = clear = left = right = True
    for k in range(max(j - lines, 0), min(j + lines + 1, len(start) - 1)):
        i = _find_beyond(x_hi, start[k], start[k + 1], a)
        there = i < start[k + 1]
        covered = covered and there and x_lo[i] <= a and x_hi[i] >= b
        clear = clear and not (there and x_lo[i] < b)
        left = left and there and x_lo[i] == a
        i = _find_beyond(x_hi, start[k], start[k + 1], b - 1)
        right = right and i < start[k + 1] and x_hi[i] == b
    return covered, clear, left, right


@kernel
def emit(
    out: Floats, used: int, kind: int, x: float, y: float, corner: int, severity: float
) -> tuple[Floats, int]:
    """Append a failing sample."""
    if used == out.shape[0]:
        larger = np.empty((2 * used, 5))
        larger[:used] = out
        out = larger
    out[used, 0], out[used, 1], out[used, 2] = kind, np.floor(x), y
    out[used, 3], out[used, 4] = corner, severity
    return out, used + 1


@kernel
def note(worst: Worst, kind: int, x: float, y: float, margin: float) -> None:
    """Keep the margin of a sample if its cell has none that is worse."""
    low_x, low_y, high_x, high_y = worst.area
    x = np.floor(x)
    if low_x <= x < high_x and low_y <= y < high_y:
        column = int((x - worst.corner[0]) // worst.side)
        row = int((y - worst.corner[1]) // worst.side)
        margin = min(margin, 1.0)
        if margin > worst.margin[kind, row, column]:
            worst.margin[kind, row, column] = margin


@kernel
def note_all(worst: Worst, rows: Floats, margin: Floats) -> None:
    """Note the margins of samples, as of `find_failures`."""
    for i in range(len(rows)):
        note(worst, int(rows[i, 0]), rows[i, 1], rows[i, 2], margin[i])


@kernel
def judge_extent(
    line: Line, low: float, high: float, x: float, drawn: float, metal: bool, rules: Rules,
    worst: Worst, found: tuple[Floats, int],
) -> tuple[Floats, int]:  # fmt: skip
    """Judge the printed extent of a drawn width or space, from `low` to `high` of the profile."""
    out, used = found
    fine = rules.scale * FINE
    least = drawn * (rules.pinch_share if metal else rules.space_share)
    sign, gone, narrow = (1, OPEN, PINCH) if metal else (-1, BRIDGE, SPACE)
    reach = 2 * rules.epe * fine
    for c in range(len(line.levels)):
        printed, height = measure_extent(line.profile, low, high, line.levels[c], sign, reach)
        printed /= fine
        note(worst, narrow, x, line.y, 1 - printed / least)
        note(worst, gone, x, line.y, -height if printed > 0 else max(-height, HAIR))
        if printed < least:
            kind = narrow if printed > 0 else gone
            out, used = emit(out, used, kind, x, line.y, c, 1 - printed / least)
    return out, used


@kernel
def judge_edge(
    line: Line, kind: int, edge: float, x: float, side: int, rules: Rules, worst: Worst,
    found: tuple[Floats, int],
) -> tuple[Floats, int]:  # fmt: skip
    """Judge how far from a drawn edge, at a place of the profile, the contour lies."""
    out, used = found
    fine = rules.scale * FINE
    limit = rules.line_end_epe if kind == LINE_END else rules.epe
    reach = 2 * limit * fine
    for c in range(len(line.levels)):
        outside = measure_displacement(line.profile, edge, side, line.levels[c], reach)
        epe = abs(outside) / fine
        note(worst, kind, x, line.y, epe / limit - 1)
        if epe > limit:
            out, used = emit(out, used, kind, x, line.y, c, min(epe / limit - 1, 1.0))
    return out, used


@kernel
def _check_line(
    line: Line, crossed: tuple[Int64s, Int64s, Int64s], j: int, rules: Rules, worst: Worst,
    found: tuple[Floats, int],
) -> tuple[Floats, int]:  # fmt: skip
    """Measure every drawn width, space and straight edge that line `j` crosses."""
    start, x_lo, x_hi = crossed
    fine = rules.scale * FINE
    core_lo, core_hi = rules.core[0], rules.core[2]
    for i in range(start[j], start[j + 1]):
        a, b = x_lo[i], x_hi[i]
        if b >= core_lo and a < core_hi:
            covered, _, left, right = _check_straight(start, x_lo, x_hi, j, rules.straight, a, b)
            x = (a + b) // 2
            if covered and b - a <= rules.width and core_lo <= x < core_hi:
                found = judge_extent(line, a * fine, b * fine, x, b - a, True, rules, worst, found)
            if left and core_lo <= a < core_hi:
                found = judge_edge(line, EPE, a * fine, a, 1, rules, worst, found)
            if right and core_lo <= b < core_hi:
                found = judge_edge(line, EPE, b * fine, b, -1, rules, worst, found)
        if i + 1 < start[j + 1]:
            a, b = x_hi[i], x_lo[i + 1]
            x = (a + b) // 2
            if b - a <= rules.space and core_lo <= x < core_hi:
                _, clear, _, _ = _check_straight(start, x_lo, x_hi, j, rules.straight, a, b)
                if clear:
                    found = judge_extent(
                        line, a * fine, b * fine, x, b - a, False, rules, worst, found
                    )
    return found


@kernel
def measure(
    coef: Float32s, runs: Int64s, edges: Int64s, levels: Floats, rules: Rules, worst: Worst
) -> Floats:
    """Measure one field along x and return the samples that fail.

    Parameters
    ----------
    coef : (n, n) float32
        Cubic B-spline coefficients of the image, the first at the field's corner.
    runs, edges : (m, 4), (k, 6) int64
        From `stages.geometry.union`, in dbu from the field's corner.
    levels : (c,) float64
        Intensity at which each corner of the process window prints.
    worst
        The margin of every sample is noted in it.

    Returns
    -------
    (f, 5) float64
        Index into `KINDS`, x and y in dbu from the field's corner, index into `levels`, severity.
    """
    n = coef.shape[0]
    count = int(n / rules.scale) // rules.pitch
    crossed = cross_lines(runs, rules.pitch, count)
    row, profile = np.empty(n + 3, np.float32), np.empty(n * FINE, np.float32)
    found = np.empty((16, 5)), 0
    for j in range(count):
        y = j * rules.pitch + rules.pitch // 2
        if rules.core[1] <= y < rules.core[3] and crossed[0][j] < crossed[0][j + 1]:
            _trace(coef, y * rules.scale, row, profile)
            found = _check_line(Line(profile, y, levels), crossed, j, rules, worst, found)
    for e in range(edges.shape[0]):
        x, y = edges[e, 0], (edges[e, 1] + edges[e, 2]) // 2
        is_end = edges[e, 4] and edges[e, 5] and edges[e, 2] - edges[e, 1] <= rules.line_end
        if is_end and rules.core[0] <= x < rules.core[2] and rules.core[1] <= y < rules.core[3]:
            _trace(coef, y * rules.scale, row, profile)
            line = Line(profile, y, levels)
            place = x * rules.scale * FINE
            found = judge_edge(line, LINE_END, place, x, edges[e, 3], rules, worst, found)
    return found[0][: found[1]]
