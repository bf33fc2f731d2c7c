"""Hotspots: clips over the threshold, merged where their cores touch, by falling score.

in       clips, the pattern of each clip, the score of each pattern
out      `Hotspot` rows
unit     a whole scan; time grows as n log n with the clips over the threshold
promise  the result does not depend on the order of the clips, hence not on tiles or workers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import scipy

from stages.contracts import Bytes, Clips, Float32s, Floats, Hotspot, Int64s, Verdict, require_even
from stages.errors import ConfigError
from stages.rows import HOTSPOT_COLUMNS, Rows, make_hotspot, read_field


def find_hotspots(
    clips: Clips,
    pattern: Int64s,
    *,
    rules: Sequence[str],
    scores: Float32s,
    keys: Bytes,
    core_dbu: int,
    threshold: float,
    confident: float | None = None,
) -> Rows[Hotspot]:
    """Merge the clips over threshold into ranked hotspots.

    Clips whose cores overlap, or touch at an edge or a corner, are one hotspot. It is shown by its
    clip of highest score; of equals, by the lowest, then the leftmost. A clip whose pattern has
    the score NaN was not scored and is never a hotspot: the caller must count and report those.

    Parameters
    ----------
    clips
        All clips of the scan, in any order.
    pattern
        (n,) index of each clip's pattern.
    rules
        Names of the rules; ``clips.rule`` is an index into them.
    scores
        (patterns,) probability of a hotspot, NaN where not scored.
    keys
        (n, 16) key of each clip's raster.
    core_dbu
        Side of a core, in dbu; even, so that the core has a centre in dbu.
    threshold
        Lowest score of a hotspot.
    confident
        Lowest score of a hotspot that needs no review; None if every hotspot needs it.

    Returns
    -------
    Rows of Hotspot
        By falling score, then rising y, then rising x.

    Raises
    ------
    ConfigError
        When `core_dbu` is not an even number over 0, or `threshold` is not a number.
    """
    require_even(core_dbu)
    if np.isnan(threshold):
        raise ConfigError("threshold is not a number; give one from 0 to 1")
    score = scores[pattern].astype(np.float64)  # (n,)
    over = np.flatnonzero(score >= threshold)
    x, y, score = clips.x_dbu[over], clips.y_dbu[over], score[over]
    pattern, rule, keys = pattern[over], clips.rule[over], keys[over]
    best, count, boxes = _merge_clips((x, y, score), (rule, pattern), core_dbu)
    is_hot = np.zeros(len(best), bool) if confident is None else score[best] >= confident
    columns = (
        np.arange(1, len(best) + 1), x[best], y[best], score[best],
        pa.array(rules).take(pa.array(rule[best])), count, pattern[best],
        _format_keys(keys[best]), _number_groups(pattern[best]), *boxes.T,
        pa.array(["review", "hot"]).take(pa.array(is_hot.astype(np.int8))),
    )  # fmt: skip
    return Rows(pa.table(list(columns), list(HOTSPOT_COLUMNS)), make_hotspot)


def _merge_clips(
    clips: tuple[Int64s, Int64s, Floats], origin: tuple[Bytes, Int64s], core_dbu: int
) -> tuple[Int64s, Int64s, Int64s]:
    """Return the clip that shows each hotspot, how many clips it has, and the box of their cores.

    Parameters
    ----------
    clips
        x and y of the centres in dbu and the scores, (n,) each.
    origin
        Rule and pattern, (n,) each. Two rules may propose one centre: these make the choice
        independent of the order.

    Returns
    -------
    best, count, boxes
        (p,), (p,) and (p, 4), by falling score of `best`, then rising y, then rising x.
    """
    (x, y, score), (rule, pattern) = clips, origin
    place = merge_touching(x, y, core_dbu)
    order = np.lexsort((pattern, rule, x, y, -score, place))
    start = np.flatnonzero(np.diff(place[order], prepend=-1))
    best, count = order[start], np.diff(start, append=len(order))
    boxes = _bound_cores(x[order], y[order], start, core_dbu // 2)
    rank = np.lexsort((x[best], y[best], -score[best]))
    return best[rank], count[rank], boxes[rank]


def _format_keys(keys: Bytes) -> pa.Array:
    """Return (n, 16) keys as text, hexadecimal."""
    digits = np.ascontiguousarray(keys).tobytes().hex().encode()
    ends = np.arange(len(keys) + 1, dtype=np.int32) * 2 * keys.shape[1]
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(ends), pa.py_buffer(digits))


def _number_groups(pattern: Int64s) -> Int64s:
    """Return the number of each pattern, in order of first appearance from 1."""
    _, first, which = np.unique(pattern, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(1, len(first) + 1)
    return number[which]


def _bound_cores(x_dbu: Int64s, y_dbu: Int64s, start: Int64s, half_dbu: int) -> Int64s:
    """Return the box of the cores of each hotspot, (places, 4), whose clips begin at `start`."""
    if not len(start):
        return np.empty((0, 4), np.int64)
    return np.stack(
        [
            np.minimum.reduceat(x_dbu, start) - half_dbu,
            np.minimum.reduceat(y_dbu, start) - half_dbu,
            np.maximum.reduceat(x_dbu, start) + half_dbu,
            np.maximum.reduceat(y_dbu, start) + half_dbu,
        ],
        axis=1,
    )


def sort_worst_first(
    hotspots: Sequence[Hotspot], verdicts: Mapping[int, Verdict]
) -> tuple[Hotspot, ...]:
    """Sort hotspots: first those that fail in simulation, by severity, then those without verdict.

    Those that print come last; among equals, those of higher score come first.
    """

    def rank(spot: Hotspot) -> tuple[int, float, int]:
        verdict = verdicts.get(spot.id)
        if verdict is None:
            return 1, 0.0, spot.id
        worst = verdict.worst
        return (2, 0.0, spot.id) if worst is None else (0, -worst.severity, spot.id)

    return tuple(sorted(hotspots, key=rank))


def assign_hotspots(
    hotspots: Sequence[Hotspot], x_dbu: Int64s, y_dbu: Int64s, core_dbu: int
) -> Int64s:
    """Return the id of the hotspot that each clip over the threshold was merged into, (n,).

    Parameters
    ----------
    x_dbu, y_dbu
        The clips over the threshold that `find_hotspots` merged into `hotspots`.
    """
    label = merge_touching(x_dbu, y_dbu, core_dbu)
    known = np.stack([read_field(hotspots, name) for name in ("id", "x_dbu", "y_dbu")], axis=1)
    every = np.concatenate((known[:, 1:], np.stack((x_dbu, y_dbu), axis=1)))
    _, place = np.unique(every, axis=0, return_inverse=True)
    shown_by = np.zeros(len(every), np.int64)
    shown_by[place[: len(known)]] = known[:, 0]
    ids = np.zeros(label.max() + 1, np.int64)
    np.maximum.at(ids, label, shown_by[place[len(known) :]])
    return ids[label]


def merge_touching(x_dbu: Int64s, y_dbu: Int64s, core_dbu: int) -> Int64s:
    """Return a label per core, equal where a chain of touching cores connects two of them.

    Cores with centres in the same cell of a grid of pitch `core_dbu` overlap, and cores that
    touch are at most one cell apart, so the labels follow from which neighbouring *cells* are
    linked: never from pairs of cores, of which a dense region has n squared.

    Examples
    --------
    >>> merge_touching(np.array([0, 10, 25]), np.array([0, 10, 0]), 10).tolist()
    [0, 0, 1]
    """
    if not len(x_dbu):
        return x_dbu
    column, row = x_dbu // core_dbu, y_dbu // core_dbu
    column -= column.min() - 1
    row -= row.min()
    width = int(column.max()) + 2  # a spare column on each side: no link wraps to the next row
    cells, cell = np.unique(row * width + column, return_inverse=True)
    right, up = x_dbu % core_dbu, y_dbu % core_dbu
    left = core_dbu - 1 - right
    links = [
        _link_sides(cells, cell, right, 1),
        _link_sides(cells, cell, up, width),
        _link_corners(cells, cell, right, up, width + 1),
        _link_corners(cells, cell, left, up, width - 1),
    ]
    first, second = np.concatenate(links, axis=1)
    graph = scipy.sparse.coo_array(
        (np.ones(len(first), bool), (first, second)), shape=(len(cells), len(cells))
    )
    label: Int64s = scipy.sparse.csgraph.connected_components(graph, directed=False)[1].astype(
        np.int64
    )
    return label[cell]


def _link_sides(cells: Int64s, cell: Int64s, offset: Int64s, step: int) -> Int64s:
    """Link each cell to the one `step` further on where their nearest cores touch.

    `offset` is how far each core is into its cell along the step.
    """
    order = np.argsort(cell)
    start = np.searchsorted(cell[order], np.arange(len(cells)))
    nearest = np.minimum.reduceat(offset[order], start)
    farthest = np.maximum.reduceat(offset[order], start)
    here, there = _find_neighbours(cells, np.arange(len(cells)), step)
    touch = farthest[here] >= nearest[there]
    return np.stack([here[touch], there[touch]])


def _link_corners(cells: Int64s, cell: Int64s, across: Int64s, up: Int64s, step: int) -> Int64s:
    """Link each cell to the diagonal one `step` further on where any of their cores touch.

    A core of the first cell touches one of the second when it is at least as far into its own
    cell both ways. Sorted by `across`, the farthest `up` of all that qualify is a running maximum.
    """
    pitch = int(max(across.max(), up.max())) + 1
    order = np.lexsort((across, cell))
    place = cell[order] * pitch + across[order]
    # Cells count down in this running maximum, so that none looks past its own end.
    base = (len(cells) - cell[order]) * pitch
    farthest = np.maximum.accumulate((base + up[order])[::-1])[::-1] - base
    core, there = _find_neighbours(cells, cell, -step)
    at = np.minimum(np.searchsorted(place, there * pitch + across[core]), len(place) - 1)
    touch = (
        (cell[order][at] == there)
        & (place[at] >= there * pitch + across[core])
        & (farthest[at] >= up[core])
    )
    return np.stack([there[touch], cell[core[touch]]])


def _find_neighbours(cells: Int64s, cell: Int64s, step: int) -> tuple[Int64s, Int64s]:
    """Return the positions in `cell` that have an occupied cell at `step`, and those cells."""
    wanted = cells[cell] + step
    at = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    found = np.flatnonzero(cells[at] == wanted)
    return found, at[found]
