"""Import a module when something of it is first used, not where a file imports it.

in       the name of a module
out      a stand-in for it, among the modules that are imported
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Lazy(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(vars(module))
        return getattr(module, name)


def import_lazily(name: str) -> None:
    """Let the imports of a module that follow cost nothing until it is used.

    `importlib.util.LazyLoader` imports it when `inspect` asks every module for its file, as it does
    for pydantic.
    """
    spec = importlib.util.find_spec(name)
    if name not in sys.modules and spec is not None:
        sys.modules[name] = module = _Lazy(name)
        module.__file__, module.__spec__ = spec.origin, spec
