"""A process as a TOML file: what differs from the defaults, with comments above."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tomli_w

from stages.lithography.process import Process
from stages.text import escape_text


def format_process(process: Process, comments: Sequence[str]) -> str:
    """Return the text of a process file that reads back as `process`."""
    head = "".join(f"# {escape_text(comment)}\n" for comment in comments)
    return head + "\n" + tomli_w.dumps(_drop_defaults(process))


def _drop_defaults(table: Any) -> Any:
    """Return plain values of a dataclass without those that it has by itself."""
    if isinstance(table, tuple):
        return [_drop_defaults(each) for each in table]
    if not dataclasses.is_dataclass(table):
        return table
    return {
        field.name: _drop_defaults(value)
        for field in dataclasses.fields(table)
        if (value := getattr(table, field.name)) is not None and value != field.default
    }
