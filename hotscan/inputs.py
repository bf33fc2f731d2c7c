"""Layouts that are no files yet: written once, so that a run may be resumed from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

Layoutlike = Any
"""A path; a `gdstk.Library` or `gdstk.Cell`; anything with ``write_gds(path)`` or ``write(path)``,
as gdsfactory's and KLayout's objects have."""


def layout_file(layout: Layoutlike, written_to: Path) -> Path:
    """Return the file of a layout; what is no path is written as GDSII first.

    Raises
    ------
    TypeError
        When it can be neither read nor written.
    """
    if isinstance(layout, str | os.PathLike):
        return Path(layout)
    write = _writer(layout)
    written_to.parent.mkdir(parents=True, exist_ok=True)
    unfinished = written_to.with_name(f".{written_to.stem}.part.gds")
    write(unfinished)
    unfinished.replace(written_to)
    return written_to


def _writer(layout: Layoutlike) -> Callable[[Path], object]:
    if type(layout).__module__.partition(".")[0] == "gdstk":
        return lambda path: _write_gdstk(layout, path)
    for name in ("write_gds", "write"):
        method = getattr(layout, name, None)
        if callable(method):
            return lambda path: method(str(path))
    raise TypeError(
        f"a {type(layout).__name__} is no layout; give a path, a gdstk Library or Cell, or an "
        "object with write_gds(path) or write(path)"
    )


def _write_gdstk(layout: Any, path: Path) -> None:
    """Write a `gdstk.Library`, or a `gdstk.Cell` (in um) with all that it places."""
    import gdstk

    library = layout
    if isinstance(layout, gdstk.Cell):
        library = gdstk.Library()
        library.add(layout, *layout.dependencies(True))
    # A fixed date: the same layout is the same file, to which an earlier run may be bound.
    library.write_gds(str(path), timestamp=datetime(2000, 1, 1))
