"""Write docs/reference/config.md from the settings themselves: ``python docs/tools/make_config.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.config import Resources, ScanConfig

PAGE = Path(__file__).parents[1] / "reference" / "config.md"

HEAD = """# Settings

`hotscan scan --config FILE.toml` reads these; what the command line gives comes first. A key that
is not here is refused, and the nearest one named. Lengths are in nm or um, as their names say. The
run keeps the resolved settings in `run.json`.

A run is bound to its settings: going on with others is refused, except for `[scores] threshold`,
`[report]` and `[markers]`, after which only hotspots and report are made again. `[tiles] size_um`
and `[scores] shard_patterns` never change the answer; a run keeps those that it began with.

    [layout]
    layers = ["68/20"]
    roi_um = [0, 0, 500, 500]

    [scores]
    threshold = 0.5
"""


def table(name: str, model: type[BaseModel]) -> list[str]:
    """Return one table of settings as Markdown."""
    lines = ["", f"## {name}", "", "| key | default | what |", "|---|---|---|"]
    for key, field in model.model_fields.items():
        lines.append(f"| `{key}` | {shown(field.default)} | {field.description} |")
    return lines


def shown(default: Any) -> str:
    """Return a default as TOML would have it."""
    if default is None or default == ():
        return "–"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


def page() -> str:
    """Return the whole page."""
    lines = [HEAD.rstrip()]
    for name, field in ScanConfig.model_fields.items():
        assert isinstance(field.annotation, type)
        lines += table(f"[{name}]", field.annotation)
    lines += table("On the command line only", Resources)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
