"""How the templates of the pages are read and filled in.

in       plain values, some of which are names from files
out      HTML
promise  text is escaped twice: for HTML, and so that it cannot reorder or hide what is shown
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.text import escape_text


def make_environment(filters: dict[str, Callable[..., Any]]) -> Environment:
    """Return the environment of the templates, with further filters."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_make_printable,
    )
    environment.filters |= filters
    return environment


def _make_printable(value: Any) -> Any:
    """Return a value that a template shows; what a macro made is HTML already."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return escape_text(value, keep="\n") if is_text else value
