"""Who may import what: the law of the house, read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*CHECKOUT.glob("stages/**/*.py"), *CHECKOUT.glob("pipeline/**/*.py")])
COMMON = ("stages.contracts", "stages.errors", "stages.geometry")


def imports(path: Path) -> Iterator[str]:
    """Names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def breaches(path: Path, imported: set[str]) -> Iterator[str]:
    """Say what a file imports that it must not."""
    name, tops = name_of(path), {module.split(".")[0] for module in imported}
    in_stages = name.startswith("stages/")
    if "klayout" in tops:
        yield "klayout is GPL: an oracle for tests, never a dependency"
    if "gdstk" in tops and name not in ("stages/layout/builder.py", "stages/exports/markers.py"):
        yield "gdstk only in stages/layout/builder.py and stages/exports/markers.py"
    if (
        "torch" in tops
        and in_stages
        and not (
            name == "stages/scores.py"
            or name.startswith(("stages/detector/", "stages/lithography/"))
        )
    ):
        yield "torch only in stages/scores.py, stages/detector and stages/lithography"
    if in_stages:
        for module in ("zarr", "dask", "distributed", "pipeline", "sqlite3"):
            if module in tops:
                yield f"{module} only in pipeline"
        allowed = (*COMMON, *own_folder(name))
        for module in imported:
            if module.startswith("stages.") and not module.startswith(allowed):
                yield f"a stage imports no other stage ({module})"


def own_folder(name: str) -> tuple[str, ...]:
    """The sub-folder that a stage may import from: its own, and for scores that of its network."""
    parts = name.removesuffix(".py").split("/")
    if name == "stages/scores.py":
        return ("stages.detector",)
    return (".".join(parts[:2]),)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_import_law(path: Path) -> None:
    assert list(breaches(path, set(imports(path)))) == []


def test_the_law_can_be_broken() -> None:
    path = CHECKOUT / "stages" / "tiles.py"
    broken = {"klayout", "gdstk", "torch", "zarr", "pipeline.cli.app", "stages.raster"}
    assert len(list(breaches(path, broken))) == 6
    assert len(SOURCES) > 30
