"""Design rules and nets around a fix: what it must not break.

in       the disjoint rectangles before and after
out      whether the change breaks a rule, joins or cuts a net, or uncovers a via
unit     one window
promise  a violation that was there before is no reason to refuse

Widths and spaces are measured across facing edges and from corner to corner, as a rule check with
Euclidean metrics does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from stages.contracts import Int64s
from stages.fixes.moves import subtract_rect
from stages.geometry.union import find_runs_gaps_edges, swap_xy

Violations = tuple[Int64s, set[tuple[int, ...]]]
"""The stretches that are too narrow, (v, 4), and the pairs of corners that are too near."""


@dataclass(frozen=True, slots=True, eq=False)
class DesignRules:
    """What a layout must keep, in dbu."""

    width: int
    space: int
    enclosure: int = 0
    """Least distance from the border of a via to the edge of the shape around it."""


WIDTH, SPACE, NET, VIA = "width", "space", "net", "via"
"""What a change may break."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What a change is compared with: a window before it."""

    rects: Int64s
    """(n, 4), disjoint."""
    shapes: Int64s
    """(n,) number of the connected shape that each is of."""
    violations: tuple[Violations, ...]
    """Of width and of space."""
    rules: DesignRules
    half: int
    """Half the side of the window: what is cut there is not as narrow as it looks."""


def inspect_drawn(rects: Int64s, rules: DesignRules, half: int) -> Drawn:
    """Return a window before a change, from its middle, with the rules that it breaks itself."""
    violations = tuple(_list_violations(rects, *each, half) for each in _list_limits(rules))
    return Drawn(rects, _number_shapes(rects), violations, rules, half)


def find_broken(before: Drawn, after: Int64s, vias: Int64s) -> str:
    """Return the first rule that a change breaks; empty if it breaks none.

    Parameters
    ----------
    before
        The window as it is drawn, see `inspect_drawn`.
    after : (n, 4) int64
        Its disjoint rectangles with the change.
    vias : (v, 4) int64
        Vias on the layer, in the same window; empty where they are not known.
    """
    for (name, limit), known in zip(_list_limits(before.rules), before.violations, strict=True):
        if _exceeds(_list_violations(after, name, limit, before.half), known):
            return name
    if not _keeps_nets(before, after):
        return NET
    around = vias + np.array([-1, -1, 1, 1]) * before.rules.enclosure
    return VIA if any(_uncovers(before.rects, after, via) for via in around) else ""


def _list_limits(rules: DesignRules) -> tuple[tuple[str, int], ...]:
    return (WIDTH, rules.width), (SPACE, rules.space)


def _list_violations(rects: Int64s, name: str, limit: int, half: int) -> Violations:
    """Return the stretches and pairs of corners that break a rule, none cut by the window."""
    stretches, corners = [], set()
    for axis in (0, 1):
        runs, gaps, edges = find_runs_gaps_edges(swap_xy(rects) if axis else rects, limit)
        found = runs if name == WIDTH else gaps
        found = found[found[:, 2] - found[:, 0] < limit]
        found = found[(found[:, 0] > -half) & (found[:, 2] < half)]
        stretches.append(swap_xy(found) if axis else found)
        if not axis:
            corners = _find_near_corners(edges, limit, half, convex=name == SPACE)
    return np.concatenate(stretches), corners


def _find_near_corners(
    edges: Int64s, limit: int, half: int, *, convex: bool
) -> set[tuple[int, ...]]:
    """Return the pairs of corners that face each other diagonally and are less than `limit` apart.

    Convex corners face across a space, concave ones across a shape.
    """
    # Of convex corners, which way the shape lies from the corner; of concave ones, the space.
    ends = [(edges[:, 0], edges[:, end], edges[:, 3] if convex else -edges[:, 3],
             np.full(len(edges), 1 if end == 1 else -1), edges[:, end + 3])
            for end in (1, 2)]  # fmt: skip
    rows = np.concatenate([np.column_stack(end) for end in ends])
    rows = rows[((rows[:, 4] == 1) == convex) & (np.abs(rows[:, :2]) < half).all(axis=1)]
    found: set[tuple[int, ...]] = set()
    for across in (1, -1):
        # From the one to the other it goes right, and up or down.
        first = rows[(rows[:, 2] == -1) & (rows[:, 3] == -across)]
        second = rows[(rows[:, 2] == 1) & (rows[:, 3] == across)]
        dx = second[None, :, 0] - first[:, None, 0]
        dy = (second[None, :, 1] - first[:, None, 1]) * across
        near = (dx >= 0) & (dy >= 0) & (dx**2 + dy**2 < limit**2)
        for i, j in np.argwhere(near).tolist():
            found.add((*first[i, :2].tolist(), *second[j, :2].tolist()))
    return found


def _exceeds(after: Violations, before: Violations) -> bool:
    """Return whether there are violations that were not there before."""
    if after[1] - before[1]:
        return True
    for stretch in after[0]:
        left = stretch[None]
        for known in before[0]:
            left = subtract_rect(left, known)
        if len(left):
            return True
    return False


def _keeps_nets(before: Drawn, after: Int64s) -> bool:
    """Return whether the shapes of both correspond one to one."""
    joined = _touch(before.rects[:, None], after[None])
    old, new = before.shapes, _number_shapes(after)
    i, j = np.nonzero(joined)
    pairs = set(zip(old[i].tolist(), new[j].tolist(), strict=True))
    shapes = set(old.tolist()), set(new.tolist())
    return (
        len(pairs) == len(shapes[0]) == len(shapes[1])
        and {a for a, _ in pairs} == shapes[0]
        and {b for _, b in pairs} == shapes[1]
    )


def _number_shapes(rects: Int64s) -> Int64s:
    """Return the number of the connected shape that each rectangle is of, (n,)."""
    touch = _touch(rects[:, None], rects[None], edges=True)
    count: Int64s = scipy.sparse.csgraph.connected_components(
        scipy.sparse.csr_array(touch), directed=False
    )[1]
    return count


def _touch(a: Int64s, b: Int64s, *, edges: bool = False) -> npt.NDArray[np.bool_]:
    """Return which rectangles overlap; with `edges` also which have part of an edge in common."""
    wide = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    high = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    if edges:
        return np.asarray((wide >= 0) & (high >= 0) & (wide + high > 0))
    return np.asarray((wide > 0) & (high > 0))


def _uncovers(before: Int64s, after: Int64s, box: Int64s) -> bool:
    """Return whether part of a box is covered before and not after."""
    left = np.clip(before, np.tile(box[:2], 2), np.tile(box[2:], 2))
    left = left[(left[:, 0] < left[:, 2]) & (left[:, 1] < left[:, 3])]
    for rect in after:
        left = subtract_rect(left, rect)
    return bool(len(left))
