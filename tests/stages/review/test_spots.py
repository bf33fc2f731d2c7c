"""Hotspots as columns: filtered, ordered, found by place; against loops over them."""

from __future__ import annotations

import numpy as np
import pytest

from stages.contracts import Box
from stages.errors import UsageError
from stages.review.spots import Filter, SpotTable, count_in_grid, index_places, select

COUNT = 3000


@pytest.fixture(scope="module")
def table() -> SpotTable:
    random = np.random.default_rng(5)
    return SpotTable(
        place_dbu=random.integers(-4000, 90_000, (COUNT, 2)),
        level=random.integers(0, 4, COUNT).astype(np.uint8),
        severity=random.integers(0, 5, COUNT) / 4,
        class_id=random.integers(1, 30, COUNT),
        kind=random.integers(0, 2, COUNT).astype(np.int32),
        cell=random.integers(0, 3, COUNT).astype(np.int32),
        kinds=["pinch", "bridge"], cells=["a", "b", "c[0]_x"],
    )  # fmt: skip


def test_the_worst_come_first(table: SpotTable) -> None:
    rank = {1: 0, 2: 1, 3: 2, 0: 3}
    wanted = sorted(
        range(COUNT), key=lambda row: (rank[table.level[row]], -table.severity[row], row)
    )
    assert table.order.tolist() == wanted


@pytest.mark.parametrize(
    ("asked", "passes"),
    [
        (Filter(), lambda t, s, i: True),
        (Filter(levels=frozenset({1, 0})), lambda t, s, i: t.level[i] in (0, 1)),
        (Filter(states=frozenset({"fix", "open"})), lambda t, s, i: s[i] in (0, 2)),
        (Filter(class_id=7, kind="bridge"), lambda t, s, i: t.class_id[i] == 7 and t.kind[i] == 1),
        (Filter(cell="c[0]_x"), lambda t, s, i: t.cell[i] == 2),
        (Filter(cell="no such"), lambda t, s, i: False),
        (Filter(cell="c[*]*"), lambda t, s, i: t.cell[i] == 2),
    ],
)
def test_a_filter_passes_what_it_says(table: SpotTable, asked: Filter, passes: object) -> None:
    assert callable(passes)
    state = (np.arange(COUNT) % 4).astype(np.uint8)
    chosen = select(table, state, asked)
    assert chosen.tolist() == [bool(passes(table, state, row)) for row in range(COUNT)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"levels": frozenset({4})}, "level 4 is unknown; choose of 1, 2, 3, 0"),
        ({"states": frozenset({"shut"})}, "state shut is unknown; choose of open, accepted"),
    ],
)
def test_what_no_hotspot_can_be_is_refused(given: dict[str, frozenset[int]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Filter(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "box",
    [
        Box(-4000, -4000, 90_000, 90_000), Box(0, 0, 1, 1), Box(500, 700, 30_000, 1200),
        Box(-10**6, -10**6, -5000, 10**6), Box(89_000, 100, 10**7, 10**7), Box(90_000, 0, 10**6, 9),
    ],
)  # fmt: skip
def test_a_box_holds_what_lies_in_it(table: SpotTable, box: Box) -> None:
    index = index_places(table.place_dbu)
    wanted = [
        row for row, (x, y) in enumerate(table.place_dbu.tolist())
        if box.x_min <= x < box.x_max and box.y_min <= y < box.y_max
    ]  # fmt: skip
    assert sorted(index.find(table.place_dbu, box).tolist()) == wanted


def test_no_hotspots_have_an_index() -> None:
    nothing = np.empty((0, 2), np.int64)
    assert len(index_places(nothing).find(nothing, Box(0, 0, 10, 10))) == 0


def test_squares_count_by_level(table: SpotTable) -> None:
    box = Box(0, 0, 64_000, 64_000)
    rows = index_places(table.place_dbu).find(table.place_dbu, box)
    found = {
        (column, row): counts for column, row, *counts in
        count_in_grid(table.place_dbu[rows], table.level[rows], box, 8).tolist()
    }  # fmt: skip
    wanted: dict[tuple[int, int], list[int]] = {}
    for (x, y), level in zip(table.place_dbu[rows].tolist(), table.level[rows], strict=True):
        wanted.setdefault((x // 8000, y // 8000), [0] * 4)[level] += 1
    assert found == wanted
    assert len(found) > 50
