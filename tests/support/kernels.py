"""Kernels of an empty cache, compiled by one of the processes of a test run for all of them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

_compile = Dispatcher.compile
_held: set[Path] = set()


def compile_once() -> None:
    """Let a process wait for a kernel that another one compiles, and load it then.

    Processes that begin together need the same kernels; without this each compiles all of them.
    """
    Dispatcher.compile = _compile_or_wait


def _compile_or_wait(self: Any, signature: Any) -> Any:
    folder = self._cache.cache_path
    if folder is None:  # not kept: part of another kernel
        return _compile(self, signature)
    function = self.py_func
    name = f"{function.__qualname__}-{function.__code__.co_firstlineno}.compiling"
    with global_compiler_lock, _hold(Path(folder) / name):  # in this order in every thread
        return _compile(self, signature)


@contextmanager
def _hold(file: Path) -> Iterator[None]:
    """Hold a lock, of which a process has one at a time for each kernel that calls another."""
    if file in _held:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _held.add(file)
        try:
            yield
        finally:
            _held.remove(file)
