"""The run directory: what is where, and how a file in it is written.

A file appears whole or not at all: it is written beside its place, then renamed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import UsageError


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

    def read_about(self) -> dict[str, Any]:
        """Return ``run.json``.

        Raises
        ------
        UsageError
            When the directory holds no run, or its ``run.json`` cannot be read.
        """
        try:
            about: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"{self.path} holds no run (no run.json); give the --out of a scan"
            ) from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path}/run.json cannot be read: {error}") from error
        return about

    def write_about(self, about: Mapping[str, Any]) -> None:
        """Write ``run.json``."""
        write_whole(self.path / "run.json", json.dumps(about, indent=1).encode() + b"\n")


def open_run_directory(path: Path) -> Run:
    """Return the run directory at `path`, made when absent.

    Raises
    ------
    UsageError
        When it cannot be made or written, or holds something that is no run.
    """
    run = Run(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        foreign = any(path.iterdir()) and not (path / "run.json").exists()
        (path / ".writable").touch()
        (path / ".writable").unlink()
    except OSError as error:
        raise UsageError(
            f"run directory {path} cannot be written ({error.strerror}); choose another --out"
        ) from error
    if foreign:
        raise UsageError(
            f"{path} is not empty and holds no run; choose another --out, so that nothing is lost"
        )
    return run


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill, finds the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def write_table(path: Path, table: pa.Table) -> str:
    """Write a Parquet file and return the digest of its bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    write_whole(path, content)
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def write_array(path: Path, values: npt.NDArray[Any]) -> str:
    """Write a NumPy file and return the digest of its bytes."""
    sink = io.BytesIO()
    np.save(sink, values)
    write_whole(path, sink.getvalue())
    return hashlib.blake2b(sink.getvalue(), digest_size=16).hexdigest()
