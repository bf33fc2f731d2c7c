"""Check a stored packed layer before a kernel walks it: kernels do not check what they index.

in: a `PackedLayer` that anybody may have written · out: nothing, or `LayoutError` · unit: the layer
promise: every index and offset of a layer that passes lies inside the array that it is for, and no
cell contains itself; one pass over the items, with little memory
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from stages.contracts import Int64s, PackedLayer
from stages.errors import LayoutError
from stages.geometry.window_query import FANOUT
from stages.layout.cell_arrays import INT32_MAX

_ROW: dict[str, tuple[type, tuple[int, ...]]] = {
    "item_start": (np.int64, ()), "item_box": (np.int32, (4,)), "item_ref": (np.int32, ()),
    "node_start": (np.int64, ()), "node_box": (np.int32, (4,)), "point": (np.int32, (2,)),
    "point_start": (np.int64, ()), "inst_cell": (np.int32, ()), "inst_turn": (np.uint8, ()),
    "inst_place": (np.int32, (8,)), "cell_box": (np.int64, (4,)),
}  # fmt: skip
"""Type of each array and shape of one of its rows."""
_TURNS = 8
_PART_ITEMS = 1 << 20
"""Items that are checked at once: bounds the memory."""


def check_packed(layer: PackedLayer) -> None:
    """Refuse a layer with an index or offset that leads outside.

    Raises
    ------
    LayoutError
        The message names the array.
    """
    _check_rows(layer)
    cells, instances = len(layer.cell_box), len(layer.inst_cell)
    _require(cells > 0, "cell_box", "is empty")
    _check_starts("item_start", layer.item_start, cells, len(layer.item_ref))
    _check_starts("node_start", layer.node_start, cells, len(layer.node_box))
    _check_starts("point_start", layer.point_start, len(layer.point_start) - 1, len(layer.point))
    _require(bool((np.diff(layer.point_start) > 0).all()), "point_start", "has an empty polygon")
    for name, length in (
        ("item_box", len(layer.item_ref)), ("inst_turn", instances), ("inst_place", instances),
    ):  # fmt: skip
        _require(len(getattr(layer, name)) == length, name, f"has not {length} rows")
    nodes = _count_nodes(np.diff(layer.item_start))
    _require(np.array_equal(np.diff(layer.node_start), nodes), "node_start", "has other nodes")
    _check_range("inst_turn", layer.inst_turn, 0, _TURNS)
    _check_range("inst_cell", layer.inst_cell, 0, cells)
    _check_range("cell_box", layer.cell_box, -INT32_MAX, INT32_MAX + 1)
    _check_references(layer)


def _require(holds: bool, name: str, fault: str) -> None:
    if not holds:
        raise LayoutError(f"{name} {fault}")


def _check_rows(layer: PackedLayer) -> None:
    for field in fields(PackedLayer):
        array, (kind, row) = getattr(layer, field.name), _ROW[field.name]
        fits = isinstance(array, np.ndarray) and array.dtype == kind and array.ndim == 1 + len(row)
        fits = fits and array.shape[1:] == row and array.flags.c_contiguous
        _require(fits, field.name, f"is no array of {np.dtype(kind)}, each row of shape {row}")


def _check_starts(name: str, starts: Int64s, parts: int, length: int) -> None:
    """Refuse offsets of parts unless they divide `length` rows without a gap."""
    _require(len(starts) == parts + 1, name, f"has not {parts + 1} offsets")
    rising = bool((starts[1:] >= starts[:-1]).all())  # not their difference, which may overflow
    _require(rising and starts[0] == 0 and starts[-1] == length, name, f"does not divide {length}")


def _check_range(name: str, values: np.ndarray, low: int, high: int) -> None:
    if values.size:
        _require(low <= values.min() and values.max() < high, name, f"is not in [{low}, {high})")


def _count_nodes(items: Int64s) -> Int64s:
    """Return the number of nodes of cells with so many items: level by level, up to `FANOUT`."""
    count, level = np.zeros_like(items), items
    while (level > FANOUT).any():
        level = np.where(level > FANOUT, -(-level // FANOUT), 0)
        count += level
    return count


def _check_references(layer: PackedLayer) -> None:
    """Refuse references to what is not there, or to a cell that does not come before its parent."""
    polygons, instances = len(layer.point_start) - 1, len(layer.inst_cell)
    for first in range(0, len(layer.item_ref), _PART_ITEMS):
        refs = layer.item_ref[first : first + _PART_ITEMS]
        _check_range("item_ref", refs, -1 - polygons, instances)
        placed = np.flatnonzero(refs >= 0)
        parent = np.searchsorted(layer.item_start, first + placed, "right") - 1
        _require(
            bool((layer.inst_cell[refs[placed]] < parent).all()),
            "inst_cell", "places a cell that does not come before its parent",
        )  # fmt: skip
