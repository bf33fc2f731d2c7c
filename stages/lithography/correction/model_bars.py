"""Scatter bars by model: thin lines where light makes the process window wider.

in       the derivative of a field's cost by its mask
out      rectangles of the mask
unit     a field
promise  bars keep the rules of the mask, and lie whole in the core of one field

A bar pays what its area would change the cost at once. The one that pays most is placed first;
then the next that is not too near; a bar that pays too little is left out.
"""

from __future__ import annotations

import numpy as np
import torch

from stages.compiled import kernel
from stages.contracts import Box, Floats, Int64s
from stages.lithography.correction.fragments import Bools, Rules
from stages.lithography.correction.views import View
from stages.lithography.correction.window_cost import WindowCost, resample
from stages.lithography.optics.drawing import DEGREE, draw_coverage

LENGTHS = (2.5, 4.0, 5.0, 7.5, 10.0)
"""Of bars, in their width."""


def make_bar_rules(rules: Rules, wide_dbu: int) -> Rules:
    """Return the rules by which the edges of bars are cut and move."""
    return rules._replace(move=min(rules.move, wide_dbu // 2), line_end=2 * wide_dbu)


def place_model_bars(
    view: View, cost: WindowCost, moves: Floats, wide_dbu: int, rules: Rules, least_gain: float
) -> Int64s:
    """Return bars, (n, 4) in dbu from the field's corner.

    Parameters
    ----------
    moves
        Of the view's fragments; bars improve the mask that these make.
    wide_dbu
        Width of a bar.
    rules
        Those of `make_bar_rules`.
    least_gain
        What a bar must take off the cost.
    """
    _, gradient = cost.differentiate(view.draw_mask(moves))
    space_dbu = rules.space + rules.move
    clear_dbu = space_dbu + int(max(view.boundary.inward.max(), view.boundary.outward.max()))
    size = cost.target.shape[0]
    step = view.side_dbu / size
    worth = -_weigh_places(gradient, size) * (len(gradient) / size) ** 2
    total = np.zeros((size + 1, size + 1))
    total[1:, 1:] = worth.cumsum(0).cumsum(1)
    shut = _find_shut(view, clear_dbu, space_dbu, size)
    filled = np.zeros((size + 1, size + 1), np.int64)
    filled[1:, 1:] = shut.cumsum(0).cumsum(1)
    wide = max(1, round(wide_dbu / step))
    shapes = [(round(wide * share), wide) for share in LENGTHS]
    rows = []
    for across, along in (*shapes, *(shape[::-1] for shape in shapes)):
        gain, taken = (
            each[along:, across:] - each[:-along, across:] - each[along:, :-across]
            + each[:-along, :-across]
            for each in (total, filled)
        )  # fmt: skip
        y, x = np.nonzero((gain >= least_gain) & (taken == 0))
        rows.append(np.column_stack([gain[y, x], x, y, x + across, y + along]))
    every = np.concatenate(rows)
    every = every[np.lexsort((every[:, 1], every[:, 2], -every[:, 0]))]
    chosen = _choose(every[:, 1:].astype(np.int64), size, -int(-space_dbu // step))
    bars = every[chosen, 1:]
    middle = (bars[:, :2] + bars[:, 2:]) / 2 * step
    half = np.where(bars[:, 2:] - bars[:, :2] == wide, wide_dbu, (bars[:, 2:] - bars[:, :2]) * step)
    low = np.rint(middle - half / 2).astype(np.int64)
    return np.concatenate([low, low + np.rint(half).astype(np.int64)], axis=1)


def _weigh_places(gradient: Floats, size: int) -> Floats:
    """Return the derivative by the mask itself, of which a picture is a blurred sample."""
    n = len(gradient)
    order = torch.fft.fftfreq(n, 1 / n)
    blur = torch.sinc(order / n) ** (DEGREE + 1)
    spectrum = torch.fft.rfft2(torch.from_numpy(gradient))
    smooth = torch.fft.irfft2(spectrum * blur[:, None] * blur[: n // 2 + 1], s=(n, n))
    return resample(smooth, size).numpy()


def _find_shut(view: View, clear: int, space: int, size: int) -> Bools:
    """Find the pixels where no bar may lie: near the target, the core's border and the field's."""
    side, core = view.side_dbu, view.core
    walls = [
        wall
        for at in (core.x_min, core.x_max, core.y_min, core.y_max)
        if 0 < at < side
        for wall in ((at - space, 0, at + space, side), (0, at - space, side, at + space))
    ]
    m = view.margin_dbu + clear if view.margin_dbu else 0
    walls += [
        (0, 0, side, m),
        (0, side - m, side, side),
        (0, 0, m, side),
        (side - m, 0, side, side),
    ]
    grown = view.target + np.array([-clear, -clear, clear, clear])
    every = np.concatenate([grown, np.array(walls, np.int64)])
    every = np.insert(np.clip(every, 0, side) * (size / side), 4, 1, axis=1)
    shut: Bools = draw_coverage(every, size) > 0
    return shut


@kernel
def _choose(bars: Int64s, size: int, space: int) -> Int64s:
    """Return which bars, best first, keep `space` from all chosen before them."""
    taken = np.zeros((size, size), np.bool_)
    out, used = np.empty(len(bars), np.int64), 0
    for b in range(len(bars)):
        x, y, x_end, y_end = bars[b]
        if taken[y, x] or taken[y_end - 1, x_end - 1] or taken[y:y_end, x:x_end].any():
            continue
        taken[max(0, y - space) : y_end + space, max(0, x - space) : x_end + space] = True
        out[used], used = b, used + 1
    return out[:used]


def is_inside(rects: Int64s, box: Box) -> Bools:
    """Tell which rectangles have their middle in a half-open box."""
    x, y = (rects[:, axis] + rects[:, axis + 2] >> 1 for axis in (0, 1))
    inside: Bools = (x >= box.x_min) & (x < box.x_max) & (y >= box.y_min) & (y < box.y_max)
    return inside
