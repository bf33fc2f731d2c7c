from __future__ import annotations

import numpy as np
import pytest

from stages.geometry.symmetry import SYMMETRIES
from stages.patterns import KeyIndex, canonicalize, compute_keys, find_distinct

ALLOWED = (8, 4, 1)


def twins(picture: np.ndarray, symmetries: int) -> list[np.ndarray]:
    """The picture's symmetric twins, (layers, h, w) each, by NumPy's own turns and flips."""
    if symmetries == 1:
        return [picture]
    if symmetries == 4:
        rows, columns = (np.flip(picture, axis) for axis in (1, 2))
        return [picture, rows, columns, np.flip(picture, (1, 2))]
    turned = [np.rot90(picture, quarter, axes=(1, 2)) for quarter in range(4)]
    return turned + [np.flip(turn, 2) for turn in turned]


def pictures(count: int, layers: int, side: int, grey: int = 3) -> np.ndarray:
    """Few grey levels on few pixels: many pictures have equal rows, or symmetries of their own."""
    rng = np.random.default_rng(side)
    return rng.integers(0, grey, (count, layers, side, side)).astype(np.uint8)


@pytest.mark.parametrize("symmetries", ALLOWED)
@pytest.mark.parametrize(("layers", "side"), [(1, 2), (2, 3), (1, 8)])
class TestCanonical:
    def test_it_is_the_first_twin_in_byte_order(
        self, symmetries: int, layers: int, side: int
    ) -> None:
        drawn = pictures(40, layers, side)
        for picture, found in zip(drawn, canonicalize(drawn, symmetries), strict=True):
            assert found.tobytes() == min(twin.tobytes() for twin in twins(picture, symmetries))

    def test_all_twins_share_a_key(self, symmetries: int, layers: int, side: int) -> None:
        for picture in pictures(10, layers, side):
            turned = np.stack(twins(picture, symmetries))
            assert len(np.unique(compute_keys(canonicalize(turned, symmetries)), axis=0)) == 1

    def test_keys_are_equal_only_for_twins(self, symmetries: int, layers: int, side: int) -> None:
        drawn = pictures(60, layers, side, grey=2)
        keys = compute_keys(canonicalize(drawn, symmetries))
        for i in range(0, len(drawn), 7):
            alike = {twin.tobytes() for twin in twins(drawn[i], symmetries)}
            for j in range(len(drawn)):
                assert (keys[i] == keys[j]).all() == (drawn[j].tobytes() in alike)


def test_the_symmetries_are_groups() -> None:
    """Else two twins of one picture could have different first ones."""
    assert {number: len(allowed) for number, allowed in SYMMETRIES.items()} == {8: 8, 4: 4, 1: 1}
    marked = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    assert len({twin.tobytes() for twin in twins(marked, 8)}) == 8


def test_layers_turn_together() -> None:
    """Each layer alone has a twin in the other picture, the pair has none."""
    corner, other = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
    corner[0, 0, 0] = corner[1, 0, 0] = 255
    other[0, 0, 0] = other[1, 3, 3] = 255
    keys = compute_keys(canonicalize(np.stack((corner, other))))
    assert (keys[0] != keys[1]).any()


def test_keys_are_located_among_others() -> None:
    rng = np.random.default_rng(0)
    known = rng.integers(0, 256, (50, 16)).astype(np.uint8)
    known[25:, :8] = known[:25, :8]  # halves alone do not tell
    wanted = rng.integers(0, 50, 200)
    strange = rng.integers(0, 256, (9, 16)).astype(np.uint8)
    keys = np.concatenate((known[wanted], strange))
    assert KeyIndex(known).locate(keys).tolist() == [*wanted, *[-1] * 9]
    assert KeyIndex(known[:0]).locate(keys).tolist() == [-1] * 209
    assert KeyIndex(known).locate(keys[:0]).tolist() == []


class TestDistinct:
    @pytest.mark.parametrize("seed", range(6))
    def test_first_count_and_pattern_by_brute_force(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 120))
        kinds = rng.integers(0, 256, (12, 16)).astype(np.uint8)
        kinds[6:, :8] = kinds[0, :8]  # keys that differ in the second half only
        keys = kinds[rng.integers(0, 12, n)]
        place = rng.permutation(400)[:n]  # no place twice
        x, y = place % 20 - 10, place // 20 - 10
        found = find_distinct(keys, x, y)
        expected: dict[bytes, list[int]] = {}
        for clip in sorted(range(n), key=lambda clip: (y[clip], x[clip])):
            expected.setdefault(keys[clip].tobytes(), []).append(clip)
        assert found.first.tolist() == [clips[0] for clips in expected.values()]
        assert found.count.tolist() == [len(clips) for clips in expected.values()]
        for number, clips in enumerate(expected.values()):
            assert (found.pattern[clips] == number).all()
        assert found.count.sum() == n

    def test_the_order_of_the_clips_does_not_matter(self) -> None:
        rng = np.random.default_rng(9)
        keys = rng.integers(0, 2, (200, 16)).astype(np.uint8) * (np.arange(16) < 4)
        keys = keys.astype(np.uint8)
        x, y = np.arange(200) % 14, np.arange(200) // 14
        found = find_distinct(keys, x, y)
        order = rng.permutation(200)
        again = find_distinct(keys[order], x[order], y[order])
        np.testing.assert_array_equal(order[again.first], found.first)
        np.testing.assert_array_equal(again.count, found.count)
        np.testing.assert_array_equal(again.pattern, found.pattern[order])

    def test_no_clips_have_no_patterns(self) -> None:
        keys = compute_keys(np.empty((0, 1, 4, 4), np.uint8))
        assert keys.shape == (0, 16)
        found = find_distinct(keys, np.empty(0, np.int64), np.empty(0, np.int64))
        assert len(found.first) == len(found.count) == len(found.pattern) == 0
