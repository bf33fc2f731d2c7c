"""Kernels on disk: never those of other code, and compiled once in whichever checkout."""

from __future__ import annotations

import ast
import fcntl
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from numba.core import caching

import stages
from stages import compiled, compiler, kernel_folders
from stages.geometry.growing import reserve_row

CALLER = """
from stages.compiled import kernel
from stages.geometry.callee import times

@kernel
def treble(n):
    return times(n)
"""
CALLEE = """
from stages.compiled import kernel

@kernel
def times(n):
    return {factor} * n
"""
RUN = """
from stages.geometry.caller import treble
print(treble(2), sum(treble.dispatcher.stats.cache_hits.values()))
"""


OTHERS = """
import numba
from numba.core import codegen
from numba.core.types.functions import BaseFunction
from stages.geometry.caller import treble

original, finalize, seen = BaseFunction.get_call_type, codegen.JITCodeLibrary.finalize, set()
print(treble(2))

def finalize_and_note(self):
    assert BaseFunction.get_call_type is original
    seen.add(f"{original.__name__} {type(self).__name__}")
    finalize(self)

codegen.JITCodeLibrary.finalize = finalize_and_note
print(numba.njit(lambda n: treble(n) + 1)(2))
print(*seen)
"""


def checkout(root: Path, factor: int) -> Path:
    """Write a package `stages` of two kernels, of which one calls the other."""
    package = root / "stages"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for module in (compiled, compiler, kernel_folders):
        shutil.copy(module.__file__, package)
    package = package / "geometry"
    package.mkdir()
    (package / "caller.py").write_text(CALLER)
    (package / "callee.py").write_text(CALLEE.format(factor=factor))
    return root


def run(root: Path, cache: Path) -> tuple[int, int]:
    """What the kernel that calls returns, and how often it was loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", RUN], cwd=root, check=True, capture_output=True, text=True,
        env=os.environ | {"HOTSCAN_CACHE": str(cache)},
    )  # fmt: skip
    answer, loaded = map(int, ended.stdout.split())
    return answer, loaded


def test_another_checkout_of_the_same_code_compiles_nothing(tmp_path: Path) -> None:
    assert run(checkout(tmp_path / "a", 3), tmp_path / "cache") == (6, 0)
    assert run(checkout(tmp_path / "b", 3), tmp_path / "cache") == (6, 1)


def test_a_change_elsewhere_compiles_nothing(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", 3)
    assert run(root, tmp_path / "cache") == (6, 0)
    (root / "stages" / "geometry" / "another.py").write_text("ANOTHER = 1")
    assert run(root, tmp_path / "cache") == (6, 1)


def test_a_changed_callee_leaves_no_stale_caller(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", 3)
    assert run(root, tmp_path / "cache") == (6, 0)
    (root / "stages" / "geometry" / "callee.py").write_text(CALLEE.format(factor=4))
    assert run(root, tmp_path / "cache") == (8, 0)


@pytest.mark.parametrize("damaged", ["*.nbi", "*.nbc"])
def test_a_damaged_file_is_made_again(damaged: str, tmp_path: Path) -> None:
    root, cache = checkout(tmp_path / "a", 3), tmp_path / "cache"
    run(root, cache)
    for path in cache.rglob(damaged):
        path.write_bytes(path.read_bytes()[:-9])
    assert run(root, cache) == (6, 0)
    assert run(root, cache) == (6, 1)


def test_one_process_compiles_and_the_other_waits(tmp_path: Path) -> None:
    root, cache = checkout(tmp_path / "a", 3), tmp_path / "cache"
    environment = os.environ | {"HOTSCAN_CACHE": str(cache)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", RUN], cwd=root, stdout=subprocess.PIPE, text=True,
            env=environment,
        )
        for _ in range(2)
    ]  # fmt: skip
    answers = sorted(process.communicate()[0].split() for process in both)
    assert answers == [["6", "0"], ["6", "1"]]


def test_who_waits_in_vain_compiles_and_does_not_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two that add a signature each give both files one name, and one loads the other's."""
    saved = []
    monkeypatch.setattr(compiler, "PATIENCE_S", 0.0)
    monkeypatch.setattr(caching.FunctionCache, "_save_overload", lambda *each: saved.append(each))
    cache = reserve_row.dispatcher._cache
    with Path(f"{cache._cache_file._index_path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with cache.hold():
            cache.save_overload("a signature", "its kernel")
    assert saved == []
    with cache.hold():
        cache.save_overload("a signature", "its kernel")
    assert len(saved) == 1


def test_the_types_of_a_call_are_asked_for_once() -> None:
    asked = []
    resolve = compiler._remember(lambda self, context, args, kws: asked.append(args) or args)
    function = SimpleNamespace()
    for args in ((1,), (2,), (1,)):
        assert resolve(function, "context", args, {}) == args
    assert asked == [(1,), (2,)]


def test_who_borrows_arrays_makes_none() -> None:
    """References to an array that it made would be counted by nobody."""
    for borrows in (False, True):
        dispatcher = compiler.compile_for_kernels(lambda n: np.empty(n), borrows=borrows)
        refused = pytest.raises(numba.errors.NumbaError) if borrows else nullcontext()
        with refused:
            dispatcher.compile((numba.int64,))


def test_others_compile_with_numba_as_it_is(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", 3)
    (root / "others.py").write_text(OTHERS)
    answer = subprocess.run(
        [sys.executable, "others.py"], cwd=root, capture_output=True, text=True, check=True,
        env=os.environ | {"HOTSCAN_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert answer.stdout.split() == ["6", "7", "get_call_type", "JITCodeLibrary"]


def test_how_kernels_are_kept_changes_none(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", 3)
    assert run(root, tmp_path / "cache") == (6, 0)
    for name, loaded in (("kernel_folders", 1), ("compiled", 1), ("compiler", 0)):
        file = root / "stages" / f"{name}.py"
        file.write_text(file.read_text() + "\n# changed\n")
        assert run(root, tmp_path / "cache") == (6, loaded), name


MODULES = [found.name for found in pkgutil.walk_packages(stages.__path__, "stages.")]


def test_every_kernel_is_kept_in_the_folder_of_its_module() -> None:
    kernels = {
        each
        for name in MODULES
        for each in vars(importlib.import_module(name)).values()
        if isinstance(each, compiled.Kernel)
    }
    assert len(kernels) > 100
    for each in kernels:
        file = Path(each.py_func.__code__.co_filename)
        assert Path(each.dispatcher._cache.cache_path) == kernel_folders.kernel_folder(file), each


def test_the_sources_of_a_module_are_all_that_it_imports() -> None:
    """As Python's own parser reads its imports, and those of what it imports."""
    for file in kernel_folders.SOURCES.rglob("*.py"):
        sources = kernel_folders.sources_of(file)
        assert file in sources
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name not in ("", "stages"), f"{file}: name the module, from its root"
                if name.startswith("stages."):
                    path = kernel_folders.SOURCES.joinpath(*name.split(".")[1:])
                    found = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
                    assert all(sources >= kernel_folders.sources_of(each) for each in found), file


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, and a user's cache that cannot be written."""
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("HOTSCAN_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_a_cache_that_cannot_be_written_is_done_without(temporary: Path) -> None:
    folder = kernel_folders._root.__wrapped__()
    own = temporary / f"hotscan-{os.getuid()}"
    assert folder.parent == own
    assert folder.is_dir()
    assert own.stat().st_mode & 0o777 == 0o700
    assert kernel_folders._root.__wrapped__() == folder, "other processes find it"


@pytest.mark.parametrize("trap", ["open to others", "link", "file"])
def test_no_code_is_loaded_from_where_others_may_write(trap: str, temporary: Path) -> None:
    own = temporary / f"hotscan-{os.getuid()}"
    if trap == "file":
        own.touch()
    elif trap == "link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        own.symlink_to(temporary / "elsewhere")
    else:
        own.mkdir()
        own.chmod(0o777)
    root = kernel_folders._root.__wrapped__().parent
    assert root.parent == temporary
    assert root != own
    assert root.stat().st_mode & 0o777 == 0o700


def test_kernels_of_code_long_unused_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_folders, "_roots", lambda: iter([tmp_path]))
    monkeypatch.setattr(kernel_folders, "_root", lambda: tmp_path)
    for age in range(20):
        for module in ("geometry.growing", "geometry.growing_more"):
            folder = tmp_path / f"{module}-{age:02}"
            folder.mkdir()
            (folder / "kernel.nbc").touch()
            os.utime(folder, (1e9 - age, 1e9 - age))
    file = kernel_folders.SOURCES / "geometry" / "growing.py"
    folder = kernel_folders.kernel_folder.__wrapped__(file)
    kept = {path.name for path in tmp_path.glob("geometry.growing-*")}
    last = kernel_folders.KEPT_VERSIONS - 1
    assert kept == {folder.name, *(f"geometry.growing-{age:02}" for age in range(last))}
    assert len(list(tmp_path.glob("geometry.growing_more-*"))) == 20, "of another module"


def test_numba_s_own_setting_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    others = [tmp_path / f"geometry_{i}" for i in range(20)]
    for other in others:
        other.mkdir()
    assert kernel_folders._root.__wrapped__().parent == tmp_path / "hotscan"
    assert all(other.exists() for other in others), "what is not ours is not removed"


def test_kernels_in_a_cache_that_cannot_be_written_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of an image, which `hotscan warm` compiled when it was built."""
    root, cache = checkout(tmp_path / "a", 3), tmp_path / "cache"
    assert run(root, cache) == (6, 0)
    deny = (
        "from stages import kernel_folders; kernel_folders._can_be_written = lambda folder: False"
    )
    unwritable = RUN.replace("from stages.geom", f"{deny}\nfrom stages.geom", 1)
    monkeypatch.setattr(f"{__name__}.RUN", unwritable)
    assert run(root, cache) == (6, 1)


def test_where_the_user_s_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/of/user")
    monkeypatch.setenv("HOTSCAN_CACHE", "/asked/for")
    assert kernel_folders.user_cache() == Path("/asked/for")
    monkeypatch.setenv("HOTSCAN_CACHE", "")
    assert kernel_folders.user_cache() == Path("/of/user/hotscan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert kernel_folders.user_cache() == Path.home() / ".cache" / "hotscan"
