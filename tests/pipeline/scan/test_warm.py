"""`hotscan warm` leaves nothing to compile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.layout.ingest import read_info
from pipeline.layout.reader_process import is_short
from pipeline.scan.warm import SAMPLES, _list_scans
from tests.support.small_scan import CHECKOUT, DENSE


def test_it_scans_the_sample_layouts_that_have_every_construct() -> None:
    for name in ("tiny.gds", "tiny.oas"):
        assert (SAMPLES / name).read_bytes() == (CHECKOUT / "sample_layouts" / name).read_bytes()


@pytest.mark.slow
def test_what_comes_after_it_compiles_nothing(tmp_path: Path) -> None:
    def run(*arguments: str) -> frozenset[Path]:
        subprocess.run(
            [sys.executable, "-m", "pipeline.cli.app", *arguments], check=True, cwd=CHECKOUT,
            env=os.environ | {"HOTSCAN_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        return frozenset((tmp_path / "cache" / "numba").rglob("*.nbc"))

    kernels = run("warm", "--quiet")
    assert len(kernels) > 30
    assert any("gdsii" in path.parent.name for path in kernels), "though samples are short"
    area = ("--layer", "68/20", "--roi", "50,50,62,62", "--quiet")
    run("scan", str(DENSE), *area, "--confirm", "--out", str(tmp_path / "scan"))
    after = run("simulate", str(DENSE), *area, "--opc", "model", "--out", str(tmp_path / "print"))
    assert after == kernels, sorted(path.name for path in after - kernels)


def test_its_samples_are_read_by_the_compiled_kernels(tmp_path: Path) -> None:
    layouts = [scan.layout for scan in _list_scans(tmp_path)]
    assert [path.name for path in layouts] == ["tiny.gds", "tiny.oas"]
    assert not is_short(layouts[0])
    assert read_info(layouts[0]) == read_info(SAMPLES / "tiny.gds")
