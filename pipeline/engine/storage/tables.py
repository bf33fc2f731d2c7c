"""Read tables and arrays that may be damaged, or written by somebody else.

in       a Parquet file, or a Zarr group
out      the table or array, if it is what its reader expects
promise  whatever is wrong with the file becomes an error that names it
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from stages.errors import HotscanError, IncompleteError
from stages.text import escape_text

ANY = -1
"""A length that an array may have as it likes, in `open_arrays`."""

ROWS_IN_MEMORY = 1 << 16
"""Rows of a table that are held in memory; longer ones are mapped from disk."""

_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE)
"""What is wrong with the disk or the process, and not with a file."""

Shapes = Mapping[str, tuple[tuple[int, ...], str]]
"""Name of each array to its shape, in which a length may be `ANY`, and its types, like "i8|f8"."""


@contextmanager
def explain_damage(
    path: Path,
    error: Callable[[str], HotscanError] = IncompleteError,
    *,
    fault: str = "cannot be read",
    advice: str = "scan into a new run directory",
) -> Iterator[None]:
    """Turn whatever a library says of a file's content into an error that names the file."""
    try:
        yield
    except HotscanError:
        raise
    except Exception as reason:  # parsers of Arrow and Zarr raise whatever a damage leads to
        if isinstance(reason, OSError) and reason.errno in _MACHINE:
            raise
        kind = type(reason).__name__
        raise error(f"{path} {fault} ({kind}: {reason}); {advice}") from reason


def read_table(path: Path, schema: pa.Schema, may_be_empty: Container[str] = ()) -> pa.Table:
    """Read a table that `write_table`, or `write_parts`, wrote.

    Parameters
    ----------
    may_be_empty
        Names of the columns that may have empty cells.

    Raises
    ------
    IncompleteError
        When it is missing or damaged, has other columns than `schema`, or has empty cells.
    """
    # Opened here, as Arrow takes no name that is not UTF-8.
    with explain_damage(path), path.open("rb") as content, pq.ParquetFile(content) as file:
        if not file.schema_arrow.equals(schema):
            names = ", ".join(file.schema_arrow.names)
            raise ValueError(f"its columns are {names}, or of other types")
        parts = _check_parts(file, may_be_empty)
        if file.metadata.num_rows <= ROWS_IN_MEMORY:
            table = pa.Table.from_batches(parts, schema).combine_chunks()
        else:
            table = _map_parts(parts, schema, path)
        return table.replace_schema_metadata(file.schema_arrow.metadata)


def _check_parts(file: pq.ParquetFile, may_be_empty: Container[str]) -> Iterator[pa.RecordBatch]:
    """Yield a table by parts, each checked."""
    for part in file.iter_batches(ROWS_IN_MEMORY):
        for name, column in zip(part.schema.names, part.columns, strict=True):
            if column.null_count and name not in may_be_empty:
                raise ValueError("it has empty cells")
        part.validate(full=True)
        yield part


def _map_parts(parts: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> pa.Table:
    """Return a table that is mapped from a nameless file, beside `path` where that can be."""
    # Arrow takes no name that is not UTF-8.
    named = escape_text(str(path.parent)) == str(path.parent)
    beside = path.parent if named and os.access(path.parent, os.W_OK) else None
    with NamedTemporaryFile(dir=beside, prefix=".table.", suffix=".tmp") as scratch:
        with pa.ipc.new_file(scratch, schema) as sink:
            for part in parts:
                sink.write(part)
        scratch.flush()
        pa.default_memory_pool().release_unused()
        return pa.ipc.open_file(pa.memory_map(scratch.name)).read_all()


def open_arrays(path: Path, shapes: Shapes, *, mode: str = "r") -> dict[str, zarr.Array[Any]]:
    """Open arrays of a Zarr group, after checking type and shape of each.

    Raises
    ------
    ValueError, OSError, KeyError, ...
        Whatever Zarr says of a damaged group: see `explain_damage`.
    """
    group = zarr.open_group(path, mode="r+" if mode == "r+" else "r", zarr_format=3)
    return {name: _open_array(group, name, *asked) for name, asked in shapes.items()}


def _open_array(group: zarr.Group, name: str, shape: tuple[int, ...], kind: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{name} is no array")
    fits = len(array.shape) == len(shape) and all(
        wanted in (found, ANY) for found, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype not in map(np.dtype, kind.split("|")):
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, not {kind} of {shape}")
    return array


def read_array(array: zarr.Array[Any]) -> npt.NDArray[Any]:
    """Return the whole of an array, unless it does not fit the memory: few bytes may claim much.

    Raises
    ------
    ValueError
        When it is larger than the memory of this machine.
    """
    memory = psutil.virtual_memory().total
    if array.nbytes > memory:
        raise ValueError(f"{array.name} takes {array.nbytes} bytes; this machine has {memory}")
    return np.asarray(array[...])
