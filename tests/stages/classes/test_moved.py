"""A block that is moved and turned is known again, by whatever clips it is found in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from stages.classes.classify import Spots
from stages.classes.failures import find_failing_places, sign_geometry
from stages.classes.moved import Flagged, find_moved
from stages.classes.patterns import turn_rects
from stages.contracts import Int64s
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder
from tests.stages.classes.test_classify import RULES

STRIDE = 1280
COMB = np.array(
    [[-1500, at * 260, 1500, at * 260 + 100] for at in (-2, -1, 1, 2)]
    + [[-1500, 0, -170, 100], [170, 30, 1500, 130]]
)
"""Line ends that face each other among lines: in sight of no clip is the whole of it."""
NOTHING: Mapping[int, int] = {}
Place = tuple[int, int, int]
"""x, y and turn of a block."""


def scan(blocks: Mapping[int, Place], shapes: Int64s = COMB) -> Flagged:
    """Return the clips of a grid that see the middle of each block, and their tightest places."""
    builder = LayerBuilder()
    placed = [turn_rects(shapes, turn) + np.tile([x, y], 2) for x, y, turn in blocks.values()]
    builder.add_cell("top", np.concatenate(placed), [], NO_PLACEMENTS)
    layer, step = builder.build(), np.arange(-1, 2) * STRIDE
    clips, places, keys = {}, {}, {}
    for spot, (x, y, _) in blocks.items():
        near = np.array([(x + i, y + j) for i in step for j in step]) // STRIDE * STRIDE
        near = near[np.abs(near - (x, y)).max(axis=1) < STRIDE]
        spots = Spots(near[:, 0], near[:, 1], np.zeros(len(near), bool))
        _, places[spot] = find_failing_places([layer], spots, RULES)
        clips[spot], keys[spot] = near, sign_geometry([layer], places[spot], RULES)
    return Flagged([layer], clips, places, keys)


def find(
    before: Flagged, after: Flagged, gone: Sequence[int], known: Mapping[int, int] = NOTHING
) -> dict[int, list[int]]:
    left = [spot for spot in after.clips if spot not in known]
    return find_moved(before, after, gone, left, known, RULES)


@pytest.mark.parametrize("turn", range(8))
def test_moved_by_any_distance_and_turned(turn: int) -> None:
    before, after = scan({1: (0, 0, 0)}), scan({9: (20_331, -7_777, turn)})
    assert set(before.keys[1]) != set(after.keys[9])  # or else it could be known by its keys
    assert find(before, after, [1]) == {9: [1]}


def test_what_differs_by_a_nm_is_not_moved() -> None:
    other = COMB + np.array([[0, 0, 0, 1]])
    assert find(scan({1: (0, 0, 0)}), scan({9: (20_331, -7_777, 0)}, other), [1]) == {}


def test_each_came_from_one_place_the_nearest_first() -> None:
    """Two blocks were moved, and there is one more of them."""
    before = scan({1: (0, 0, 0), 2: (50_000, 0, 0)})
    after = scan({5: (50_331, 9_777, 0), 6: (331, 9_777, 0), 7: (90_331, 9_777, 0)})
    assert find(before, after, [1, 2]) == {5: [2], 6: [1]}
    assert find(before, after, [2]) == {5: [2]}
    assert find(before, after, [1, 2], {7: 2}) == {5: [1]}
    assert find(before, after, [1, 2], {7: 2, 5: 1}) == {}


def test_only_what_was_flagged_counts() -> None:
    """The same geometry stands elsewhere and was not found there."""
    before = scan({1: (0, 0, 0), 2: (50_000, 0, 0)}, COMB)
    before.clips[1][:] = [20_000, 20_000]
    assert find(before, scan({9: (331, 9_777, 0)}), [1]) == {}


def test_two_hotspots_of_one_block_were_both_there() -> None:
    before, after = scan({1: (640, 640, 0)}), scan({9: (20_331, -7_777, 0)})
    clips, places = before.clips[1], before.places[1]
    parted = Flagged(
        before.layers, {1: clips[:2], 2: clips[2:]}, {1: places, 2: places},
        {1: before.keys[1], 2: before.keys[1]},
    )  # fmt: skip
    assert find(parted, after, [1, 2]) == {9: [1, 2]}


def test_nothing_before_or_after() -> None:
    some = scan({1: (0, 0, 0)})
    assert find(some, some, []) == {}
    assert find_moved(some, some, [1], [], {}, RULES) == {}
