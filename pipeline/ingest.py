"""Read a layout that nobody vouches for.

in: a GDSII or OASIS file, plain or gzip, told apart by its first bytes
out: a `PackedLayout` that memory-maps, or what ``hotscan info`` tells
unit: the file
promise: it ends, within limits of time and memory, with geometry and a warning for each fault
that was put right, or with an error that names the file and the fault; a directory of packed
arrays appears whole or not at all

gdstk dies on some malformed files, so it runs in a child process, and sees a GDSII stream only
after `stages.geometry.records` has checked it. OASIS has no such check here: its magic, END record
and, where the file carries one, its checksum are verified, and the child process takes the rest.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import psutil

from stages import errors
from stages.contracts import Bytes, Layer, PackedLayer, PackedLayout
from stages.errors import ConfigError, HotscanError, LayoutError
from stages.geometry.records import check_stream, without_cuts

if TYPE_CHECKING:
    from stages.layout import LayoutInfo

GDSII_MAGIC = b"\x00\x06\x00\x02"
OASIS_MAGIC = b"%SEMI-OASIS\r\n"
GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one layout may cost."""

    unpacked_bytes: int = 64 << 30
    """Largest size after decompression."""
    memory_bytes: int = 8 << 30
    """Most memory that the reader may take; rectangles need about four times their file."""
    seconds: float = 1800.0
    """Longest time that the reader may take."""
    extent_mm: float = 100.0
    """Longest side of a shape and of the layout; a reticle field has 33 mm."""


DEFAULT_LIMITS = Limits()


def read_layout(
    path: Path,
    layers: Sequence[Layer],
    cell: str | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    strict: bool = False,
) -> PackedLayout:
    """Read a layout into memory that no file backs; arguments and errors as `pack_into`."""
    with tempfile.TemporaryDirectory() as scratch:
        # The arrays stay mapped after their files are unlinked.
        return pack_into(path, Path(scratch, "l"), layers, cell, limits=limits, strict=strict)


def pack_into(
    path: Path,
    directory: Path,
    layers: Sequence[Layer],
    cell: str | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    strict: bool = False,
) -> PackedLayout:
    """Read a layout and keep it as arrays in a new directory.

    Parameters
    ----------
    path
        GDSII or OASIS, plain or gzip.
    directory
        Must not exist; appears when everything in it is on disk.
    layers
        In the order of the picture's channels.
    cell
        The top cell; None takes the only one.
    strict
        Treat a warning as an error.

    Raises
    ------
    LayoutError
        The file cannot be read, is refused, or is over a limit.
    ConfigError
        It has no such layer or cell, or `directory` exists.
    """
    if directory.exists():
        raise ConfigError(f"{directory} exists; give a directory that does not, or remove it")
    with _scratch_beside(directory) as scratch, _checked(path, scratch, limits) as (file, notes):
        out = scratch / "out"
        request = {"layers": [str(layer) for layer in layers], "cell": cell}
        notes += _run_reader(path, file, out, request, limits, notes)
        record = json.loads((out / "layout.json").read_text())
        record["warnings"] = list(dict.fromkeys((*record["warnings"], *notes)))
        record |= {"source": path.name, "sha256": sha256_of(path)}
        (out / "layout.json").write_text(json.dumps(record, indent=1) + "\n")
        packed = open_packed(out)
        _check_extent(path, packed, limits)
        _refuse_if_strict(path, packed.warnings, strict)
        _sync(out)
        out.rename(directory)
    _sync(directory.parent, files=False)
    return open_packed(directory)


def open_packed(directory: Path) -> PackedLayout:
    """Return the layout that `pack_into` kept in `directory`, memory-mapped.

    Raises
    ------
    LayoutError
        When a file of it is missing or damaged.
    """
    try:
        record = json.loads((directory / "layout.json").read_text())
        layers = tuple(Layer.parse(text) for text in record["layers"])
        packed = tuple(
            PackedLayer(**{name: _open_array(_array_file(directory, n, name)) for name in _ARRAYS})
            for n in range(len(layers))
        )
        return PackedLayout(
            top=record["top"],
            dbu_nm=record["dbu_nm"],
            layers=layers,
            packed=packed,
            warnings=tuple(record["warnings"]),
            file_layers=tuple(Layer.parse(text) for text in record["file_layers"]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise LayoutError(
            f"{directory} holds no whole packed layout ({error}); remove it and scan again"
        ) from error


def read_info(
    path: Path, *, limits: Limits = DEFAULT_LIMITS, strict: bool = False
) -> tuple[LayoutInfo, tuple[str, ...]]:
    """Return cells, tops, layers with counts, extent and dbu of a layout, and the warnings.

    Raises
    ------
    LayoutError
        As `pack_into`.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with _checked(path, scratch, limits) as (file, notes):
            out = scratch / "out"
            notes += _run_reader(path, file, out, {}, limits, notes)
            _refuse_if_strict(path, notes, strict)
            info: LayoutInfo = pickle.loads((out / "info.pickle").read_bytes())
            return info, tuple(notes)


def sha256_of(path: Path) -> str:
    """Return the digest of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_ARRAYS = tuple(field.name for field in fields(PackedLayer))


def _array_file(directory: Path, layer: int, name: str) -> Path:
    return directory / f"{layer}.{name}.npy"


def _open_array(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


@contextmanager
def _scratch_beside(directory: Path) -> Iterator[Path]:
    """Give a folder on the same disk, so that a rename moves what is in it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    for left_by_a_kill in directory.parent.glob(f".{directory.name}.*.part"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        dir=directory.parent, prefix=f".{directory.name}.", suffix=".part"
    ) as scratch:
        yield Path(scratch)


@contextmanager
def _checked(path: Path, scratch: Path, limits: Limits) -> Iterator[tuple[Path, list[str]]]:
    """Give an uncompressed file that a reader may have, and the warnings about it."""
    try:
        with path.open("rb") as opened:
            head = opened.read(len(OASIS_MAGIC))
        file = path
        if head.startswith(GZIP_MAGIC):
            file = _unpack(path, scratch / path.name, limits)
            with file.open("rb") as opened:
                head = opened.read(len(OASIS_MAGIC))
    except OSError as error:
        raise LayoutError(f"{path}: {error.strerror or error}") from error
    shown = str(path) if file is path else f"{path} (unpacked)"
    try:
        if head.startswith(GDSII_MAGIC):
            file, notes = _check_gdsii(file, scratch, limits)
        elif head == OASIS_MAGIC:
            notes = _check_oasis(np.memmap(file, np.uint8, "r"))
        else:
            raise LayoutError(
                f"begins with {head[:8].hex(' ') or 'nothing'}; GDSII begins with "
                f"{GDSII_MAGIC.hex(' ')}, OASIS with {OASIS_MAGIC[:8].hex(' ')}, gzip with "
                f"{GZIP_MAGIC.hex(' ')}"
            )
    except LayoutError as error:
        raise LayoutError(f"{shown}: {error}") from None
    yield file, notes


def _unpack(path: Path, target: Path, limits: Limits) -> Path:
    written = 0
    try:
        with gzip.open(path, "rb") as source, target.open("wb") as sink:
            while chunk := source.read(_CHUNK_BYTES):
                written += len(chunk)
                if written > limits.unpacked_bytes:
                    raise LayoutError(
                        f"{path}: unpacks to more than {limits.unpacked_bytes} bytes; "
                        "raise unpacked_bytes if it is meant to"
                    )
                sink.write(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LayoutError(f"{path}: gzip is damaged after {written} bytes: {error}") from error
    return target


def _check_gdsii(file: Path, scratch: Path, limits: Limits) -> tuple[Path, list[str]]:
    data: Bytes = np.memmap(file, np.uint8, "r")
    report = check_stream(data, extent_mm=limits.extent_mm)
    if len(report.cuts):
        file = scratch / f"cut.{file.name}"
        with file.open("wb") as sink:
            for piece in without_cuts(data, report.cuts):
                piece.tofile(sink)
    return file, list(report.warnings)


def _check_oasis(data: Bytes) -> list[str]:
    """Check the END record: type 2, 256 bytes long, the last of the file (SEMI P39, 14)."""
    if len(data) < len(OASIS_MAGIC) + 256 or data[-256] != 2:
        raise LayoutError("has no END record in its last 256 bytes: it is cut off")
    scheme, signature = int(data[-5]), int.from_bytes(data[-4:].tobytes(), "little")
    if scheme == 1 and zlib.crc32(data[:-4].data) != signature:
        raise LayoutError("its CRC32 is not that of its bytes: it is damaged")
    if scheme == 2 and int(data[:-4].sum(dtype=np.uint64)) % 2**32 != signature:
        raise LayoutError("its CHECKSUM32 is not that of its bytes: it is damaged")
    return []


def _check_extent(path: Path, packed: PackedLayout, limits: Limits) -> None:
    sides = [max(box.width, box.height) for layer in packed.packed if (box := layer.box)]
    side_mm = max(sides, default=0) * packed.dbu_nm * 1e-6
    if side_mm > limits.extent_mm:
        raise LayoutError(
            f"{path}: cell {packed.top!r} is {side_mm:g} mm long; the limit is "
            f"{limits.extent_mm:g} mm: a damaged coordinate or array, or raise extent_mm"
        )


def _refuse_if_strict(path: Path, warnings: Sequence[str], strict: bool) -> None:
    if strict and warnings:
        raise LayoutError(f"{path}: refused, being strict: {'; '.join(warnings)}")


def _sync(directory: Path, *, files: bool = True) -> None:
    for path in [*(directory.iterdir() if files else ()), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _run_reader(
    path: Path, file: Path, out: Path, request: dict[str, Any], limits: Limits, notes: list[str]
) -> list[str]:
    """Run gdstk over `file` in a child process, and return what it complained of."""
    out.mkdir()
    request |= {"file": str(file), "out": str(out)}
    log = out.with_name("stderr")
    with log.open("wb") as stderr:
        code = _watch(_start_reader(request, stderr), limits)
    if isinstance(code, str):
        raise LayoutError(f"{path}: {code}{_also(notes)}")
    if code < 0:
        raise LayoutError(
            f"{path}: the reader died of {signal.Signals(-code).name}: the file is malformed in "
            f"a way that was not foreseen, or the machine is out of memory{_also(notes)}"
        )
    complaints = log.read_text(errors="replace")
    if (out / "error.json").exists():
        kind, text = json.loads((out / "error.json").read_text())
        raise getattr(errors, kind)(f"{path}: {text}{_also(notes)}")
    if code:
        raise HotscanError(f"{path}: the reader failed:\n{complaints[-2000:]}")
    lines = (line for line in complaints.splitlines() if line.startswith("[GDSTK]"))
    # The stream check has named the structures that are missing.
    return [
        line.replace("[GDSTK]", "gdstk:")
        for line in dict.fromkeys(lines)
        if not (notes and "Missing referenced" in line)
    ]


def _start_reader(request: dict[str, Any], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parent.parent)
    python_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline.ingest", json.dumps(request)],
        env=os.environ | {"PYTHONPATH": python_path},
        stdin=subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
    )


def _watch(reader: subprocess.Popen[bytes], limits: Limits) -> int | str:
    """Wait for the reader; return its exit code, or which limit it was killed for."""
    # Watched, not set by setrlimit: gdstk does not look at what malloc returns, and spins or dies.
    process = psutil.Process(reader.pid)
    end = time.monotonic() + limits.seconds
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return reader.wait(timeout=0.05)
            if time.monotonic() > end:
                return f"not read within {limits.seconds:g} s (seconds); raise it if so large"
            with suppress(psutil.Error):
                if process.memory_info().rss > limits.memory_bytes:
                    return f"takes over {limits.memory_bytes} bytes to read (memory_bytes)"
    finally:
        reader.kill()
        reader.wait()


def _also(notes: Sequence[str]) -> str:
    return f" (the file has faults: {'; '.join(notes)})" if notes else ""


def _serve(request: dict[str, Any]) -> None:
    """Do what the parent asked: in the child process, where gdstk may die."""
    out = Path(request["out"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from stages.layout import describe_layout, pack_layout

    try:
        if "layers" in request:
            layers = [Layer.parse(text) for text in request["layers"]]
            _save(out, pack_layout(Path(request["file"]), layers, request["cell"]))
        else:
            info = describe_layout(Path(request["file"]))
            (out / "info.pickle").write_bytes(pickle.dumps(info))
    except HotscanError as error:
        (out / "error.json").write_text(json.dumps([type(error).__name__, str(error)]))


def _save(directory: Path, layout: PackedLayout) -> None:
    for number, packed in enumerate(layout.packed):
        for name in _ARRAYS:
            np.save(_array_file(directory, number, name), getattr(packed, name))
    record = {
        "top": layout.top,
        "dbu_nm": layout.dbu_nm,
        "layers": [str(layer) for layer in layout.layers],
        "warnings": list(layout.warnings),
        "file_layers": [str(layer) for layer in layout.file_layers],
    }
    (directory / "layout.json").write_text(json.dumps(record))


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
