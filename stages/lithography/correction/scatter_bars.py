"""Scatter bars by rule: lines too thin to print, beside edges that stand alone.

in       the boundary of a target
out      rectangles of the mask
promise  a bar depends only on the layout near it

Every fragment that meets no corner proposes a bar in front of it; the bars of one edge join. A bar
too near to the target is dropped, and so is one too near to a proposal of higher rank, even if
that was dropped itself: so no bar can affect bars far away.
"""

from __future__ import annotations

import numpy as np
import shapely

from stages.contracts import Int64s
from stages.errors import ConfigError
from stages.lithography.correction.fragments import Boundary, Rules
from stages.lithography.process import Opc


def place_scatter_bars(
    boundary: Boundary, target: Int64s, rules: Rules, opc: Opc, dbu_nm: float
) -> Int64s:
    """Return scatter bars, (n, 4) disjoint rectangles in dbu.

    None is nearer than the least space to another, or to where the target's fragments may move.

    Raises
    ------
    ConfigError
        When bars are narrower, or nearer to their edges, than the mask's rules allow.
    """
    if not opc.bar_nm or (opc.descent and not opc.bar_distance_nm):
        return np.empty((0, 4), np.int64)
    clear_nm = opc.min_mask_space_nm + opc.max_move_nm
    for name, value, least in (
        ("bar_nm", opc.bar_nm, opc.min_mask_width_nm),
        ("bar_distance_nm", opc.bar_distance_nm, clear_nm),
    ):
        if value < least:
            raise ConfigError(
                f"opc.{name} is {value:g}, which breaks the mask rules: min_mask_width_nm, and "
                f"min_mask_space_nm past max_move_nm; it must be at least {least:g}"
            )
    wide, distance = round(opc.bar_nm / dbu_nm), round(opc.bar_distance_nm / dbu_nm)
    chosen = np.flatnonzero((boundary.anchor > boundary.low) & (boundary.anchor < boundary.high))
    order = (boundary.low, boundary.at, boundary.side, boundary.horizontal)
    proposers = boundary.select(chosen[np.lexsort([column[chosen] for column in order])])
    near, far = (
        proposers.at - proposers.side * distance,
        proposers.at - proposers.side * (distance + wide),
    )
    bars = np.stack(
        [np.minimum(near, far), proposers.low, np.maximum(near, far), proposers.high], axis=1
    )
    bars[proposers.horizontal] = bars[proposers.horizontal][:, [1, 0, 3, 2]]
    shut, _ = _find_near_pairs(bars, target, rules.space + rules.move)
    free = np.setdiff1d(np.arange(len(bars)), shut)
    bars, proposers = bars[free], proposers.select(free)
    later, first = _find_near_pairs(bars, bars, rules.space)
    line = np.stack([proposers.horizontal, proposers.side, proposers.at], axis=1)
    apart = (first < later) & (line[first] != line[later]).any(axis=1)
    return np.delete(bars, later[apart], axis=0)


def _find_near_pairs(rects: Int64s, others: Int64s, space: int) -> tuple[Int64s, Int64s]:
    """Return the pairs whose distances in x and in y are both under `space`."""
    tree = shapely.STRtree(shapely.box(*others.T))
    grown = rects + np.array([1 - space, 1 - space, space - 1, space - 1])
    pairs: Int64s = tree.query(shapely.box(*grown.T), predicate="intersects")
    return pairs[0], pairs[1]
