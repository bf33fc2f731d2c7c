"""The scan that the pipeline's tests compare with, and an untrained network for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.cli import app as cli
from pipeline.config import Resources
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.engine.storage.run_directory import Run
from tests.support.readings import read_samples_once
from tests.support.shared import make_once
from tests.support.small_scan import DENSE, LABELLED_UM, Ended, Hotscan, SmallScan, write_model


@pytest.fixture(scope="session", autouse=True)
def samples_read_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    read_samples_once(tmp_path_factory)


@pytest.fixture(scope="session")
def small_scan(tmp_path_factory: pytest.TempPathFactory) -> SmallScan:
    """An untrained network flags nonsense, but always the same; its threshold flags some 2 %."""
    folder = make_once(tmp_path_factory, "model", write_model)
    return SmallScan(DENSE, folder / "tiny.pt")


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled dataset of 15 x 15 um of the crowded sample."""

    def label(folder: Path) -> None:
        request = LabelRequest(
            layout=DENSE, out=folder / "dataset", layers=("68/20",), roi_um=LABELLED_UM
        )
        label_layout(request, Resources(workers=0), lambda event: None)

    return make_once(tmp_path_factory, "labelled", label) / "dataset"


@pytest.fixture(scope="session")
def reference(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The scan by the for-loop, which every other way of running must equal."""

    def scan_block(folder: Path) -> None:
        result = small_scan(folder / "run", tiles={"size_um": 100.0})
        assert result.complete
        assert result.metrics["hotspots"] > 10

    return Run(make_once(tmp_path_factory, "reference", scan_block) / "run")


@pytest.fixture
def hotscan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hotscan:
    """Run a command in this process: a new one would import torch each time."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["hotscan", *(str(a) for a in arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ended(code, printed.out, printed.err)

    return run


@pytest.fixture
def scan(hotscan: Hotscan, small_scan: SmallScan, tmp_path: Path) -> Hotscan:
    """Scan 12 x 12 um of the crowded sample into `tmp_path`; later options override."""

    def run(*more: object, layout: Path = DENSE, layer: str | None = "68/20") -> Ended:
        layers = () if layer is None else ("--layer", layer)
        return hotscan(
            "scan", layout, "--out", tmp_path / "run", "--model", small_scan.model, *layers,
            "--roi", "50,50,62,62", "--workers", 0, "--quiet", *more,
        )  # fmt: skip

    return run
