"""The public names, and what importing them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import hotscan

CHECKOUT = Path(__file__).resolve().parents[2]

LOOK = """
import sys, time
start = time.perf_counter()
import hotscan
spent = time.perf_counter() - start
heavy = sorted({"torch", "numpy", "pyarrow", "dask", "pipeline", "stages"} & set(sys.modules))
print(spent, heavy)
"""


def test_the_names_are_exactly_these() -> None:
    assert sorted(hotscan.__all__) == hotscan.__all__
    assert set(hotscan.__all__) == {
        "AerialImage", "Calibration", "ConfigError", "Dataset", "Diff", "HotscanError",
        "IncompleteError", "LayerRuns", "Layout", "LayoutError", "Model", "ModelMismatchError",
        "Run", "RunMismatchError", "Simulation", "UsageError", "aerial_image", "calibrate",
        "compare", "diff", "evaluate", "export_onnx", "gauges", "info", "label", "merge", "models",
        "open", "plan", "read_layout", "scan", "select", "simulate", "train", "validate",
    }  # fmt: skip


@pytest.mark.parametrize("name", hotscan.__all__)
def test_every_name_is_there_and_described(name: str) -> None:
    found = getattr(hotscan, name)
    assert found.__doc__
    assert name in dir(hotscan)


def test_what_type_checkers_see_is_what_is_imported() -> None:
    tree = ast.parse((CHECKOUT / "hotscan" / "__init__.py").read_text())
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == hotscan._HOME_OF


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scann'"):
        hotscan.scann  # noqa: B018


def test_importing_costs_nothing() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, cwd=CHECKOUT, check=True
    )
    spent, _, heavy = ended.stdout.strip().partition(" ")
    assert heavy == "[]"
    assert float(spent) < 1  # 0.02 s on an idle machine


@pytest.mark.parametrize(
    "function",
    [f for name in hotscan.__all__ if callable(f := getattr(hotscan, name)) and name.islower()],
    ids=lambda function: function.__name__,
)
def test_every_function_is_typed(function: typing.Callable[..., object]) -> None:
    assert "return" in function.__annotations__


def test_the_version_is_printed_without_the_commands() -> None:
    ask = "import sys; from hotscan.__main__ import main; sys.argv[1:] = ['--version']; main()"
    done = subprocess.run(
        [sys.executable, "-c", f"{ask}; print('typer' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["hotscan", hotscan.__version__, "False"]
