"""Read an untrusted layout file.

in: a GDSII or OASIS file, plain or gzip, detected from its magic bytes
out: a memory-mapped `PackedLayout`, or the facts of ``hotscan info``
unit: the file
promise: within limits of time and memory it gives geometry and a warning for each repaired fault,
or an error that names the file and the fault; a directory of packed arrays appears complete or not
at all

A GDSII stream is checked by `stages.layout.gdsii.stream_check` while it is unpacked; OASIS is
checked while it is read. Both is done in a child process, with bounded time and memory.
"""

from __future__ import annotations

import glob
import hashlib
import json
import pickle
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import load_config
from pipeline.engine.storage.checksums import sync
from pipeline.layout.reader_process import (
    BOXES_FILE,
    INFO_FILE,
    LAYOUT_FILE,
    Limits,
    announce_bytes,
    ask_reader,
    await_reader,
    copy_layers,
    is_packed_file,
    is_short,
    open_packed,
    read_notes,
    read_source_digest,
    start_reader,
)
from pipeline.layout.unpack import (
    GZIP_MAGIC,
    FileRefused,
    is_gdsii,
    require_magic,
    unpack,
)
from stages.contracts import Int64s, Layer, PackedLayout
from stages.errors import ConfigError, HotscanError, LayoutError
from stages.layout.limits import advise_raising
from stages.layout.oasis.grammar import MAGIC as OASIS_MAGIC

if TYPE_CHECKING:
    from stages.layout.info import LayoutInfo

__all__ = [
    "Limits",
    "compute_sha256",
    "create_scratch",
    "load_limits",
    "open_packed",
    "pack_into",
    "read_boxes",
    "read_info",
    "read_layout",
    "require_layout",
    "select_packed",
]  # fmt: skip

DEFAULT_LIMITS = Limits()
_NAME_CHARACTERS = 40  # at most four bytes each; names may have 255 bytes
_CHECKED_BYTES = 1 << 24  # unpacked between two checks
_PEEKED_BYTES = 1 << 16  # more than the longest header of a gzip whose name is a file's


def load_limits(reader: Mapping[str, float | None]) -> Limits:
    """Return the limits of a table ``[reader]``; a None stands for "not given".

    Raises
    ------
    ConfigError
        When one is unknown, or not over 0.
    """
    return Limits.of(load_config(None, {"reader": reader}).reader)


def read_layout(
    path: Path,
    layers: Sequence[Layer],
    cell: str | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    strict: bool = False,
) -> PackedLayout:
    """Read a layout without keeping files; arguments and errors as `pack_into`."""
    with tempfile.TemporaryDirectory() as folder:
        # The arrays stay mapped after their files are unlinked.
        return pack_into(path, Path(folder, "l"), layers, cell, limits=limits, strict=strict)


def pack_into(
    path: Path,
    directory: Path,
    layers: Sequence[Layer],
    cell: str | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    strict: bool = False,
) -> PackedLayout:
    """Read a layout and pack it into arrays in a directory.

    Parameters
    ----------
    path
        GDSII or OASIS, plain or gzip.
    directory
        Created when all its contents are on disk; a packed layout already there is replaced.
    layers
        In the order of the picture's channels.
    cell
        The top cell; None for the only one.
    strict
        Treat a warning as an error.

    Raises
    ------
    LayoutError
        The file cannot be read, is refused, or exceeds a limit.
    ConfigError
        It has no such layer or cell, or `directory` holds something else.
    """
    if directory.exists() and not all(is_packed_file(entry) for entry in directory.iterdir()):
        raise ConfigError(f"{directory} exists and is no packed layout; choose another directory")
    request = {"layers": [str(layer) for layer in layers], "cell": cell}
    with create_scratch(directory) as scratch:
        out, notes = _read(path, scratch, request, limits)
        _complete_record(out / LAYOUT_FILE, path, notes)
        packed = open_packed(out)
        _check_extent(path, packed, limits)
        _refuse_if_strict(path, packed.warnings, strict)
        _put_in_place(out, directory, scratch)
    return open_packed(directory)


def select_packed(packed: Path, directory: Path, layers: Sequence[Layer]) -> PackedLayout:
    """Write some layers of a packed layout into a directory, as `pack_into` would have.

    The arrays are the same files under another name, where the disk allows that.
    """
    with create_scratch(directory) as scratch:
        out = scratch / "out"
        out.mkdir()
        copy_layers(packed, out, layers)
        _put_in_place(out, directory, scratch)
    return open_packed(directory)


def _put_in_place(out: Path, directory: Path, scratch: Path) -> None:
    """Bring a packed layout to disk, and let it take the place of one that is there."""
    sync(*out.iterdir(), out)
    if directory.exists():
        directory.rename(scratch / "replaced")
    out.rename(directory)
    sync(directory.parent)


def _complete_record(file: Path, source: Path, notes: Sequence[str]) -> None:
    """Add the warnings of the check, and the name and digest of the source."""
    record = json.loads(file.read_text())
    record["warnings"] = list(dict.fromkeys((*record["warnings"], *notes)))
    record |= {"source": source.name, "sha256": compute_sha256(source)}
    file.write_text(json.dumps(record, indent=1) + "\n")


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
        out, notes = _read(path, Path(folder), {}, limits)
        info: LayoutInfo = pickle.loads((out / INFO_FILE).read_bytes())
    warnings = (*notes, *info.warnings)
    _refuse_if_strict(path, warnings, strict)
    return info, warnings


def read_boxes(
    path: Path, layers: Sequence[Layer], cell: str | None = None, *, limits: Limits = DEFAULT_LIMITS
) -> list[Int64s]:
    """Return the box of each shape of each layer, (n, 4) in dbu: for markers, not for metal.

    Arguments and errors as `pack_into`.
    """
    request = {"layers": [str(layer) for layer in layers], "cell": cell, "boxes": True}
    with tempfile.TemporaryDirectory() as folder:
        out, _ = _read(path, Path(folder), request, limits)
        with np.load(out / BOXES_FILE) as boxes:
            return [boxes[f"arr_{number}"] for number in range(len(layers))]


def require_source(directory: Path, path: Path, sha256: str) -> None:
    """Refuse a packed layout whose file has another digest than `sha256`.

    Raises
    ------
    LayoutError
        The file changed while it was read.
    """
    packed = read_source_digest(directory)
    if packed != sha256:
        raise LayoutError(
            f"{path} changed while it was read: its digest was {sha256}, then {packed}; run the "
            "command again once the file is complete"
        )


def require_layout(path: Path) -> None:
    """Refuse a path that is not a file which can be read more than once.

    Raises
    ------
    LayoutError
        The message names the path.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise LayoutError(
            f"layout {path}: {error.strerror or error}; give a GDSII or OASIS file"
        ) from error
    if stat.S_ISDIR(mode):
        raise LayoutError(f"layout {path} is a directory; give a GDSII or OASIS file in it")
    if not stat.S_ISREG(mode):
        raise LayoutError(
            f"layout {path} is a pipe or device, and a layout is read more than once; "
            "save it to a file and give that"
        )


def compute_sha256(path: Path) -> str:
    """Return the digest of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def create_scratch(directory: Path) -> Iterator[Path]:
    """Yield a temporary folder on the same disk as `directory`; removes those left by kills."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{directory.name[:_NAME_CHARACTERS]}."
    for left_by_a_kill in directory.parent.glob(f"{glob.escape(prefix)}*.part"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        dir=directory.parent, prefix=prefix, suffix=".part"
    ) as scratch:
        yield Path(scratch)


def _read(
    path: Path, scratch: Path, request: dict[str, Any], limits: Limits
) -> tuple[Path, tuple[str, ...]]:
    """Check and read the file in a child; return the folder of its output, and the warnings."""
    require_layout(path)
    packs = "layers" in request and "boxes" not in request
    preload = ("oasis" if _is_oasis(path) else "gdsii") * (packs and not is_short(path))
    out, unpacked = scratch / "out", ""
    notes: tuple[str, ...] = ()
    with start_reader(scratch / "reader.log", preload) as reader:
        try:
            file = path.resolve()  # the reader process has another /dev/stdin
            head = _read_head(file)
            if head.startswith(GZIP_MAGIC):
                # names in `scratch` are never too long
                file, unpacked = scratch / "unpacked", " (unpacked)"
            else:
                require_magic(head)
            ask_reader(reader, file, out, request, limits)
            if unpacked:
                notes = _unpack(path, file, limits, partial(announce_bytes, reader, out, limits))
            await_reader(reader, out, limits)
        except FileRefused as error:
            raise LayoutError(f"{path}{unpacked}: {error}; export or fetch it again") from None
        except HotscanError as error:
            notes += read_notes(out)
            also = f" (the file has faults: {'; '.join(notes)})" if notes else ""
            raise type(error)(f"{path}: {error}{also}") from None
        except OSError as error:
            raise LayoutError(f"{path}: {error.strerror or error}") from error
    return out, (*notes, *read_notes(out))


def _is_oasis(path: Path) -> bool:
    """Return whether a file begins as OASIS, unpacked if it is a gzip."""
    try:
        with path.open("rb") as file:
            head = file.read(_PEEKED_BYTES)
        if head.startswith(GZIP_MAGIC):
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, len(OASIS_MAGIC))
    except (OSError, zlib.error):
        return False  # reading it will say what is wrong
    return head.startswith(OASIS_MAGIC)


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(OASIS_MAGIC))


def _unpack(
    path: Path, target: Path, limits: Limits, announce: Callable[[int], bool]
) -> tuple[str, ...]:
    """Unpack a file, and announce what is there of a GDSII stream meanwhile; return warnings."""
    announced, is_over = 0, False

    def check_written(written: int) -> bool:
        nonlocal announced, is_over
        if written - announced >= _CHECKED_BYTES and is_gdsii(target):
            announced, is_over = written, announce(written)
        return is_over

    return unpack(path, target, limits.unpacked_bytes, check_written)


def _check_extent(path: Path, packed: PackedLayout, limits: Limits) -> None:
    sides = [max(box.width, box.height) for layer in packed.packed if (box := layer.box)]
    side_mm = max(sides, default=0) * packed.dbu_nm * 1e-6
    if side_mm > limits.extent_mm:
        raise LayoutError(
            f"{path}: cell {packed.top!r} is {side_mm:g} mm long; the limit is "
            f"{limits.extent_mm:g} mm: a coordinate or an array is damaged, or the limit is too "
            f"low: {advise_raising('extent_mm')}"
        )


def _refuse_if_strict(path: Path, warnings: Sequence[str], strict: bool) -> None:
    if strict and warnings:
        raise LayoutError(f"{path}: a warning is an error under --strict: {'; '.join(warnings)}")
