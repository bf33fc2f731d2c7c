"""Exported models against the detectors that they came from."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.contracts import RasterSpec
from stages.detector.models import checkpoint, onnx_model
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.models.onnx_model import export_onnx, run_onnx
from stages.detector.networks.committee import Committee
from stages.detector.networks.detector import Detector
from stages.detector.networks.shapes import Rules
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import IncompleteError, UsageError
from stages.scores import build_scorer, score_rasters
from tests.support.detectors import SMALL, two_bars

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


HEADED = replace(SMALL, kinds=("pinch", "space"), attention="none", inception=False)
"""Attention and inceptions are tested with the shipped models: nine times they take 40 s."""


def small_committee() -> Checkpoint:
    """Two members, of which half of such pictures need the ensemble."""
    torch.manual_seed(5)
    members = [Detector(HEADED), Detector(HEADED)]
    x = torch.from_numpy(two_bars(64, 1).rasters).float() / 255
    with torch.no_grad():
        for member in members:
            member(x)  # batch norms adapt to such pictures
            member.eval().verdict.weight *= 20
        cut = float(members[0](x).logit.median())
    rules = Rules(members=2, symmetries=4, ensemble_from=cut, scale=0.8, shift=-0.1)
    return Checkpoint(
        weights=Committee(members, rules).get_arrays(), config=HEADED,
        raster=RasterSpec(40.0, 64, 32), layers=("met1",), process="krf130", rules=rules,
        operating_point=OperatingPoint(0.25, 0.99, 7, 0.007, 100, 1100), provenance={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def committee() -> tuple[Checkpoint, bytes]:
    model = small_committee()
    return model, export_onnx(model, "uint8")


def assert_same_scores(model: Checkpoint, content: bytes, rasters: np.ndarray, scale: int) -> None:
    wanted = score_rasters(rasters, build_scorer(model, prefiltered=False))
    given = rasters if scale == 1 else (rasters / np.float32(scale)).astype(np.float32)
    for count in (1, len(rasters)):  # the batch is dynamic
        probability, embedding, *margin = run_onnx(content, given[:count])
        if margin:
            predicted = build_scorer(model).predict_margins(rasters[:count])
            np.testing.assert_allclose(np.clip(margin[0], -1, 1), predicted, atol=1e-4, rtol=0)
        np.testing.assert_allclose(probability, wanted.score[:count], atol=1e-5, rtol=0)
        np.testing.assert_allclose(embedding, wanted.embedding[:count], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", checkpoint.shipped())
def test_a_shipped_model_scores_real_clips_the_same(name: str) -> None:
    model = checkpoint.load(checkpoint.find(name))
    assert model.examples is not None
    clips = model.examples  # of the chip that it was trained on
    assert len(clips) > 20
    assert_same_scores(model, export_onnx(model), clips, 255)


def test_a_committee_decides_as_in_a_scan(committee: tuple[Checkpoint, bytes]) -> None:
    """Bytes as pictures, and the ensemble where a single pass is in doubt."""
    model, content = committee
    rasters = two_bars(40, 2).rasters
    single = model.detector()(torch.from_numpy(rasters).float() / 255).logit
    doubtful = (single >= model.detector().ensemble_from).float().mean()
    assert 0.2 < doubtful < 0.8
    assert_same_scores(model, content, rasters, 1)
    assert len(run_onnx(content, rasters[:2])) == 3


def test_a_file_says_what_it_is(committee: tuple[Checkpoint, bytes]) -> None:
    import onnx

    model, content = committee
    facts = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    assert facts["hotscan.digest"] == model.digest
    assert facts["hotscan.process"] == "krf130"
    assert json.loads(facts["hotscan.kinds"]) == ["pinch", "space"]
    assert float(facts["hotscan.threshold"]) == model.threshold
    assert RasterSpec(**json.loads(facts["hotscan.raster"])) == model.raster


def test_a_wrong_export_is_refused(
    committee: tuple[Checkpoint, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of torch's TorchScript exporter, which loses the maximum of an inception."""
    model, content = committee
    exported = onnx_model.Exported(model.detector().for_inference()).eval()
    with torch.no_grad():
        exported.detector.members[0].verdict.bias += 1e-3
    with pytest.raises(IncompleteError, match=r"probability is .* off where 1e-05 is allowed"):
        onnx_model._verify(content, exported, torch.from_numpy(two_bars(9, 3).rasters))
    monkeypatch.setattr(onnx_model, "run_onnx", lambda *given: [np.array([np.nan])] * 3)
    with pytest.raises(IncompleteError, match="probability is nan off"):
        onnx_model._verify(content, exported, torch.from_numpy(two_bars(9, 3).rasters))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"needs onnxscript; .*pip install 'hotscan\[onnx\]'"):
        export_onnx(small_committee())
    with pytest.raises(UsageError, match="pictures are 'int8'; choose one of float, uint8"):
        export_onnx(small_committee(), "int8")
