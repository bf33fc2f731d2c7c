"""Prints of contacts and vias, each measured as a whole: how large they are, and where.

in       an image as spline coefficients, the drawn shapes
out      a row per shape that prints too small or off its centre
unit     one field
promise  a row lies in the middle of its shape, which is in the field's core

The print of a shape is what prints within half the least space of it. The image is sampled eight
times as finely as its spline, and is linear in the triangles between: areas are exact within 0.1 %
of a contact. What prints not at all, in pieces, or together with others is told by
`stages.lithography.measure.connectivity`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from stages.compiled import kernel
from stages.contracts import Float32s, Floats, Int64s
from stages.lithography.measure.sections import (
    AREA,
    OFF_CENTRE,
    Rules,
    Worst,
    blend32,
    note_all,
)
from stages.lithography.process import Process

_FINER = 8
"""Samples in a step of the spline."""


class ContactRules(NamedTuple):
    """What of a contact fails; lengths in dbu."""

    margin: float
    """What prints this far around a shape is its print."""
    area_share: float
    centre: float


def make_contact_rules(dbu_nm: float, process: Process) -> ContactRules | None:
    """Return how the shapes of a process are measured as a whole, None where they are not."""
    limits = process.contacts
    if limits is None:
        return None
    margin_nm = process.min_space_nm / 2
    return ContactRules(margin_nm / dbu_nm, limits.area_share, limits.centre_nm / dbu_nm)


def find_contact_failures(
    coef: Float32s,
    target: Int64s,
    levels: Floats,
    rules: Rules,
    contacts: ContactRules,
    worst: Worst,
) -> Floats:
    """Return the shapes whose print is too small or off its centre.

    Parameters
    ----------
    coef : (n, n) float32
        Cubic B-spline coefficients of the image, the first at the field's corner.
    target : (r, 4) int64
        As `stages.geometry.union.merge` returns it, in dbu from the field's corner.
    levels : (c,) float64
        Intensity at which each corner of the process window prints.
    worst
        The margins of all shapes are noted in it.

    Returns
    -------
    (f, 5) float64
        Index into `sections.KINDS`, x and y in dbu from the field's corner, index into `levels`,
        severity. Where nothing prints there is no row: it is missing.
    """
    boxes, drawn = find_shapes(target)
    places = np.floor(drawn[:, 1:])
    x_min, y_min, x_max, y_max = rules.core
    inside = ((places >= (x_min, y_min)) & (places < (x_max, y_max))).all(axis=1)
    boxes, drawn, places = boxes[inside], drawn[inside], places[inside]
    printed = measure_prints(coef, boxes, levels, rules.scale, contacts.margin)  # (s, c, 3)
    shape, corner = np.nonzero(printed[:, :, 0] > 0)
    area, off = printed[shape, corner, 0], printed[shape, corner, 1:] - drawn[shape, 1:]
    rows = [np.empty((0, 5))]
    for kind, excess in (
        (AREA, 1 - area / drawn[shape, 0] / contacts.area_share),
        (OFF_CENTRE, np.hypot(off[:, 0], off[:, 1]) / contacts.centre - 1),
    ):
        severity = np.minimum(excess, 1.0)
        every = np.column_stack([np.full(len(shape), kind), places[shape], corner, severity])
        note_all(worst, every, excess)
        rows.append(every[excess > 0])
    return np.concatenate(rows)


def find_shapes(target: Int64s) -> tuple[Floats, Floats]:
    """Return the shapes that rectangles make up.

    Parameters
    ----------
    target : (r, 4) int64
        As `stages.geometry.union.merge` returns it: those that touch lie over one another.

    Returns
    -------
    boxes : (s, 4)
        Around each, in order of the first rectangle of each.
    drawn : (s, 3)
        Area, and x and y of the centre of the area.
    """
    lower, upper = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for y in np.intersect1d(target[:, 1], target[:, 3]):
        below, above = np.flatnonzero(target[:, 3] == y), np.flatnonzero(target[:, 1] == y)
        touch = np.maximum.outer(target[below, 0], target[above, 0])
        touch = touch < np.minimum.outer(target[below, 2], target[above, 2])
        lower.append(below[np.nonzero(touch)[0]])
        upper.append(above[np.nonzero(touch)[1]])
    pairs = np.concatenate(lower), np.concatenate(upper)
    graph = scipy.sparse.coo_array(
        (np.ones(len(pairs[0])), pairs), shape=(len(target), len(target))
    )
    count, shape = scipy.sparse.csgraph.connected_components(graph, directed=False)
    boxes, drawn = np.empty((count, 4)), np.zeros((count, 3))
    for side, outermost in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        boxes[:, side] = -np.inf if side > 1 else np.inf
        outermost.at(boxes[:, side], shape, target[:, side])
    low, high = target[:, :2].astype(np.float64), target[:, 2:].astype(np.float64)
    area = (high - low).prod(axis=1)
    np.add.at(drawn, shape, np.column_stack([area, area[:, None] * (low + high) / 2]))
    drawn[:, 1:] /= drawn[:, :1]
    return boxes, drawn


@kernel
def measure_prints(
    coef: Float32s, boxes: Floats, levels: Floats, scale: float, margin: float
) -> Floats:
    """Return area and centre of what prints in each box and the margin around it, (s, c, 3)."""
    out = np.zeros((len(boxes), len(levels), 3))
    for s in range(len(boxes)):
        x, y = (boxes[s, 0] - margin) * scale, (boxes[s, 1] - margin) * scale
        columns = int(np.ceil((boxes[s, 2] - boxes[s, 0] + 2 * margin) * scale * _FINER))
        rows = int(np.ceil((boxes[s, 3] - boxes[s, 1] + 2 * margin) * scale * _FINER))
        # Steps that fit the box, a little shorter than asked for.
        step_x = (boxes[s, 2] - boxes[s, 0] + 2 * margin) * scale / columns
        step_y = (boxes[s, 3] - boxes[s, 1] + 2 * margin) * scale / rows
        values = _sample(coef, x, y, step_x, step_y, columns + 1, rows + 1)
        for c in range(len(levels)):
            area, along, up = _add_triangles(values - levels[c])
            if area > 0:
                out[s, c, 0] = area * step_x * step_y / scale**2
                out[s, c, 1] = (x + along / area * step_x) / scale
                out[s, c, 2] = (y + up / area * step_y) / scale
    return out


@kernel
def _sample(
    coef: Float32s, x: float, y: float, step_x: float, step_y: float, columns: int, rows: int
) -> Floats:
    """Return the periodic spline on a grid from x, y, in its steps, (rows, columns)."""
    n = coef.shape[0]
    first = int(np.floor(x)) - 1
    line = np.empty(int(np.floor(x + step_x * columns)) - first + 4, np.float32)
    values = np.empty((rows, columns))
    for j in range(rows):
        at = y + j * step_y
        k = int(np.floor(at))
        w_0, w_1, w_2, w_3 = blend32(at - k)
        a, b, c, d = coef[(k - 1) % n], coef[k % n], coef[(k + 1) % n], coef[(k + 2) % n]
        for i in range(len(line)):
            m = (first + i) % n
            line[i] = w_0 * a[m] + w_1 * b[m] + w_2 * c[m] + w_3 * d[m]
        for i in range(columns):
            at = x + i * step_x
            k = int(np.floor(at))
            w_0, w_1, w_2, w_3 = blend32(at - k)
            m = k - 1 - first
            values[j, i] = w_0 * line[m] + w_1 * line[m + 1] + w_2 * line[m + 2] + w_3 * line[m + 3]
    return values


@kernel
def _add_triangles(over: Floats) -> tuple[float, float, float]:
    """Return the area where an image is over 0, and its moments along x and y, in its steps."""
    area = along = up = 0.0
    for j in range(over.shape[0] - 1):
        for i in range(over.shape[1] - 1):
            corners = (over[j, i], over[j, i + 1], over[j + 1, i + 1], over[j + 1, i])
            for first, second in ((1, 2), (2, 3)):
                share, b, c = _cut_triangle(corners[0], corners[first], corners[second])
                # Of the second and third corner in the middle of the part that is over 0.
                part = share / 2
                area += part
                along += part * (i + (b + c if first == 1 else b))
                up += part * (j + (c if first == 1 else b + c))
    return area, along, up


@kernel
def _cut_triangle(a: float, b: float, c: float) -> tuple[float, float, float]:
    """Return the share of a triangle where a linear function is over 0, and its middle's place.

    The place is the weights of the second and the third corner.
    """
    positive = (a > 0) + (b > 0) + (c > 0)
    if positive == 0:
        return 0.0, 0.0, 0.0
    if positive == 3:
        return 1.0, 1 / 3, 1 / 3
    alone = positive == 1
    if (a > 0) == alone and (b > 0) != alone and (c > 0) != alone:
        t, u = a / (a - b), a / (a - c)
        share, at_b, at_c = t * u, t / 3, u / 3
    elif (b > 0) == alone and (c > 0) != alone:
        t, u = b / (b - a), b / (b - c)
        share, at_b, at_c = t * u, 1 - (t + u) / 3, u / 3
    else:
        t, u = c / (c - a), c / (c - b)
        share, at_b, at_c = t * u, u / 3, 1 - (t + u) / 3
    if alone:
        return share, at_b, at_c
    rest = 1 - share
    return rest, (1 / 3 - share * at_b) / rest, (1 / 3 - share * at_c) / rest
