"""Every script that is run by hand at least imports: nothing else would tell that it went stale."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
SCRIPTS = [
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
    for folder in ("benchmarks", "docs/tools", "sample_layouts")
    for path in sorted((CHECKOUT / folder).glob("*.py"))
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__
    assert len(SCRIPTS) > 10
