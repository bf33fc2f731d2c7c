"""Failures of connectivity, which measurements along a line do not find.

in       an image as spline coefficients, the drawn runs
out      a row per place where connectivity fails, whose margin is noted in its cell
unit     one field
promise  no place outside the field's core

Drawn shapes and printed pieces are two partitions of one lattice, twice as fine as the spline's.
Inside a piece the shapes that it touches grow at equal speed, and where two meet is a bridge; a
piece that no shape touches is extra. Inside a shape the pieces grow likewise: where two meet is an
open, and a shape that no piece touches is missing.

Shapes that are connected only outside the field count as separate. Shapes that touch only at a
corner may print either way: they count as one shape for a bridge and as two for an open.
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Bytes, Float32s, Floats, Int32s, Int64s
from stages.geometry.growing import reserve_row
from stages.lithography.measure.sections import (
    BRIDGE,
    EXTRA,
    HAIR,
    MISSING,
    OPEN,
    Rules,
    Worst,
    emit,
    note,
)

_FINER = 2
"""Lattice steps in a step of the spline."""
_WORD = 8
"""Points whose flags are looked at together; a lattice has a multiple of it along a side."""
_NONE_SET, _ALL_SET = np.uint64(0), np.uint64(0x0101010101010101)


@kernel
def find_breaks(coef: Float32s, runs: Int64s, levels: Floats, rules: Rules, worst: Worst) -> Floats:
    """Compare the connectivity of the print of a field with that of the drawn shapes.

    Parameters
    ----------
    coef : (n, n) float32
        Cubic B-spline coefficients of the image, the first at the field's corner; n is a multiple
        of 4.
    runs : (m, 4) int64
        The target as `stages.geometry.union.merge` returns it, in dbu from the field's corner.
    levels : (c,) float64
        Intensity at which each corner of the process window prints.
    worst
        The margin of every failure is noted in it. A place where connectivity holds has none but
        that of the widths and spaces there.

    Returns
    -------
    (f, 5) float64
        Index into `sections.KINDS`, x and y in dbu from the field's corner, index into `levels`,
        severity, which is 1. A failure that covers an area has many rows.
    """
    values, scale = _refine(coef), rules.scale * _FINER
    found = _compare(values, runs, levels, scale)
    size, flat = len(values), values.ravel()
    out, used = np.empty((16, 5)), 0
    for i in range(len(found)):
        kind, k, c = found[i]
        x, y = np.floor(k % size / scale), np.floor(k // size / scale)
        if rules.core[0] <= x < rules.core[2] and rules.core[1] <= y < rules.core[3]:
            out, used = emit(out, used, kind, x, y, c, 1.0)
            note(worst, kind, x, y, max(abs(flat[k] / levels[c] - 1), HAIR))
    return out[:used]


@kernel
def _refine(coef: Float32s) -> Float32s:
    """Return the periodic spline on the finer lattice, (2 n, 2 n)."""
    n = coef.shape[0]
    lines = np.empty((_FINER * n, n), np.float32)
    for j in range(n):
        a, b, c, d = coef[j - 1], coef[j], coef[(j + 1) % n], coef[(j + 2) % n]
        for i in range(n):
            lines[2 * j, i], lines[2 * j + 1, i] = _evaluate_knot_and_next(a[i], b[i], c[i], d[i])
    values = np.empty((_FINER * n, _FINER * n), np.float32)
    w = np.empty(n + 3, np.float32)
    for j in range(_FINER * n):
        w[0], w[1 : n + 1], w[n + 1 :] = lines[j, n - 1], lines[j], lines[j, :2]
        for i in range(n):
            values[j, 2 * i], values[j, 2 * i + 1] = _evaluate_knot_and_next(
                w[i], w[i + 1], w[i + 2], w[i + 3]
            )
    return values


@kernel
def _evaluate_knot_and_next(
    a: np.float32, b: np.float32, c: np.float32, d: np.float32
) -> tuple[np.float32, np.float32]:
    """Return the spline on the knot of `b`, and halfway to the next."""
    on = np.float32(4 / 6) * b + np.float32(1 / 6) * (a + c)
    return on, np.float32(23 / 48) * (b + c) + np.float32(1 / 48) * (a + d)


@kernel
def _find_root(parent: Int32s, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def _join_shapes(runs: Int64s) -> tuple[Int32s, Int32s]:
    """Return the shape of each run, from 1: by common edges, and by common corners as well."""
    whole = np.arange(len(runs)).astype(np.int32)
    joined = whole.copy()
    order = np.argsort(runs[:, 1])
    starts = runs[order, 1]
    for i in range(len(runs)):
        # Maximal runs meet above and below one another only.
        for at in range(np.searchsorted(starts, runs[i, 3]), len(runs)):
            j = order[at]
            if runs[j, 1] != runs[i, 3]:
                break
            overlap = min(runs[i, 2], runs[j, 2]) - max(runs[i, 0], runs[j, 0])
            if overlap > 0:
                whole[_find_root(whole, i)] = _find_root(whole, j)
            if overlap >= 0:
                joined[_find_root(joined, i)] = _find_root(joined, j)
    for i in range(len(runs)):
        whole[i], joined[i] = _find_root(whole, i), _find_root(joined, i)
    return whole + np.int32(1), joined + np.int32(1)


@kernel
def _find_points(low: int, high: int, scale: float, size: int) -> tuple[int, int, bool]:
    """Return the lattice points in [low, high) off the border, and whether there are any.

    If there are none, the point nearest to the middle is returned.
    """
    first, last = int(np.ceil(low * scale)), int(np.ceil(high * scale))
    holds = first < last
    if not holds:
        first = int(np.round((low + high) / 2 * scale))
        last = first + 1
    return max(first, 1), min(last, size - 1), holds


@kernel
def _find_middle(run: Int64s, scale: float, size: int) -> int:
    """Return the middle point of a run, in the flattened lattice."""
    x_0, x_1, _ = _find_points(run[0], run[2], scale, size)
    y_0, y_1, _ = _find_points(run[1], run[3], scale, size)
    return (y_0 + y_1) // 2 * size + (x_0 + x_1) // 2


@kernel
def _draw_shapes(runs: Int64s, shape_of: Int32s, scale: float, size: int) -> Int32s:
    """Return the shape at each point, 0 where nothing is drawn and along the border.

    A run thinner than a step takes the points nearest to it, if no other run has them; two shapes
    have a point between them, however close they are.
    """
    at = np.zeros((size, size), np.int32)
    for thin in (False, True):
        for i in range(len(runs)):
            x_0, x_1, x_holds = _find_points(runs[i, 0], runs[i, 2], scale, size)
            y_0, y_1, y_holds = _find_points(runs[i, 1], runs[i, 3], scale, size)
            if (x_holds and y_holds) != thin:
                for row in at[y_0:y_1]:
                    for x in range(x_0, x_1):
                        if row[x] == 0:
                            row[x] = shape_of[i]
    near, order = int(np.ceil(2 / scale)), np.argsort(runs[:, 1])
    for first, i in enumerate(order):
        for j in order[first + 1 :]:
            if runs[j, 1] > runs[i, 3] + near:
                break
            apart = max(runs[i, 0], runs[j, 0]) - min(runs[i, 2], runs[j, 2])
            if apart <= near and shape_of[i] != shape_of[j]:
                _separate(at, runs[i], shape_of[j], scale)
    return at


@kernel
def _separate(at: Int32s, run: Int64s, other: int, scale: float) -> None:
    """Clear the points of another shape that are next to a run."""
    x_0, x_1, _ = _find_points(run[0], run[2], scale, len(at))
    y_0, y_1, _ = _find_points(run[1], run[3], scale, len(at))
    for y in range(y_0 - 1, y_1 + 1):
        for x in range(x_0 - 1, x_1 + 1):
            if at[y, x] == other:
                at[y, x] = 0


@kernel
def _find_printed(values: Float32s, level: float, printed: Bytes) -> None:
    """Write 1 where a point prints; the border is dark."""
    size = values.shape[0]
    threshold = np.float32(level)
    for y in range(size):
        for x in range(size):
            printed[y, x] = values[y, x] > threshold
    printed[0], printed[size - 1], printed[:, 0], printed[:, size - 1] = 0, 0, 0, 0


@kernel
def _label_pieces(values: Float32s, level: float, printed: Bytes, labels: Int32s) -> None:
    """Write the number of the printed piece at each point, from 1; 0 is dark.

    Points are connected to their four neighbours, and across a diagonal where its middle prints.
    """
    size = values.shape[0]
    spans, parent = np.empty((size, 3), np.int64), np.empty(size * size // 2, np.int32)
    used = before = 0
    for y in range(1, size - 1):
        start, near = used, before
        spans, used = _find_spans(printed, y, spans, used)
        for i in range(start, used):
            parent[i] = i
            first, last = spans[i, 1], spans[i, 2]
            while near < start and spans[near, 2] < first:
                near += 1
            other = near
            while other < start and spans[other, 1] <= last:
                a, b = spans[other, 1], spans[other, 2]
                corner = first if b == first else last  # where the two touch at a corner alone
                if (a < last and first < b) or _interpolate_saddle(values, y, corner) > level:
                    parent[_find_root(parent, other)] = _find_root(parent, i)
                other += 1
        before = start
    labels[:] = 0
    for i in range(used):
        labels[spans[i, 0], spans[i, 1] : spans[i, 2]] = _find_root(parent, i) + 1


@kernel
def _find_spans(printed: Bytes, y: int, spans: Int64s, used: int) -> tuple[Int64s, int]:
    """Append the printed spans of a row: the row, the first point, and the one past the last."""
    words, inside = printed.view(np.uint64), False
    for word in range(words.shape[1]):
        if words[y, word] != (_ALL_SET if inside else _NONE_SET):
            for x in range(word * _WORD, (word + 1) * _WORD):
                if (printed[y, x] != 0) != inside:
                    inside = not inside
                    if inside:
                        spans = reserve_row(spans, used)
                        spans[used, 0], spans[used, 1] = y, x
                    else:
                        spans[used, 2] = x
                        used += 1
    return spans, used


@kernel
def _interpolate_saddle(values: Float32s, y: int, x: int) -> float:
    """Return the image in the middle of a cell of the lattice, its upper right at (y, x).

    It is interpolated by cubics: the mean of the four corners is off where the image bends more
    one way than the other, as it does between two shapes.
    """
    middle = 0.0
    for dy, up in ((-2, -1), (-1, 9), (0, 9), (1, -1)):
        row = values[y + dy]
        middle += up * (9 * (row[x - 1] + row[x]) - row[x - 2] - row[x + 1])
    return middle / 256


@kernel
def _spread(medium: Int32s, source: Int32s, free: Int64s, around: Int64s, owner: Int32s) -> Int64s:
    """Grow the sources at equal speed, each within its medium; return where two meet.

    All are lattices, flattened; `free` are the points of a medium without a source, and there
    `owner` is written, 0 where no source reaches.
    """
    queue, used = np.empty(len(free), np.int64), 0
    for k in free:
        for step in around:
            if medium[k + step] == medium[k] and source[k + step] != 0:
                owner[k] = source[k + step]
                queue[used] = k
                used += 1
                break
    done = 0
    while done < used:
        k = queue[done]
        done += 1
        for step in around:
            q = k + step
            if medium[q] == medium[k] and source[q] == 0 and owner[q] == 0:
                owner[q] = owner[k]
                queue[used] = q
                used += 1
    met = 0
    for k in queue[:used]:
        for step in around:
            q = k + step
            if medium[q] == medium[k] and max(source[q], owner[q]) != owner[k]:
                queue[met] = k
                met += 1
                break
    return queue[:met]


@kernel
def _find_free(printed: Bytes, shapes: Int32s, drawn: bool, differ: Bytes) -> Int64s:
    """Return the points of shapes that do not print, or those that print where none is drawn.

    Flags of all points are written to `differ`: whether just one of print and shapes is there.
    """
    for k in range(len(shapes)):
        differ[k] = (printed[k] != 0) != (shapes[k] != 0)
    words = differ.view(np.uint64)
    points, used = np.empty(len(shapes), np.int64), 0
    for word in range(len(words)):
        if words[word] != _NONE_SET:
            for k in range(word * _WORD, (word + 1) * _WORD):
                if differ[k] != 0 and (shapes[k] != 0) == drawn:
                    points[used] = k
                    used += 1
    return points[:used]


@kernel
def _find_peaks(values: Float32s, points: Int64s, around: Int64s, owner: Int32s) -> Int64s:
    """Return the brightest points of the lines along which owners meet, of those next to them.

    There a bridge is widest, and an open is closest to closing.
    """
    owner[points] = -1
    peaks = np.empty(len(points), np.int64)
    used = 0
    for k in points:
        brightest = True
        for step in around:
            brightest &= owner[k + step] != -1 or values[k + step] <= values[k]
        if brightest:
            peaks[used] = k
            used += 1
    return peaks[:used]


@kernel
def _is_ridge(values: Float32s, k: int, size: int) -> bool:
    """Whether a point is the brightest of its neighbours along x or along y."""
    v = values[k]
    along_x = v >= values[k - 1] and v > values[k + 1]
    return along_x or (v >= values[k - size] and v > values[k + size])


@kernel
def _emit(out: Int64s, used: int, kind: int, k: int, c: int) -> tuple[Int64s, int]:
    out = reserve_row(out, used)
    out[used, 0], out[used, 1], out[used, 2] = kind, k, c
    return out, used + 1


@kernel
def _compare(values: Float32s, runs: Int64s, levels: Floats, scale: float) -> Int64s:
    """Return the kind, the point and the index of the level of every failure."""
    size = values.shape[0]
    around = np.array([-1, 1, -size, size, -size - 1, -size + 1, size - 1, size + 1])
    by_edge, by_corner = _join_shapes(runs)
    whole = joined = _draw_shapes(runs, by_edge, scale, size).ravel()
    if (by_edge != by_corner).any():
        joined = _draw_shapes(runs, by_corner, scale, size).ravel()
    flat, owner = values.ravel(), np.zeros(size * size, np.int32)
    labels = np.zeros((size, size), np.int32)
    printed, differ = np.empty((size, size), np.uint8), np.empty(size * size, np.uint8)
    pieces = labels.ravel()
    out, used = np.empty((16, 3), np.int64), 0
    for c in range(len(levels)):
        _find_printed(values, levels[c], printed)
        _label_pieces(values, levels[c], printed, labels)
        outside = _find_free(printed.ravel(), joined, False, differ)
        for k in _find_peaks(flat, _spread(pieces, joined, outside, around, owner), around, owner):
            out, used = _emit(out, used, BRIDGE, k, c)
        for k in outside:
            if owner[k] == 0 and _is_ridge(flat, k, size):
                out, used = _emit(out, used, EXTRA, k, c)
        unprinted = _find_free(printed.ravel(), whole, True, differ)
        for k in _find_peaks(flat, _spread(whole, pieces, unprinted, around, owner), around, owner):
            out, used = _emit(out, used, OPEN, k, c)
        for i in range(len(runs)):
            k = _find_middle(runs[i], scale, size)
            if whole[k] == by_edge[i] and pieces[k] == 0 and owner[k] == 0:
                out, used = _emit(out, used, MISSING, k, c)
        owner[outside] = 0
        owner[unprinted] = 0
    return out[:used]
