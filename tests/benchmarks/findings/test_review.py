"""The page with a million hotspots: quick, and every key does what it must."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.findings import review
from tests.benchmarks.conftest import Benchmark


@pytest.mark.slow
def test_a_million_hotspots(benchmark: Benchmark, tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright: pip install it")
    if shutil.which(review.CHROMIUM) is None:
        pytest.skip(f"needs {review.CHROMIUM}; install it, for example: apt-get install chromium")
    printed = benchmark(review, "--work", tmp_path)
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("|")]
    figures = {row[0]: row[1:] for row in rows}
    assert "0 of 1,000,000 hotspots decided" in printed
    assert float(figures["first view, s"][1]) < 2
    for kind in ("pan", "zoom"):
        assert float(figures[f"{kind}, as a person looks, ms"][1]) < 100
    assert {row[1] for row in rows if "token" in row[0]} == {"403"}
    assert len([row for row in rows if row[0] in {*"jknpzoclafFAwm?u/"}]) >= 17
