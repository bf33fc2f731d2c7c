"""Stored tables and arrays: whatever is wrong with a file, an error names it."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from pipeline.engine.storage import run_directory, tables
from pipeline.engine.storage.run_directory import write_parts, write_table
from pipeline.engine.storage.tables import ANY, explain_damage, open_arrays, read_array, read_table
from stages.errors import IncompleteError, UsageError
from stages.rows import Row, cut_parts

SCHEMA = pa.schema([("x", pa.int64()), ("name", pa.string())])
TABLE = pa.table([[1, 2], ["a", "b"]], schema=SCHEMA)
Damage = Callable[[Path], Any]


def test_a_table_comes_back(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", TABLE)
    assert read_table(tmp_path / "a.parquet", SCHEMA).equals(TABLE)


def cut_rows(rows: list[Row]) -> Iterator[pa.RecordBatch]:
    return (pa.RecordBatch.from_pylist(part, SCHEMA) for part in cut_parts(rows, 3))


def test_a_long_table_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rows = tmp_path / "a.parquet", [{"x": x, "name": f"n{x}"} for x in range(23)]
    write_parts(path, cut_rows(rows), SCHEMA)
    small = read_table(path, SCHEMA)
    monkeypatch.setattr(tables, "ROWS_IN_MEMORY", 10)
    mapped = read_table(path, SCHEMA)
    assert small.to_pylist() == mapped.to_pylist() == rows
    assert [batch.num_rows for batch in mapped.to_batches()] == [10, 10, 3]
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"]
    write_parts(path, cut_rows([*rows, {"x": None, "name": ""}]), SCHEMA)
    with pytest.raises(IncompleteError, match=r"a\.parquet cannot be read.*empty cells"):
        read_table(path, SCHEMA)


@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_rows_are_written_in_groups(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_directory, "_PARTS_OF_GROUP", 2)
    rows = [{"x": x, "name": None if x % 2 else "a"} for x in range(count)]
    write_parts(tmp_path / "a.parquet", cut_rows(rows), SCHEMA)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows
    assert pq.read_schema(tmp_path / "a.parquet") == SCHEMA


BAD_TABLES: dict[str, Damage] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "text": lambda path: path.write_bytes(b"x,name\n1,a\n"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "other columns": lambda path: pq.write_table(TABLE.drop_columns(["name"]), path),
    "other types": lambda path: pq.write_table(TABLE.set_column(0, "x", [["1", "2"]]), path),
    "nulls": lambda path: pq.write_table(pa.table([[1, None], ["a", "b"]], schema=SCHEMA), path),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_table_that_is_damaged_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, TABLE)
    BAD_TABLES[kind](path)
    with pytest.raises(IncompleteError, match=r"a\.parquet cannot be read \(.*\); scan into a new"):
        read_table(path, SCHEMA)


def make_group(path: Path) -> None:
    group = zarr.create_group(path, attributes={"n": 3})
    group.create_array("x", data=np.arange(3))
    group.create_array("picture", data=np.zeros((3, 2, 2), np.uint8))


SHAPES = {"x": ((ANY,), "i8"), "picture": ((3, ANY, ANY), "u1")}


def change(name: str, **values: Any) -> Damage:
    """Change values of the metadata of an array."""

    def damage(path: Path) -> None:
        file = path / name / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return damage


def write(name: str, content: bytes) -> Damage:
    return lambda path: (path / name).write_bytes(content)


BAD_GROUPS: dict[str, Damage] = {
    "no metadata": lambda path: (path / "zarr.json").unlink(),
    "no array": lambda path: (path / "x" / "zarr.json").unlink(),
    "not json": write("x/zarr.json", b"{"),
    "not text": write("x/zarr.json", b"\xff\xfe"),
    "a list": write("x/zarr.json", b"[]"),
    "empty": write("x/zarr.json", b""),
    "group for array": write("x/zarr.json", b'{"zarr_format": 3, "node_type": "group"}'),
    "version": change("x", zarr_format=7),
    "type": change("x", data_type="float64"),
    "no type": change("x", data_type="colour"),
    "shape": change("x", shape=[3, 1]),
    "negative shape": change("x", shape=[-3]),
    "text shape": change("x", shape="three"),
    "length": change("picture", shape=[4, 2, 2]),
    "huge": change("x", shape=[10**14]),
    "no codecs": change("x", codecs=[]),
    "codec": change("x", codecs=[{"name": "pickle"}]),
    "codec that is none": change("x", codecs=7),
    "grid": change("x", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0]}}),
    "no grid": change("x", chunk_grid=None),
    "fill": change("x", fill_value="three"),
    "chunk": write("x/c/0", b"no zstd at all"),
    "cut chunk": lambda path: write("x/c/0", (path / "x/c/0").read_bytes()[:-3])(path),
}


def read_all(path: Path) -> dict[str, Any]:
    with explain_damage(path):
        return {name: read_array(array) for name, array in open_arrays(path, SHAPES).items()}


@pytest.mark.parametrize("kind", BAD_GROUPS)
def test_a_group_that_is_damaged_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    make_group(path)
    assert read_all(path)["x"].tolist() == [0, 1, 2]
    BAD_GROUPS[kind](path)
    with pytest.raises(IncompleteError, match=r"a\.zarr cannot be read \(.*\); scan into a new"):
        read_all(path)


def test_a_group_of_the_old_format_is_not_read(tmp_path: Path) -> None:
    """Its arrays may name filters that unpickle."""
    zarr.create_group(tmp_path / "a", zarr_format=2).create_array("x", data=np.arange(3))
    with pytest.raises(IncompleteError, match="a cannot be read"), explain_damage(tmp_path / "a"):
        open_arrays(tmp_path / "a", {"x": SHAPES["x"]})


def test_what_the_machine_lacks_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full") as raised, explain_damage(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    assert raised.type is OSError
    another = explain_damage(tmp_path, UsageError, fault="holds nothing", advice="give another")
    with pytest.raises(UsageError, match=r"holds nothing \(KeyError: 'x'\); give another"), another:
        raise KeyError("x")


@pytest.mark.parametrize("rows", [3, tables.ROWS_IN_MEMORY + 1])
def test_what_a_table_says_of_itself_is_read_with_it(rows: int, tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    write_table(
        tmp_path / "t.parquet",
        pa.table([range(rows)], schema=schema.with_metadata({"about": "all of it"})),
    )
    table = read_table(tmp_path / "t.parquet", schema)
    assert table.schema.metadata == {b"about": b"all of it"}
    assert table["x"].to_pylist() == list(range(rows))
