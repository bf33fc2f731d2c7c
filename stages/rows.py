"""Rows that are kept as columns: a value is made when it is asked for.

in       an Arrow table, and what makes a value of a row
out      a sequence of values
promise  the values are those of the table; they take the memory of its columns, which may be mapped
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa

from stages.contracts import Box, Hotspot, Int64s

T = TypeVar("T")
Row = dict[str, Any]

PART = 4096
"""Rows that are values at once while all are gone through."""
KEPT = 150_000
"""Of a table of at most so many rows, 150 megabytes, values are made once."""
RUN = 16
"""Rows asked for one after the other, from which on those of a whole part are made at once."""
HOTSPOT_BOX = ("x_min_dbu", "y_min_dbu", "x_max_dbu", "y_max_dbu")
HOTSPOT_COLUMNS = (
    "id", "x_dbu", "y_dbu", "score", "rule", "clips", "pattern", "pattern_key", "group",
    *HOTSPOT_BOX, "answer",
)  # fmt: skip
"""Columns that a hotspot is made of; where the model predicts margins it has two more fields."""


def as_row(value: Any) -> Row:
    """Return the fields of a dataclass by name: `asdict`, but of no fields within fields."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def cut_parts(values: Iterable[T], size: int = PART) -> Iterator[list[T]]:
    """Yield values in lists of `size`, the last one perhaps shorter.

    Examples
    --------
    >>> list(cut_parts("abc", 2))
    [['a', 'b'], ['c']]
    """
    left = iter(values)
    return iter(lambda: list(islice(left, size)), [])


class Rows(Sequence[T], Generic[T]):
    """A sequence over the rows of a table.

    Examples
    --------
    >>> rows = Rows(pa.table({"x": [3, 4]}), lambda row: row["x"])
    >>> list(rows), rows[1], rows[:1] == [3]
    ([3, 4], 4, True)
    """

    def __init__(self, table: pa.Table, make: Callable[[Row], T]) -> None:
        self.table = table
        self._make = make
        batches = table.to_batches()
        self._getters = [[_make_getter(column) for column in batch.columns] for batch in batches]
        self._starts = [0, *accumulate(batch.num_rows for batch in batches)]
        self._kept: list[T] = []
        self._part: tuple[int, list[T]] = (-1, [])  # its number, and its values
        self._next, self._run = -1, 0

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[T]:
        if len(self) > KEPT:
            return self._make_all()
        if not self._kept:
            self._kept = list(self._make_all())
        return iter(self._kept)

    def _make_all(self, start: int = 0, rows: int | None = None) -> Iterator[T]:
        names = self.table.column_names
        for part in self.table.slice(start, rows).to_batches(PART):
            for row in zip(*map(list_values, part.columns), strict=True):
                yield self._make(dict(zip(names, row, strict=True)))

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> Rows[T]: ...

    def __getitem__(self, at: int | slice) -> T | Rows[T]:
        if isinstance(at, slice):
            return self.select(np.arange(len(self))[at])
        number = range(len(self))[at]
        if self._kept:
            return self._kept[number]
        part, row = divmod(number, PART)
        if part == self._part[0]:
            return self._part[1][row]
        self._run = self._run + 1 if number == self._next else 0
        self._next = number + 1
        if self._run >= RUN:
            self._part = part, list(self._make_all(part * PART, PART))
            return self._part[1][row]
        batch = bisect_right(self._starts, number) - 1
        row = number - self._starts[batch]
        values = (get(row) for get in self._getters[batch])
        return self._make(dict(zip(self.table.column_names, values, strict=True)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(other) == len(self) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def select(self, numbers: Int64s) -> Rows[T]:
        """Return some rows."""
        return Rows(self.table.take(pa.array(numbers)), self._make)

    def get_column(self, name: str) -> Any:
        """Return a column, (n,)."""
        return self.table[name].to_numpy()


def read_field(values: Sequence[Any], name: str) -> Any:
    """Return one field of all values, (n,): of rows that of their table, without making values.

    Examples
    --------
    >>> read_field(Rows(pa.table({"x": [3, 4]}), lambda row: row), "x").tolist()
    [3, 4]
    """
    if isinstance(values, Rows):
        return values.get_column(name)
    return np.array([getattr(value, name) for value in values])


def read_by_id(values: Mapping[int, Any], ids: Int64s) -> pa.Table:
    """Return the values of some ids as a table: a row for each, a column per field.

    Examples
    --------
    >>> read_by_id({4: Box(0, 0, 9, 8), 5: Box(0, 0, 7, 6)}, np.array([5])).to_pylist()
    [{'x_min': 0, 'y_min': 0, 'x_max': 7, 'y_max': 6}]
    """
    if isinstance(values, ById):
        first, last = (int(ids.min()) - 1, int(ids.max())) if len(ids) else (0, 0)
        near = values.rows.table.slice(first, last - first)
        follow = np.array_equal(ids, range(first + 1, last + 1))
        return near if follow else near.take(pa.array(ids - 1 - first))
    few, which = share_by_id(values, ids)
    return pa.Table.from_pylist(list(map(as_row, few))).take(pa.array(which))


def share_by_id(values: Mapping[int, T], ids: Int64s) -> tuple[Sequence[T], Int64s]:
    """Return values, of which those of `Shared` are few, and which of them each id has."""
    if isinstance(values, Shared):
        return values.distinct, values.which[np.searchsorted(values.ids, ids)]
    return [values[number] for number in ids.tolist()], np.arange(len(ids))


def change_texts(column: pa.ChunkedArray, change: Callable[[str], T]) -> list[T]:
    """Return what becomes of each text of a column; equal ones are changed once.

    Examples
    --------
    >>> change_texts(pa.chunked_array([["a", "b", "a"]]), str.upper)
    ['A', 'B', 'A']
    """
    coded = column.combine_chunks().dictionary_encode()
    changed = [change(text) for text in coded.dictionary.to_pylist()]
    return [changed[at] for at in coded.indices.to_numpy().tolist()]


def _make_getter(column: pa.Array) -> Callable[[int], Any]:
    """Return what gives a value of a column, by its row."""
    if _is_plain(column):  # ten times as fast as Arrow's own way
        get: Callable[[int], Any] = column.to_numpy().item
        return get
    return lambda row: column[row].as_py()


def list_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column, as Python has them."""
    values: list[Any] = column.to_numpy().tolist() if _is_plain(column) else column.to_pylist()
    return values


def _is_plain(column: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether a column's memory is that of an array of numbers."""
    kind = column.type
    return not column.null_count and (pa.types.is_integer(kind) or pa.types.is_floating(kind))


def make_hotspot(row: Row) -> Hotspot:
    """Return the hotspot of a row that has `HOTSPOT_COLUMNS`, and other fields of it or none."""
    sides = [row.pop(name) for name in HOTSPOT_BOX]
    return Hotspot(**row, box=Box(*sides))


class ById(Mapping[int, T], Generic[T]):
    """Rows by their number from 1, which is the id of what they are about."""

    def __init__(self, rows: Rows[T]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, len(self.rows) + 1))

    def __getitem__(self, number: int) -> T:
        if not 0 < number <= len(self.rows):
            raise KeyError(number)
        return self.rows[number - 1]


class Shared(Mapping[int, T], Generic[T]):
    """Values by id, of which many are equal: each is kept once.

    Examples
    --------
    >>> shared = Shared(np.array([1, 4, 6]), np.array([0, 1, 0]), ["a", "b"])
    >>> shared[6], list(shared), 5 in shared
    ('a', [1, 4, 6], False)

    Parameters
    ----------
    ids, which
        (n,) ids, rising, and the one of `distinct` that each has.
    """

    def __init__(self, ids: Int64s, which: Int64s, distinct: Sequence[T]) -> None:
        self.ids, self.which, self.distinct = ids, which, distinct

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids.tolist())

    def __getitem__(self, key: int) -> T:
        at = int(np.searchsorted(self.ids, key))
        if at == len(self.ids) or self.ids[at] != key:
            raise KeyError(key)
        return self.distinct[int(self.which[at])]
