"""Rows that are kept as columns: a value is made when it is asked for.

in       an Arrow table, and what makes a value of a row
out      a sequence of values
promise  the values are those of the table; they take the memory of its columns, which may be mapped
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
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
_BOX = ("x_min_dbu", "y_min_dbu", "x_max_dbu", "y_max_dbu")
HOTSPOT_COLUMNS = (
    "id", "x_dbu", "y_dbu", "score", "rule", "clips", "pattern", "pattern_key", "group", *_BOX,
    "answer",
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
            for row in zip(*map(_list_values, part.columns), strict=True):
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


def _make_getter(column: pa.Array) -> Callable[[int], Any]:
    """Return what gives a value of a column, by its row."""
    if _is_plain(column):  # ten times as fast as Arrow's own way
        get: Callable[[int], Any] = column.to_numpy().item
        return get
    return lambda row: column[row].as_py()


def _list_values(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_numpy().tolist() if _is_plain(column) else column.to_pylist()
    return values


def _is_plain(column: pa.Array) -> bool:
    """Return whether a column's memory is that of an array of numbers."""
    kind = column.type
    return not column.null_count and (pa.types.is_integer(kind) or pa.types.is_floating(kind))


def make_hotspot(row: Row) -> Hotspot:
    """Return the hotspot of a row that has `HOTSPOT_COLUMNS`, and other fields of it or none."""
    sides = [row.pop(name) for name in _BOX]
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
    >>> shared = Shared([(1, "a"), (4, "b"), (6, "a")])
    >>> shared[6], list(shared), 5 in shared
    ('a', [1, 4, 6], False)
    """

    def __init__(self, values: Iterable[tuple[int, T]]) -> None:
        self._ids, self._which = array("q"), array("q")
        number: dict[T, int] = {}
        for key, value in values:  # ids rise
            self._ids.append(key)
            self._which.append(number.setdefault(value, len(number)))
        self._values = tuple(number)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __getitem__(self, key: int) -> T:
        at = bisect_left(self._ids, key)
        if at == len(self._ids) or self._ids[at] != key:
            raise KeyError(key)
        return self._values[self._which[at]]
