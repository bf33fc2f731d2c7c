"""Run docs/notebooks/light.py and write it as a notebook, and as a page of the site.

Run as ``python -m docs.tools.make_notebook`` from the checkout. The script is the source: cells
begin with ``# %%``, those of text with ``# %% [markdown]``. A test runs it and compares.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
SCRIPT = CHECKOUT / "docs" / "notebooks" / "light.py"
NOTE = "[Open it as a notebook]({}.ipynb). Made by `docs/tools/make_notebook.py` from `{}.py`.\n"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a notebook."""

    code: bool
    source: str


def read_cells(script: Path) -> Iterator[Cell]:
    """Yield the cells of a script."""
    for block in script.read_text().split("# %%")[1:]:
        head, _, body = block.partition("\n")
        if "[markdown]" in head:
            lines = (line.removeprefix("#").removeprefix(" ") for line in body.strip().split("\n"))
            yield Cell(False, "\n".join(lines))
        else:
            yield Cell(True, body.strip())


def run_cells(cells: Sequence[Cell], folder: Path) -> Iterator[Any]:
    """Run the code in a folder; yield the value that the last line of each cell has."""
    folder.joinpath("sample_layouts").symlink_to(CHECKOUT / "sample_layouts")
    names: dict[str, Any] = {}
    with chdir(folder):
        for cell in cells:
            if not cell.code:
                yield None
                continue
            tree = ast.parse(cell.source)
            last = tree.body.pop()
            assert isinstance(last, ast.Expr), "a cell ends with what it shows"
            exec(compile(tree, SCRIPT.name, "exec"), names)
            yield eval(compile(ast.Expression(last.value), SCRIPT.name, "eval"), names)


def show(value: Any) -> dict[str, str]:
    """Return a value as the outputs of notebooks have it: as a picture if it is one, or text."""
    if hasattr(value, "_repr_png_"):
        return {"image/png": base64.b64encode(value._repr_png_()).decode()}
    return {"text/plain": repr(value)}


def make_notebook(cells: Sequence[Cell], outputs: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return the notebook, of format 4.5, as JSON values."""

    def make_cell(number: int, cell: Cell, output: dict[str, str]) -> dict[str, Any]:
        common = {"id": f"cell-{number}", "metadata": {}, "source": cell.source}
        if not cell.code:
            return {"cell_type": "markdown", **common}
        shown = {"output_type": "execute_result", "execution_count": number, "metadata": {}}
        return {"cell_type": "code", **common, "execution_count": number,
                "outputs": [{**shown, "data": output}]}  # fmt: skip

    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = zip(range(1, len(cells) + 1), cells, outputs, strict=True)
    return {"nbformat": 4, "nbformat_minor": 5,
            "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
            "cells": [make_cell(*each) for each in made]}  # fmt: skip


def make_page(name: str, cells: Sequence[Cell], outputs: Sequence[dict[str, str]]) -> str:
    """Return the same as a page of Markdown; its pictures are files beside it."""
    parts = []
    for number, (cell, output) in enumerate(zip(cells, outputs, strict=True), 1):
        parts.append(f"```python\n{cell.source}\n```\n" if cell.code else f"{cell.source}\n")
        if number == 1:
            parts.append(NOTE.format(name, name))
        if "image/png" in output:
            parts.append(f"![what the cell shows]({name}_{number}.png)\n")
        elif output:
            parts.append(f"```\n{output['text/plain']}\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Write the notebook, the page and its pictures."""
    cells = list(read_cells(SCRIPT))
    with tempfile.TemporaryDirectory() as folder:
        outputs = [
            show(value) if cell.code else {}
            for cell, value in zip(cells, run_cells(cells, Path(folder)), strict=True)
        ]
    notebook = json.dumps(make_notebook(cells, outputs), indent=1) + "\n"
    SCRIPT.with_suffix(".ipynb").write_text(notebook)
    SCRIPT.with_suffix(".md").write_text(make_page(SCRIPT.stem, cells, outputs))
    for number, output in enumerate(outputs, 1):
        if "image/png" in output:
            picture = SCRIPT.with_name(f"{SCRIPT.stem}_{number}.png")
            picture.write_bytes(base64.b64decode(output["image/png"]))


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    main()
