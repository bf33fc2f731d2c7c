"""Stored files, sealed when they are written and checked when they are read.

in       the files that a unit of work wrote, or a folder that stands alone
out      one digest over their names and bytes, which the ledger keeps, or a file of the folder
promise  what is sealed is on disk before its digest is returned; a flipped bit, a missing file and
         a file in another's place all give another digest
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SEAL = "digest.txt"
"""File with the digest of all others in a folder that stands alone."""
_PIECE = 1 << 22
_AT_ONCE = 8
"""Files or folders that are brought to disk side by side."""


def seal(folder: Path, files: Sequence[str]) -> str:
    """Bring files to disk, and return their digest.

    Parameters
    ----------
    folder
        Where the names start, such as the run directory.
    files
        Names relative to `folder`; all must be there.
    """
    # A file is found after a power cut if all folders that lead to it are on disk, too.
    folders = {parent for name in files for parent in Path(name).parents}
    sync(*(folder / name for name in files), *(folder / name for name in sorted(folders)))
    return digest_files(folder, files)


def seal_folder(folder: Path) -> None:
    """Bring all files of a folder, hidden ones aside, to disk, and write their digest there."""
    file = folder / SEAL
    file.unlink(missing_ok=True)
    file.write_text(seal(folder, _list_sealed(folder)) + "\n")
    sync(file, folder)


def is_sealed(folder: Path) -> bool:
    """Return whether the files of a folder are those that `seal_folder` found."""
    try:
        digest = (folder / SEAL).read_text()
    except (OSError, ValueError):
        return False
    return digest.endswith("\n") and is_intact(folder, _list_sealed(folder), digest[:-1])


def _list_sealed(folder: Path) -> list[str]:
    return [name for name in list_files(folder, "") if name != SEAL and not name.startswith(".")]


def digest_files(folder: Path, files: Iterable[str]) -> str:
    """Return the digest of files, 32 hexadecimal digits.

    Raises
    ------
    OSError
        When one cannot be read.
    ValueError
        When a name leads out of the folder.
    """
    whole = hashlib.blake2b(digest_size=16)
    for name in files:
        require_inside(folder, name)
        each = hashlib.blake2b(name.encode(), digest_size=32)
        with (folder / name).open("rb") as file:
            while piece := file.read(_PIECE):
                each.update(piece)
        whole.update(each.digest())
    return whole.hexdigest()


def require_inside(folder: Path, name: str) -> None:
    """Refuse a name that leads out of a folder.

    Raises
    ------
    ValueError
        The message names both.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{name!r} is not inside {folder}")


def is_intact(folder: Path, files: Iterable[str], digest: str) -> bool:
    """Return whether files are those that `seal` gave `digest` for."""
    try:
        return digest_files(folder, files) == digest
    except (OSError, ValueError):
        return False


def list_files(folder: Path, *parts: str) -> tuple[str, ...]:
    """Return the names of all files under parts of a folder, in order, relative to the folder."""
    found = []
    for part in parts:
        path = folder / part
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [each.relative_to(folder).as_posix() for each in inside if not each.is_dir()]
    return tuple(found)


def sync(*paths: Path) -> None:
    """Bring files or folders to disk, so that they outlive a power cut.

    Side by side: the disk writes what it is asked for at the same time in one go, and a shard has
    some twenty files and folders.
    """
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for _ in threads.map(_sync_one, paths):
            pass


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
