"""Compile kernels with numba, and keep them on disk.

in: a function over numbers and arrays · out: numba's dispatcher of it · unit: the function
promise: compiled for types, never for constants; only what Python calls is optimised, turned to
machine code and kept

Of the time that numba takes by itself, a third goes into optimising every function that a kernel
calls, machine code of it, and a wrapper for Python, before it becomes part of the kernel.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, codegen
from numba.core.registry import CPUDispatcher, cpu_target

from stages.compiled import kernel_folder

_OPTIONS = {"nopython": True, "no_cfunc_wrapper": True}  # C calls none of them


def compile_for_python(function: Callable[..., Any], *, nogil: bool) -> Any:
    """Return a dispatcher that compiles at its first call, or loads what was compiled before."""
    dispatcher = CPUDispatcher(function, targetoptions=_OPTIONS | {"nogil": nogil})
    dispatcher._cache = _Cache(function)
    return dispatcher


def compile_for_kernels(function: Callable[..., Any]) -> Any:
    """Return a dispatcher for calls by other kernels, which become part of these."""
    return _Inner(function, targetoptions=_OPTIONS | {"no_cpython_wrapper": True})


class _Inner(CPUDispatcher):  # type: ignore[misc]
    """A function that is compiled once for each set of types of its arguments.

    numba compiles it again for each constant that another kernel calls it with.
    """

    def get_call_template(self, args: Any, kws: Any) -> Any:
        plain = {name: numba.types.unliteral(kind) for name, kind in kws.items()}
        return super().get_call_template(tuple(map(numba.types.unliteral, args)), plain)


class _Library(codegen.JITCodeLibrary):  # type: ignore[misc]
    """A compiled function with those that it calls: machine code only if it is called itself."""

    _is_called = False

    def get_pointer_to_function(self, name: str) -> int:
        if not self._is_called and self._defines(name):
            self._is_called = True
            if self._finalized:  # so far only to become part of others
                self._optimize_final_module()
                self._finalize_final_module()
        return int(super().get_pointer_to_function(name))

    def _defines(self, name: str) -> bool:
        try:
            return not self._final_module.get_function(name).is_declaration
        except NameError:
            return False

    def _optimize_final_module(self) -> None:
        if self._is_called:
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._is_called or self._is_loaded:
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._finalized = True

    @property
    def _is_loaded(self) -> bool:
        return bool(self._object_caching_enabled and self._compiled_object)


class _Codegen(codegen.JITCPUCodegen):  # type: ignore[misc]
    _library_class = _Library

    def set_env(self, name: str, env: Any) -> None:
        if self._engine.is_symbol_defined(name):
            super().set_env(name, env)


cpu_target.target_context.codegen().__class__ = _Codegen


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
