"""Hotspots: the clips over threshold, one place each, worst first.

In: clips, the pattern of each clip, the score of each pattern. Out: `Hotspot` tuples.
Unit of work: a whole scan, in time that grows as n log n with the clips over threshold.
Promise: the answer does not depend on the order of the clips, hence not on tiles or workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stages.contracts import Box, Bytes, Clips, Float32s, Hotspot, Int64s, Verdict
from stages.errors import ConfigError


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
) -> tuple[Hotspot, ...]:
    """Merge the clips over threshold into ranked hotspots.

    Clips whose cores touch, at an edge or a corner, or overlap are one hotspot. It is shown by its
    clip of highest score; of equals, by the lowest, then the leftmost. A clip whose pattern has
    the score NaN was not scored and is never a hotspot: the caller must count and report those.

    Parameters
    ----------
    clips
        All clips of the scan, in any order.
    pattern
        (n,) index of each clip's pattern.
    rules
        Names that ``clips.rule`` counts in.
    scores
        (patterns,) probability of a hotspot, NaN where not scored.
    keys
        (n, 16) key of each clip's picture.
    core_dbu
        Side of a core, in dbu; even, so that the core has a centre in dbu.
    threshold
        Lowest score that is a hotspot.
    confident
        Lowest score that is one without review; None where there is none.

    Returns
    -------
    tuple of Hotspot
        By falling score, then rising y, then rising x.

    Raises
    ------
    ConfigError
        When `core_dbu` is not an even number over 0, or `threshold` is not a number.
    """
    if core_dbu < 2 or core_dbu % 2:
        raise ConfigError(f"core_dbu is {core_dbu}; it must be an even number over 0")
    if np.isnan(threshold):
        raise ConfigError("threshold is not a number; give one from 0 to 1")
    score = scores.astype(np.float64)[pattern]  # (n,)
    hot = np.flatnonzero(score >= threshold)
    if not len(hot):
        return ()
    x, y, score = clips.x_dbu[hot], clips.y_dbu[hot], score[hot]
    pattern, rule, keys = pattern[hot], clips.rule[hot], keys[hot]

    place = merge_touching(x, y, core_dbu)
    # Two rules may find one centre: the last two keys make the choice independent of the order.
    order = np.lexsort((pattern, rule, x, y, -score, place))
    start = np.flatnonzero(np.diff(place[order], prepend=-1))
    best = order[start]
    count = np.diff(start, append=len(order))
    sorted_x, sorted_y, half = x[order], y[order], core_dbu // 2
    boxes = np.stack(
        [
            np.minimum.reduceat(sorted_x, start) - half,
            np.minimum.reduceat(sorted_y, start) - half,
            np.maximum.reduceat(sorted_x, start) + half,
            np.maximum.reduceat(sorted_y, start) + half,
        ],
        axis=1,
    )  # (places, 4)
    group_of: dict[int, int] = {}
    rank = np.lexsort((x[best], y[best], -score[best]))
    return tuple(
        Hotspot(
            id=number,
            x_dbu=int(x[clip]),
            y_dbu=int(y[clip]),
            score=float(score[clip]),
            rule=rules[rule[clip]],
            clips=int(count[at]),
            pattern=int(pattern[clip]),
            pattern_key=keys[clip].tobytes().hex(),
            group=group_of.setdefault(int(pattern[clip]), len(group_of) + 1),
            box=Box(*boxes[at].tolist()),
            answer="hot" if confident is not None and score[clip] >= confident else "review",
        )
        for number, (at, clip) in enumerate(zip(rank, best[rank], strict=True), 1)
    )


def worst_first(
    hotspots: Sequence[Hotspot], verdicts: Mapping[int, Verdict]
) -> tuple[Hotspot, ...]:
    """Return first the hotspots that fail in simulation, by how much, then those without verdict.

    Those that print come last; of equals, those of higher score come first.
    """

    def rank(spot: Hotspot) -> tuple[int, float, int]:
        verdict = verdicts.get(spot.id)
        if verdict is None:
            return 1, 0.0, spot.id
        worst = verdict.worst
        return (2, 0.0, spot.id) if worst is None else (0, -worst.severity, spot.id)

    return tuple(sorted(hotspots, key=rank))


def members_of(hotspots: Sequence[Hotspot], x_dbu: Int64s, y_dbu: Int64s, core_dbu: int) -> Int64s:
    """Return the id of the hotspot that each clip over the threshold was merged into, (n,).

    Parameters
    ----------
    x_dbu, y_dbu
        The clips over the threshold that `find_hotspots` made `hotspots` of.
    """
    label = merge_touching(x_dbu, y_dbu, core_dbu)
    place = {(spot.x_dbu, spot.y_dbu): spot.id for spot in hotspots}
    ids = np.zeros(label.max() + 1, np.int64)
    for at, clip in enumerate(zip(x_dbu.tolist(), y_dbu.tolist(), strict=True)):
        ids[label[at]] = place.get(clip, ids[label[at]])
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
    column, row = x_dbu // core_dbu, y_dbu // core_dbu
    column -= column.min() - 1
    row -= row.min()
    width = int(column.max()) + 2  # a spare column on each side: no link wraps to the next row
    cells, cell = np.unique(row * width + column, return_inverse=True)
    right, up = x_dbu % core_dbu, y_dbu % core_dbu
    left = core_dbu - 1 - right
    links = [
        _side_links(cells, cell, right, 1),
        _side_links(cells, cell, up, width),
        _corner_links(cells, cell, right, up, width + 1),
        _corner_links(cells, cell, left, up, width - 1),
    ]
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(cells), len(cells)))
    label: Int64s = connected_components(graph, directed=False)[1].astype(np.int64)
    return label[cell]


def _side_links(cells: Int64s, cell: Int64s, offset: Int64s, step: int) -> Int64s:
    """Link each cell to the one `step` further on where their nearest cores touch.

    `offset` is how far each core is into its cell along the step.
    """
    order = np.argsort(cell)
    start = np.searchsorted(cell[order], np.arange(len(cells)))
    nearest = np.minimum.reduceat(offset[order], start)
    farthest = np.maximum.reduceat(offset[order], start)
    here, there = _neighbours(cells, np.arange(len(cells)), step)
    touch = farthest[here] >= nearest[there]
    return np.stack([here[touch], there[touch]])


def _corner_links(cells: Int64s, cell: Int64s, across: Int64s, up: Int64s, step: int) -> Int64s:
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
    core, there = _neighbours(cells, cell, -step)
    at = np.minimum(np.searchsorted(place, there * pitch + across[core]), len(place) - 1)
    touch = (
        (cell[order][at] == there)
        & (place[at] >= there * pitch + across[core])
        & (farthest[at] >= up[core])
    )
    return np.stack([there[touch], cell[core[touch]]])


def _neighbours(cells: Int64s, cell: Int64s, step: int) -> tuple[Int64s, Int64s]:
    """Return the positions in `cell` that have an occupied cell at `step`, and those cells."""
    wanted = cells[cell] + step
    at = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    found = np.flatnonzero(cells[at] == wanted)
    return found, at[found]
