"""What workers begin with: kernels, and torch where a scan uses it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pipeline.config import load_config
from pipeline.scan.scan import _list_imports

LOOK = "import {modules}, sys; print('torch._C' in sys.modules)"


@pytest.mark.parametrize(
    ("tables", "uses_torch"),
    [
        ({"scores": {"arithmetic": "int8"}}, False),
        ({"scores": {"arithmetic": "float32"}}, True),
        ({"scores": {"arithmetic": "int8"}, "confirm": {"enabled": True}}, True),
        ({"scores": {"arithmetic": "int8"}, "audit": {"size": "3%"}}, True),
        ({"scores": {"arithmetic": "int8"}, "certify": {"recall": 0.99}}, True),
    ],
)
def test_torch_comes_first_where_it_is_used(tables: dict[str, Any], uses_torch: bool) -> None:
    imports = _list_imports(load_config(None, tables))
    assert (imports[0] == "torch") == uses_torch
    assert imports[-1] == "pipeline.passes.preload"


def test_workers_of_a_scan_in_integers_begin_without_torch() -> None:
    imports = _list_imports(load_config(None, {"scores": {"arithmetic": "int8"}}))
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(modules=", ".join(imports))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False"]
