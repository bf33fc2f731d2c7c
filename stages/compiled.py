"""Kernels: functions that are compiled at their first call, or loaded as compiled before.

in: a function over numbers and arrays · out: a `Kernel` · unit: the function
promise: what a kernel gives does not depend on whether it is compiled, loaded or interpreted

numba is imported when the first kernel is compiled or loaded: it takes half a second, and small
files are read without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from functools import cached_property, update_wrapper
from typing import Any


class Kernel:
    """A function that numba compiles at its first call, or loads as it was compiled before.

    Kernels that it calls become part of it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        nogil: bool = False,
        is_brief: bool = False,
        borrows: bool = False,
    ) -> None:
        update_wrapper(self, function)
        self.py_func, self._nogil, self._is_brief = function, nogil, is_brief
        self._borrows = borrows

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

        return compile_for_python(self.py_func, nogil=self._nogil, borrows=self._borrows)

    @cached_property
    def _part(self) -> Any:
        """The function as other kernels call it."""
        from stages.compiler import compile_for_kernels

        return compile_for_kernels(self.py_func, borrows=self._borrows)

    @property
    def _numba_type_(self) -> Any:  # numba asks what a kernel calls by this name
        return self._part._numba_type_


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function with numba at its first call, or load it as compiled before."""
    return Kernel(function)


def gil_free_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function as `kernel` does; while it runs, other threads may."""
    return Kernel(function, nogil=True)


def borrowing_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function as `gil_free_kernel` does, of one that creates and returns no array.

    Nothing counts the references to the arrays that it is given: by record, counting takes longer
    than the work.
    """
    return Kernel(function, nogil=True, borrows=True)


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
