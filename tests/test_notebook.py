"""The notebook of the docs runs, and shows what is committed."""

from __future__ import annotations

import json
from pathlib import Path

from docs.tools.make_notebook import SCRIPT, make_page, read_cells, run_cells, show


def test_the_notebook_has_the_cells_of_its_script() -> None:
    cells = list(read_cells(SCRIPT))
    stored = json.loads(SCRIPT.with_suffix(".ipynb").read_text())["cells"]
    assert [cell["source"] for cell in stored] == [cell.source for cell in cells]
    lines = "\n".join(cell.source for cell in cells if cell.code).splitlines()
    assert len([line for line in lines if line]) <= 10


def test_the_notebook_shows_what_its_script_gives(tmp_path: Path) -> None:
    cells = list(read_cells(SCRIPT))
    stored = json.loads(SCRIPT.with_suffix(".ipynb").read_text())["cells"]
    outputs = [show(value) if cell.code else {}
               for cell, value in zip(cells, run_cells(cells, tmp_path), strict=True)]  # fmt: skip
    assert SCRIPT.with_suffix(".md").read_text() == make_page(SCRIPT.stem, cells, outputs)
    kept = [cell["outputs"][0]["data"] if cell["cell_type"] == "code" else {} for cell in stored]
    assert [sorted(output) for output in kept] == [sorted(output) for output in outputs]
    assert [output.get("text/plain") for output in kept] == [
        output.get("text/plain") for output in outputs
    ]
