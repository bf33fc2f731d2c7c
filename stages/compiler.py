"""Compile kernels with numba, and keep them on disk.

in: a function over numbers and arrays · out: numba's dispatcher of it · unit: the function
promise: compiled for types, never for constants; only what Python calls is optimised, turned to
machine code and kept; one process compiles a kernel, and others that need it wait and load it;
what others compile with numba in the same process is as if this module were not there

Of the time that numba takes by itself, a third goes into optimising every function that a kernel
calls, machine code of it, and a wrapper for Python, before it becomes part of the kernel; of the
rest, a fifth into asking for the types of the same operation again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numba
from numba.core import caching, codegen, targetconfig
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.types.functions import BaseFunction

from stages.kernel_folders import kernel_folder

PATIENCE_S = 60.0
"""Longest wait for a process that compiles the same kernel: it may have been stopped."""
POLL_S = 0.01

_OPTIONS = {"nopython": True, "no_cfunc_wrapper": True}  # C calls none of them


def compile_for_python(function: Callable[..., Any], *, nogil: bool, borrows: bool) -> Any:
    """Return a dispatcher that compiles at its first call, or loads what was compiled before.

    One that `borrows` creates and returns no array, and counts no references.
    """
    options = _OPTIONS | {"nogil": nogil, "_nrt": not borrows}
    dispatcher = _Outer(function, targetoptions=options)
    dispatcher._cache = _Cache(function)
    return dispatcher


def compile_for_kernels(function: Callable[..., Any], *, borrows: bool) -> Any:
    """Return a dispatcher for calls by other kernels, which become part of these."""
    options = _OPTIONS | {"no_cpython_wrapper": True, "_nrt": not borrows}
    return _Inner(function, targetoptions=options)


class _Outer(CPUDispatcher):  # type: ignore[misc]
    """A function that Python calls."""

    def compile(self, sig: Any) -> Any:
        with self._cache.hold(), _compiling_quickly():
            return super().compile(sig)


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
    def set_env(self, name: str, env: Any) -> None:
        if self._engine.is_symbol_defined(name):
            super().set_env(name, env)


cpu_target.target_context.codegen().__class__ = _Codegen


def _remember(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """Return what resolves a call of a function of numba's own, and keeps what it found.

    By itself it tries all that an operator is defined for, at each use: strings, sets, dates.
    """

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        flags = targetconfig.ConfigStack.top_or_none()
        call = context, args, tuple(kws.items()), flags and repr(flags._values)
        found = vars(self).setdefault("_found", {})
        if call not in found:
            found[call] = resolve(self, context, args, kws)
        return found[call]

    return get_call_type


@contextmanager
def _compiling_quickly() -> Iterator[None]:
    """Change numba for as long as one of our functions is compiled, and nothing else can be."""
    generator = cpu_target.target_context.codegen()
    with global_compiler_lock:
        resolve = BaseFunction.get_call_type
        BaseFunction.get_call_type = _remember(resolve)  # type: ignore[method-assign]
        generator._library_class = _Library
        try:
            yield
        finally:
            BaseFunction.get_call_type = resolve  # type: ignore[method-assign]
            del generator._library_class  # that of its class


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
        # Two processes that add a signature each would give both files one name.
        if self._is_held:
            with suppress(OSError):
                super()._save_overload(sig, data)

    _is_held = False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let other processes wait with this kernel; where that cannot be, nothing is saved."""
        with ExitStack() as stack:
            file = Path(f"{self._cache_file._index_path}.lock")
            with suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
                self._is_held = _wait_for(stack.enter_context(file.open("w")))
            try:
                yield
            finally:
                self._is_held = False


def _wait_for(lock: IO[str]) -> bool:
    """Lock a file, as long as it is open; return whether no other process held it for too long."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)
