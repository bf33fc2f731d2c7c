from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.passes.job import CutSettings
from stages.clips import (
    RULES,
    SamplingLimits,
    compute_halo_dbu,
    drop_excluded,
    find_inside,
    place_grid_clips,
    place_site_clips,
)
from stages.contracts import Box, Clips, Int64s, RasterSpec, Shapes
from stages.errors import ConfigError
from stages.tiles import cut_tiles

CORE = 400
LIMITS = SamplingLimits(space=120, width=100, tip_to_tip=140, line_end_to_side=140, line_end=80)
COORDINATE = st.integers(-500, 500)
TRIANGLE = [(0, 0), (900, 10), (300, 700)]


def shapes_of(rects: Int64s, polygons: list[list[tuple[int, int]]] = ()) -> Shapes:
    starts = np.concatenate(([0], np.cumsum([len(corners) for corners in polygons])))
    points = np.array([corner for corners in polygons for corner in corners], np.int64)
    return Shapes(
        np.array(rects, np.int64).reshape(-1, 4), points.reshape(-1, 2), starts.astype(np.int64)
    )


def rows(clips: Clips) -> list[tuple[int, int, int]]:
    return list(zip(clips.y_dbu.tolist(), clips.x_dbu.tolist(), clips.rule.tolist(), strict=True))


def layout(seed: int, count: int) -> Int64s:
    """Wires, pads and odd pieces that overlap, touch and nearly touch, about the origin."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(-75, 75, (count, 2)) * 20
    size = rng.integers(1, 20, (count, 2)) * 20
    size[rng.random(count) < 0.6, 0] = rng.integers(1, 4) * 20
    flipped = rng.random(count) < 0.5
    size[flipped] = size[flipped][:, ::-1]
    return np.concatenate((corner, corner + size), axis=1)


def hull(rects: Int64s) -> Box:
    return Box(*rects[:, :2].min(axis=0).tolist(), *rects[:, 2:].max(axis=0).tolist())


def queried(rects: Int64s, box: Box) -> Shapes:
    """What a window query returns: whole shapes that overlap the box."""
    near = (
        (rects[:, 0] < box.x_max) & (rects[:, 2] > box.x_min)
        & (rects[:, 1] < box.y_max) & (rects[:, 3] > box.y_min)
    )  # fmt: skip
    return shapes_of(rects[near])


class TestGrid:
    @given(COORDINATE, COORDINATE, st.integers(1, 300), st.integers(1, 300),
           st.integers(1, 50), st.integers(1, 50), st.integers(30, 500))  # fmt: skip
    def test_every_core_over_the_area_is_taken_once_in_any_tiling(
        self, x: int, y: int, width: int, height: int, half: int, less: int, size: int
    ) -> None:
        core, stride = 2 * half, max(2 * half - less, 1)
        area = Box(x, y, x + width, y + height)
        tiles = cut_tiles(area.grow(half), size)
        found = [
            row for tile in tiles for row in rows(place_grid_clips(tile.box, area, core, stride))
        ]
        expected = [
            (v, u, 0)
            for v in range(half - 1000 * stride, 1000, stride)
            if v - half < area.y_max and v + half > area.y_min
            for u in range(half - 1000 * stride, 1000, stride)
            if u - half < area.x_max and u + half > area.x_min
        ]
        assert sorted(found) == expected
        covered = {p for u in {u for _, u, _ in found} for p in range(u - half, u + half)}
        assert covered >= set(range(area.x_min, area.x_max))

    def test_the_lattice_begins_at_the_origin(self) -> None:
        clips = place_grid_clips(Box(-8, -8, 8, 8), Box(-8, -8, 8, 8), 4, 4)
        assert sorted(set(clips.x_dbu.tolist())) == [-6, -2, 2, 6]
        assert rows(clips) == sorted(rows(clips))


class TestCut:
    @given(COORDINATE, COORDINATE, st.integers(1, 300), st.integers(30, 100), st.integers(1, 4))
    def test_the_tiles_of_a_scan_own_every_core_of_the_grid(
        self, x: int, y: int, side: int, stride: int, tile_cores: int
    ) -> None:
        """Cores of 100 every 90 include 720 to 820: centred outside an area from 800."""
        area = Box(x, y, x + side, y + side)
        cut = CutSettings(
            run=Path("run"), spec=RasterSpec(5.0, 40, 20), pixel_dbu=5, core_dbu=100,
            symmetries=8, tile_dbu=100 * tile_cores, stride_dbu=stride, limits=None, area=area,
            excluded=0,
        )  # fmt: skip
        found = [
            row for tile in cut.tiles for row in rows(place_grid_clips(tile.box, area, 100, stride))
        ]
        assert sorted(found) == rows(place_grid_clips(area.grow(1000), area, 100, stride))


class TestSites:
    @pytest.mark.parametrize(("seed", "count"), [(0, 60), (1, 120), (2, 250)])
    def test_the_clips_are_the_same_in_any_tiling(self, seed: int, count: int) -> None:
        rects = layout(seed, count)
        area = hull(rects)
        whole = rows(place_site_clips([shapes_of(rects)], area, area, CORE, LIMITS))
        assert len(whole) > 10
        assert whole == sorted(whole)
        for size in (CORE, 3 * CORE, 730):
            found = []
            for tile in cut_tiles(area, size):
                near = queried(rects, tile.box.grow(compute_halo_dbu(CORE, LIMITS)))
                found += rows(place_site_clips([near], tile.box, area, CORE, LIMITS))
            assert sorted(found) == whole

    def test_a_chain_of_ever_weaker_sites_is_thinned_alike_in_any_tiling(self) -> None:
        """Every other one goes, so the seventh hangs on the first: as far as thinning reaches."""
        pitch, gaps = 148, np.arange(20, 116, 8)
        centres = pitch * np.arange(len(gaps))
        left = np.concatenate(([-300], centres + gaps // 2))
        right = np.concatenate((centres - gaps // 2, [centres[-1] + 300]))
        tall = np.full(len(left), 100)
        rects = np.stack((left, 0 * tall, right, tall), axis=1)
        area = hull(rects)
        whole = place_site_clips([shapes_of(rects)], area, area, CORE, LIMITS)
        assert whole.x_dbu.tolist() == centres[[0, 2, 4, *range(6, len(gaps))]].tolist()
        found = []
        for tile in cut_tiles(area, 50):
            near = queried(rects, tile.box.grow(compute_halo_dbu(CORE, LIMITS)))
            found += rows(place_site_clips([near], tile.box, area, CORE, LIMITS))
        assert sorted(found) == rows(whole)

    @pytest.mark.parametrize(("apart", "clips"), [(148, 1), (150, 1), (152, 2), (174, 2)])
    def test_a_site_at_the_rim_of_a_core_has_a_clip_of_its_own(
        self, apart: int, clips: int
    ) -> None:
        """A core reaches 200 from its centre, and answers for sites up to 150: a rim of 50."""
        rects = [(-300, 0, -20, 100), (20, 0, apart - 10, 100), (apart + 10, 0, apart + 300, 100)]
        box = Box(-2000, -2000, 2000, 2000)
        assert len(place_site_clips([shapes_of(rects)], box, box, CORE, LIMITS)) == clips

    def test_only_clips_of_tile_and_area_are_returned(self) -> None:
        rects = layout(3, 150)
        tile, area = Box(-500, -500, 500, 500), Box(0, -300, 2000, 900)
        everywhere = place_site_clips([shapes_of(rects)], hull(rects), hull(rects), CORE, LIMITS)
        both = Box(0, -300, 500, 500)
        expected = np.array(rows(everywhere))[find_inside(everywhere.x_dbu, everywhere.y_dbu, both)]
        found = place_site_clips([shapes_of(rects)], tile, area, CORE, LIMITS)
        assert rows(found) == [tuple(row) for row in expected.tolist()]
        assert len(found) > 0

    def test_a_site_on_any_layer_counts(self) -> None:
        pair = [(0, 0, 200, 300), (300, 0, 500, 300)]
        box = Box(-1000, -1000, 1000, 1000)
        alone = place_site_clips([shapes_of(pair)], box, box, CORE, LIMITS)
        assert {RULES[rule] for rule in alone.rule} == {"space"}
        assert rows(
            place_site_clips([shapes_of([]), shapes_of(pair)], box, box, CORE, LIMITS)
        ) == rows(alone)
        # One half of the pair on each layer: no layer has the space.
        halves = [shapes_of(pair[:1]), shapes_of(pair[1:])]
        assert len(place_site_clips(halves, box, box, CORE, LIMITS)) == 0

    @pytest.mark.parametrize("size", [400, 1000, 5000])
    def test_angled_polygons_take_the_lattice_cores_of_their_box(self, size: int) -> None:
        area = Box(-100, -100, 1000, 800)
        found = []
        for tile in cut_tiles(area.grow(CORE), size):
            polygons = shapes_of([], [TRIANGLE])
            found += rows(place_site_clips([polygons], tile.box, area, CORE, LIMITS))
        angle = RULES.index("angle")
        expected = [(y, x, angle) for y in (200, 600) for x in (200, 600, 1000)]
        # The cores of [800, 1200) reach into the box, which ends at 900, from outside the area.
        assert sorted(found) == expected

    def test_no_place_is_taken_twice(self) -> None:
        """A lattice core of an angled polygon is centred on a space."""
        pair = [(0, 150, 150, 250), (250, 150, 400, 250)]
        box = Box(-2000, -2000, 2000, 2000)
        space = place_site_clips([shapes_of(pair)], box, box, CORE, LIMITS)
        assert (200, 200) in {(x, y) for y, x, _ in rows(space)}
        both = rows(place_site_clips([shapes_of(pair, [TRIANGLE])], box, box, CORE, LIMITS))
        assert len({(x, y) for y, x, _ in both}) == len(both) > len(space)
        assert (200, 200, RULES.index("space")) in both

    def test_nothing_has_no_sites(self) -> None:
        box = Box(0, 0, 1000, 1000)
        assert len(place_site_clips([shapes_of([])], box, box, CORE, LIMITS)) == 0


@pytest.mark.parametrize(
    ("rects", "kept"),
    [
        ([], 1),
        ([(-200, -200, 200, 200)], 0),  # just the core
        ([(-200, -200, 199, 200)], 1),  # one column short
        ([(-300, -300, 0, 300), (0, -300, 300, 300)], 0),  # two that meet within the core
        ([(-300, -300, 10, 300), (-10, -300, 300, 300)], 0),  # and overlap: counted once
        ([(-300, -300, 150, 300), (-300, -300, 150, 300)], 1),  # twice the same is no more
    ],
)
def test_a_core_wholly_under_an_excluded_layer_is_dropped(
    rects: list[tuple[int, ...]], kept: int
) -> None:
    clip = Clips(np.array([0]), np.array([0]), np.array([1], np.uint8))
    assert len(drop_excluded(clip, [shapes_of(rects), shapes_of([])], CORE)) == kept
    assert drop_excluded(clip, [], CORE) is clip


def test_a_negative_limit_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"clips\.tip_to_tip is -1 dbu"):
        SamplingLimits(0, 0, -1, 0, 0)


@settings(max_examples=10)
@given(st.integers(-(10**8), 10**8), st.integers(-(10**8), 10**8))
def test_short_gaps_move_with_the_layout(dx: int, dy: int) -> None:
    rects = np.array(
        [(0, 0, 300, 60), (400, 0, 700, 60), (300, 700, 380, 900), (480, 760, 900, 820)]
    )
    box = Box(-2000, -2000, 2000, 2000)
    moved_box = Box(-2000 + dx, -2000 + dy, 2000 + dx, 2000 + dy)
    expected = rows(place_site_clips([shapes_of(rects)], box, box, CORE, LIMITS))
    moved = shapes_of(rects + np.array([dx, dy, dx, dy]))
    found = rows(place_site_clips([moved], moved_box, moved_box, CORE, LIMITS))
    assert found == [(y + dy, x + dx, rule) for y, x, rule in expected]
    assert len(found) == 2
