"""How the templates of the pages are read and filled in, and how their size is kept.

in       plain values, some of which are names from files
out      HTML
promise  text is escaped twice: for HTML, and so that it cannot reorder or hide what is shown; a
         name is cut at `LONGEST` characters, and a list ends where its share of the page does
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2 import __version__ as jinja_version
from markupsafe import Markup

from stages.kernel_folders import digest_of, make_cache_folder
from stages.text import escape_text

LONGEST = 400
"""Characters of one text; file formats allow names of 65,000, and a library any number."""


def make_environment(filters: dict[str, Callable[..., Any]]) -> Environment:
    """Return the environment of the templates, with further filters."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_make_printable,
        bytecode_cache=_keep_compiled(),
    )
    environment.filters |= {"fit": fit_items, "count": lambda value: f"{value:,}"} | filters
    return environment


def _keep_compiled() -> FileSystemBytecodeCache | None:
    """Return where templates are kept once they are compiled, which takes half a second.

    Of these settings: Jinja compares the texts alone.
    """
    name = f"templates/{jinja_version}-{digest_of([Path(__file__).resolve()])}"
    folder = make_cache_folder(name)
    return None if folder is None else FileSystemBytecodeCache(str(folder))


def fit_items(items: Iterable[Any], draw: Callable[[Any], str], most_bytes: int) -> list[str]:
    """Return the first items as a macro draws them, up to a number of bytes together.

    Examples
    --------
    >>> fit_items(["a", "b", "c"], "<i>{}</i>".format, 20)
    ['<i>a</i>', '<i>b</i>']
    """
    drawn: list[str] = []
    for item in items:
        text = draw(item)
        most_bytes -= len(text.encode())
        if most_bytes < 0:
            break
        drawn.append(text)
    return drawn


def _make_printable(value: Any) -> Any:
    """Return a value that a template shows; what a macro made is HTML already."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return escape_text(value if len(value) <= LONGEST else f"{value[:LONGEST]}…", keep="\n")
