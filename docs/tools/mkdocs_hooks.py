"""Hooks of the site: the decision records enter the navigation by themselves, in their order."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Append every decision record, and every log of trials, to the last section."""
    docs = Path(config["docs_dir"])
    (records,) = config["nav"][-1].values()
    records += [path.relative_to(docs).as_posix() for path in sorted(docs.glob("decisions/0*.md"))]
    logs = sorted(docs.glob("decisions/log/*.md"))
    records.append({"Logs of trials": [path.relative_to(docs).as_posix() for path in logs]})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leave the API reference empty while the package is not there."""
    if importlib.util.find_spec("hotscan") is None:
        return markdown.replace("::: hotscan", "")
    return markdown
