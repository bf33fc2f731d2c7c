"""Margins: how far past its limit the worst place of a clip's core is, by kind, or short of it.

in       what was measured in fields: the worst margin of each kind, cell by cell
out      the margins of clips, ``(n, len(KINDS))``
unit     a clip; a margin is a share of its limit, 0 at the limit, over 0 where it fails
promise  a margin depends on the layout and the process, not on how the cells were gathered

Margins are at most 1, and -1 where nothing of a kind was measured or the worst is further than its
whole limit from failing. Of line ends that face each other, and of shapes that meet at corners, no
space is measured, and nothing is of what prints where nothing is drawn: there a ``bridge``,
``missing`` or ``extra`` has a margin only where it fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.contracts import Box, Float32s, Int64s
from stages.lithography.measure.sections import BRIDGE, EXTRA, HAIR, KINDS, MISSING, OPEN, Worst

LEAST = -1.0
"""Margin where nothing is measured."""
MARGINAL = 0.03
"""A margin up to this, either way, may be on the other side of the limit if the fields lie
otherwise: ``python -m benchmarks.lithography.marginal`` measures by how much margins move then."""
_GONE = {KINDS[kind] for kind in (BRIDGE, OPEN, MISSING, EXTRA)}

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class CellMargins:
    """The cells where anything was measured, by y, then x."""

    x_dbu: Int64s
    """(m,) of their lower left corners."""
    y_dbu: Int64s
    margin: Float32s
    """(m, kinds)"""

    def __len__(self) -> int:
        return len(self.x_dbu)


def make_worst(side_dbu: int, core: Box, window: Box, place: tuple[int, int]) -> Worst:
    """Return empty cells for the part of a field's core that lies in a window.

    Parameters
    ----------
    side_dbu
        Of the cells, which tile the plane from the layout's origin.
    place
        Corner of the field.
    """
    area = core.intersect(window) or Box(core.x_min, core.y_min, core.x_min, core.y_min)
    x, y = area.x_min // side_dbu * side_dbu, area.y_min // side_dbu * side_dbu
    shape = (len(KINDS), -((y - area.y_max) // side_dbu), -((x - area.x_max) // side_dbu))
    left, bottom = place
    return Worst(
        np.full(shape, LEAST, np.float32), (x - left, y - bottom), side_dbu,
        (area.x_min - left, area.y_min - bottom, area.x_max - left, area.y_max - bottom),
    )  # fmt: skip


def turn_worst(worst: Worst) -> Worst:
    """Return the same cells with x and y exchanged, as a field is measured along y."""
    (x, y), (x_min, y_min, x_max, y_max) = worst.corner, worst.area
    margin = np.ascontiguousarray(worst.margin.transpose(0, 2, 1))
    return Worst(margin, (y, x), worst.side, (y_min, x_min, y_max, x_max))


def gather_cells(worst: Worst, place: tuple[int, int]) -> CellMargins:
    """Return the cells of a field with its corner at `place`."""
    margin = worst.margin.transpose(1, 2, 0)  # (rows, columns, kinds)
    row, column = np.nonzero((margin > LEAST).any(axis=2))
    x = column * worst.side + worst.corner[0] + place[0]
    y = row * worst.side + worst.corner[1] + place[1]
    return CellMargins(x, y, round_margins(margin[row, column]))


def round_margins(margin: Float32s) -> Float32s:
    """Return margins to four digits; what fails stays over 0, what passes does not get there."""
    rounded = np.round(margin, 4)
    rounded = np.where(margin > 0, np.maximum(rounded, HAIR), np.minimum(rounded, 0))
    return rounded.astype(np.float32)


def merge_cells(parts: Sequence[CellMargins]) -> CellMargins:
    """Return the cells of several parts; of one that several have a part of, the worst counts."""
    x, y = (np.concatenate([getattr(part, name) for part in parts] or [np.empty(0, np.int64)])
            for name in ("x_dbu", "y_dbu"))  # fmt: skip
    margin = np.concatenate(
        [part.margin for part in parts] or [np.empty((0, len(KINDS)), np.float32)]
    )
    order = np.lexsort((x, y))
    x, y, margin = x[order], y[order], margin[order]
    first = np.flatnonzero(np.append(True, (np.diff(x) != 0) | (np.diff(y) != 0))[: len(x)])
    worst = np.maximum.reduceat(margin, first, axis=0) if len(x) else margin
    return CellMargins(x[first], y[first], worst)


def take_clip_margins(
    cells: CellMargins, side_dbu: int, x_dbu: Int64s, y_dbu: Int64s, core_dbu: int
) -> Float32s:
    """Return the worst margins in the cores of clips, (n, kinds).

    Parameters
    ----------
    cells
        By y, then x, of side `side_dbu`; cores consist of whole ones.
    x_dbu, y_dbu : (n,) int64
        Centres of the clips.
    """
    worst = np.full((len(x_dbu), len(KINDS)), LEAST, np.float32)
    if not len(cells):
        return worst
    column, row = cells.x_dbu // side_dbu, cells.y_dbu // side_dbu
    low, span = column.min(), int(np.ptp(column)) + 1
    known = row * span + (column - low)
    left, bottom = x_dbu - core_dbu // 2, y_dbu - core_dbu // 2
    for dy in range(0, core_dbu, side_dbu):
        for dx in range(0, core_dbu, side_dbu):
            c, r = (left + dx) // side_dbu - low, (bottom + dy) // side_dbu
            key = np.where((c >= 0) & (c < span), r * span + c, known[0] - 1)
            at = np.minimum(np.searchsorted(known, key), len(known) - 1)
            there = known[at] == key
            worst[there] = np.maximum(worst[there], cells.margin[at[there]])
    return worst


def find_worst_margin(margin: Float32s) -> Float32s:
    """Return the margin of the worst kind of each clip, (n,); it fails where this is over 0."""
    worst: Float32s = margin.max(axis=1)
    return worst


def name_kinds(margin: Float32s, kinds: Sequence[str] = KINDS) -> Int64s:
    """Return which of `kinds` is worst in each clip, (n,): what is gone, not what is too narrow.

    Examples
    --------
    >>> margin = np.full((1, len(KINDS)), LEAST, np.float32)
    >>> margin[0, KINDS.index("pinch")], margin[0, KINDS.index("open")] = 1.0, 0.02
    >>> KINDS[name_kinds(margin)[0]]
    'open'
    """
    ranked = margin.copy()
    for column, kind in enumerate(kinds):
        if kind in _GONE:
            ranked[:, column] += 2 * (ranked[:, column] > 0)
    named: Int64s = ranked.argmax(axis=1)
    return named


def split_by_margin(worst: Float32s) -> tuple[Bools, Bools]:
    """Return which clips surely fail and which surely pass; the rest is marginal."""
    return worst > MARGINAL, worst < -MARGINAL
