"""``hotscan models``: the list, and a file for another program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.contracts import RasterSpec
from stages.detector.models import checkpoint
from stages.detector.models.onnx_model import run_onnx
from stages.detector.networks.detector import Detector
from stages.detector.training.thresholds import OperatingPoint
from stages.scores import build_scorer, score_rasters
from tests.support.detectors import SMALL, two_bars
from tests.support.small_scan import Hotscan


def test_the_models_are_listed(hotscan: Hotscan) -> None:
    listed = json.loads(hotscan("models", "--json").out)
    assert sorted(listed) == list(checkpoint.shipped())
    assert all(name in hotscan("models").out for name in listed)


def test_an_exported_file_scores_as_the_model(hotscan: Hotscan, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(6)
    model = checkpoint.Checkpoint(
        weights=Detector(SMALL).get_arrays(), config=SMALL, raster=RasterSpec(40.0, 64, 32),
        layers=("met1",), process="krf130", provenance={},
        operating_point=OperatingPoint(0.25, 0.99, 7, 0.007, 100, 1100),
    )  # fmt: skip
    checkpoint.save(tmp_path / "m.pt", model)
    command = ("models", "export", tmp_path / "m.pt", "--onnx", tmp_path / "m.onnx")
    ended = hotscan(*command, "--pictures", "uint8")
    assert (ended.code, model.digest in ended.out) == (0, True)
    rasters = two_bars(7, 1).rasters
    probability, _ = run_onnx((tmp_path / "m.onnx").read_bytes(), rasters)
    np.testing.assert_allclose(
        probability, score_rasters(rasters, build_scorer(model)).score, atol=1e-5
    )
    again = hotscan(*command)
    assert again.code == 2
    assert "m.onnx exists; choose another --onnx, or remove it" in again.err
