"""Window queries on a packed layer: descend the hierarchy, only into what overlaps the window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stages.compiled import brief_kernel, kernel
from stages.contracts import Box, Int32s, Int64s, PackedLayer, Shapes
from stages.errors import LayoutError
from stages.geometry.growing import reserve_row

FANOUT = 16
"""Items per node of a cell's index."""
MOST_PLACED = 1 << 26
"""Most placed cells, and most shapes, in a window. Chips have fewer in all; an array of copies upon
copies, whose box a far shape makes look sparse, has any number."""

TURN_MATRIX = np.array(
    [
        [1, 0, 0, 1], [0, -1, 1, 0], [-1, 0, 0, -1], [0, 1, -1, 0],
        [1, 0, 0, -1], [0, 1, 1, 0], [-1, 0, 0, 1], [0, -1, -1, 0],
    ],
    np.int64,
)  # fmt: skip
"""(8, 4) rows a, b, c, d of x' = a x + b y, y' = c x + d y, for `PackedLayer.inst_turn`."""


def _compute_turn_products() -> Int64s:
    """Return the (8, 8) table of an outer and an inner turn combined."""
    product = np.empty((8, 8), np.int64)
    for outer in range(8):
        for inner in range(8):
            quarter = (inner & 3) * (-1 if outer & 4 else 1)
            product[outer, inner] = ((outer + quarter) & 3) | ((outer ^ inner) & 4)
    return product


TURN_PRODUCTS = _compute_turn_products()


def query(layer: PackedLayer, box: Box) -> Shapes:
    """Return every shape of `layer` that overlaps `box`, uncut, in coordinates of the top cell.

    Shapes that only touch the box are not included.

    Raises
    ------
    LayoutError
        When there are over `MOST_PLACED`.
    """
    rects, hits, placed = find_shapes(
        layer.item_start, layer.item_box, layer.item_ref, layer.node_start, layer.node_box,
        layer.inst_cell, layer.inst_turn, layer.inst_place, layer.cell_box,
        np.array(box.as_tuple(), np.int64), MOST_PLACED,
    )  # fmt: skip
    require_sparse(placed, box)
    return Shapes(rects, *place_polygons(hits, layer.point, layer.point_start))


def require_sparse(placed: int, box: Box) -> None:
    """Refuse a window with more placed cells or shapes than `MOST_PLACED`."""
    if placed > MOST_PLACED:
        raise LayoutError(
            f"over {MOST_PLACED} placed cells or shapes overlap the window from ({box.x_min}, "
            f"{box.y_min}) to ({box.x_max}, {box.y_max}) dbu, the most that are drawn: remove the "
            "arrays of copies upon copies there"
        )


@brief_kernel
def place_polygons(hits: Int64s, point: Int32s, point_start: Int64s) -> tuple[Int64s, Int64s]:
    """Return the corners of (m, 4) polygon hits in the top cell, and the offset of each."""
    starts = np.zeros(len(hits) + 1, np.int64)
    for k in range(len(hits)):
        polygon = hits[k, 0]
        starts[k + 1] = starts[k] + point_start[polygon + 1] - point_start[polygon]
    placed = np.empty((starts[-1], 2), np.int64)
    for k in range(len(hits)):
        first = point_start[hits[k, 0]]
        a, b, c, d = TURN_MATRIX[hits[k, 1]]
        for i in range(starts[k], starts[k + 1]):
            x = np.int64(point[first + i - starts[k], 0])
            y = np.int64(point[first + i - starts[k], 1])
            placed[i, 0] = a * x + b * y + hits[k, 2]
            placed[i, 1] = c * x + d * y + hits[k, 3]
    return placed, starts


def split_polygons(shapes: Shapes) -> list[npt.NDArray[np.int64]]:
    """Return the any-angle polygons of a query one by one, each (corners, 2)."""
    return np.split(shapes.points, shapes.point_start[1:-1]) if len(shapes.point_start) > 1 else []


@kernel
def turn_box(box: Int64s, turn: int, x: int, y: int) -> Int64s:
    """Turn a box about the origin, then move it by x, y."""
    a, b, c, d = TURN_MATRIX[turn]
    x_0, y_0 = a * box[0] + b * box[1] + x, c * box[0] + d * box[1] + y
    x_1, y_1 = a * box[2] + b * box[3] + x, c * box[2] + d * box[3] + y
    return np.array([min(x_0, x_1), min(y_0, y_1), max(x_0, x_1), max(y_0, y_1)])


@kernel
def turn_box_back(box: Int64s, turn: int, x: int, y: int) -> Int64s:
    """Return a box of the parent in the coordinates of the child: the inverse of `turn_box`."""
    a, b, c, d = TURN_MATRIX[turn]
    u_0, v_0, u_1, v_1 = box[0] - x, box[1] - y, box[2] - x, box[3] - y
    x_0, y_0 = a * u_0 + c * v_0, b * u_0 + d * v_0  # the inverse of a turn is its transpose
    x_1, y_1 = a * u_1 + c * v_1, b * u_1 + d * v_1
    return np.array([min(x_0, x_1), min(y_0, y_1), max(x_0, x_1), max(y_0, y_1)])


@kernel
def _overlaps(boxes: Int32s, i: int, window: Int64s) -> bool:
    return (
        boxes[i, 0] < window[2] and boxes[i, 2] > window[0]
        and boxes[i, 1] < window[3] and boxes[i, 3] > window[1]
    )  # fmt: skip


@kernel
def find_items(
    first: int, count: int, item_box: Int32s, node_first: int, node_box: Int32s, window: Int64s
) -> Int64s:
    """Return the items of one cell whose boxes overlap the window."""
    sizes = np.zeros(12, np.int64)  # enough levels: 16**12 is past int32
    offsets = np.zeros(12, np.int64)
    levels, size, offset = 0, count, 0
    while size > FANOUT:
        size = (size + FANOUT - 1) // FANOUT
        sizes[levels], offsets[levels] = size, node_first + offset
        offset += size
        levels += 1
    current = np.arange(sizes[levels - 1] if levels else count)
    for level in range(levels - 1, -1, -1):
        below = sizes[level - 1] if level else count
        children = np.empty(current.shape[0] * FANOUT, np.int64)
        found = 0
        for node in current:
            if _overlaps(node_box, offsets[level] + node, window):
                for child in range(node * FANOUT, min((node + 1) * FANOUT, below)):
                    children[found] = child
                    found += 1
        current = children[:found]
    hits, found = np.empty(current.shape[0], np.int64), 0
    for item in current:
        if _overlaps(item_box, first + item, window):
            hits[found] = first + item
            found += 1
    return hits[:found]


@kernel
def _find_steps(
    low: int, high: int, step: int, count: int, window_low: int, window_high: int
) -> tuple[int, int]:
    """Return the range of i in [0, count) for which [low, high) + i * step overlaps the window."""
    if step == 0:
        return (0, count) if low < window_high and high > window_low else (0, 0)
    if step < 0:
        low, high, window_low, window_high, step = -high, -low, -window_high, -window_low, -step
    first = max((window_low - high) // step + 1, 0)  # high + i * step > window_low
    end = min(-((low - window_high) // step), count)  # low + i * step < window_high
    return first, max(first, end)


@kernel
def push_array(
    stack: Int64s,
    depth: int,
    place: Int64s,
    child: int,
    inner: int,
    frame: Int64s,
    child_box: Int64s,
    window: Int64s,
    most: int,
) -> tuple[Int64s, int]:
    """Push the members of a placed array that overlap the window (in the parent's dbu).

    Ends where the stack holds over `most`.
    """
    cell_turn, x, y = frame[1], frame[2], frame[3]
    box = turn_box(child_box, inner, place[0], place[1])
    columns, rows = place[2], place[3]
    i_0, i_1, j_0, j_1 = 0, columns, 0, rows
    if place[5] == 0 and place[6] == 0:
        i_0, i_1 = _find_steps(box[0], box[2], place[4], columns, window[0], window[2])
        j_0, j_1 = _find_steps(box[1], box[3], place[7], rows, window[1], window[3])
    elif place[4] == 0 and place[7] == 0:
        i_0, i_1 = _find_steps(box[1], box[3], place[5], columns, window[1], window[3])
        j_0, j_1 = _find_steps(box[0], box[2], place[6], rows, window[0], window[2])
    a, b, c, d = TURN_MATRIX[cell_turn]
    for i in range(i_0, i_1):
        if depth > most:
            break
        for j in range(j_0, min(j_1, j_0 + most + 1)):
            dx, dy = i * place[4] + j * place[6], i * place[5] + j * place[7]
            if (
                box[0] + dx < window[2] and box[2] + dx > window[0]
                and box[1] + dy < window[3] and box[3] + dy > window[1]
            ):  # fmt: skip
                stack = reserve_row(stack, depth)
                at_x, at_y = place[0] + dx, place[1] + dy
                stack[depth, 0], stack[depth, 1] = child, TURN_PRODUCTS[cell_turn, inner]
                stack[depth, 2], stack[depth, 3] = a * at_x + b * at_y + x, c * at_x + d * at_y + y
                depth += 1
    return stack, depth


@brief_kernel
def find_shapes(
    item_start: Int64s,
    item_box: Int32s,
    item_ref: Int32s,
    node_start: Int64s,
    node_box: Int32s,
    inst_cell: Int32s,
    inst_turn: npt.NDArray[np.uint8],
    inst_place: Int32s,
    cell_box: Int64s,
    window: Int64s,
    most: int,
) -> tuple[Int64s, Int64s, int]:
    """Return (n, 4) rectangles, (m, 4) polygon hits: polygon, turn, x, y; and all that was placed.

    Ends where over `most` were placed.
    """
    rects, rect_count = np.empty((64, 4), np.int64), 0
    hits, hit_count = np.empty((16, 4), np.int64), 0
    stack, depth, entered = np.zeros((64, 4), np.int64), 1, 0  # cell, turn, x, y
    stack[0, 0] = item_start.shape[0] - 2  # the top cell is the last
    while depth > 0 and rect_count + hit_count + entered + depth <= most:
        depth -= 1
        entered += 1
        frame = stack[depth].copy()
        cell, turn, x, y = frame[0], frame[1], frame[2], frame[3]
        local = turn_box_back(window, turn, x, y)
        first = item_start[cell]
        found = find_items(
            first, item_start[cell + 1] - first, item_box, node_start[cell], node_box, local
        )
        for item in found:
            ref = item_ref[item]
            if ref == -1:
                rects = reserve_row(rects, rect_count)
                box = turn_box(item_box[item].astype(np.int64), turn, x, y)
                for side in range(4):
                    rects[rect_count, side] = box[side]
                rect_count += 1
            elif ref < -1:
                hits = reserve_row(hits, hit_count)
                hits[hit_count, 0], hits[hit_count, 1] = -2 - ref, turn
                hits[hit_count, 2], hits[hit_count, 3] = x, y
                hit_count += 1
            else:
                stack, depth = push_array(
                    stack, depth, inst_place[ref].astype(np.int64), inst_cell[ref],
                    inst_turn[ref], frame, cell_box[inst_cell[ref]], local, most,
                )  # fmt: skip
    placed = rect_count + hit_count + entered + depth
    return rects[:rect_count].copy(), hits[:hit_count].copy(), placed
