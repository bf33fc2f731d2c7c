"""Places of known kinds, turned, shifted and jittered, come back as those kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.classes.classify import Classes, Rules, Spots, classify, sign_spots
from stages.classes.cover import Tolerance
from stages.classes.patterns import turn_rects
from stages.classes.places import CENTRE, DEFECT, FEATURES
from stages.contracts import Int64s, PackedLayer
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder

LIMITS = np.array([210, 140, 280, 280, 180])
RULES = Rules(1280, LIMITS, Tolerance(half=428, edge=20, move=20))
KINDS = {
    "space": [[-1000, -160, -70, 160], [70, -160, 1000, 160]],
    "tip_to_tip": [[-70, 80, 70, 1200], [-70, -1200, 70, -80]],
    "line_end_to_side": [[-1200, -400, 1200, -75], [-80, 75, 80, 1200]],
    "width": [[-70, -200, 70, 1200], [-400, -500, 400, 0]],
}
EACH, PITCH = 14, 8000


def make_layout(most: int) -> tuple[PackedLayer, Spots, Int64s]:
    """Place every kind often: turned, its edges moved by at most `most`, cut anyhow."""
    random = np.random.default_rng(2)
    rects, centres, kinds = [], [], []
    for number, shapes in enumerate(KINDS.values()):
        for each in range(EACH):
            moved = np.array(shapes) + random.integers(-most, most + 1, (2, 4)) * (each > 0)
            at = np.array([each, number]) * PITCH
            turned = turn_rects(moved, int(random.integers(8))) + np.tile(at, 2)
            middle = (turned[0, 0] + turned[0, 2]) // 2
            left, right = turned[0].copy(), turned[0].copy()
            left[2], right[0] = middle, middle - 20  # drawn in two pieces that overlap
            rects += [left, right, turned[1]]
            centres.append(at + random.integers(-300, 301, 2))
            kinds.append(number)
    builder = LayerBuilder()
    builder.add_cell("top", np.array(rects), [], NO_PLACEMENTS)
    x, y = np.array(centres).T
    none = np.zeros(len(x), bool)
    return builder.build(), Spots(x, y, none), np.array(kinds)


def partition(classes: Classes, of: Int64s) -> set[frozenset[int]]:
    """Return the members of each class, as the numbers `of` that they go by."""
    return {frozenset(of[classes.number == n].tolist()) for n in np.unique(classes.number)}


@pytest.mark.parametrize(("most", "moved"), [(0, 0), (2, 5)])
def test_known_kinds_come_back(most: int, moved: int) -> None:
    layer, spots, kinds = make_layout(most)
    classes = classify([layer], spots, RULES)
    numbers = np.arange(len(spots))
    assert partition(classes, numbers) == {
        frozenset(numbers[kinds == kind].tolist()) for kind in range(len(KINDS))
    }
    assert (classes.distance / 2).max() <= moved
    assert [FEATURES[code] for code in classes.feature[kinds.searchsorted(range(4)), 0]] == [*KINDS]


@pytest.mark.parametrize("part", [1, 7])
def test_hotspots_are_signed_alike_in_any_parts(part: int) -> None:
    """Defects and clips among each other; the windows of many are read in one go."""
    layer, spots, _ = make_layout(12)
    spots = replace(spots, fails=np.arange(len(spots)) % 3 == 0)
    whole = sign_spots([layer, layer], spots, RULES)
    parts = [
        sign_spots([layer, layer], spots.select(first, part), RULES, first)
        for first in range(0, len(spots), part)
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    assert set(whole[:, 0]) == set(range(len(spots)))


def test_the_order_of_the_hotspots_changes_nothing() -> None:
    layer, spots, _ = make_layout(12)
    classes = classify([layer], spots, RULES)
    order = np.random.default_rng(4).permutation(len(spots))
    other = classify(
        [layer],
        Spots(spots.x_dbu[order], spots.y_dbu[order], spots.fails),
        RULES,
    )
    assert (other.place == classes.place[order]).all()
    assert partition(other, order) == partition(classes, np.arange(len(spots)))
    assert (other.distance == classes.distance[order]).all()


def test_edges_moved_past_the_tolerance_are_other_classes() -> None:
    layer, spots, kinds = make_layout(12)
    strict = replace(RULES, tolerance=replace(RULES.tolerance, edge=0, move=0))
    many, few = (classify([layer], spots, rules) for rules in (strict, RULES))
    assert many.number.max() > few.number.max() >= len(KINDS) - 1
    for number in np.unique(few.number):
        assert len(np.unique(kinds[few.number == number])) == 1
    assert (many.distance == 0).all()
    assert few.distance.max() <= 20


def test_a_defect_is_aligned_to_the_place_near_it() -> None:
    """The measured place of a defect may be off by a few nm; far from any place it stays."""
    layer, spots, kinds = make_layout(0)
    plain = classify([layer], spots, RULES)
    off = np.random.default_rng(1).integers(-20, 21, (len(spots), 2))
    x, y = (plain.place // 2 + off).T
    found = Spots(x, y, np.ones(len(spots), bool))
    assert partition(classify([layer], found, RULES), kinds) == partition(plain, kinds)
    far = replace(found, x_dbu=x + 3000, y_dbu=y + 3000)
    assert set(classify([layer], far, RULES).feature[:, 0].tolist()) == {DEFECT}


def test_places_without_geometry_and_no_hotspots_at_all() -> None:
    layer, spots, _ = make_layout(0)
    nowhere = np.array([-50_000])
    alone = Spots(nowhere, nowhere, np.zeros(1, bool))
    classes = classify([layer], alone, RULES)
    assert classes.feature[0, 0] == CENTRE
    assert classes.place.tolist() == [[-100_000, -100_000]]
    none = Spots(nowhere[:0], nowhere[:0], spots.fails[:0])
    assert len(classify([layer], none, RULES).number) == 0


def test_two_layers_are_compared_one_by_one() -> None:
    """What differs on the second layer alone is another class."""
    layer, spots, kinds = make_layout(0)
    builder = LayerBuilder()
    at = np.stack((spots.x_dbu, spots.y_dbu), axis=1)[kinds == 0][:5]
    builder.add_cell("top", np.concatenate((at - 2000, at + 2000), axis=1), [], NO_PLACEMENTS)
    both = classify([layer, builder.build()], spots, RULES)
    found = partition(both, np.arange(len(spots)))
    assert {frozenset(range(5)), frozenset(range(5, EACH))} <= found
    assert len(found) == len(KINDS) + 1
