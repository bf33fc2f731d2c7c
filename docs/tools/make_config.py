"""Write docs/reference/config.md from the settings: ``python docs/tools/make_config.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.config import Resources, ScanConfig

PAGE = Path(__file__).parents[1] / "reference" / "config.md"

HEAD = """# Settings

`hotscan scan --config FILE.toml` reads these. Options on the command line override the file. An
unknown key is refused, and the message names the nearest known one. Lengths are in nm or um, as
their names say. The run keeps the resolved settings in `run.json`.

A run is bound to its settings: resuming with others is refused. The exceptions are `[scores]
threshold`, `[confirm]`, `[report]` and `[markers]`; changing them reruns only the last stages.
`[tiles] size_um` and `[scores] shard_patterns` never change the answer, and a run keeps those it
started with.

```toml
[layout]
layers = ["68/20"]
roi_um = [0, 0, 500, 500]

[scores]
threshold = 0.5
```
"""


def table(name: str, model: type[BaseModel]) -> list[str]:
    """Return one table of settings as Markdown."""
    lines = ["", f"## {name}", "", "| key | default | what |", "|---|---|---|"]
    for key, field in model.model_fields.items():
        what = " ".join(str(field.description).split())
        lines.append(
            f"| `{key}` | {shown(field.get_default(call_default_factory=True))} | {what} |"
        )
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
