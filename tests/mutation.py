"""Break the code in small ways, one at a time, and see whether its tests notice.

python -m tests.mutation FILE ... [--sample N] [--seed N] [--tests PATH ...]

A comparison gets its neighbour, + becomes -, a number grows by one, ``and`` becomes ``or``, min
becomes max, a ``not`` goes. Each mutant runs the tests of its file in a forked process, and is
killed when one fails or takes ten times as long. Kernels run as plain Python, so that they are
mutated like the rest. A file's tests are those of the same place in the tree, and `ALSO`.
"""

from __future__ import annotations

import argparse
import ast
import importlib.machinery
import os
import random
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

if __name__ == "__main__":  # not where pytest looks for doctests
    os.environ["NUMBA_DISABLE_JIT"] = "1"

CHECKOUT = Path(__file__).resolve().parents[1]
ALSO = {
    "stages/geometry/growing.py": ("tests/stages/geometry/test_union.py",),
    "stages/geometry/symmetry.py": ("tests/stages/test_patterns.py",),
    "stages/geometry/sites.py": ("tests/stages/test_clips.py",),
}
"""Tests of a file that do not stand where its own would."""
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.And: ast.Or, ast.Or: ast.And,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum",
         "floor": "ceil", "ceil": "floor"}  # fmt: skip
CPU_S = 20.0
"""Least time that a mutant is given, in seconds of processor."""


@dataclass(frozen=True)
class Mutant:
    """A file with one small fault."""

    line: int
    before: str
    after: str
    tree: ast.Module


def places(source: str) -> list[tuple[int, int]]:
    """Return where a source text can be changed: number of the node, number of its change."""
    whole = ast.parse(source)
    noted = [
        getattr(each, name, None) for each in ast.walk(whole) for name in ("annotation", "returns")
    ]
    types = {id(each) for note in noted if note is not None for each in ast.walk(note)}
    return [
        (number, change)
        for number, node in enumerate(ast.walk(whole))
        if id(node) not in types
        for change in range(len(list(_changes(node))))
    ]


def mutant(source: str, place: tuple[int, int]) -> Mutant:
    """Return a source text changed in one of its places."""
    tree = ast.parse(source)
    node = list(ast.walk(tree))[place[0]]
    before = ast.unparse(node)
    changed = _replace(tree, node, list(_changes(node))[place[1]])
    line: int = node.lineno  # type: ignore[attr-defined]
    return Mutant(line, before, ast.unparse(changed), ast.fix_missing_locations(tree))


Change = Callable[[ast.AST], ast.AST]


def _changes(node: ast.AST) -> Iterator[Change]:
    """Yield what can be changed of one node: functions that change a copy of it."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            if type(operator) in SWAPS:
                yield lambda twin, i=i: _swap_item(twin, i)  # type: ignore[misc]
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        yield _swap
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield lambda twin: twin.operand  # type: ignore[attr-defined]
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield _one_more
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield lambda twin: ast.Name(NAMES[twin.id], ast.Load())  # type: ignore[attr-defined]
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield lambda twin: ast.Attribute(twin.value, NAMES[twin.attr], ast.Load())  # type: ignore[attr-defined]


def _swap_item(twin: ast.AST, i: int) -> ast.AST:
    assert isinstance(twin, ast.Compare)
    twin.ops[i] = SWAPS[type(twin.ops[i])]()  # type: ignore[call-overload]
    return twin


def _swap(twin: ast.AST) -> ast.AST:
    assert isinstance(twin, ast.BinOp | ast.AugAssign | ast.BoolOp)
    twin.op = SWAPS[type(twin.op)]()  # type: ignore[assignment]
    return twin


def _one_more(twin: ast.AST) -> ast.AST:
    assert isinstance(twin, ast.Constant)
    return ast.Constant(twin.value + 1)  # type: ignore[operator]


def _replace(tree: ast.Module, twin: ast.AST, change: Change) -> ast.AST:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is twin:
                setattr(parent, name, changed := ast.copy_location(change(twin), twin))
                return changed
            if isinstance(value, list) and any(each is twin for each in value):
                at = next(i for i, each in enumerate(value) if each is twin)
                value[at] = ast.copy_location(change(twin), twin)
                return value[at]
    raise AssertionError("a node without a parent")


def run_tests(tests: list[str], file: Path, tree: ast.Module, cpu_s: float) -> bool:
    """Return whether the tests pass with `tree` in the place of `file`, in a process of its own."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 1,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        _load_instead(file, tree)
        import pytest

        # Hashes wrap around on purpose: NumPy warns of it, compiled kernels do not.
        wrap = ["-W", "ignore:overflow encountered:RuntimeWarning"]
        quick = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *wrap]
        code = int(pytest.main([*quick, *tests]))
    finally:
        os._exit(code)


def _load_instead(file: Path, tree: ast.Module) -> None:
    load = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, fullname: str) -> CodeType | None:
        if Path(self.path) == file:
            return compile(tree, str(file), "exec", dont_inherit=True)
        return load(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def tests_of(name: str) -> list[str]:
    """Return the tests of a source file."""
    path = Path(name)
    own = Path("tests") / path.with_name(f"test_{path.name}")
    return [str(each) for each in (own, *ALSO.get(name, ())) if (CHECKOUT / each).exists()]


def main() -> None:
    """Print what survives, and how many of each file are killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--sample", type=int, help="mutants of each file, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", nargs="+")
    asked = parser.parse_args()
    import numba  # noqa: F401  read once, and not by every mutant
    import torch  # noqa: F401

    rows = []
    for name in asked.files:
        file, tests = CHECKOUT / name, asked.tests or tests_of(name)
        source = file.read_text()
        before_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        assert run_tests(tests, file, ast.parse(source), 3600), f"{tests} fail as they are"
        spent_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before_s
        every = places(source)
        chosen = every
        if asked.sample and asked.sample < len(every):
            chosen = random.Random(asked.seed).sample(every, asked.sample)
        survivors = 0
        for place in chosen:
            tried = mutant(source, place)
            if run_tests(tests, file, tried.tree, max(CPU_S, 10 * spent_s)):
                survivors += 1
                print(f"{name}:{tried.line}: {tried.before}  ->  {tried.after}", flush=True)
        killed = len(chosen) - survivors
        rows.append(f"| {name} | {len(every)} | {len(chosen)} | {killed} | {survivors} |")
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n| file | mutants | run | killed | survive |\n|---|--:|--:|--:|--:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
