"""Kernels, and where they are kept: a folder per module and version of all that it imports.

in: a function over numbers and arrays · out: a `Kernel` · unit: the function
promise: no kernel of other code is loaded; the same code compiles once per machine, in whichever
checkout; a changed module compiles its kernels and its importers' again, no others; where the
user's cache cannot be written, the kernels that are in it are loaded, or a temporary folder serves

numba by itself asks only whether the file of a kernel has changed, not the files of the kernels it
calls, and keeps them by the path of the checkout. It is imported when the first kernel is compiled
or loaded: it takes half a second, and small files are read without it.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import Enum
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent
KEPT_VERSIONS = 8
"""Versions of a module whose kernels stay."""
_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+stages\.([\w.]+)", re.MULTILINE)


def user_cache() -> Path:
    """Return where everything is cached: ``HOTSCAN_CACHE``, else the user's cache.

    Compiled code is loaded from it: it must be writable only by who may run code as the user.
    """
    asked = os.environ.get("HOTSCAN_CACHE")
    if asked:
        return Path(asked)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hotscan"


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
    name = f"{module}-{digest_of(sources_of(file))}"
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


class Kernel:
    """A function that numba compiles at its first call, or loads as it was compiled before.

    Kernels that it calls become part of it.
    """

    def __init__(
        self, function: Callable[..., Any], *, nogil: bool = False, is_brief: bool = False
    ) -> None:
        update_wrapper(self, function)
        self.py_func, self._nogil, self._is_brief = function, nogil, is_brief

    def __call__(self, *arguments: Any) -> Any:
        """Call the compiled function, or inside of `interpreting` the one that it is made of."""
        interpreted = _interpreted.get()
        if interpreted == Interpreted.ALL:
            return self.py_func(*arguments)
        if interpreted == Interpreted.BRIEF and self._is_brief:
            with interpreting(True):  # what it calls, too
                return self.py_func(*arguments)
        return self.dispatcher(*arguments)

    def __reduce__(self) -> str:
        return self.py_func.__qualname__  # the one of that name in its module

    @cached_property
    def dispatcher(self) -> Any:
        """The function as Python calls it."""
        from stages.compiler import compile_for_python

        return compile_for_python(self.py_func, nogil=self._nogil)

    @cached_property
    def _part(self) -> Any:
        """The function as other kernels call it."""
        from stages.compiler import compile_for_kernels

        return compile_for_kernels(self.py_func)

    @property
    def _numba_type_(self) -> Any:  # numba asks what a kernel calls by this name
        return self._part._numba_type_


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function with numba at its first call, or load it as compiled before."""
    return Kernel(function)


def gil_free_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function as `kernel` does; while it runs, other threads may."""
    return Kernel(function, nogil=True)


def brief_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function as `kernel` does; inside of `interpreting_brief` it is plain Python.

    For what is called by the part of a layout, or by the hotspot, not by the clip or the pixel.
    """
    return Kernel(function, is_brief=True)


class Interpreted(Enum):
    """The kernels that run as plain Python."""

    NONE = 0
    BRIEF = 1
    ALL = 2


_interpreted = ContextVar("interpreted", default=Interpreted.NONE)
_MOST_ROWS = 10_000


@contextmanager
def interpreting(is_short: bool) -> Iterator[None]:
    """Run kernels as plain Python, if the work is so short that it ends before numba is loaded.

    Only for kernels whose arithmetic is the same in Python: of whole numbers, and of floats without
    sums by numpy and without functions of several arguments.
    """
    with _set(Interpreted.ALL if is_short else Interpreted.NONE):
        yield


@contextmanager
def interpreting_brief(is_small: bool) -> Iterator[None]:
    """Run the kernels of `brief_kernel` as plain Python, if the layout is so small.

    As `interpreting`; all others are compiled.
    """
    with _set(Interpreted.BRIEF if is_small else Interpreted.NONE):
        yield


@contextmanager
def interpreting_up_to(rows: int) -> Iterator[None]:
    """Leave `interpreting` if the arrays have so many rows that this would take seconds."""
    with _set(_interpreted.get() if rows <= _MOST_ROWS else Interpreted.NONE):
        yield


@contextmanager
def _set(interpreted: Interpreted) -> Iterator[None]:
    token = _interpreted.set(interpreted)
    try:
        yield
    finally:
        _interpreted.reset(token)
