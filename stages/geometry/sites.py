"""Sites: risky places in the merged region of one window, by rule, and their thinning.

A space is the gap between two facing edges; whether none, one or both are line ends makes it a
space, a line end to side or a tip to tip. What is found at a place depends only on geometry within
a stated distance of it, so that every tiling finds the same sites.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stages.compiled import kernel
from stages.contracts import Int64s
from stages.geometry.growing import copy_rows
from stages.geometry.sorting import sort_keys
from stages.geometry.union import find_runs_gaps_edges, swap_xy

SPACE, WIDTH, TIP_TO_TIP, LINE_END_TO_SIDE = 1, 2, 3, 4
"""Codes of the rules; 0 is the grid and 5 a polygon that is not rectilinear."""

THINNING_ROUNDS = 3


def find_sites(rects: Int64s, limits_dbu: Int64s, spacing_dbu: int) -> Int64s:
    """Return the places that meet a rule.

    Parameters
    ----------
    rects : (n, 4) int64
        Rectangles of one layer around the window, in dbu; they may overlap.
    limits_dbu : (5,) int64
        Largest space, width, tip to tip, line end to side; longest edge that counts as a line end.
    spacing_dbu : int
        A long stretch has a site at its ends and every `spacing_dbu` between, on a lattice from the
        layout's origin.

    Returns
    -------
    (s, 4) int64
        x, y, rule, measured distance in dbu.
    """
    across = _find_sites_in_x(rects, limits_dbu, spacing_dbu)
    along = _find_sites_in_x(swap_xy(rects), limits_dbu, spacing_dbu)[:, [1, 0, 2, 3]]
    return np.concatenate((across, along))


def _find_sites_in_x(rects: Int64s, limits_dbu: Int64s, spacing_dbu: int) -> Int64s:
    widest = int(limits_dbu[[0, 2, 3]].max())
    runs, spaces, boundary = find_runs_gaps_edges(rects, widest)
    boundary = boundary[np.lexsort((boundary[:, 1], boundary[:, 0], boundary[:, 3]))]
    first_left = int(np.searchsorted(boundary[:, 3], 1))  # sides -1 come first
    right, left = boundary[:first_left], boundary[first_left:]
    sites: Int64s = np.concatenate(
        (
            _find_spaces(spaces, right, left, limits_dbu, spacing_dbu),
            _find_necks(runs, right, left, limits_dbu, spacing_dbu),
        )
    )
    return sites


@kernel
def find_edge(edges: Int64s, x: int, y: int) -> int:
    """Return the edge at `x` that spans upward from `y`; edges are in the order of x, y_lo."""
    low, high = 0, edges.shape[0]
    while low < high:
        middle = (low + high) // 2
        if edges[middle, 0] < x or (edges[middle, 0] == x and edges[middle, 1] <= y):
            low = middle + 1
        else:
            high = middle
    return low - 1


@kernel
def is_tip(edges: Int64s, i: int, line_end_dbu: int) -> bool:
    """Return whether an edge is the end of a line: short, and convex at both ends."""
    return edges[i, 2] - edges[i, 1] <= line_end_dbu and edges[i, 4] == 1 and edges[i, 5] == 1


@kernel
def _append_along(
    sites: Int64s, used: int, x: int, low: int, high: int, rule: int, measure: int, spacing: int
) -> tuple[Int64s, int]:
    """Append the sites of a stretch: its middle if short, else its ends and the lattice between."""
    inset = spacing // 4
    needed = used + 2 + (high - low) // spacing + 1
    if needed > sites.shape[0]:
        more = np.empty((2 * needed, 4), np.int64)
        copy_rows(more, 0, sites, 0, used)
        sites = more
    if high - low <= spacing:
        sites[used, 0], sites[used, 1], sites[used, 2], sites[used, 3] = (
            x, (low + high) // 2, rule, measure,
        )  # fmt: skip
        return sites, used + 1
    first = -(-(low + spacing) // spacing) * spacing
    for y in (low + inset, high - inset):
        sites[used, 0], sites[used, 1], sites[used, 2], sites[used, 3] = x, y, rule, measure
        used += 1
    for y in range(first, high - spacing + 1, spacing):
        sites[used, 0], sites[used, 1], sites[used, 2], sites[used, 3] = x, y, rule, measure
        used += 1
    return sites, used


@kernel
def find_rule_of_space(
    right: Int64s, left: Int64s, space: Int64s, limits: Int64s
) -> tuple[int, int]:
    """Return the rule of a space, by how many line ends face it, and the rule's limit."""
    a, low, b, _ = space
    tips = int(is_tip(right, find_edge(right, a, low), limits[4]))  # NumPy adds no booleans
    tips += int(is_tip(left, find_edge(left, b, low), limits[4]))
    if tips == 0:
        return SPACE, limits[0]
    return (LINE_END_TO_SIDE, limits[3]) if tips == 1 else (TIP_TO_TIP, limits[2])


@kernel
def _find_spaces(
    spaces: Int64s, right: Int64s, left: Int64s, limits: Int64s, spacing: int
) -> Int64s:
    sites, used = np.empty((2 * spaces.shape[0] + 8, 4), np.int64), 0
    for i in range(spaces.shape[0]):
        a, low, b, high = spaces[i]
        rule, limit = find_rule_of_space(right, left, spaces[i], limits)
        if b - a <= limit:
            sites, used = _append_along(sites, used, (a + b) // 2, low, high, rule, b - a, spacing)
    return sites[:used].copy()


@kernel
def _find_necks(runs: Int64s, right: Int64s, left: Int64s, limits: Int64s, spacing: int) -> Int64s:
    """Find narrow stretches where an edge turns, other than line ends.

    Most wires are drawn at minimum width, which alone is no risk. A narrow run is a site where one
    of its edges ends concave: there a wider part or a branch begins.
    """
    sites, used = np.empty((2 * runs.shape[0] + 8, 4), np.int64), 0
    for i in range(runs.shape[0]):
        a, low, b, high = runs[i]
        if b - a > limits[1]:
            continue
        p, q = find_edge(left, a, low), find_edge(right, b, low)
        middle = (a + b) // 2
        begins = (left[p, 1] == low and left[p, 4] == 0) or (
            right[q, 1] == low and right[q, 4] == 0
        )
        ends = (left[p, 2] == high and left[p, 5] == 0) or (
            right[q, 2] == high and right[q, 5] == 0
        )
        if begins and ends and high - low <= spacing:
            sites, used = _append_along(sites, used, middle, low, high, WIDTH, b - a, spacing)
        else:
            if begins:
                sites, used = _append_along(
                    sites, used, middle, low, min(high, low + spacing), WIDTH, b - a, spacing
                )
            if ends:
                sites, used = _append_along(
                    sites, used, middle, max(low, high - spacing), high, WIDTH, b - a, spacing
                )
    return sites[:used].copy()


def thin_sites(sites: Int64s, distance_dbu: int) -> Int64s:
    """Drop sites that are covered by the clip of a stronger site nearby.

    A site is kept if no site within `distance_dbu` (in x and in y) is stronger, and the sites near
    it are dropped. This is repeated on the rest, `THINNING_ROUNDS` times; what is left after that
    is kept too, so every site is within `distance_dbu` of a kept one. Which are kept depends on
    geometry within ``2 * THINNING_ROUNDS * distance_dbu``. The stronger of two sites is the one
    with the smaller measure, then the larger rule code, then the lower y, then x.
    """
    if not len(sites):
        return sites
    order = np.lexsort((sites[:, 0], sites[:, 1], -sites[:, 2], sites[:, 3]))
    ranked = sites[order]
    _, first = np.unique(ranked[:, :2], axis=0, return_index=True)  # one site per place
    ranked = ranked[np.sort(first)]
    kept: Int64s = ranked[_select_strongest(ranked, distance_dbu, THINNING_ROUNDS)]
    return kept


@kernel
def _select_strongest(ranked: Int64s, distance: int, rounds: int) -> Int64s:
    """Return the indices of the sites to keep; `ranked` is strongest first."""
    n = ranked.shape[0]
    place = np.empty((n, 2), np.int64)  # row and column of the bin; near sites are in adjacent bins
    place[:, 0] = (ranked[:, 1] - ranked[:, 1].min()) // distance + 1
    place[:, 1] = (ranked[:, 0] - ranked[:, 0].min()) // distance + 1
    columns = place[:, 1].max() + 2
    bin_of = place[:, 0] * columns + place[:, 1]
    by_bin = sort_keys(bin_of)  # within a bin still strongest first
    sorted_bins = bin_of[by_bin]
    state = np.zeros(n, np.int8)  # 0 open, 1 kept, 2 dropped
    strongest = np.empty(n, np.int64)
    for _ in range(rounds):
        count = 0
        for s in range(n):
            if state[s] == 0 and not _visit_near(
                s, bin_of[s], columns, ranked, distance, by_bin, sorted_bins, state, False
            ):
                strongest[count] = s
                count += 1
        for k in range(count):
            s = strongest[k]
            state[s] = 1
            _visit_near(s, bin_of[s], columns, ranked, distance, by_bin, sorted_bins, state, True)
    return np.flatnonzero(state != 2)


@kernel
def _visit_near(
    s: int,
    bin_s: int,
    columns: int,
    ranked: Int64s,
    distance: int,
    by_bin: Int64s,
    sorted_bins: Int64s,
    state: npt.NDArray[np.int8],
    drop: bool,
) -> bool:
    """Return whether a stronger open site is near `s`; with `drop`, drop all open ones instead."""
    for row in range(-1, 2):
        first = np.searchsorted(sorted_bins, bin_s + row * columns - 1)
        for k in range(first, sorted_bins.shape[0]):
            if sorted_bins[k] > bin_s + row * columns + 1:
                break
            t = by_bin[k]
            if (
                state[t] == 0 and t != s and (drop or t < s)
                and abs(ranked[t, 0] - ranked[s, 0]) <= distance
                and abs(ranked[t, 1] - ranked[s, 1]) <= distance
            ):  # fmt: skip
                if not drop:
                    return True
                state[t] = 2
    return False
