"""Where kernels are kept: a folder per module and version of all that it imports.

in: the file of a module · out: a folder · unit: the module
promise: no kernel of other code is found there; the same code has one folder per machine, in
whichever checkout; a changed module has another, and so have its importers, no others; where the
user's cache cannot be written, the kernels that are in it are found, or a temporary folder serves

numba by itself asks only whether the file of a kernel has changed, not the files of the kernels it
calls, and keeps them by the path of the checkout.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
KEPT_VERSIONS = 8
"""Versions of a module whose kernels stay."""
WITHOUT_EFFECT = frozenset({SOURCES / "compiled.py", SOURCES / "kernel_folders.py"})
"""Modules that those of all kernels import, and whose code is in none: they call and keep them."""
_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+stages\.([\w.]+)", re.MULTILINE)


def user_cache() -> Path:
    """Return where everything is cached: ``HOTSCAN_CACHE``, else the user's cache.

    Compiled code is loaded from it: it must be writable only by who may run code as the user.
    """
    asked = os.environ.get("HOTSCAN_CACHE")
    if asked:
        return Path(asked)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hotscan"


def make_cache_folder(name: str) -> Path | None:
    """Return a folder of the user's cache; None where it cannot be written."""
    folder = user_cache() / name
    return folder if _can_be_written(folder) else None


def digest_of(sources: Iterable[Path]) -> str:
    """Return a digest over the names and contents of `sources`."""
    digest = hashlib.blake2b(digest_size=10)
    for path in sorted(sources):
        content = path.read_bytes()
        name = path.relative_to(SOURCES).as_posix()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@cache
def sources_of(file: Path) -> frozenset[Path]:
    """Return the modules of `stages` that `file` imports, those that they import, and itself.

    Of ``from stages.layout import name`` the whole folder is taken: `name` may be a module.
    """
    found, unread = {file}, [file]
    while unread:
        for name in _IMPORT.findall(unread.pop().read_bytes()):
            path = SOURCES.joinpath(*name.decode().split("."))
            module = path.with_suffix(".py")
            new = set(path.rglob("*.py") if path.is_dir() else [module]) - found
            found |= new
            unread += new
    return frozenset(found)


@cache
def kernel_folder(file: Path) -> Path:
    """Return the folder of the kernels of the module `file`, as its code is now."""
    module = file.relative_to(SOURCES).with_suffix("").as_posix().replace("/", ".")
    name = f"{module}-{digest_of(sources_of(file) - WITHOUT_EFFECT)}"
    folder = next(_roots()) / name  # perhaps filled by `hotscan warm`, and read-only since
    if not folder.is_dir():
        folder = _root() / name
    with suppress(OSError):  # another process removes it, or makes it
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        _prune(folder.parent.glob(f"{module}-*"))
    return folder


def has_kernels(file: Path) -> bool:
    """Return whether kernels of the module `file`, as its code is now, are kept."""
    return any(kernel_folder(file).glob("*.nbc"))


@cache
def _root() -> Path:
    """Return the folder of all kernels that this compiler made, where new ones can be kept."""
    return next(root for root in _roots() if _can_be_written(root))


def _roots() -> Iterator[Path]:
    """Yield where kernels may be kept, the best place first, the last one of this process."""
    import llvmlite
    import numba

    compiler = f"{numba.__version__}-{llvmlite.__version__}-{platform.python_version()}"
    asked = numba.config.CACHE_DIR
    yield (Path(asked) / "hotscan" if asked else user_cache() / "numba") / compiler
    yield _own_temporary_folder() / compiler
    scratch = tempfile.mkdtemp(prefix="hotscan-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    yield Path(scratch) / compiler


def _own_temporary_folder() -> Path:
    """Return this user's folder among the temporary ones, or one that cannot be written.

    Its name can be guessed: code is loaded only from a folder that nobody else could have made.
    """
    folder = Path(tempfile.gettempdir()) / f"hotscan-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o22:
            return folder
    except OSError:
        pass
    return Path(os.devnull)


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _prune(versions: Iterable[Path]) -> None:
    """Remove those of the folders `versions` that were not used for longest."""
    by_use = sorted(versions, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_use[KEPT_VERSIONS:]:
        shutil.rmtree(path, ignore_errors=True)
