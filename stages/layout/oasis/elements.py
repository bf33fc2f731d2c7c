"""Convert an OASIS file to `Elements`: paths as outlines, repetitions expanded or folded.

in: an `OasisFile`, the layers · out: `Elements`, packed as those of GDSII are
unit: the file · promise: the same region; a shape with many copies becomes a cell, shared by equal
shapes, and its repetition an array of that cell
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.compiled import kernel
from stages.contracts import Int64s, Layer
from stages.errors import LayoutError
from stages.geometry.path_outline import outline_paths
from stages.layout.gdsii.elements import REFERENCE, Elements
from stages.layout.gdsii.names import number_names
from stages.layout.oasis.read import OasisFile
from stages.layout.oasis.shapes import SHAPE

FOLD_FROM = 64
"""Copies in a grid from which on a shape is folded; fewer are cheaper expanded."""
MOST_WRITTEN = 1_000_000_000
"""Most corners, or placements, that repetitions are expanded to."""
FOLD_CORNERS = 17
"""Corners from which on a shape is folded if its copies are not in a grid."""

OWNER, TAG, AT, COUNT, X, Y, REPETITION, HALF_WIDTH, START, END, _ = range(len(SHAPE))
_ONCE = (1, 1, 0, 0, 0, 0)
_PLACES, _COPIES = 6, 7


def build_elements(file: OasisFile, layers: Sequence[Layer]) -> Elements:
    """Convert a file that was read on `layers`, each once."""
    shapes, pool = _outline_paths(file.shapes, file.pool)
    copies = file.repeated[shapes[:, REPETITION], _COPIES]
    is_grid = file.repeated[shapes[:, REPETITION], _PLACES] < 0
    is_folded = (copies >= FOLD_FROM) & (is_grid | (shapes[:, COUNT] >= FOLD_CORNERS))
    _check_copies((copies * shapes[:, COUNT])[~is_folded])
    number = {layer: index for index, layer in enumerate(layers)}
    layer_of = np.array([number.get(layer, -1) for layer in file.layers], np.int64)
    layer_of = layer_of[file.tags[shapes[:, TAG]]]
    folded = shapes[is_folded]
    first, child = _group_shapes(folded, layer_of[is_folded], pool)
    cells = len(file.names)
    alone = folded[first]
    alone[:, [X, Y, REPETITION]] = 0
    alone[:, OWNER] = cells + np.arange(len(alone))
    drawn = np.concatenate((shapes[~is_folded], alone))
    points, starts, row = _expand_copies(pool, drawn, file.repeated)
    layer = np.concatenate((layer_of[~is_folded], layer_of[is_folded][first]))[row]
    placed = np.zeros((len(folded), file.placed.shape[1]), np.int64)
    placed[:, 0], placed[:, 1] = folded[:, OWNER], cells + child
    placed[:, 3:6] = folded[:, [X, Y, REPETITION]]
    every = np.concatenate((file.placed, placed))
    reference = _build_references(every[np.argsort(every[:, 0], kind="stable")], file)
    owners = folded[first, OWNER].tolist()
    return Elements(
        dbu_nm=file.dbu_nm,
        names=(*file.names, *(file.names[owner] for owner in owners)),
        point=points,
        point_start=starts,
        shape=np.stack((drawn[row, OWNER], layer), axis=1),
        reference=reference,
        odd=file.odd,
        layers=tuple(sorted(file.layers)),
    )


def _outline_paths(shapes: Int64s, pool: Int64s) -> tuple[Int64s, Int64s]:
    """Replace paths by their outlines; return the shapes, and the pool with the outlines."""
    is_path = shapes[:, HALF_WIDTH] >= 0
    if not is_path.any():
        return shapes, pool
    columns = [AT, COUNT, HALF_WIDTH, START, END]
    paths, which = np.unique(shapes[is_path][:, columns], axis=0, return_inverse=True)
    is_circle = paths[:, 1] == 1
    half, begin, end = paths[:, 2], paths[:, 3], paths[:, 4]
    shape = np.stack(
        (2 * half, np.where(is_circle, half, begin), np.where(is_circle, half, end), is_circle),
        axis=1,
    )
    # A circle is a path of one point, its centre; it has no point in the pool.
    lines, starts = _gather(np.append(pool, (0, 0)), paths[:, :2], len(pool))
    corners, corner_starts = outline_paths(lines, starts, shape)
    shapes = shapes.copy()
    shapes[is_path, AT] = len(pool) + 2 * corner_starts[:-1][which.ravel()]
    shapes[is_path, COUNT] = np.diff(corner_starts)[which.ravel()]
    shapes[is_path, HALF_WIDTH] = -1
    return shapes[shapes[:, COUNT] > 2], np.concatenate((pool, corners.ravel()))


@kernel
def _gather(pool: Int64s, lists: Int64s, origin: int) -> tuple[Int64s, Int64s]:
    """Return the points of (n, 2) lists, offset and count; a single point is at `origin`."""
    starts = np.zeros(len(lists) + 1, np.int64)
    starts[1:] = np.cumsum(lists[:, 1])
    points = np.empty((starts[-1], 2), np.int64)
    for row in range(len(lists)):
        at = origin if lists[row, 1] == 1 else lists[row, 0]
        for point in range(starts[row], starts[row + 1]):
            points[point, 0], points[point, 1] = pool[at], pool[at + 1]
            at += 2
    return points, starts


def _group_shapes(shapes: Int64s, layer: Int64s, pool: Int64s) -> tuple[Int64s, Int64s]:
    """Group shapes of equal layer and corners; return the first of each group, and the groups."""
    spans = 8 * np.stack((shapes[:, AT], 2 * shapes[:, COUNT]), axis=1)
    outline = number_names(pool.view(np.uint8), spans)
    key = np.stack((layer, shapes[:, COUNT], outline), axis=1)
    _, first, kind = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return first, kind.ravel()


@kernel
def _expand_copies(pool: Int64s, shapes: Int64s, repeated: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Return the corners of all copies of shapes, the offset of each copy, and its shape."""
    corners, copies = 0, 0
    for row in range(len(shapes)):
        count = repeated[shapes[row, REPETITION], 7]
        copies += count
        corners += count * shapes[row, COUNT]
    points, starts = np.empty((corners, 2), np.int64), np.zeros(copies + 1, np.int64)
    shape_of, copy, point = np.empty(copies, np.int64), 0, 0
    for row in range(len(shapes)):
        repetition, at, count = shapes[row, REPETITION], shapes[row, AT], shapes[row, COUNT]
        for number in range(repeated[repetition, 7]):
            move_x, move_y = _find_place(pool, repeated[repetition], number)
            x, y = shapes[row, X] + move_x, shapes[row, Y] + move_y
            for corner in range(count):
                points[point, 0] = x + pool[at + 2 * corner]
                points[point, 1] = y + pool[at + 2 * corner + 1]
                point += 1
            shape_of[copy] = row
            copy += 1
            starts[copy] = point
    return points, starts, shape_of


@kernel
def _find_place(pool: Int64s, repetition: Int64s, number: int) -> tuple[int, int]:
    """Return the offset of a copy from the first one."""
    at = repetition[6]
    if at >= 0:
        return pool[at + 2 * number], pool[at + 2 * number + 1]
    column, row = number % repetition[0], number // repetition[0]
    return (
        column * repetition[2] + row * repetition[4],
        column * repetition[3] + row * repetition[5],
    )


def _check_copies(copies: Int64s) -> None:
    written = int(copies.sum())
    if written > MOST_WRITTEN:
        raise LayoutError(
            f"repetitions whose copies have places of their own come to {written} corners or "
            f"placements; the limit is {MOST_WRITTEN}"
        )


def _build_references(placed: Int64s, file: OasisFile) -> Int64s:
    """Return placements as `REFERENCE`s; copies that are not in a grid one by one."""
    repetition = placed[:, 5]
    has_places = file.repeated[repetition, _PLACES] >= 0
    row = np.repeat(
        np.arange(len(placed)), np.where(has_places, file.repeated[repetition, _COPIES], 1)
    )
    grid = np.where(has_places[row, None], _ONCE, file.repeated[repetition[row], :6])
    made = np.zeros((len(row), len(REFERENCE)), np.int64)
    made[:, :5], made[:, 5:7] = placed[row, :5], grid[:, :2]
    made[:, 7:9], made[:, 9:11] = grid[:, 2:4] * grid[:, :1], grid[:, 4:6] * grid[:, 1:2]
    if has_places.any():
        number = np.arange(len(row)) - np.searchsorted(row, np.arange(len(placed)))[row]
        own = has_places[row]
        at = file.repeated[repetition[row[own]], _PLACES] + 2 * number[own]
        made[own, 3] += file.pool[at]
        made[own, 4] += file.pool[at + 1]
    return made
