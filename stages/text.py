r"""Text from files and file names, made safe to show.

in: any text · out: the same, with what cannot be printed escaped · unit: a name, or a whole output
promise: no control character, direction mark, line separator or lone surrogate is left, so that a
name cannot move a cursor, reorder what is read, or break XML; plain text stays as it is
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_UNDECODED = re.compile("[\udc80-\udcff]")
"""How Python keeps bytes of a file name that are not UTF-8."""


def escape_text(text: str, keep: str = "") -> str:
    r"""Return text with every character escaped that is not printable.

    Parameters
    ----------
    keep
        Characters to leave as they are, such as the line breaks of an output of several lines.

    Examples
    --------
    >>> print(escape_text("a\x1b[31mb"), escape_text("a\u202eb"), escape_text("caf\udce9"))
    a\x1b[31mb a\u202eb caf\xe9
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    if _UNDECODED.match(character):
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def escape_values(value: Any) -> Any:
    """Return plain values with every text in them escaped; paths become text."""
    if isinstance(value, str | Path):
        return escape_text(str(value))
    if isinstance(value, Mapping):
        return {escape_values(key): escape_values(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(escape_values(each) for each in value)
    return value
