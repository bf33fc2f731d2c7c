"""The boundary of a target cut into fragments, and the mask that moved fragments make.

in       disjoint rectangles
out      `Boundary`, and signed rectangles once its fragments have moved
promise  a fragment, and how far it may move, depends only on the layout near it

An edge is cut into corner pieces and, between these, pieces of about one length: evenly, or, far
from the ends of an edge longer than a field, on a lattice from the layout's origin. A line end is
measured as one; its halves are two fragments, so that none meets more than one corner.

The mask is never traced. A fragment that moves adds a strip to the target, or removes one. Where
two fragments meet, with moves a and b, the rectangle that a and b span is counted twice or not at
all; another rectangle of weight sign(a b), or -sign(a b) at a concave corner, corrects that.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from stages.compiled import kernel
from stages.contracts import Box, Floats, Int64s
from stages.geometry.union import find_edges, swap_xy

Bools = npt.NDArray[np.bool_]

LOW, HIGH = 1, 2
"""Bits of `ends`: the piece begins at the edge's lower corner, ends at its upper."""


class Rules(NamedTuple):
    """How edges are cut, and how far pieces may move; all in dbu."""

    corner: int
    """Length of the pieces next to corners; a shorter step of the boundary does not move."""
    fragment: int
    """Approximate length of the others, and pitch of the lattice that cuts long edges."""
    longest: int
    """Edges up to this are cut evenly."""
    line_end: int
    """Edges up to this, convex at both ends, are line ends."""
    move: int
    """Furthest move."""
    width: int
    """Least width of the mask."""
    space: int
    """Least space of the mask."""


@dataclass(frozen=True, slots=True, eq=False)
class Boundary:
    """Fragments (n,) and the corners (m,) where two of them meet, in dbu.

    A vertical fragment lies at an x and runs along y; a horizontal one the other way.
    """

    horizontal: Bools
    at: Int64s
    """The coordinate that moves."""
    low: Int64s
    high: Int64s
    side: Int64s
    """+1 where the interior lies at larger coordinates."""
    control: Int64s
    """Where along the fragment's edge its error is measured."""
    anchor: Int64s
    """Where along it the point lies that decides which field owns it: its corner, or its middle."""
    inward: Int64s
    """Furthest move inward, 0 or more."""
    outward: Int64s
    """Furthest move outward, 0 or more."""
    upright: Int64s
    """(m,) the vertical fragment of each corner."""
    lying: Int64s
    """(m,) the horizontal fragment of each corner."""
    turn: Int64s
    """(m,) +1 where the corner is convex, -1 where concave."""

    def __len__(self) -> int:
        return len(self.at)

    def locate(self, along: Int64s) -> tuple[Int64s, Int64s]:
        """Return x and y of a place on each fragment's line."""
        return (
            np.where(self.horizontal, along, self.at),
            np.where(self.horizontal, self.at, along),
        )

    def find_owned(self, box: Box) -> Bools:
        """Find the fragments that a half-open box owns, (n,) bool; both of a corner or neither."""
        x, y = self.locate(self.anchor)
        return (x >= box.x_min) & (x < box.x_max) & (y >= box.y_min) & (y < box.y_max)

    def find_touching(self, box: Box) -> Bools:
        """Find the fragments that lie in a box, at least in part, (n,) bool."""
        x_lo, y_lo = self.locate(self.low)
        x_hi, y_hi = self.locate(self.high)
        inside = (x_lo <= box.x_max) & (x_hi >= box.x_min)
        return inside & (y_lo <= box.y_max) & (y_hi >= box.y_min)

    def shift(self, x_dbu: int, y_dbu: int) -> Self:
        """Return the fragments moved by a vector."""
        across = np.where(self.horizontal, y_dbu, x_dbu)
        along = np.where(self.horizontal, x_dbu, y_dbu)
        return replace(
            self, at=self.at + across, low=self.low + along, high=self.high + along,
            control=self.control + along, anchor=self.anchor + along,
        )  # fmt: skip

    def select(self, chosen: Int64s) -> Self:
        """Return some of the fragments, and the corners whose fragments are both among them."""
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        whole = (place[self.upright] >= 0) & (place[self.lying] >= 0)
        corners = {
            "upright": place[self.upright[whole]],
            "lying": place[self.lying[whole]],
            "turn": self.turn[whole],
        }
        names = (field.name for field in fields(self) if field.name not in corners)
        return type(self)(**{name: getattr(self, name)[chosen] for name in names}, **corners)

    def sweep(self, moves: Floats | Int64s) -> Floats:
        """Return the change of the target that moves make, (r, 5), smooth in the moves.

        As `make_rects`, but sides are in either order; one that is reversed changes the sign.
        """
        return _sweep(
            self.horizontal, np.stack([self.at, self.low, self.high, self.side], axis=1),
            np.stack([self.upright, self.lying, self.turn], axis=1), moves.astype(np.float64),
        )  # fmt: skip

    def make_rects(self, moves: Int64s) -> Int64s:
        """Return the change of the target that moves make, (r, 5): rectangles and +1 or -1.

        Parameters
        ----------
        moves : (n,) int64
            Outward is positive.
        """
        end = self.at - self.side * moves
        near, far = np.minimum(self.at, end), np.maximum(self.at, end)
        strips = np.stack([near, self.low, far, self.high, np.sign(moves)], axis=1)
        strips[self.horizontal] = strips[self.horizontal][:, [1, 0, 3, 2, 4]]
        x, y = self.upright, self.lying
        both = self.turn * np.sign(moves[x] * moves[y])
        patches = np.stack([near[x], near[y], far[x], far[y], both], axis=1)
        rects = np.concatenate([strips, patches])
        return rects[rects[:, 4] != 0]


@kernel
def _sweep(horizontal: Bools, fragments: Int64s, corners: Int64s, moves: Floats) -> Floats:
    """Return the strip of each fragment, (n, 4) of its at, low, high and side, then the patches.

    Those of the corners, (m, 3): upright and lying fragment, and turn.
    """
    out, n = np.empty((len(fragments) + len(corners), 5)), len(fragments)
    for i in range(n):
        at, low, high, side = fragments[i]
        end, column = at - side * moves[i], 1 if horizontal[i] else 0
        out[i, column], out[i, 1 - column] = at, low
        out[i, 2 + column], out[i, 3 - column], out[i, 4] = end, high, -side
    for i in range(len(corners)):
        x, y, turn = corners[i]
        out[n + i, 0], out[n + i, 1] = fragments[x, 0], fragments[y, 0]
        out[n + i, 2] = fragments[x, 0] - fragments[x, 3] * moves[x]
        out[n + i, 3] = fragments[y, 0] - fragments[y, 3] * moves[y]
        out[n + i, 4] = turn * fragments[x, 3] * fragments[y, 3]
    return out


def join_boundaries(first: Boundary, second: Boundary) -> Boundary:
    """Return the fragments of both, the first's first."""
    joined = {
        each.name: np.concatenate([getattr(first, each.name), getattr(second, each.name)])
        for each in fields(Boundary)
    }
    for name in ("upright", "lying"):
        joined[name][len(getattr(first, name)) :] += len(first)
    return Boundary(**joined)


def cut_boundary(target: Int64s, rules: Rules) -> Boundary:
    """Cut the boundary of disjoint rectangles, (n, 4), into fragments."""
    vertical, vertical_corners = _cut_along(find_edges(target), rules)
    horizontal, horizontal_corners = _cut_along(find_edges(swap_xy(target)), rules)
    horizontal_corners = horizontal_corners[:, [1, 0, 3, 2, 4, 5]]
    upright, lying = _match_corners(vertical_corners, horizontal_corners)
    lies = np.arange(len(vertical) + len(horizontal)) >= len(vertical)
    at, low, high, side, control, anchor, inward, outward = np.concatenate([vertical, horizontal]).T
    return Boundary(
        lies, at, low, high, side, control, anchor, inward, outward,
        upright=vertical_corners[upright, 5],
        lying=horizontal_corners[lying, 5] + len(vertical),
        turn=vertical_corners[upright, 4],
    )  # fmt: skip


def _cut_along(boundary: Int64s, rules: Rules) -> tuple[Int64s, Int64s]:
    """Cut the edges of one direction.

    Returns
    -------
    fragments : (n, 8)
        The columns of `Boundary` from `at` to `outward`.
    corners : (m, 6)
        x and y of the corners that they meet; the quadrant, as two signs, that is metal at a
        convex corner and empty at a concave one; +1 if convex, -1 if concave; the fragment.
    """
    boundary = boundary[np.lexsort((boundary[:, 1], boundary[:, 3], boundary[:, 0]))]
    pieces = _cut_edges(boundary, rules)
    inward, outward = _limit_moves(boundary, pieces, rules).T
    pieces, inward, outward = _halve(pieces, inward, outward)
    edge, low, high, ends, control = pieces.T
    x, side = boundary[edge, 0], boundary[edge, 3]
    anchor = np.where(ends == LOW, low, np.where(ends == HIGH, high, (low + high) // 2))
    fragments = np.stack([x, low, high, side, control, anchor, inward, outward], axis=1)
    met = np.flatnonzero(ends)
    is_low = ends[met] == LOW
    turn = 2 * np.where(is_low, boundary[edge[met], 4], boundary[edge[met], 5]) - 1
    quadrant = np.where(is_low, 1, -1)
    return fragments, np.stack([x[met], anchor[met], side[met] * turn, quadrant, turn, met], axis=1)


def _halve(pieces: Int64s, inward: Int64s, outward: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Cut the pieces that meet two corners in the middle."""
    double = np.flatnonzero(pieces[:, 3] == LOW + HIGH)
    second = pieces[double]
    pieces[double, 2] = second[:, 1] = (second[:, 1] + second[:, 2]) // 2
    pieces[double, 3], second[:, 3] = LOW, HIGH
    return (
        np.concatenate([pieces, second]),
        np.concatenate([inward, inward[double]]),
        np.concatenate([outward, outward[double]]),
    )


def _match_corners(vertical: Int64s, horizontal: Int64s) -> tuple[Int64s, Int64s]:
    """Match the corners of vertical fragments with those of horizontal ones, by row."""
    both = np.concatenate([vertical[:, :4], horizontal[:, :4]])
    if not len(both):
        return both[:, 0], both[:, 0]
    x, y = (both[:, axis] - both[:, axis].min() for axis in (0, 1))
    key = ((x * (y.max() + 1) + y) * 2 + (both[:, 2] > 0)) * 2 + (both[:, 3] > 0)
    first, second = key[: len(vertical)], key[len(vertical) :]
    _, upright, lying = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    return upright, lying


@kernel
def _cut_edges(boundary: Int64s, rules: Rules) -> Int64s:
    """Cut edges into pieces, (p, 5): edge, low, high, ends, control."""
    corner, fragment = rules.corner, rules.fragment
    most = 0
    for e in range(len(boundary)):
        most += 3 + (boundary[e, 2] - boundary[e, 1]) // max(1, fragment // 2)
    out, used = np.empty((most, 5), np.int64), 0
    for e in range(len(boundary)):
        low, high = boundary[e, 1], boundary[e, 2]
        same = boundary[e, 4] == boundary[e, 5]
        if not same and high - low < corner:
            continue
        is_end = same and boundary[e, 4] and high - low <= rules.line_end
        if is_end or high - low < 2 * corner + fragment // 2:
            out[used] = e, low, high, LOW + HIGH, (low + high) // 2
            used += 1
            continue
        first, last = low + corner, high - corner
        out[used] = e, low, first, LOW, first
        out[used + 1] = e, last, high, HIGH, last
        used += 2
        if high - low <= rules.longest:
            count = max(1, round((last - first) / fragment))
            for i in range(count):
                start = first + (last - first) * i // count
                end = first + (last - first) * (i + 1) // count
                out[used] = e, start, end, 0, (start + end) // 2
                used += 1
            continue
        room = (rules.longest - fragment // 2) // 2 - corner
        at, regular = first, room // fragment * fragment
        while at < last:
            if at < first + regular or at >= last - regular:
                end = at + fragment
            else:
                end = -(-(at + fragment // 2) // fragment) * fragment
                if end > last - regular - fragment // 2:
                    end = last - regular
            out[used] = e, at, end, 0, (at + end) // 2
            used, at = used + 1, end
    return out[:used]


@kernel
def _find_lines(boundary: Int64s) -> Int64s:
    """Return where edges of another x or side begin, and how many edges there are."""
    out, used = np.empty(len(boundary) + 1, np.int64), 0
    for e in range(len(boundary)):
        if e == 0 or boundary[e, 0] != boundary[e - 1, 0] or boundary[e, 3] != boundary[e - 1, 3]:
            out[used], used = e, used + 1
    out[used] = len(boundary)
    return out[: used + 1]


@kernel
def _limit_moves(boundary: Int64s, pieces: Int64s, rules: Rules) -> Int64s:
    """Return how far each piece may move inward and outward, (p, 2).

    Two edges that face each other share the excess of their distance, the larger of that in x and
    that in y, over the least width or space. Near a corner the corner piece of the other edge
    must not become too narrow: a convex one inward, a concave one outward.

    Edges are in order of x, side and y; those of one x and side, a line, do not overlap.
    """
    lines = _find_lines(boundary)
    x = boundary[lines[:-1], 0]
    reach = max(rules.width, rules.space) + 2 * rules.move
    out = np.empty((len(pieces), 2), np.int64)
    for p in range(len(pieces)):
        e, low, high = pieces[p, 0], pieces[p, 1], pieces[p, 2]
        side = boundary[e, 3]
        inward = outward = reach
        first = np.searchsorted(x, boundary[e, 0] - reach)
        for line in range(first, np.searchsorted(x, boundary[e, 0] + reach, "right")):
            start, stop = lines[line], lines[line + 1]
            if boundary[start, 3] == side:
                continue
            ahead = (x[line] - boundary[e, 0]) * side
            start += np.searchsorted(boundary[start:stop, 2], low - reach)
            for i in range(start, stop):
                aside = max(boundary[i, 1] - high, low - boundary[i, 2], 0)
                if boundary[i, 1] > high + reach:
                    break
                apart = max(abs(ahead), aside)
                if ahead >= 0:
                    inward = min(inward, apart)
                if ahead <= 0:
                    outward = min(outward, apart)
        inward, outward = (inward - rules.width) // 2, (outward - rules.space) // 2
        near = rules.move + max(rules.width, rules.space)
        for end in range(2):
            off = low - boundary[e, 1] if end == 0 else boundary[e, 2] - high
            if off < near and boundary[e, 4 + end]:
                inward = min(inward, rules.corner - rules.width)
            elif off < near:
                outward = min(outward, rules.corner - rules.space)
        out[p, 0] = min(max(inward, 0), rules.move)
        out[p, 1] = min(max(outward, 0), rules.move)
    return out
