"""Scatter bars by rule: lines too thin to print, beside edges that stand alone.

in: the boundary of a target; out: rectangles of the mask.
promise: a bar depends on the layout near it alone.

Every fragment that meets no corner asks for a bar in front of it; those of one edge join. One
that is too near to the target is not made, nor one too near to another that goes first, made or
not: so no bar can decide over bars far away.
"""

from __future__ import annotations

import numpy as np
import shapely

from stages.contracts import Int64s
from stages.errors import ConfigError
from stages.lithography.correction.fragments import Boundary, Rules
from stages.lithography.process import Opc


def scatter_bars(
    boundary: Boundary, target: Int64s, rules: Rules, opc: Opc, dbu_nm: float
) -> Int64s:
    """Return scatter bars, (n, 4) disjoint rectangles in dbu.

    None is nearer than the least space to another, or to where the target's fragments may move.

    Raises
    ------
    ConfigError
        When bars are narrower, or nearer to their edges, than the mask's rules allow.
    """
    if not opc.bar_nm:
        return np.empty((0, 4), np.int64)
    clear_nm = opc.min_mask_space_nm + opc.max_move_nm
    for name, value, least in (
        ("bar_nm", opc.bar_nm, opc.min_mask_width_nm),
        ("bar_distance_nm", opc.bar_distance_nm, clear_nm),
    ):
        if value < least:
            raise ConfigError(
                f"opc.{name} is {value:g}, against the rules of the mask: min_mask_width_nm, and "
                f"min_mask_space_nm past max_move_nm; it must be at least {least:g}"
            )
    wide, distance = round(opc.bar_nm / dbu_nm), round(opc.bar_distance_nm / dbu_nm)
    chosen = np.flatnonzero((boundary.anchor > boundary.low) & (boundary.anchor < boundary.high))
    order = (boundary.low, boundary.at, boundary.side, boundary.horizontal)
    asks = boundary.taken(chosen[np.lexsort([column[chosen] for column in order])])
    near, far = asks.at - asks.side * distance, asks.at - asks.side * (distance + wide)
    bars = np.stack([np.minimum(near, far), asks.low, np.maximum(near, far), asks.high], axis=1)
    bars[asks.horizontal] = bars[asks.horizontal][:, [1, 0, 3, 2]]
    shut, _ = _nearer(bars, target, rules.space + rules.move)
    free = np.setdiff1d(np.arange(len(bars)), shut)
    bars, asks = bars[free], asks.taken(free)
    later, first = _nearer(bars, bars, rules.space)
    line = np.stack([asks.horizontal, asks.side, asks.at], axis=1)
    apart = (first < later) & (line[first] != line[later]).any(axis=1)
    return np.delete(bars, later[apart], axis=0)


def _nearer(rects: Int64s, others: Int64s, space: int) -> tuple[Int64s, Int64s]:
    """Return the pairs whose distances in x and in y are both under `space`."""
    tree = shapely.STRtree(shapely.box(*others.T))
    grown = rects + np.array([1 - space, 1 - space, space - 1, space - 1])
    pairs: Int64s = tree.query(shapely.box(*grown.T), predicate="intersects")
    return pairs[0], pairs[1]
