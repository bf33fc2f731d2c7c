"""Benchmarks run tiny: in the test's process, on a few micrometres of the samples."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from benchmarks.detectors.results import COARSE
from benchmarks.open_benchmark.regions import Region
from pipeline.datasets.from_marker_layers import MarkedRequest, import_marked
from tests.pipeline.conftest import labelled, samples_read_once, small_scan
from tests.support.marked import COLD_UM, HOT_UM, MARKING, drawn, marks, write

__all__ = ["labelled", "samples_read_once", "small_scan"]

Benchmark = Callable[..., str]
"""Runs the `main` of a benchmark with arguments, and returns what it prints."""


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run what benchmarks give to other processes in a thread: each would import torch again."""
    context = SimpleNamespace(Pool=lambda *ignored, **initializer: ThreadPool(1))
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: context)
    for name in ("peer_klayout_torch", "scale"):
        monkeypatch.setattr(
            f"benchmarks.speed.{name}.ProcessPoolExecutor", lambda *ignored: ThreadPoolExecutor(1)
        )
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def benchmark(
    in_threads: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Benchmark:
    def run(module: ModuleType, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [module.__name__, *(str(a) for a in arguments)])
        capsys.readouterr()
        module.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A marked layout as dataset: two hotspots and two others to train on, one and two to test."""
    train_um = [*HOT_UM[:2], *COLD_UM[:2]]
    layout = write(tmp_path / "marked.oas", {"top": [*drawn(), *marks(train_um)]})
    out = tmp_path / "marked"
    import_marked(MarkedRequest(layout=layout, out=out, marking=MARKING, spec=COARSE))
    return out


def link_regions(folder: Path, regions: Iterable[Region], labelled: Path) -> None:
    """Lay a labelled dataset into a folder as if it were that of each region."""
    counts = dict.fromkeys(("clips", "hotspots", "surely", "marginal"), 1)
    record = {"counts": {"layout": 0, **counts}, "spent": {"processor_s": 1.0}}
    for region in regions:
        place = folder / region.name
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(labelled)
        place.with_suffix(".json").write_text(json.dumps(record))
