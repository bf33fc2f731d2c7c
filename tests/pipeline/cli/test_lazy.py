"""A module that is imported lazily is not run before something of it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.lazy import import_lazily

CHECK = """
import sys
from pipeline.cli import app
sys.argv = ["hotscan", "scan", sys.argv[1], "--layer", "68/20", "--out", sys.argv[2], "--quiet"]
try:
    app.main()
finally:
    print("torch:", hasattr(sys.modules.get("torch._C"), "__file__"))
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
