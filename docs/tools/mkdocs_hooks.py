"""Hooks of the site: pages that fill themselves from the decision records and from `hotscan`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
PLACE = "{{ public names }}"
FIRST = ("hotscan.scans", "hotscan.runs")
"""What people look for comes before the rest."""


def on_config(config: Any) -> Any:
    """Append every decision record, and every log of trials, to the last section."""
    docs = Path(config["docs_dir"])
    (records,) = config["nav"][-1].values()
    records += [path.relative_to(docs).as_posix() for path in sorted(docs.glob("decisions/0*.md"))]
    logs = sorted(docs.glob("decisions/log/*.md"))
    records.append({"Logs of trials": [path.relative_to(docs).as_posix() for path in logs]})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the public names, module by module, in the place that is marked for them."""
    if PLACE not in markdown:
        return markdown
    return markdown.replace(PLACE, "\n".join(describe_api()))


def describe_api() -> Iterator[str]:
    """Yield Markdown: a heading for each module behind `hotscan`, its names, their arguments."""
    public = ast.parse((CHECKOUT / "hotscan" / "__init__.py").read_text())
    # What is imported for the type checker is what is public.
    (typed,) = (node for node in public.body if isinstance(node, ast.If))
    names = {
        node.module: [alias.name for alias in node.names]
        for node in typed.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    for module in (*FIRST, *(module for module in names if module not in FIRST)):
        yield from section(module, names[module])
    yield from section("hotscan.settings", [])


def section(module: str, names: list[str]) -> Iterator[str]:
    """Yield the heading of a module, the names, and its classes of keyword arguments."""
    tree = ast.parse((CHECKOUT / f"{module.replace('.', '/')}.py").read_text())
    title = (ast.get_docstring(tree) or module).splitlines()[0]
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    yield f"\n## {title.rstrip('.')}\n"
    for name in [*names, *(name for name in classes if name.endswith("Settings"))]:
        yield f"::: {module}.{name}\n"
