"""A stored layer with an index that leads outside never reaches a kernel."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from stages.contracts import PackedLayer
from stages.errors import LayoutError
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder, place_copies
from stages.layout.pack_check import check_packed


def some_layer() -> PackedLayer:
    """Two cells: one of 300 rectangles and a triangle, and three copies of it."""
    builder = LayerBuilder()
    left = np.arange(300) * 10
    rects = np.stack((left, left % 70, left + 5, left % 70 + 50), axis=1)
    leaf = builder.add_cell("leaf", rects, [np.array([[0, 0], [90, 0], [0, 90]])], NO_PLACEMENTS)
    places = np.array([[0, 0], [5000, 0], [0, 5000]])
    builder.add_cell("top", rects[:1], [], place_copies(leaf, [0, 5, 7], places))
    return builder.build()


def test_what_is_built_passes() -> None:
    check_packed(some_layer())
    empty = LayerBuilder()
    empty.add_cell("top", np.empty((0, 4), np.int64), [], NO_PLACEMENTS)
    check_packed(empty.build())


FORGED: list[tuple[str, Any, str]] = [
    ("inst_cell", 1 << 30, "inst_cell is not in"),
    ("inst_cell", -1, "inst_cell is not in"),
    ("inst_cell", 1, "does not come before its parent"),
    ("inst_turn", 8, "inst_turn is not in"),
    ("item_ref", 3, "item_ref is not in"),
    ("item_ref", -3, "item_ref is not in"),
    ("item_start", -1, "item_start does not divide"),
    ("item_start", 1 << 40, "item_start does not divide"),
    ("node_start", 1, "node_start does not divide"),
    ("point_start", 1 << 40, "point_start does not divide"),
    ("cell_box", 1 << 62, "cell_box is not in"),
]


@pytest.mark.parametrize("at", [0, -1])
@pytest.mark.parametrize(("name", "value", "message"), FORGED)
def test_forged_values_are_refused(name: str, value: int, message: str, at: int) -> None:
    layer = some_layer()
    values = getattr(layer, name).copy()
    values[at] = value
    with pytest.raises(LayoutError, match=message):
        check_packed(replace(layer, **{name: values}))


@pytest.mark.parametrize("name", [field.name for field in fields(PackedLayer)])
@pytest.mark.parametrize("change", ["shorter", "longer", "type", "rank", "order"])
def test_arrays_of_another_shape_or_type_are_refused(name: str, change: str) -> None:
    layer = some_layer()
    values = getattr(layer, name)
    if change == "order" and values.ndim == 1:
        pytest.skip("a row has no order")
    forged = {
        "shorter": lambda: values[:-1],
        "longer": lambda: np.concatenate((values, values[-1:])),
        "type": lambda: values.astype(np.float64),
        "rank": lambda: values[:, None],
        "order": lambda: np.asfortranarray(values),
    }[change]()
    with pytest.raises(LayoutError, match=r"array|rows|offsets|divide|other nodes|not in|empty"):
        check_packed(replace(layer, **{name: forged}))


def test_offsets_whose_difference_overflows_are_refused() -> None:
    layer = some_layer()
    starts = layer.item_start.copy()
    starts[1] = np.iinfo(np.int64).min
    with pytest.raises(LayoutError, match="item_start"):
        check_packed(replace(layer, item_start=starts))


def test_a_level_of_nodes_that_is_missing_is_refused() -> None:
    layer = some_layer()
    missing = len(layer.node_box) - 1
    starts = np.minimum(layer.node_start, missing)
    with pytest.raises(LayoutError, match="node_start has other nodes"):
        check_packed(replace(layer, node_start=starts, node_box=layer.node_box[:missing].copy()))


def test_an_empty_polygon_is_refused() -> None:
    layer = some_layer()
    with pytest.raises(LayoutError, match="has an empty polygon"):
        check_packed(replace(layer, point_start=np.array([0, 0, 3])))
