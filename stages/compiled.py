"""Compiled kernels, and their cache: a folder per module and version of all that it imports.

in: a function over numbers and arrays · out: the same, compiled · unit: the function
promise: no kernel of other code is loaded; the same code compiles once per machine, in whichever
checkout; a changed module compiles its kernels and its importers' again, no others; where the
user's cache cannot be written, the kernels that are in it are loaded, or a temporary folder serves

numba by itself asks only whether the file of a kernel has changed, not the files of the kernels it
calls, and keeps them by the path of the checkout.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import caching
from numba.core.registry import CPUDispatcher

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


@cache
def _root() -> Path:
    """Return the folder of all kernels that this compiler made, where new ones can be kept."""
    return next(root for root in _roots() if _can_be_written(root))


def _roots() -> Iterator[Path]:
    """Yield where kernels may be kept, the best place first, the last one of this process."""
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


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Tells numba where a kernel is kept."""

    def __init__(self, function: Any, file: Path) -> None:
        self._py_file = str(file)  # numba names it in warnings
        self._folder = kernel_folder(file)
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(py_func, Path(py_file).resolve())

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return ""  # the folder is named by the code

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Place(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """The cache of one kernel; what cannot be read or written is done without."""

    _impl_class = _Place

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super()._load_overload(sig, target_context)
        except Exception:  # whatever a damaged pickle comes to
            with suppress(OSError):
                os.unlink(self._cache_file._index_path)
            return None

    def _save_overload(self, sig: Any, data: Any) -> None:
        # One process at a time: two that add a signature each may give both files one name.
        with suppress(OSError), _lock(Path(self.cache_path)):
            super()._save_overload(sig, data)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function with numba at its first call, or load it as compiled before."""
    return _compile(function, nogil=False)


def gil_free_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function as `kernel` does; while it runs, other threads may."""
    return _compile(function, nogil=True)


class _Kernel(CPUDispatcher):  # type: ignore[misc]
    """A function that is compiled once for each set of types of its arguments.

    numba compiles it again for each constant that another kernel calls it with.
    """

    def get_call_template(self, args: Any, kws: Any) -> Any:
        plain = {name: numba.types.unliteral(kind) for name, kind in kws.items()}
        return super().get_call_template(tuple(map(numba.types.unliteral, args)), plain)


def _compile(function: Callable[..., Any], *, nogil: bool) -> Any:
    options = {"nopython": True, "nogil": nogil, "no_cfunc_wrapper": True}  # C calls none of them
    compiled = _Kernel(function, targetoptions=options)
    if not numba.config.DISABLE_JIT:
        compiled._cache = _Cache(function)
    return compiled
