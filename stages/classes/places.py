"""Places in a core where it is most likely to fail, by its geometry alone.

in       windows around cores, or defects, the limits of the process's rules
out      places: window, x, y, feature, measured distance, rank
unit     some cores, in half dbu from their centres: the middle of two edges is a whole number
promise  the places turn and move with the geometry; a place is one at which something begins or
         ends, so that equal geometry is aligned alike

The tightest place is the one whose distance is the smallest share of the rule's limit: a space, a
gap between line ends, a line end before a side, a narrow stretch beside a wider one. Where no rule
applies it is a narrow wire that crosses the core, then a line end, a corner, and at last the centre
of the core.
"""

from __future__ import annotations

import numpy as np

from stages.classes.windows import Windows
from stages.compiled import brief_kernel, kernel
from stages.contracts import Int64s
from stages.findings import Bools
from stages.geometry.growing import copy_rows, reserve_row
from stages.geometry.sites import WIDTH, find_edge, find_rule_of_space, is_tip
from stages.geometry.sorting import sort_keys
from stages.geometry.union import swap_xy, sweep_rects

WIRE, LINE_END, CORNER, CENTRE, DEFECT = range(5, 10)  # 1 to 4 are the rules of `sites`
FEATURES = (
    "", "space", "width", "tip_to_tip", "line_end_to_side", "wire", "line_end", "corner",
    "centre", "defect",
)  # fmt: skip
"""Names of the features; the first four are those of `stages.geometry.sites`."""

_SHARE = 1 << 20
_NO_RULE = (1 << 40) + np.arange(10, dtype=np.int64)  # after every rule, in the order of the codes


def list_places(windows: Windows, limits: Int64s, half_core: Int64s, short: int) -> Int64s:
    """Return every place of each core where something begins, ends or comes near.

    Parameters
    ----------
    windows
        Of one layer around the centre of each core, complete as far around the core as the largest
        limit.
    limits : (5,) int64
        As `stages.geometry.sites.find_sites` takes them.
    half_core : (n,) int64
        Half the side of each core.
    short : int
        A gap up to this length is one place, its middle, which may lie outside the core by half
        this; a longer one has a place at each end.

    Returns
    -------
    (c, 6) int64
        Window, x, y, feature, measured distance, rank: the smaller the tighter.
    """
    across = _list_each(windows.rects, windows.start, limits, half_core, short)
    swapped = swap_xy(windows.rects)
    along = _list_each(swapped, windows.start, limits, half_core, short)[:, [0, 2, 1, 3, 4, 5]]
    return np.concatenate((across, along))


def choose_places(places: Int64s, fails: Bools, within: int) -> Int64s:
    """Return the places that what fails may be at, sorted; each window has at least one.

    Parameters
    ----------
    places : (c, 6) int64
        As `list_places` returns them, of any number of layers.
    fails : (n,) bool
        Whether a window is around a defect: then those nearest to it count, if they are within
        `within`, and else the defect itself.
    """
    away = np.abs(places[:, 1:3]).max(axis=1, initial=0)
    nearest = _find_least(places[:, 0], away, len(fails))
    window = places[:, 0]
    is_near = (away == nearest[window]) & (away <= within)
    return choose_tightest(places[~fails[window] | is_near], fails)


def choose_tightest(places: Int64s, fails: Bools) -> Int64s:
    """Return the places of the lowest rank in each window, each once.

    The middle where there is none: a defect, or the centre of a core.
    """
    none = np.setdiff1d(np.arange(len(fails)), places[:, 0])
    middles = np.zeros((len(none), 6), np.int64)
    middles[:, 0], middles[:, 3] = none, np.where(fails[none], DEFECT, CENTRE)
    least = _find_least(places[:, 0], places[:, 5], len(fails))
    tightest = places[places[:, 5] == least[places[:, 0]]]
    return np.unique(np.concatenate((tightest, middles)), axis=0)


def _find_least(window: Int64s, values: Int64s, count: int) -> Int64s:
    """Return the least value of each window, (count,)."""
    least = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(least, window, values)
    return least


@brief_kernel
def _list_each(
    rects: Int64s, start: Int64s, limits: Int64s, half_core: Int64s, short: int
) -> Int64s:
    """Return the places of all windows in x."""
    widest = max(limits[0], limits[2], limits[3])
    every, used = np.empty((1024, 6), np.int64), 0
    for number in range(len(start) - 1):
        local = rects[start[number] : start[number + 1]]
        runs, gaps, edges = sweep_rects(local, widest, True)
        found = _list_places(runs, gaps, edges, limits, half_core[number], short)
        for i in range(len(found)):
            every = reserve_row(every, used)
            every[used, 0] = number
            for column in range(5):
                every[used, 1 + column] = found[i, column]
            used += 1
    return every[:used].copy()


@kernel
def _pick_side(edges: Int64s, side: int) -> Int64s:
    """Return the edges of one side, by x, then y."""
    picked, used = np.empty((len(edges), 6), np.int64), 0
    for i in sort_keys(edges[:, 1].copy()):
        if edges[i, 3] == side:
            copy_rows(picked, used, edges, i, 1)
            used += 1
    ordered = np.empty((used, 6), np.int64)
    for place, i in enumerate(sort_keys(picked[:used, 0].copy())):
        copy_rows(ordered, place, picked, i, 1)
    return ordered


@kernel
def _list_places(
    runs: Int64s, gaps: Int64s, edges: Int64s, limits: Int64s, half_core: int, short: int
) -> Int64s:
    right, left = _pick_side(edges, -1), _pick_side(edges, 1)
    found, used = np.empty((64, 5), np.int64), 0
    for i in range(gaps.shape[0]):
        a, low, b, high = gaps[i]
        feature, limit = find_rule_of_space(right, left, gaps[i], limits)
        if b - a <= limit:
            rank = (b - a) * _SHARE // limit
            found, used = _add_stretch(
                found, used, a, low, b, high, high - low <= short, feature, rank, half_core
            )
    for i in range(runs.shape[0]):
        a, low, b, high = runs[i]
        if b - a > limits[1]:
            continue
        p, q = find_edge(left, a, low), find_edge(right, b, low)
        rank = (b - a) * _SHARE // limits[1]
        if (left[p, 1] == low and left[p, 4] == 0) or (right[q, 1] == low and right[q, 4] == 0):
            found, used = _add(found, used, (a + b) // 2, low, WIDTH, b - a, rank, half_core)
        if low <= -half_core and high >= half_core:
            found, used = _add(found, used, (a + b) // 2, 0, WIRE, b - a, _NO_RULE[WIRE], half_core)
        if (left[p, 2] == high and left[p, 5] == 0) or (right[q, 2] == high and right[q, 5] == 0):
            found, used = _add(found, used, (a + b) // 2, high, WIDTH, b - a, rank, half_core)
    for side in (right, left):
        for i in range(side.shape[0]):
            x, low, high = side[i, 0], side[i, 1], side[i, 2]
            if is_tip(side, i, limits[4]):
                found, used = _add(
                    found, used, x, (low + high) // 2, LINE_END, high - low, _NO_RULE[LINE_END],
                    half_core,
                )  # fmt: skip
            for y in (low, high):
                found, used = _add(found, used, x, y, CORNER, 0, _NO_RULE[CORNER], half_core)
    return found[:used]


@kernel
def _add_stretch(
    found: Int64s,
    used: int,
    a: int,
    low: int,
    b: int,
    high: int,
    short: bool,
    feature: int,
    rank: int,
    half_core: int,
) -> tuple[Int64s, int]:
    """Add the middle of a short gap, or of a long one both ends in the core.

    The middle may lie outside the core. A long gap without an end in the core is the same all
    along: it is added on the line through the core's centre.
    """
    x = (a + b) // 2
    if abs(x) > half_core or low > half_core or high < -half_core:
        return found, used
    if short:
        found, used = _append(found, used, x, (low + high) // 2, feature, b - a, rank)
        return found, used
    if low < -half_core and high > half_core:
        found, used = _append(found, used, x, 0, feature, b - a, rank)
        return found, used
    found, used = _add(found, used, x, low, feature, b - a, rank, half_core)
    found, used = _add(found, used, x, high, feature, b - a, rank, half_core)
    return found, used


@kernel
def _add(
    found: Int64s, used: int, x: int, y: int, feature: int, measure: int, rank: int, half_core: int
) -> tuple[Int64s, int]:
    """Add a place if it lies in the core, its edge included: it has no first and last side."""
    if abs(x) > half_core or abs(y) > half_core:
        return found, used
    found, used = _append(found, used, x, y, feature, measure, rank)
    return found, used


@kernel
def _append(
    found: Int64s, used: int, x: int, y: int, feature: int, measure: int, rank: int
) -> tuple[Int64s, int]:
    found = reserve_row(found, used)
    found[used, 0], found[used, 1], found[used, 2] = x, y, feature
    found[used, 3], found[used, 4] = measure, rank
    return found, used + 1
