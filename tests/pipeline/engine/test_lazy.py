"""A module that is imported lazily is not run before something of it is used."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.engine.lazy import import_lazily
from stages.threads import count_processors

CHECK = """
import sys
from pipeline.cli import app
sys.argv = ["hotscan", "scan", sys.argv[1], "--layer", "68/20", "--out", sys.argv[2], "--quiet"]
try:
    app.main()
finally:
    print("torch:", hasattr(sys.modules.get("torch._C"), "__file__"))
"""
THREADS = """
import pipeline.cli.app
from threadpoolctl import threadpool_info
import numpy
print(*{each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"})
"""


def test_a_module_runs_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "slow_package"
    package.mkdir()
    (package / "__init__.py").write_text("from slow_package.part import answer\nlist = [answer]\n")
    (package / "part.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_lazily("slow_package")
    import slow_package

    inspect.getmodule(inspect.currentframe())  # asks every module for its file
    assert "slow_package.part" not in sys.modules
    assert slow_package.list == [42]
    assert sys.modules["slow_package"] is not slow_package
    from slow_package import part

    assert part.answer == 42
    import_lazily("slow_package")
    assert "slow_package.part" in sys.modules
    for name in ("slow_package", "slow_package.part"):
        monkeypatch.delitem(sys.modules, name)


def test_a_small_scan_with_hotspots_needs_no_torch(tmp_path: Path) -> None:
    sample = Path(__file__).resolve().parents[3] / "sample_layouts" / "tiny.gds"
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(sample), str(tmp_path / "run")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 hotspots" in done.stdout, done.stderr
    assert "torch: False" in done.stdout


@pytest.mark.parametrize(("given", "threads"), [(None, 1), ("2", 2)])
def test_numpy_multiplies_in_one_thread_unless_it_is_told_otherwise(
    given: str | None, threads: int
) -> None:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", THREADS], env=clean | ({names[0]: given} if given else {}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [str(min(threads, count_processors()))], done.stderr
