"""The run directory: what is where, and how a file in it is written.

A file appears whole or not at all: it is written beside its place, then renamed. A directory that
anybody may have made is entered through `open_run_directory` or `require_own_files`, so that no
name in it leads elsewhere.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine.storage.checksums import sync
from stages.errors import IncompleteError, UsageError
from stages.rows import cut_parts

INNER = "layers"
"""Folder of the runs that a run of several layers holds: each has a ledger of its own."""


@dataclass(frozen=True, slots=True)
class Run:
    """Paths of a run directory."""

    path: Path

    @property
    def ledger(self) -> Path:
        """The only truth of what is finished."""
        return self.path / "ledger.sqlite"

    @property
    def layout(self) -> Path:
        """The packed layout."""
        return self.path / "layout"

    @property
    def patterns(self) -> Path:
        """Zarr group of the distinct pictures."""
        return self.path / "patterns.zarr"

    @property
    def hotspots(self) -> Path:
        """Table of the hotspots."""
        return self.path / "hotspots.parquet"

    @property
    def report(self) -> Path:
        """Folder of what people and other tools read."""
        return self.path / "report"

    def clips(self, tile: str) -> Path:
        """Table of the clips of one tile."""
        return self.path / "clips" / f"{tile}.parquet"

    @property
    def record(self) -> Path:
        """What the run is of, and how far it is."""
        return self.path / "run.json"

    @property
    def record_copy(self) -> Path:
        """The same again: without it, nobody knows what to compute again."""
        return self.path / "run.copy.json"

    @property
    def input(self) -> Path:
        """The layout, where it was given as an object and not as a file."""
        return self.path / "input.gds"

    @property
    def log(self) -> Path:
        """What sessions logged, where that was asked for."""
        return self.path / "hotscan.log"

    def name_of(self, path: Path) -> str:
        """Return the name of a file, relative to the run directory."""
        return path.relative_to(self.path).as_posix()


def open_run_directory(path: Path) -> Run:
    """Return the run directory at `path`, created when absent.

    Raises
    ------
    UsageError
        When it cannot be created or written, or holds something that is no run.
    IncompleteError
        When something in it is a link or a device; see `require_own_files`.
    """
    run = Run(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        is_run = any(map(os.path.lexists, (run.record, run.record_copy)))
        if not is_run and any(_is_foreign(run, entry.name) for entry in path.iterdir()):
            raise UsageError(
                f"{path} is not empty and holds no run; choose another --out, so that nothing is "
                "lost"
            )
        require_own_files(path)
        (path / ".writable").touch()
        (path / ".writable").unlink()
    except OSError as error:
        raise UsageError(
            f"run directory {path} cannot be written ({error.strerror}); choose another --out"
        ) from error
    return run


def require_own_files(directory: Path) -> None:
    """Refuse a directory in which anything is neither a file nor a folder, at any depth.

    What is read, written and removed in it is named from it: a link would lead elsewhere, and a
    pipe or device would not end. The directory itself may be reached through a link.

    Raises
    ------
    IncompleteError
        The message names the first that is found.
    """
    folders: list[Path] = [directory]
    while folders:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                    kind = "symbolic link" if entry.is_symlink() else "pipe, socket or device"
                    raise IncompleteError(
                        f"{entry.path} is a {kind}, which is never followed out of {directory}; "
                        "put the file itself there, or remove it"
                    )


def _is_foreign(run: Run, name: str) -> bool:
    """Say whether a name is none that a run has before its ``run.json``: a stop may come there."""
    return not (
        _is_unfinished(name)
        or name in (run.input.name, run.log.name)
        or name.startswith("ledger.sqlite")
    )


def remove_unfinished(run: Run) -> None:
    """Remove what kills left half written, here or in the stores of Zarr."""
    for path in run.path.rglob("*"):
        if _is_unfinished(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def _is_unfinished(name: str) -> bool:
    return name.endswith(".partial") or (name.startswith(".") and name.endswith(".tmp"))


# A fixed date: the bytes of a layout depend on its content alone.
_OASIS_END_BYTES = 256
_PARTS_OF_GROUP = 4
_STRNAME, _ENDSTR, _ENDLIB = 6, b"\0\x04\x07\0", b"\0\x04\x04\0"
_NO_DATE = datetime(2000, 1, 1)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill, finds the old one or the new one, never half."""
    with _unfinished(path) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Give a name to write to, which takes the place of `path` when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        sync(unfinished)  # else a power cut may leave the new name with no content
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file."""
    # Opened here and below, as Arrow takes no name that is not UTF-8.
    with _unfinished(path) as unfinished, unfinished.open("wb") as content:
        pq.write_table(table, content, compression="zstd")


def format_table(table: pa.Table) -> bytes:
    """Return the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_parts(path: Path, parts: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Write a Parquet file of parts of `PART` rows, of which few are in memory at once."""
    with (
        _unfinished(path) as unfinished,
        unfinished.open("wb") as content,
        pq.ParquetWriter(content, schema, compression="zstd") as sink,
    ):
        for group in cut_parts(parts, _PARTS_OF_GROUP):
            sink.write_table(pa.Table.from_batches(group).combine_chunks())


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Write a text, as `write_whole` does, of which one piece is in memory at once."""
    with _unfinished(path) as unfinished, unfinished.open("w", newline="") as sink:
        sink.writelines(pieces)


def write_array(path: Path, values: npt.NDArray[Any]) -> None:
    """Write a NumPy file."""
    sink = io.BytesIO()
    np.save(sink, values)
    write_whole(path, sink.getvalue())


def write_library(path: Path, library: Any, *, oasis: bool = False) -> None:
    """Write a ``gdstk.Library`` as GDSII, or as OASIS; the file appears whole.

    Raises
    ------
    OSError
        When it was not written to its end: gdstk does not say so, not even of a full disk.
    """
    with _unfinished(path) as unfinished:
        if oasis:
            library.write_oas(str(unfinished))
        else:
            library.write_gds(str(unfinished), timestamp=_NO_DATE)
        if not _ends_well(unfinished, oasis=oasis):
            raise OSError(errno.EIO, "was not written to its end; is the disk full?", str(path))


def write_cell(path: Path, parts: Iterable[Any]) -> None:
    """Write libraries that have parts of one cell as one GDSII file with the whole of it.

    Raises
    ------
    OSError
        As `write_library`.
    """
    with _unfinished(path) as unfinished, unfinished.open("wb") as sink:
        piece = unfinished.with_name(f"{unfinished.name}.part.tmp")
        try:
            for part in parts:
                write_library(piece, part)
                content = piece.read_bytes()
                begin = _find_elements(content) if sink.tell() else 0
                sink.write(content[begin : -len(_ENDSTR + _ENDLIB)])
        finally:
            piece.unlink(missing_ok=True)
        sink.write(_ENDSTR + _ENDLIB)


def _find_elements(content: bytes) -> int:
    """Return where the elements of the first structure of a GDSII file begin."""
    at = 0
    while content[at + 2] != _STRNAME:
        at += int.from_bytes(content[at : at + 2])
    return at + int.from_bytes(content[at : at + 2])


def _ends_well(path: Path, *, oasis: bool) -> bool:
    """Return whether a layout file has its last record."""
    size = path.stat().st_size if path.exists() else 0
    if size == 0 or (oasis and size < _OASIS_END_BYTES):
        return False
    with path.open("rb") as file:
        file.seek(max(0, size - _OASIS_END_BYTES))
        last = file.read()
    return last[0] == 2 if oasis else last.endswith(_ENDLIB)
