"""Hotspots against brute force over all pairs, and in any order of the clips."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.contracts import Box, Clips, Defect, Hotspot, Verdict
from stages.errors import ConfigError
from stages.hotspots import assign_hotspots, find_hotspots, merge_touching, sort_worst_first

RULES = ("space", "width", "tip")
CORE_DBU = 20
PATTERNS = 6
KEYS = np.arange(PATTERNS * 16, dtype=np.uint8).reshape(PATTERNS, 16)

ClipRow = tuple[int, int, int, int]
"""x, y, rule, pattern"""


def find(
    rows: list[ClipRow], scores: list[float], threshold: float = 0.5, confident: float | None = None
) -> tuple[Hotspot, ...]:
    x, y, rule, pattern = np.array(rows, np.int64).reshape(-1, 4).T
    return find_hotspots(
        Clips(x, y, rule.astype(np.uint8)),
        pattern,
        rules=RULES,
        scores=np.array(scores, np.float32),
        keys=KEYS[pattern],
        core_dbu=CORE_DBU,
        threshold=threshold,
        confident=confident,
    )


def brute_force(rows: list[ClipRow], scores: list[float], threshold: float) -> list[Hotspot]:
    """Flood over all pairs of hot clips."""
    score = [float(np.float32(value)) for value in scores]
    left = [row for row in rows if score[row[3]] >= threshold]
    places = []
    while left:
        place, left = [left[0]], left[1:]
        for member in place:
            near = [
                r for r in left if max(abs(r[0] - member[0]), abs(r[1] - member[1])) <= CORE_DBU
            ]
            place += near
            for row in near:
                left.remove(row)
        places.append(place)
    shown = [min(place, key=lambda r: (-score[r[3]], r[1], *r)) for place in places]
    ranked = sorted(zip(shown, places, strict=True), key=lambda p: (-score[p[0][3]], p[0][1], p[0]))
    groups: list[int] = []
    hotspots = []
    for number, ((x, y, rule, pattern), place) in enumerate(ranked, 1):
        groups += [] if pattern in groups else [pattern]
        xs, ys = [row[0] for row in place], [row[1] for row in place]
        box = Box(min(xs), min(ys), max(xs), max(ys)).grow(CORE_DBU // 2)
        hotspots.append(
            Hotspot(
                number, x, y, score[pattern], RULES[rule], len(place), pattern,
                bytes(range(16 * pattern, 16 * pattern + 16)).hex(),
                groups.index(pattern) + 1, box,
            )
        )  # fmt: skip
    return hotspots


coordinate = st.integers(-70, 70)
clip_rows = st.lists(
    st.tuples(coordinate, coordinate, st.integers(0, 2), st.integers(0, PATTERNS - 1)), max_size=30
)
score_lists = st.lists(
    st.sampled_from([float("nan"), 0.0, 0.1, 0.5, 0.7, 1.0]), min_size=PATTERNS, max_size=PATTERNS
)


@settings(max_examples=200, deadline=None)
@given(clip_rows, score_lists, st.sampled_from([0.0, 0.5, 0.7, 1.0]), st.randoms())
def test_equals_brute_force_in_any_order(rows, scores, threshold, random):
    expected = brute_force(rows, scores, threshold)
    assert list(find(rows, scores, threshold)) == expected
    random.shuffle(rows)
    assert list(find(rows, scores, threshold)) == expected


@pytest.mark.parametrize(
    ("dx", "dy", "places"),
    [
        (20, 0, 1),  # edges touch
        (21, 0, 2),  # one dbu apart
        (0, -20, 1),
        (0, -21, 2),
        (20, 20, 1),  # corners touch
        (-20, 20, 1),
        (20, 21, 2),  # corner one dbu apart in y only
        (-21, 20, 2),
        (5, 7, 1),  # overlap
    ],
)
def test_touching_boundary(dx, dy, places):
    # Every phase against the grid of cells, below and above zero.
    for x in range(-45, 45, 3):
        for y in range(-45, 45, 4):
            label = merge_touching(np.array([x, x + dx]), np.array([y, y + dy]), CORE_DBU)
            assert len(set(label.tolist())) == places, (x, y)


def test_a_row_of_cells_does_not_wrap_to_the_next():
    x, y = np.array([0, 1000]), np.array([20, 0])  # last of row 0, first of row 1
    assert len(set(merge_touching(x, y, CORE_DBU).tolist())) == 2


def test_unscored_is_never_hot():
    assert find([(0, 0, 0, 0)], [float("nan")] * PATTERNS, threshold=0.0) == ()


def test_no_clips():
    assert find([], [1.0] * PATTERNS) == ()


@pytest.mark.parametrize("core_dbu", [0, -2, 21])
def test_core_without_a_centre_is_refused(core_dbu):
    one = np.zeros(1, np.int64)
    with pytest.raises(ConfigError, match=f"core_dbu is {core_dbu}"):
        find_hotspots(
            Clips(one, one, one.astype(np.uint8)), one, rules=RULES, keys=KEYS,
            scores=np.ones(PATTERNS, np.float32), core_dbu=core_dbu, threshold=0.5,
        )  # fmt: skip


def test_threshold_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="threshold"):
        find([(0, 0, 0, 0)], [1.0] * PATTERNS, threshold=float("nan"))


@pytest.mark.parametrize(
    ("count", "span_dbu"),
    [
        (30_000, 200_000_000),  # hardly any touch
        (300_000, 400_000),  # chains
        (300_000, 2_000),  # one heap, where pairs of neighbours are n squared
    ],
)
def test_many_hot_clips_take_seconds(count, span_dbu):
    rng = np.random.default_rng(1)
    x, y = rng.integers(-span_dbu, span_dbu, (2, count))
    start = time.perf_counter()
    pattern = rng.integers(0, PATTERNS, count)
    hotspots = find_hotspots(
        Clips(x, y, np.zeros(count, np.uint8)),
        pattern,
        rules=RULES,
        scores=np.linspace(0.5, 1, PATTERNS, dtype=np.float32),
        keys=KEYS[pattern],
        core_dbu=1280,
        threshold=0.5,
    )
    assert time.perf_counter() - start < 30  # pairs of all clips would take hours
    assert sum(spot.clips for spot in hotspots) == count


def test_every_clip_belongs_to_the_hotspot_it_was_merged_into() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 40, (2, 60)) * 50
    x, y = np.unique(np.stack([x, y], axis=1), axis=0).T.copy()
    scores = rng.random(len(x)).astype(np.float32)
    pattern = np.arange(len(x))
    clips = Clips(x, y, np.zeros(len(x), np.uint8))
    keys = np.zeros((len(x), 16), np.uint8)
    spots = find_hotspots(
        clips, pattern, rules=["grid"], scores=scores, keys=keys, core_dbu=100, threshold=0.0
    )
    owner = assign_hotspots(spots, x, y, 100)
    by_id = {spot.id: spot for spot in spots}
    for number, spot in by_id.items():
        mine = owner == number
        assert mine.sum() == spot.clips
        assert scores[mine].max() == np.float32(spot.score)
        assert x[mine].min() - 50 == spot.box.x_min
        assert y[mine].max() + 50 == spot.box.y_max


def test_what_fails_comes_first_and_what_prints_last() -> None:
    spots = [
        Hotspot(i, 0, 0, 1 - i / 10, "grid", 1, 0, "", 1, Box(0, 0, 1, 1)) for i in range(1, 6)
    ]
    verdicts = {
        1: Verdict(0, None),
        2: Verdict(1, Defect("pinch", 0, 0, "under", 0.2)),
        4: Verdict(2, Defect("space", 0, 0, "over", 0.9)),
        5: Verdict(0, None),
    }
    assert [spot.id for spot in sort_worst_first(spots, verdicts)] == [4, 2, 3, 1, 5]


def test_a_score_that_the_model_is_sure_of_is_hot_and_any_other_for_review():
    rows, scores = [(0, 0, 0, 0), (50, 0, 0, 1), (-50, 0, 0, 2)], [0.9, 0.7, 0.5]
    scores += [0.0] * (PATTERNS - len(scores))
    assert [spot.answer for spot in find(rows, scores, 0.5)] == ["review"] * 3
    assert [spot.answer for spot in find(rows, scores, 0.5, confident=0.65)] == [
        "hot",
        "hot",
        "review",
    ]
