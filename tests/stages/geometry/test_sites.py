from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.geometry.sites import (
    LINE_END_TO_SIDE,
    SPACE,
    THINNING_ROUNDS,
    TIP_TO_TIP,
    WIDTH,
    find_sites,
    thin_sites,
)

LIMITS = np.array([100, 60, 150, 120, 80], np.int64)
"""Space, width, tip to tip, line end to side, longest line end."""
SPACING = 100

Rects = list[tuple[int, int, int, int]]


def sites_of(rects: Rects) -> list[tuple[int, ...]]:
    found = find_sites(np.array(rects, np.int64).reshape(-1, 4), LIMITS, SPACING)
    return sorted(tuple(site) for site in found.tolist())


def blocks(gap: int) -> Rects:
    """Two squares, each side far over a line end."""
    return [(0, 0, 500, 500), (500 + gap, 0, 1000 + gap, 500)]


def tips(gap: int, height: int = 80) -> Rects:
    return [(-500, 0, 0, height), (gap, 0, gap + 500, height)]


def tip_to_wall(gap: int) -> Rects:
    return [(-500, 0, 0, 80), (gap, -300, gap + 200, 400)]


def neck(width: int) -> Rects:
    """Two squares joined by a bar of height `width`, and too long for the squares to face."""
    return [(-300, 0, 0, 300), (0, 100, 200, 100 + width), (200, 0, 500, 300)]


def swap_xy(rects: Rects) -> Rects:
    return [(b, a, d, c) for a, b, c, d in rects]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("rects", "expected"),
    [
        (tips(150), {(75, 40, TIP_TO_TIP, 150)}),  # at the limit
        (tips(151), set()),  # past it
        (tips(100, height=81), {(50, 40, SPACE, 100)}),  # no line end: an ordinary space
        (tips(101, height=81), set()),
        (tip_to_wall(120), {(60, 40, LINE_END_TO_SIDE, 120)}),
        (tip_to_wall(121), set()),
        (blocks(101), set()),
        (blocks(0), set()),  # they touch: one shape
        (neck(60), {(50, 130, WIDTH, 60), (150, 130, WIDTH, 60)}),
        (neck(61), set()),
        ([(0, 0, 5000, 40)], set()),  # a wire at the least width is no risk by itself
        ([(0, 0, 50, 50), (50, 50, 100, 100)], set()),  # corners that touch
        ([], set()),
    ],
)
def test_rules_at_and_past_their_limits(
    rects: Rects, expected: set[tuple[int, ...]], turned: bool
) -> None:
    if turned:
        rects, expected = swap_xy(rects), {(y, x, *rest) for x, y, *rest in expected}
    assert set(sites_of(rects)) == expected


def test_a_long_space_is_named_all_along() -> None:
    found = sites_of(blocks(100))
    assert {(x, rule, measure) for x, _, rule, measure in found} == {(550, SPACE, 100)}
    heights = [y for _, y, _, _ in found]
    assert heights == [SPACING // 4, 100, 200, 300, 400, 500 - SPACING // 4]


def test_a_branch_is_a_width_where_it_leaves_the_wire() -> None:
    found = sites_of([(0, 0, 1000, 200), (400, 200, 460, 900)])
    assert found == [(430, 200 + SPACING // 2, WIDTH, 60)]


def test_how_the_region_is_cut_does_not_matter() -> None:
    whole = [(0, 0, 400, 80), (500, -300, 900, 500), (0, 200, 400, 700)]
    halves = [(0, 0, 250, 80), (200, 0, 400, 80), (500, -300, 900, 100), (500, 100, 900, 500),
              (0, 200, 400, 700), (100, 300, 200, 400)]  # fmt: skip
    assert sites_of(whole) == sites_of(halves)
    assert len(sites_of(whole)) > 0


@pytest.mark.parametrize("rects", [tips(90), tip_to_wall(101), neck(57)])
@given(dx=st.integers(-(10**9), 10**9), dy=st.integers(-(10**9), 10**9))
@settings(max_examples=25)
def test_short_places_move_with_the_layout(rects: Rects, dx: int, dy: int) -> None:
    moved = [(a + dx, b + dy, c + dx, d + dy) for a, b, c, d in rects]
    expected = [(x + dx, y + dy, *rest) for x, y, *rest in sites_of(rects)]
    assert sites_of(moved) == sorted(expected)
    assert expected


def random_sites(seed: int, count: int, span: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack(
        (
            rng.integers(-span, span, count), rng.integers(-span, span, count),
            rng.integers(1, 5, count), rng.integers(1, 4, count),  # few measures: many ties
        ), 1,
    )  # fmt: skip


def rows(sites: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(site) for site in sites.tolist()}


class TestThinning:
    @pytest.mark.parametrize("seed", range(8))
    def test_every_site_is_near_one_that_stays(self, seed: int) -> None:
        distance = 30
        sites = random_sites(seed, 600, 60 * (seed + 1))
        kept = thin_sites(sites, distance)
        assert rows(kept) <= rows(sites)
        far = np.abs(sites[:, None, :2] - kept[None, :, :2]).max(axis=2)
        assert (far.min(axis=1) <= distance).all()
        assert len({tuple(place) for place in kept[:, :2].tolist()}) == len(kept)

    @pytest.mark.parametrize("seed", range(4))
    def test_it_is_as_the_definition_says(self, seed: int) -> None:
        """Rounds over a list, each pair compared."""
        distance = 25
        sites = random_sites(seed, 200, 150)
        ranked = sorted(sites.tolist(), key=lambda site: (site[3], -site[2], site[1], site[0]))
        seen: set[tuple[int, int]] = set()
        ranked = [s for s in ranked if (s[0], s[1]) not in seen and not seen.add((s[0], s[1]))]

        def near(one: list[int], other: list[int]) -> bool:
            return max(abs(one[0] - other[0]), abs(one[1] - other[1])) <= distance

        left, stay = ranked, []
        for _ in range(THINNING_ROUNDS):
            best = [s for i, s in enumerate(left) if not any(near(s, t) for t in left[:i])]
            stay += best
            left = [s for s in left if not any(near(s, t) for t in best)]
        assert rows(thin_sites(sites, distance)) == {tuple(s) for s in stay + left}

    def test_neither_order_nor_far_sites_matter(self) -> None:
        distance, reach = 20, 2 * THINNING_ROUNDS * 20
        sites = random_sites(5, 400, 200)
        shuffled = sites[np.random.default_rng(1).permutation(len(sites))]
        kept = rows(thin_sites(sites, distance))
        assert kept == rows(thin_sites(shuffled, distance))
        around = sites[(np.abs(sites[:, :2]) <= 40 + reach).all(axis=1)]
        assert len(around) < len(sites)
        centre = {site for site in kept if max(abs(site[0]), abs(site[1])) <= 40}
        local = rows(thin_sites(around, distance))
        assert {site for site in local if max(abs(site[0]), abs(site[1])) <= 40} == centre

    def test_none_stay_of_none(self) -> None:
        assert thin_sites(np.empty((0, 4), np.int64), 10).shape == (0, 4)
