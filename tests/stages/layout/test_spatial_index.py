from __future__ import annotations

import numpy as np
import pytest

from stages.geometry.window_query import FANOUT
from stages.layout.spatial_index import count_nodes, fill_node_boxes, sort_spatially

COUNTS = [0, 1, FANOUT, FANOUT + 1, FANOUT**2, FANOUT**2 + 1, 5000]


def random_boxes(count: int, span: int = 10_000) -> np.ndarray:
    rng = np.random.default_rng(count)
    corner = rng.integers(-span, span, (count, 2))
    return np.concatenate((corner, corner + rng.integers(0, 50, (count, 2))), 1)


def node_boxes(boxes: np.ndarray) -> np.ndarray:
    nodes = np.empty((count_nodes(len(boxes)), 4), np.int32)
    fill_node_boxes(boxes.astype(np.int32), nodes)
    return nodes


@pytest.mark.parametrize("count", COUNTS)
def test_every_item_stands_once_in_the_order(count: int) -> None:
    assert sorted(sort_spatially(random_boxes(count)).tolist()) == list(range(count))


@pytest.mark.parametrize("count", COUNTS)
def test_a_node_is_the_box_of_the_sixteen_below(count: int) -> None:
    below = random_boxes(count)
    nodes = node_boxes(below)
    at = 0
    while len(below) > FANOUT:
        parents = []
        for first in range(0, len(below), FANOUT):
            part = below[first : first + FANOUT]
            parents.append([*part[:, :2].min(axis=0), *part[:, 2:].max(axis=0)])
        np.testing.assert_array_equal(nodes[at : at + len(parents)], parents)
        at += len(parents)
        below = np.array(parents)
    assert at == len(nodes)


def test_neighbours_come_together() -> None:
    """On a square grid, a node of 16 is a compact block and not a row of the chip."""
    side = 64
    y, x = (axis.ravel() * 10 for axis in np.mgrid[:side, :side])
    boxes = np.stack((x, y, x + 10, y + 10), 1)
    boxes = boxes[np.random.default_rng(0).permutation(len(boxes))]
    lowest = node_boxes(boxes[sort_spatially(boxes)])[: side * side // FANOUT]
    area = ((lowest[:, 2] - lowest[:, 0]) * (lowest[:, 3] - lowest[:, 1])).sum()
    assert area <= 2 * (10 * side) ** 2


def test_centres_near_the_limit_of_32_bits_keep_their_order() -> None:
    """Twice a centre passes 32 bits: summed there, the far items would come first."""
    far = 2**31 - 2000
    corner = np.concatenate((np.arange(-far, -far + 400), np.arange(far - 400, far)))
    boxes = np.stack((corner, corner, corner + 1, corner + 1), 1)
    np.testing.assert_array_equal(sort_spatially(boxes), np.arange(len(boxes)))
