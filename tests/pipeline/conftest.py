"""The scan that the pipeline's tests compare with, and an untrained network for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.store import Run, read_patterns
from stages.contracts import RasterSpec
from stages.detector import checkpoint
from stages.detector.model import Detector, DetectorConfig
from stages.detector.training import OperatingPoint
from tests.small_scan import BLOCK, SmallScan


@pytest.fixture(scope="session")
def small_scan(tmp_path_factory: pytest.TempPathFactory) -> SmallScan:
    """An untrained network flags nonsense, but always the same; its threshold flags some 2 %."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(1)
    config = DetectorConfig()
    model = checkpoint.Checkpoint(
        weights=Detector(config).state_dict(), config=config, raster=RasterSpec(40.0, 64, 32),
        layers=("met1",), process="krf130",
        operating_point=OperatingPoint(1.0, 0.0, 0, 0.0, 0, 0), provenance={},
    )  # fmt: skip
    untried = folder / "untried.pt"
    checkpoint.save(untried, model)
    result = SmallScan(BLOCK, untried)(folder / "run")
    (scores,) = read_patterns(result.run, "score")
    threshold = float(np.quantile(scores, 0.98))
    point = replace(model.operating_point, threshold=threshold)
    checkpoint.save(folder / "tiny.pt", replace(model, operating_point=point))
    return SmallScan(BLOCK, folder / "tiny.pt")


@pytest.fixture(scope="session")
def reference(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The scan by the for-loop, which every other way of running must equal."""
    result = small_scan(tmp_path_factory.mktemp("reference") / "run")
    assert result.complete
    assert result.metrics["hotspots"] > 10
    return result.run
