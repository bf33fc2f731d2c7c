"""The child process that checks and reads a layout, so that a crash does not end the scan.

in: an uncompressed file, perhaps still growing · out: the packed arrays, or the facts of
``hotscan info``, in a folder · unit: the file
promise: it ends within its limits; any failure becomes an error with a message; nothing is read
before it is checked
"""

from __future__ import annotations

import json
import math
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from pipeline.layout.unpack import FileRefused, is_gdsii
from stages import errors
from stages.compiled import interpreting
from stages.contracts import Layer, PackedLayer, PackedLayout
from stages.errors import HotscanError, LayoutError
from stages.layout.gdsii.stream_check import StreamCheck
from stages.layout.gdsii.summary import ShapeSummary
from stages.layout.limits import ReadLimits, advise_raising
from stages.layout.pack_check import check_packed
from stages.text import escape_text

if TYPE_CHECKING:  # it would cost the child its start
    from pipeline.config import ReaderConfig
    from stages.layout.gdsii.index import StreamIndex

BOXES_FILE = "boxes.npz"
INFO_FILE = "info.pickle"
LAYOUT_FILE = "layout.json"
SHORT_BYTES = 1 << 15
"""A GDSII file up to this size is read without compiled kernels, before these would be loaded."""
PIECE_BYTES = 1 << 28
"""Of a file that is checked at a time."""
_ERROR_FILE = "error.json"
# Beside the folder of the output, which stays:
_NOTES_FILE = "notes.json"  # there once the check has passed
_END_FILE = "end"  # there once the end of a layout that still grows has been seen
_CHILD = [sys.executable, "-P", "-m", "pipeline.layout.reader_process"]
_ARRAYS = tuple(field.name for field in fields(PackedLayer))


@dataclass(frozen=True, slots=True)
class Limits(ReadLimits):
    """Limits on reading one layout."""

    memory_bytes: int = 8 << 30
    """Limit on the reader's memory; rectangles take about four times the size of their file."""
    seconds: float = 1800.0
    """Limit on the reader's run time."""

    @classmethod
    def of(cls, reader: ReaderConfig) -> Limits:
        """Return the limits of a table ``[reader]``."""
        return cls(
            memory_bytes=round(reader.memory_gb * 1e9), seconds=reader.seconds,
            unpacked_bytes=round(reader.unpacked_gb * 1e9), extent_mm=reader.extent_mm,
            shapes_per_um2=reader.shapes_per_um2,
        )  # fmt: skip


def is_short(file: Path) -> bool:
    """Return whether a file, if it is GDSII, is read without compiled kernels."""
    return file.stat().st_size <= SHORT_BYTES


@contextmanager
def start_reader(log: Path, preload: str) -> Iterator[Reader]:
    """Start the child, which does its imports and waits; it is killed on exit.

    Parameters
    ----------
    log
        File for its output.
    preload
        The kernels that it should load while it waits: those for packing ``gdsii`` or ``oasis``,
        or none (empty).
    """
    root = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_CHILD, preload],
            env=os.environ | {"PYTHONPATH": python_path},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    try:
        yield Reader(process, log)
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True, slots=True)
class Reader:
    """A child process that waits for a request."""

    process: subprocess.Popen[bytes]
    log: Path

    def tell(self, line: str) -> None:
        """Send a line; if the child has ended, its exit code will tell more."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()


def ask_reader(
    reader: Reader, file: Path, out: Path, request: dict[str, Any], limits: Limits
) -> None:
    """Make the child check and read `file`, of which nothing may be there yet.

    Parameters
    ----------
    reader
        Used only once.
    out
        A new folder for what it finds.
    request
        ``layers`` and ``cell`` to pack a layout, with ``boxes`` for the boxes of its shapes only;
        otherwise describe it.
    """
    out.mkdir()
    asked = {field.name: getattr(limits, field.name) for field in fields(ReadLimits)}
    reader.tell(json.dumps({**request, "file": str(file), "out": str(out), "limits": asked}))


def announce_bytes(reader: Reader, out: Path, limits: Limits, written: int) -> bool:
    """Let the child check what is there of a GDSII file; return whether it has seen its end.

    Errors as `await_reader`.
    """
    reader.tell(str(written))
    if reader.process.poll() is not None:
        await_reader(reader, out, limits)
    return (out.parent / _END_FILE).exists()


def await_reader(reader: Reader, out: Path, limits: Limits) -> None:
    """Tell the child that the file is complete, and wait for it.

    Raises
    ------
    FileRefused
        The file did not pass the check.
    LayoutError
        The reader was killed, by a signal or for a limit, or refused the file.
    ConfigError
        There is no such layer or cell.
    """
    assert reader.process.stdin is not None
    with suppress(BrokenPipeError):
        reader.process.stdin.close()
    code = _watch(reader.process, limits)
    complaints = reader.log.read_text(errors="replace")
    if code < 0:
        raise LayoutError(
            f"the reader died of {signal.Signals(-code).name}: the file is malformed in a way that "
            "was not foreseen, or the machine is out of memory"
        )
    if (out / _ERROR_FILE).exists():
        kind, text = json.loads((out / _ERROR_FILE).read_text())
        raise (FileRefused if kind == FileRefused.__name__ else getattr(errors, kind))(text)
    if code:
        said = complaints[-2000:].strip() or f"it could not say why; is the disk of {out} full?"
        raise HotscanError(f"the reader failed: {said}")


def read_notes(out: Path) -> tuple[str, ...]:
    """Return the warnings of the check, if it has passed."""
    file = out.parent / _NOTES_FILE
    return tuple(json.loads(file.read_text())) if file.exists() else ()


@contextmanager
def _explain_damage(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LayoutError(
            f"{directory} holds no whole packed layout ({error}); remove it and scan again"
        ) from error


def read_source_digest(directory: Path) -> str:
    """Return the digest of the file that the packed layout in `directory` was read from.

    Raises
    ------
    LayoutError
        It is missing or damaged.
    """
    with _explain_damage(directory):
        return str(json.loads((directory / LAYOUT_FILE).read_text())["sha256"])


def open_packed(directory: Path) -> PackedLayout:
    """Open the packed layout in `directory`, memory-mapped, with every index in it checked.

    Raises
    ------
    LayoutError
        A file of it is missing, damaged, or leads a kernel outside of an array.
    """
    with _explain_damage(directory):
        record = json.loads((directory / LAYOUT_FILE).read_text())
        layers = tuple(Layer.parse(text) for text in record["layers"])
        packed = tuple(
            PackedLayer(**{name: _map_array(directory, number, name) for name in _ARRAYS})
            for number in range(len(layers))
        )
        for layer in packed:
            check_packed(layer)
        cells = tuple(tuple(map(escape_text, names)) for names in record["cells"])
        if [len(names) for names in cells] != [len(layer.cell_box) for layer in packed]:
            raise ValueError("it names more or fewer cells than there are")
        if not 0 < record["dbu_nm"] < math.inf:
            raise ValueError(f"dbu_nm is {record['dbu_nm']}")
        return PackedLayout(
            escape_text(record["top"]), float(record["dbu_nm"]), layers, packed,
            tuple(map(escape_text, record["warnings"])),
            tuple(Layer.parse(text) for text in record["file_layers"]),
            cells,
        )  # fmt: skip


def copy_layers(packed: Path, out: Path, layers: Sequence[Layer]) -> None:
    """Link, or copy, the files of some layers of a packed layout into an empty folder."""
    record = json.loads((packed / LAYOUT_FILE).read_text())
    numbers = [record["layers"].index(str(layer)) for layer in layers]
    for number, before in enumerate(numbers):
        for name in _ARRAYS:
            source, target = _locate_array(packed, before, name), _locate_array(out, number, name)
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
    chosen = {key: [record[key][number] for number in numbers] for key in ("layers", "cells")}
    (out / LAYOUT_FILE).write_text(json.dumps({**record, **chosen}, indent=1) + "\n")


def is_packed_file(path: Path) -> bool:
    """Return whether a file is named like one of a packed layout."""
    return path.name == LAYOUT_FILE or path.suffix == ".npy"


def _locate_array(directory: Path, layer: int, name: str) -> Path:
    return directory / f"{layer}.{name}.npy"


def _map_array(directory: Path, layer: int, name: str) -> Any:
    return np.load(_locate_array(directory, layer, name), mmap_mode="r", allow_pickle=False)


def _watch(reader: subprocess.Popen[bytes], limits: Limits) -> int:
    """Wait for the reader and return its exit code; raise if it exceeds a limit."""
    # Polled instead of setrlimit, which would count mapped files and reserved memory.
    process = psutil.Process(reader.pid)
    end = time.monotonic() + limits.seconds
    while True:
        with suppress(subprocess.TimeoutExpired):
            return reader.wait(timeout=0.05)
        if time.monotonic() > end:
            raise LayoutError(
                f"not read within {limits.seconds:g} s, the limit: {advise_raising('seconds')} if "
                "it is meant to take so long"
            )
        with suppress(psutil.Error):
            if process.memory_info().rss > limits.memory_bytes:
                raise LayoutError(
                    f"reading takes over {limits.memory_bytes / 1e9:.3g} GB of memory, the limit: "
                    f"{advise_raising('memory_gb')} if it is meant to be so large"
                )


def _serve(preload: str) -> None:
    # numba imports it, in a fifth of the time until a file is read, for kernels of linear algebra
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]
    # keep file readers out of the parent process
    from stages.layout.builder import load_kernels

    if preload:
        load_kernels(oasis=preload == "oasis")  # while the file is unpacked
    question = sys.stdin.readline()
    if not question:
        return  # the parent refused the file
    request = json.loads(question)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _answer(request, map(int, sys.stdin))
    except HotscanError as error:
        text = json.dumps([type(error).__name__, str(error)])
        Path(request["out"], _ERROR_FILE).write_text(text)


def _answer(request: dict[str, Any], growth: Iterable[int]) -> None:
    """Check a file while it grows, to so many bytes, and do with it what is requested."""
    from stages.layout.assemble import choose_layers
    from stages.layout.builder import describe_layout, pack_layout, read_shape_boxes

    file, out, cell = Path(request["file"]), Path(request["out"]), request.get("cell")
    packs, limits = "layers" in request, ReadLimits(**request["limits"])
    layers = [Layer.parse(text) for text in request.get("layers", ())]
    wanted = choose_layers(layers, cell) if packs else None
    summary = None if packs else ShapeSummary()
    check = StreamCheck(wanted, extent_mm=limits.extent_mm, summary=summary)
    _check_growth(file, out, check, growth)
    gdsii = is_gdsii(file)
    with interpreting(gdsii and is_short(file)):
        found = [_finish_check(file, out, check) if gdsii else None]
        if not packs:
            info = describe_layout(file, limits, found.pop())
            (out / INFO_FILE).write_bytes(pickle.dumps(info))
        elif "boxes" in request:
            boxes = read_shape_boxes(file, layers, cell, limits, found.pop())
            np.savez(out / BOXES_FILE, *boxes)
        else:  # which frees the index, a fifth of the memory that a large file takes
            _save(out, pack_layout(file, layers, cell, limits, found.pop()))


def _check_growth(file: Path, out: Path, check: StreamCheck, growth: Iterable[int]) -> None:
    """Check a GDSII file while it grows, until it is complete or has a fault."""
    for written in growth:
        if not check.is_over:
            check.advance(np.memmap(file, np.uint8, "r", shape=written))
        if check.has_fault:
            break
        if check.is_over:
            (out.parent / _END_FILE).touch()


def _finish_check(file: Path, out: Path, check: StreamCheck) -> StreamIndex:
    """Check the rest of a GDSII file; leave the warnings to the parent.

    It is mapped anew for each piece, so that no more of it counts as memory.
    """
    for end in range(PIECE_BYTES, file.stat().st_size, PIECE_BYTES):
        if not (check.is_over or check.has_fault):
            check.advance(np.memmap(file, np.uint8, "r", shape=end))
    try:
        report = check.report(np.memmap(file, np.uint8, "r"))
    except LayoutError as error:
        raise FileRefused(str(error)) from None
    (out.parent / _NOTES_FILE).write_text(json.dumps(report.warnings))
    return report.index


def _save(directory: Path, layout: PackedLayout) -> None:
    for number, packed in enumerate(layout.packed):
        for name in _ARRAYS:
            np.save(_locate_array(directory, number, name), getattr(packed, name))
    record: dict[str, Any] = {
        "top": layout.top,
        "dbu_nm": layout.dbu_nm,
        "layers": [str(layer) for layer in layout.layers],
        "file_layers": [str(layer) for layer in layout.file_layers],
        "warnings": list(layout.warnings),
        "cells": [list(names) for names in layout.cells],
    }
    (directory / LAYOUT_FILE).write_text(json.dumps(record))


if __name__ == "__main__":
    _serve(sys.argv[1])
    sys.stderr.flush()
    os._exit(0)  # its output is on disk: an orderly exit would take 0.2 s
