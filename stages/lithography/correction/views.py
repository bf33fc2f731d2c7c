"""What the correction of one field sees: its mask, its fragments, and which of them move.

in       the target and the boundary around a field
out      `View`; pictures of its mask after moves
unit     a field
promise  a view depends on the layout inside the field alone
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stages.contracts import Box, Floats, Int64s
from stages.lithography.correction.fragments import Bools, Boundary, join_boundaries
from stages.lithography.optics.drawing import add_rects, draw, sum_along_edges, tabulate_steps
from stages.lithography.optics.fields import Lattice, clip_to_field
from stages.lithography.optics.kernels import Field

FROZEN = 0.25
"""Share of a field's guard, from its border, where nothing moves: the image is wrong there."""

Place = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The fragments of one field."""

    field: Field
    side_dbu: int
    target: Int64s
    """(r, 4) from the field's corner."""
    drawn: Floats
    """The picture of the mask before fragments move."""
    core: Box
    """What the field corrects."""
    boundary: Boundary
    """The fragments, from the field's corner."""
    free: Bools
    """Which of them move."""
    margin_dbu: int
    """Width of the border where nothing moves, and nothing counts."""

    def draw_mask(self, moves: Floats | Int64s) -> Floats:
        """Return the picture of the mask after moves in dbu."""
        picture = self.drawn.copy()
        add_rects(picture, self._to_pixels(self.boundary.sweep(moves)), tabulate_steps())
        return picture

    def limit(self, moves: Floats) -> Floats:
        """Return moves that keep the rules of the mask; what is not free stays."""
        kept = np.clip(moves, -self.boundary.inward, self.boundary.outward)
        return np.where(self.free, kept, 0.0)

    def tie_halves(self, gradient: Floats) -> Floats:
        """Return how the sum changes with each fragment where the halves of an edge move as one."""
        b = self.boundary
        measured = np.stack([b.horizontal, b.at, b.side, b.control])
        _, edge = np.unique(measured, axis=1, return_inverse=True)
        return np.bincount(edge, gradient).astype(np.float64)[edge]

    def project_gradient(self, gradient: Floats, moves: Floats) -> Floats:
        """Return how a sum over the picture changes with each move, (n,), per dbu.

        Parameters
        ----------
        gradient
            Derivative of the sum by each pixel of the picture.
        """
        b = self.boundary
        end = b.at - b.side * moves
        out = np.zeros(len(b))
        x, y = b.upright, b.lying
        for lies, mine, other in ((False, x, y), (True, y, x)):
            seen = np.ascontiguousarray(gradient.T) if lies else gradient
            straight = np.flatnonzero(b.horizontal == lies)
            edges = np.stack([end[straight], b.low[straight], b.high[straight]], axis=1)
            out[straight] += self._sum_edges(seen, edges)
            # A corner's patch reaches from the other fragment's line to where that has moved.
            edges = np.stack([end[mine], b.at[other], end[other]], axis=1)
            np.add.at(out, mine, -b.turn * b.side[other] * self._sum_edges(seen, edges))
        return out

    def _sum_edges(self, gradient: Floats, edges_dbu: Floats) -> Floats:
        scale = len(gradient) / self.side_dbu
        return scale * sum_along_edges(gradient, edges_dbu * scale, tabulate_steps())

    def _to_pixels(self, rects: Floats) -> Floats:
        scale = len(self.drawn) / self.side_dbu
        return rects * np.array([scale, scale, scale, scale, 1.0])


def make_view(
    target: Int64s,
    bars: Int64s,
    boundary: Boundary,
    place: Place,
    lattice: Lattice,
    field: Field,
    guard_dbu: int,
) -> View:
    """Return the view of the field at `place`.

    Parameters
    ----------
    target, bars
        Of the layout.
    boundary
        The fragments of the layout that touch the field.
    guard_dbu
        How far the optics see; of its border, a share does not move.
    """
    x, y = place
    side, margin = lattice.side_dbu, int(FROZEN * guard_dbu)
    seen, core = boundary.shift(-x, -y), lattice.locate_core(place)
    core = Box(core.x_min - x, core.y_min - y, core.x_max - x, core.y_max - y)
    local = clip_to_field(target, place, side)
    drawn = draw_static(np.concatenate([local, clip_to_field(bars, place, side)]), side, field)
    free = _find_free(seen, side, margin)
    return View(field, side, local, drawn, core, seen, free, margin)


def make_whole_view(target: Int64s, boundary: Boundary, side_dbu: int, field: Field) -> View:
    """Return the view of a field that is a whole, periodic layout."""
    drawn, free = draw_static(target, side_dbu, field), np.ones(len(boundary), bool)
    whole = Box(0, 0, side_dbu, side_dbu)
    return View(field, side_dbu, target, drawn, whole, boundary, free, 0)


def add_bars(view: View, bars: Int64s, boundary: Boundary) -> View:
    """Return the view with bars, (n, 4), whose boundary's fragments come last."""
    return replace(
        view,
        drawn=view.drawn + draw_static(bars, view.side_dbu, view.field),
        boundary=join_boundaries(view.boundary, boundary),
        free=np.concatenate([view.free, np.ones(len(boundary), bool)]),
    )


def draw_static(rects: Int64s, side_dbu: int, field: Field) -> Floats:
    """Return the picture of rectangles, (r, 4) in dbu from the field's corner."""
    return draw(np.insert(rects / side_dbu, 4, 1, axis=1), field)


def _find_free(seen: Boundary, side: int, margin: int) -> Bools:
    x, y = seen.locate(seen.control)
    inside: Bools = (np.minimum(x, y) >= margin) & (np.maximum(x, y) < side - margin)
    return inside
