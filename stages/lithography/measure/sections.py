"""Printed widths, spaces and edges, measured along lines across the drawn shapes.

in       an image as spline coefficients, the drawn runs and edges
out      a row per failing sample, and the worst margin of each kind in each cell
unit     one field in one direction
promise  no sample outside the field's core

A run is a drawn width, the gap between two a drawn space. Lines cross each of them, and each edge:
the first and the last as far from its ends as corners must be, since these round, and others every
pitch between them; where one is close to its limit, every step. So what is drawn says where it is
measured, not where a field begins. The
image along a line is a sum of cubic B-splines, and a contour lies where it crosses the threshold.
Line ends are measured at their middle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.compiled import kernel
from stages.contracts import Float32s, Floats, Int64s
from stages.lithography.measure.lines import list_near, place_lines, reach_metal, reach_space
from stages.lithography.optics.splines import blend

KINDS = (
    "bridge", "open", "pinch", "space", "epe", "line_end", "missing", "extra", "area", "off_centre",
)  # fmt: skip
BRIDGE, OPEN, PINCH, SPACE, EPE, LINE_END, MISSING, EXTRA, AREA, OFF_CENTRE = range(10)
HAIR = 1e-4
"""Least margin of what fails."""
FINE = 4
"""Samples of the profile in a step of the spline."""
_CLOSE = -0.35
"""Margin from which lines are a step apart: from pitch to pitch it changes by less than this."""
_PAST = 2
"""Steps that a profile reaches past what is measured."""


class Rules(NamedTuple):
    """What to measure, and the limits of failure; lengths in dbu."""

    core: tuple[int, int, int, int]
    """Core of the field, half-open, from the field's corner."""
    scale: float
    """Spline steps in a dbu."""
    pitch: int
    """Distance between lines."""
    step: int
    """Distance between lines where the margin is close to the limit."""
    straight: int
    """How far either way an edge must continue."""
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
    """The image along a part of a line."""

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
def _trace(
    coef: Float32s, y: int, low: float, high: float, levels: Floats, scale: float
) -> tuple[Line, int]:
    """Return the image along a row from before `low` to past `high`, and where that begins.

    Places are in samples of the profile, from the field's border; the field is periodic.
    """
    n = coef.shape[0]
    first = int(np.floor(low / FINE)) - _PAST
    steps = int(np.ceil(high / FINE)) + _PAST - first
    row = y * scale
    k = int(np.floor(row))
    w_0, w_1, w_2, w_3 = blend32(row - k)
    a, b, c, d = coef[(k - 1) % n], coef[k % n], coef[(k + 1) % n], coef[(k + 2) % n]
    line, profile = np.empty(steps + 3, np.float32), np.empty(steps * FINE, np.float32)
    j = (first - 1) % n
    for i in range(steps + 3):
        line[i] = w_0 * a[j] + w_1 * b[j] + w_2 * c[j] + w_3 * d[j]
        j = j + 1 if j + 1 < n else 0
    for f in range(FINE):
        w_0, w_1, w_2, w_3 = blend32(f / FINE)
        for i in range(steps):
            profile[i * FINE + f] = (
                w_0 * line[i] + w_1 * line[i + 1] + w_2 * line[i + 2] + w_3 * line[i + 3]
            )
    return Line(profile, y, levels), first * FINE


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
) -> tuple[tuple[Floats, int], float]:  # fmt: skip
    """Judge the printed extent of a drawn width or space, from `low` to `high` of the profile.

    Returns what is found by now, and the worst margin here.
    """
    out, used = found
    most = -1.0
    fine = rules.scale * FINE
    least = drawn * (rules.pinch_share if metal else rules.space_share)
    sign, gone, narrow = (1, OPEN, PINCH) if metal else (-1, BRIDGE, SPACE)
    reach = 2 * rules.epe * fine
    for c in range(len(line.levels)):
        printed, height = measure_extent(line.profile, low, high, line.levels[c], sign, reach)
        printed /= fine
        extent, level = 1 - printed / least, -height if printed > 0 else max(-height, HAIR)
        note(worst, narrow, x, line.y, extent)
        note(worst, gone, x, line.y, level)
        most = max(most, extent, level)
        if printed < least:
            kind = narrow if printed > 0 else gone
            out, used = emit(out, used, kind, x, line.y, c, 1 - printed / least)
    return (out, used), most


@kernel
def judge_edge(
    line: Line, kind: int, edge: float, x: float, side: int, rules: Rules, worst: Worst,
    found: tuple[Floats, int],
) -> tuple[tuple[Floats, int], float]:  # fmt: skip
    """Judge how far from a drawn edge, at a place of the profile, the contour lies."""
    out, used = found
    most = -1.0
    fine = rules.scale * FINE
    limit = rules.line_end_epe if kind == LINE_END else rules.epe
    reach = 2 * limit * fine
    for c in range(len(line.levels)):
        outside = measure_displacement(line.profile, edge, side, line.levels[c], reach)
        epe = abs(outside) / fine
        note(worst, kind, x, line.y, epe / limit - 1)
        most = max(most, epe / limit - 1)
        if epe > limit:
            out, used = emit(out, used, kind, x, line.y, c, min(epe / limit - 1, 1.0))
    return (out, used), most


@kernel
def _check_extent(
    coef: Float32s, box: Int64s, y: int, metal: bool, levels: Floats, rules: Rules, worst: Worst,
    found: tuple[Floats, int],
) -> tuple[tuple[Floats, int], float]:  # fmt: skip
    """Measure the width of a run, or the space of a gap, along one line; 0 outside the core."""
    if not rules.core[1] <= y < rules.core[3]:
        return found, 0.0
    fine, far = rules.scale * FINE, 2 * rules.epe * rules.scale * FINE
    low, high, x = box[0] * fine, box[2] * fine, (box[0] + box[2]) // 2
    line, first = _trace(coef, y, low - far, high + far, levels, rules.scale)
    return judge_extent(
        line, low - first, high - first, x, box[2] - box[0], metal, rules, worst, found
    )


@kernel
def _check_extents(
    coef: Float32s, drawn: Int64s, runs: Int64s, metal: bool, levels: Floats, rules: Rules,
    worst: Worst, found: tuple[Floats, int],
) -> tuple[Floats, int]:  # fmt: skip
    """Measure the widths of runs, or the spaces of gaps between them."""
    by_low, by_high = np.argsort(runs[:, 1]), np.argsort(runs[:, 3])
    least_x, least_y, most_x, most_y = rules.core
    widest = rules.width if metal else rules.space
    for i in range(len(drawn)):
        a, low, b, high = drawn[i]
        if b - a > widest or not least_x <= (a + b) // 2 < most_x:
            continue
        if high < least_y or low >= most_y:
            continue
        over, under = high + rules.straight, low - rules.straight
        if metal:
            top = reach_metal(runs, by_low, i, True, over)
            bottom = reach_metal(runs, by_high, i, False, under)
        else:
            top = reach_space(runs, by_low, drawn[i], True, over)
            bottom = reach_space(runs, by_high, drawn[i], False, under)
        bottom, top = max(bottom, under) + rules.straight, min(top, over) - rules.straight
        for place in place_lines(bottom, top, rules.pitch, rules.core[1], rules.core[3]):
            found, margin = _check_extent(coef, drawn[i], place, metal, levels, rules, worst, found)
            if margin >= _CLOSE:
                for y in list_near(place, bottom, top, rules.pitch, rules.step):
                    found, _ = _check_extent(coef, drawn[i], y, metal, levels, rules, worst, found)
    return found


@kernel
def _check_edge(
    coef: Float32s, edge: Int64s, kind: int, y: int, levels: Floats, rules: Rules, worst: Worst,
    found: tuple[Floats, int],
) -> tuple[tuple[Floats, int], float]:  # fmt: skip
    """Measure how far one place of an edge prints from where it is drawn; 0 outside the core."""
    if not rules.core[1] <= y < rules.core[3]:
        return found, 0.0
    fine = rules.scale * FINE
    far = 2 * (rules.line_end_epe if kind == LINE_END else rules.epe) * fine
    x, side = edge[0], edge[3]
    line, first = _trace(coef, y, x * fine - far, x * fine + far, levels, rules.scale)
    return judge_edge(line, kind, x * fine - first, x, side, rules, worst, found)


@kernel
def _check_edges(
    coef: Float32s, edges: Int64s, levels: Floats, rules: Rules, worst: Worst,
    found: tuple[Floats, int],
) -> tuple[Floats, int]:  # fmt: skip
    """Measure how far straight edges and line ends print from where they are drawn."""
    for e in range(len(edges)):
        edge = edges[e]
        if not rules.core[0] <= edge[0] < rules.core[2]:
            continue
        bottom, top = edge[1] + rules.straight, edge[2] - rules.straight
        for place in place_lines(bottom, top, rules.pitch, rules.core[1], rules.core[3]):
            found, margin = _check_edge(coef, edge, EPE, place, levels, rules, worst, found)
            if margin >= _CLOSE:
                for y in list_near(place, bottom, top, rules.pitch, rules.step):
                    found, _ = _check_edge(coef, edge, EPE, y, levels, rules, worst, found)
        if edge[4] and edge[5] and edge[2] - edge[1] <= rules.line_end:
            middle = (edge[1] + edge[2]) // 2
            found, _ = _check_edge(coef, edge, LINE_END, middle, levels, rules, worst, found)
    return found


@kernel
def measure(
    coef: Float32s, runs: Int64s, gaps: Int64s, edges: Int64s, levels: Floats, rules: Rules,
    worst: Worst,
) -> Floats:  # fmt: skip
    """Measure one field along x and return the samples that fail.

    Parameters
    ----------
    coef : (n, n) float32
        Cubic B-spline coefficients of the image, the first at the field's corner.
    runs, gaps, edges : (m, 4), (g, 4), (k, 6) int64
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
    found = np.empty((16, 5)), 0
    found = _check_extents(coef, runs, runs, True, levels, rules, worst, found)
    found = _check_extents(coef, gaps, runs, False, levels, rules, worst, found)
    found = _check_edges(coef, edges, levels, rules, worst, found)
    return found[0][: found[1]]
