"""NumPy says of pictures what torch says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.contracts import Bytes
from stages.detector.models import checkpoint
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.models.plain_detector import PlainDetector, is_plain
from stages.detector.networks.committee import Committee
from stages.detector.networks.detector import Detector
from stages.detector.networks.shapes import DetectorConfig, Rules
from stages.errors import UsageError
from stages.scores import NetworkScorer, build_explainer
from tests.stages.detector.models.test_checkpoint import small_checkpoint

CONFIGS = (
    DetectorConfig(stem=8, fine=(8,), coarse=(8, 16), embedding=4, core_px=32, centres_px=(16,)),
    DetectorConfig(stem=8, fine=(16,), coarse=(8, 16), embedding=4, core_px=32, centres_px=(16,),
                   attention="none"),
)  # fmt: skip


def make_model() -> Checkpoint:
    """Return a committee whose batch norms have seen something."""
    torch.manual_seed(2)
    members = [Detector(config).train() for config in CONFIGS]
    for member in members:
        member(torch.rand(8, 1, 64, 64))
    rules = Rules(2, scale=0.7, shift=-0.2)
    return replace(
        small_checkpoint(), weights=Committee(members, rules).get_arrays(), config=CONFIGS[0],
        others=CONFIGS[1:], rules=rules,
    )  # fmt: skip


def make_pictures(count: int) -> Bytes:
    ink = np.random.default_rng(count).integers(0, 256, (count, 1, 16, 16))
    return np.kron(ink, np.ones((4, 4), np.int64)).astype(np.uint8)


MODELS = {name: checkpoint.load(checkpoint.find(name)) for name in checkpoint.shipped()}


@pytest.mark.parametrize("name", ["committee", *MODELS])
def test_numpy_and_torch_agree(name: str) -> None:
    model = MODELS[name] if name in MODELS else make_model()
    pictures, known = make_pictures(5), make_pictures(6)[:5]
    plain, network = build_explainer(model), NetworkScorer(model.detector(), model.raster)
    assert isinstance(plain, PlainDetector)
    for found, wanted, most in (
        (plain.likeness(pictures), network.likeness(pictures), 2e-6),
        (plain.activation_map(pictures), network.activation_map(pictures), 2e-6),
        (  # which divides by small differences
            plain.resemblance_map(pictures, known, 8),
            network.resemblance_map(pictures, known, 8), 5e-4,
        ),
    ):  # fmt: skip
        assert wanted is not None
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert np.abs(found - wanted).max() <= most * np.abs(wanted).max()
        assert np.ptp(wanted) > 0


def test_other_detectors_are_left_to_torch() -> None:
    config = replace(CONFIGS[0], attention="self_attention")
    model = replace(small_checkpoint(), config=config, weights=Detector(config).get_arrays())
    assert not is_plain(model)
    assert isinstance(build_explainer(model), NetworkScorer)


@pytest.mark.parametrize("change", ["gone", "shape"])
def test_weights_of_another_network_are_refused(change: str) -> None:
    model = MODELS["krf130-met1"]
    name = "members.0.fine.0.three.conv.weight"
    weights = model.weights | {name: model.weights[name][:, 1:]}
    if change == "gone":
        del weights[name]
    for use in (build_explainer, Checkpoint.detector):
        with pytest.raises(UsageError, match=r"is damaged: .*copy it, or train it, again"):
            use(replace(model, weights=weights))
