"""Rows kept as columns, against the values that they stand for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stages import rows as rows_module
from stages.contracts import Box, Hotspot
from stages.findings import Review
from stages.rows import (
    PART,
    ById,
    Row,
    Rows,
    Shared,
    change_texts,
    make_hotspot,
    read_by_id,
    read_field,
    share_by_id,
)

COUNT = PART + 10


def make(row: Row) -> tuple[int, str | None]:
    return row["x"], row["name"]


@pytest.fixture(params=["few", "many"])
def rows(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Rows[tuple[int, str | None]]:
    """Rows in three pieces, as tables that are mapped have; of many, values are not kept."""
    if request.param == "many":
        monkeypatch.setattr(rows_module, "KEPT", 0)
    names = [None if x % 7 == 0 else f"n{x}" for x in range(COUNT)]
    table = pa.table({"x": np.arange(COUNT), "name": names})
    cuts = [table.slice(0, 5), table.slice(5, PART), table.slice(PART + 5)]
    return Rows(pa.concat_tables(cuts), make)


def test_rows_are_a_sequence_of_the_values(rows: Rows[tuple[int, str | None]]) -> None:
    values = [(x, None if x % 7 == 0 else f"n{x}") for x in range(COUNT)]
    assert list(rows) == values
    assert [rows[at] for at in (0, 4, 5, PART + 4, PART + 5, -1)] == [
        values[at] for at in (0, 4, 5, PART + 4, PART + 5, -1)
    ]
    assert rows == values
    assert rows != [*values[:-1], (0, "other")]
    assert rows[3:9] == values[3:9]
    assert rows[3:3] == []
    assert rows.select(np.array([8, 2, 8])) == [values[8], values[2], values[8]]
    assert rows.get_column("x").tolist() == list(range(COUNT))
    with pytest.raises(IndexError):
        rows[COUNT]


def test_rows_asked_for_one_after_the_other_are_made_by_parts(
    rows: Rows[tuple[int, str | None]],
) -> None:
    """Ten times as fast as one by one; a few asked for anywhere make no more than themselves."""
    values, made = list(rows), list[int]()

    def make_noted(row: Row) -> tuple[int, str | None]:
        made.append(row["x"])
        return make(row)

    asked = Rows(rows.table, make_noted)
    assert [asked[at] for at in (COUNT - 1, 7, PART, 3)] == [values[at] for at in (-1, 7, PART, 3)]
    assert made == [COUNT - 1, 7, PART, 3]
    made.clear()
    assert [asked[at] for at in range(rows_module.RUN + 1)] == values[: rows_module.RUN + 1]
    assert len(made) == rows_module.RUN + PART, "the last one with all of its part"
    made.clear()
    assert [asked[at] for at in range(COUNT)] == values
    assert len(made) <= COUNT + 2 * rows_module.RUN
    assert asked[-1] == values[-1]


def test_a_field_of_rows_is_their_column(rows: Rows[tuple[int, str | None]]) -> None:
    boxes = [Box(1, 2, 3, 4), Box(5, 6, 7, 8)]
    assert read_field(boxes, "x_min").tolist() == [1, 5]
    assert read_field(rows, "x").tolist() == list(range(COUNT))


def test_values_are_those_of_python() -> None:
    table = pa.table({
        "whole": pa.array([3, None], pa.int64()), "real": pa.array([0.5, 2], pa.float32()),
        "yes": [True, False], "key": pa.array([2**63, 1], pa.uint64()),
    })  # fmt: skip
    for values in ([Rows(table, dict)[at] for at in (0, 1)], list(Rows(table, dict))):
        assert values == table.to_pylist()
        assert [type(value) for value in values[0].values()] == [int, float, bool, int]


def test_a_row_is_found_by_its_id(rows: Rows[tuple[int, str | None]]) -> None:
    by_id = ById(rows)
    assert (by_id[1], by_id[COUNT]) == (rows[0], rows[-1])
    assert list(by_id) == list(range(1, COUNT + 1))
    assert 0 not in by_id
    assert COUNT + 1 not in by_id


def test_equal_values_are_kept_once() -> None:
    ids = np.array([2, 3, 5, 8, 9])
    reviews = {number: Review(number % 3, "score") for number in ids.tolist()}
    shared = Shared(ids, ids % 3, [Review(level, "score") for level in range(3)])
    assert dict(shared) == reviews
    assert shared[2] is shared[5]
    assert shared.get(4) is shared.get(10) is None


@pytest.mark.parametrize("ids", [[1, 2, 3], [2, 5], [COUNT, 3], [PART, PART + 1], []])
def test_values_of_some_ids_are_read_as_columns(
    rows: Rows[tuple[int, str | None]], ids: list[int]
) -> None:
    """From columns as from values."""
    columns = read_by_id(ById(rows), np.array(ids, np.int64))
    assert [*map(make, columns.to_pylist())] == [rows[number - 1] for number in ids]


def test_shared_values_are_read_once() -> None:
    ids = np.array([2, 3, 5, 8])
    shared = Shared(ids, np.array([1, 0, 1, 1]), [Review(1, "score"), Review(2, "score")])
    for some in ([3], [2, 8], [2, 3, 5, 8]):
        few, which = share_by_id(shared, np.array(some))
        assert [few[at] for at in which] == [shared[number] for number in some]
        told = read_by_id(shared, np.array(some)).to_pylist()
        assert told == read_by_id(dict(shared), np.array(some)).to_pylist()
    assert len(share_by_id(shared, ids)[0]) == 2


def test_equal_texts_are_changed_once() -> None:
    asked = list[str]()
    column = pa.chunked_array([["a", "b"], ["a", ""], []], pa.string())
    assert change_texts(column, lambda text: asked.append(text) or text * 2) == [
        "aa", "bb", "aa", "",
    ]  # fmt: skip
    assert sorted(asked) == ["", "a", "b"]


def test_a_hotspot_is_made_of_its_row() -> None:
    row = {
        "id": 1, "x_dbu": 5, "y_dbu": 6, "score": 0.5, "rule": "grid", "clips": 2, "pattern": 3,
        "pattern_key": "ab", "group": 1, "x_min_dbu": 0, "y_min_dbu": 1, "x_max_dbu": 10,
        "y_max_dbu": 11, "answer": "hot",
    }  # fmt: skip
    assert make_hotspot(row) == Hotspot(
        1, 5, 6, 0.5, "grid", 2, 3, "ab", 1, Box(0, 1, 10, 11), "hot"
    )
