"""Outlines of paths, as KLayout draws them.

in       centre lines in dbu, widths, extensions, whether the ends are round
out      one polygon per path, in dbu
unit     all paths of a file
promise  the corners are those of ``klayout.db.Path.polygon()``; fill by non-zero winding, as a
         sharp bend of a short segment makes the polygon cross itself

Two entry points, both compiled and callable from compiled code::

    outline_path(points, width_dbu, begin_dbu, end_dbu, round_ends) -> corners (m, 2) int64
    outline_paths(points, starts, shape) -> (corners (m, 2) int64, starts (n + 1,) int64)

`begin_dbu` and `end_dbu` are the extensions past the first and the last point (negative shortens
the path). The end types of the file formats map to them as follows:

- GDSII type 0, and an OASIS flush end: 0;
- GDSII type 1: ``width // 2``, `round_ends`;
- GDSII type 2, and an OASIS half-width end: ``width // 2``;
- GDSII type 4: BGNEXTN and ENDEXTN; OASIS: the explicit extension. OASIS widths are twice the
  half-width.

The rules, found by comparing outlines with KLayout:

- a point equal to the one before it is dropped, and so is one within half a dbu of the line from
  the last point kept to the next;
- the side of a segment lies half a width from its centre line, rounded to whole dbu (halves away
  from zero) if the segment is parallel to an axis or a diagonal: an odd width becomes even there;
- a corner of a bend is where two sides cross, unless that is more than half a width past the point
  (a turn of more than 90 degrees: two corners half a width past it, along either segment), or
  further back than a segment and half a width are long (three corners, through the point itself);
- both sides of an exact reversal are outer ones;
- a round end is half of a 32-gon whose sides touch the circle, stretched to the extension;
- a single point is drawn as if the path ran along +x;
- corners are rounded to whole dbu from their point, halves away from zero. At ties KLayout's
  trigonometry has noise: one corner in some thousand paths of odd width lies one dbu beside its.
"""

from __future__ import annotations

import math

import numpy as np

from stages.compiled import kernel
from stages.contracts import Floats, Int64s

PATH_SHAPE = ("width", "begin", "end", "round")
"""Columns of path shapes, (n, 4) int64: three lengths in dbu; 1 if the ends are round."""

Vector = tuple[float, float]

_CAP = 16  # corners of a round end
_BEND = 5  # most corners that a point within the line makes
_PARALLEL = 1e-10  # sine of an angle that is float noise
_SLACK = 1e-5  # dbu


@kernel
def outline_path(
    points: Int64s, width_dbu: int, begin_dbu: int, end_dbu: int, round_ends: bool
) -> Int64s:
    """Return the outline of one path, (m, 2) corners in dbu; empty if the width is 0.

    Parameters
    ----------
    points : (n, 2) int64
        The centre line; points may repeat, and a single point makes a dot.
    width_dbu : int
        0 or more.
    begin_dbu, end_dbu : int
        Extensions past the first and last point.
    round_ends : bool
        Whether the ends are half ellipses.

    Examples
    --------
    >>> outline_path(np.array([[0, 0], [100, 0]]), 20, 5, 0, False).tolist()
    [[-5, 10], [100, 10], [100, -10], [-5, -10]]
    """
    shape = np.array([[width_dbu, begin_dbu, end_dbu, round_ends]], np.int64)
    return outline_paths(points, np.array([0, len(points)]), shape)[0]


@kernel
def outline_paths(points: Int64s, starts: Int64s, shape: Int64s) -> tuple[Int64s, Int64s]:
    """Return the outlines of many paths, and the offset of each.

    Parameters
    ----------
    points : (m, 2) int64
        The centre lines of all paths, in dbu.
    starts : (n + 1,) int64
        Path `i` is ``points[starts[i]:starts[i + 1]]``.
    shape : (n, 4) int64
        Columns `PATH_SHAPE`.
    """
    paths = len(starts) - 1
    most = _BEND * len(points) + 4 * paths + 2 * _CAP * shape[:, 3].sum()
    corners, line = np.empty((most, 2), np.int64), np.empty((len(points), 2), np.float64)
    corner_starts, used = np.zeros(paths + 1, np.int64), 0
    for path in range(paths):
        width, begin, end, round_ends = shape[path]
        kept = _simplify(points[starts[path] : starts[path + 1]], line)
        if width > 0 and kept > 0:
            one_side, half = line[:kept], 0.5 * width
            used = _add_side(one_side, False, half, (begin, end), round_ends, corners, used)
            used = _add_side(one_side, True, half, (end, begin), round_ends, corners, used)
        corner_starts[path + 1] = used
    return corners[:used].copy(), corner_starts


@kernel
def _simplify(points: Int64s, line: Floats) -> int:
    """Write the points that affect the outline to `line`; return how many."""
    distinct = 0
    for x, y in points:
        if not distinct or line[distinct - 1, 0] != x or line[distinct - 1, 1] != y:
            line[distinct, 0], line[distinct, 1] = x, y
            distinct += 1
    kept = 0
    for i in range(distinct):
        if not 0 < i < distinct - 1 or not _is_on_line(line[kept - 1], line[i], line[i + 1]):
            line[kept, 0], line[kept, 1] = line[i, 0], line[i, 1]
            kept += 1
    return kept


@kernel
def _is_on_line(before: Floats, point: Floats, after: Floats) -> bool:
    """Return whether a point lies within half a dbu of the line between two others."""
    u_x, u_y = after[0] - before[0], after[1] - before[1]
    v_x, v_y = point[0] - before[0], point[1] - before[1]
    length = _measure(u_x, u_y)
    along = u_x * v_x + u_y * v_y
    return abs(u_x * v_y - u_y * v_x) < 0.5 * length and 0 <= along <= length * length


@kernel
def _add_side(
    line: Floats, reverse: bool, half: float, ends: tuple[int, int], round_ends: int,
    corners: Int64s, used: int,
) -> int:  # fmt: skip
    """Write the corners left of a line, with the round end at its start.

    Returns the number of corners written so far.
    """
    last = len(line) - 1
    step, first = (-1, last) if reverse else (1, 0)
    u, length = (float(step), 0.0), 0.0  # of a single point
    for i in range(last + 1):
        at = first + step * i
        x, y = line[at]
        v, following = u, length
        if i < last:
            v_x, v_y = line[at + step, 0] - x, line[at + step, 1] - y
            following = _measure(v_x, v_y)
            v = v_x / following, v_y / following
        if i == 0 and round_ends:
            left = _offset_left(v, half) if last else (0.0, v[0] * half)
            used = _add_cap(x, y, left, (-v[0] * ends[0], -v[1] * ends[0]), corners, used)
        elif i == 0:
            used = _add_end(x, y, v, half, -float(ends[0]), corners, used)
        elif i < last:
            used = _add_bend(x, y, u, v, half, (length, following), corners, used)
        u, length = v, following
        if i == last and not round_ends:
            used = _add_end(x, y, u, half, float(ends[1]), corners, used)
    return used


@kernel
def _add_bend(
    x: float, y: float, u: Vector, v: Vector, half: float,
    lengths: Vector, corners: Int64s, used: int,
) -> int:  # fmt: skip
    """Write the corners left of a point at which a line turns from `u` to `v`, unit vectors.

    `lengths` are those of the two segments.
    """
    cross, dot = u[0] * v[1] - u[1] * v[0], u[0] * v[0] + u[1] * v[1]
    before, after = _offset_left(u, half), _offset_left(v, half)
    ahead = back = 0.0 if dot > 0 else math.inf  # how far the mitre is, along u and against v
    if abs(cross) >= _PARALLEL:
        gap_x, gap_y = after[0] - before[0], after[1] - before[1]
        ahead = (gap_x * v[1] - gap_y * v[0]) / cross
        back = (gap_y * u[0] - gap_x * u[1]) / cross
    most_ahead, most_back = _measure(*before) + _SLACK, _measure(*after) + _SLACK
    if ahead < -lengths[0] - most_ahead or back < -lengths[1] - most_back:
        used = _add_off(x, y, before, u, 0.0, corners, used)
        used = _add(x, y, 0.0, 0.0, corners, used)
        return _add_off(x, y, after, v, 0.0, corners, used)
    used = _add_off(x, y, before, u, min(ahead, most_ahead), corners, used)
    if ahead <= most_ahead and back <= most_back:
        return used
    return _add_off(x, y, after, v, -min(back, most_back), corners, used)


@kernel
def _add_cap(x: float, y: float, left: Vector, back: Vector, corners: Int64s, used: int) -> int:
    """Write the corners of a round start, from right to left, given its two half axes."""
    # The sides, not the corners, touch the arc; 1e-12 keeps a half a half despite float noise.
    out = (1 + 1e-12) / math.cos(math.pi / (2 * _CAP))
    for i in range(_CAP):
        angle = math.pi * ((i + 0.5) / _CAP - 0.5)
        along, across = out * math.cos(angle), out * math.sin(angle)
        dx, dy = back[0] * along + left[0] * across, back[1] * along + left[1] * across
        used = _add(x, y, dx, dy, corners, used)
    return used


@kernel
def _add_end(
    x: float, y: float, u: Vector, half: float, along: float, corners: Int64s, used: int
) -> int:
    """Write the corner to the left of a point, moved by `along` in the direction of u."""
    return _add_off(x, y, _offset_left(u, half), u, along, corners, used)


@kernel
def _add_off(
    x: float, y: float, side: Vector, u: Vector, along: float, corners: Int64s, used: int
) -> int:
    """Write the corner at offset `side` from a point, moved by `along` in the direction of u."""
    return _add(x, y, side[0] + u[0] * along, side[1] + u[1] * along, corners, used)


@kernel
def _offset_left(u: Vector, half: float) -> Vector:
    """Return the offset from a segment in the direction of the unit vector u to its left side."""
    x, y = -u[1] * half, u[0] * half
    if x == 0 or y == 0 or abs(abs(u[0]) - abs(u[1])) < _PARALLEL:
        return _round(x), _round(y)
    return x, y


@kernel
def _add(x: float, y: float, dx: float, dy: float, corners: Int64s, used: int) -> int:
    corners[used, 0], corners[used, 1] = int(x + _round(dx)), int(y + _round(dy))
    return used + 1


@kernel
def _measure(x: float, y: float) -> float:
    """Return the length of a vector; `math.hypot` differs in the last bit, compiled or not."""
    return math.sqrt(x * x + y * y)


@kernel
def _round(offset: float) -> float:
    """Round to whole dbu, halves away from zero."""
    return math.floor(offset + 0.5) if offset > 0 else math.ceil(offset - 0.5)
