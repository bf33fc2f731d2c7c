import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.contracts import RasterSpec
from stages.detector.models import checkpoint
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.networks.committee import Committee
from stages.detector.networks.prefilter import Prefilter
from stages.detector.networks.shapes import DetectorConfig, PrefilterConfig, Rules
from stages.detector.quantisation.quantise import can_be_quantised, quantise
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import ConfigError, UsageError
from stages.scores import build_scorer, choose_arithmetic, score_rasters
from tests.stages.detector.integer.test_network import draw_pictures, make_network

SHAPES = (
    DetectorConfig(stem=8, fine=(8,), coarse=(8, 16), embedding=4, kinds=("pinch",)),
    DetectorConfig(stem=8, fine=(8,), coarse=(8, 16), embedding=4, kinds=("pinch",), core_px=16),
)
PICTURES = draw_pictures(150)


def make_checkpoint() -> Checkpoint:
    rules = Rules(2, 8, ensemble_from=0.0, scale=0.9, shift=-0.1)
    members = [make_network(shape, seed) for seed, shape in enumerate(SHAPES)]
    prefilter = make_network(PrefilterConfig(width=8))
    with torch.inference_mode():
        x = torch.from_numpy(PICTURES).float() / 255
        reject_below = float(prefilter(x).logit.sigmoid().quantile(0.3))
        rules = replace(rules, ensemble_from=float(members[0](x).logit.quantile(0.7)))
    return Checkpoint(
        weights=Committee(members, rules).get_arrays(), config=SHAPES[0], others=SHAPES[1:],
        raster=RasterSpec(40.0, 32, 16), layers=("met1",), process="krf130",
        operating_point=OperatingPoint(0.25, 0.99, 7, 0.007, 100, 1100), provenance={},
        rules=rules,
        prefilter=Prefilter(prefilter.config, prefilter.get_arrays(), reject_below, 0.0, 0.7),
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("integers") / "model.pt"
    checkpoint.save(path, quantise(make_checkpoint(), PICTURES))
    return checkpoint.load(path)


def test_scores_are_those_of_float32_but_for_rounding(model):
    exact, rounded = (
        score_rasters(PICTURES, build_scorer(model, arithmetic=kind))
        for kind in ("int8", "float32")
    )
    rejected = rounded.score == 0
    assert 0.2 < rejected.mean() < 0.4
    assert np.mean((exact.score == 0) == rejected) > 0.95
    both = (exact.score > 0) & ~rejected
    assert np.abs(exact.score - rounded.score)[both].max() < 0.05
    assert np.abs(exact.score - rounded.score)[both].mean() < 0.01
    assert exact.embedding.dtype == np.float16
    assert np.sum(exact.embedding * rounded.embedding, 1, np.float32)[both].min() > 0.99


def test_the_ensemble_is_that_of_float32_but_for_rounding(model):
    exact, rounded = (build_scorer(model, arithmetic=kind) for kind in ("int8", "float32"))
    assert exact.ensemble_from == pytest.approx(rounded.ensemble_from, rel=1e-5)
    few = PICTURES[:64]
    difference = exact.score_ensemble_batch(few) - rounded.score_ensemble_batch(few)
    assert np.abs(difference).mean() < 0.15 * rounded.score_ensemble_batch(few).std()


def test_margins_are_those_of_float32_but_for_rounding(model):
    exact, rounded = (
        build_scorer(model, arithmetic=kind).predict_margins(PICTURES)
        for kind in ("int8", "float32")
    )
    assert exact.shape == rounded.shape == (150, 1)
    assert np.abs(exact - rounded).mean() < 0.15 * rounded.std()


def test_scores_are_the_same_bytes_in_any_batch_and_their_arithmetic_has_one_fingerprint(model):
    scorer = build_scorer(model, arithmetic="int8")
    whole, part = score_rasters(PICTURES, scorer), score_rasters(PICTURES[90:], scorer)
    assert np.array_equal(whole.score[90:], part.score)
    assert np.array_equal(whole.embedding[90:], part.embedding)
    again = build_scorer(model, arithmetic="int8").measure_arithmetic()
    assert scorer.measure_arithmetic() == again
    assert again != build_scorer(model).measure_arithmetic()


def test_integers_are_kept_in_the_file_and_in_the_digest(model):
    made = quantise(make_checkpoint(), PICTURES)
    assert model.digest == made.digest != make_checkpoint().digest
    assert model.integers.keys() == made.integers.keys()
    assert all(np.array_equal(model.integers[name], made.integers[name]) for name in made.integers)


def test_a_file_with_other_integers_is_refused(model, tmp_path):
    name = "members.1.fine.0.three.bias"
    short = model.integers | {name: model.integers[name][1:]}
    checkpoint.save(tmp_path / "a.pt", replace(model, integers=short))
    with pytest.raises(UsageError, match=r"damaged: weight fine\.0\.three\.bias is"):
        checkpoint.load(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("attention", "inception"), [("scale_space", True), ("channel_spatial", False)]
)
def test_a_network_without_integers_is_refused(attention, inception):
    shape = replace(SHAPES[0], attention=attention, inception=inception)
    model = replace(
        make_checkpoint(), weights=make_network(shape).get_arrays(), config=shape, others=(),
        rules=None,
    )  # fmt: skip
    assert not can_be_quantised(model)
    with pytest.raises(UsageError, match=f"attention '{attention}' has no form in integers"):
        quantise(model, PICTURES)


def test_int8_is_chosen_where_the_model_and_the_device_have_it(model):
    plain = replace(model, integers=None)
    assert choose_arithmetic(model, "cpu") == "int8"
    assert choose_arithmetic(model, "cuda") == choose_arithmetic(plain, "cpu") == "float32"
    assert choose_arithmetic(model, "cpu", "float32") == "float32"
    with pytest.raises(ConfigError, match="no weights in integers"):
        choose_arithmetic(plain, "cpu", "int8")
    with pytest.raises(ConfigError, match="device is 'cuda:1'"):
        choose_arithmetic(model, "cuda:1", "int8")


def test_a_single_network_needs_no_committee():
    model = make_checkpoint()
    single = replace(
        model, weights=make_network(SHAPES[0]).get_arrays(), others=(), rules=None, prefilter=None
    )
    scorer = build_scorer(quantise(single, PICTURES), arithmetic="int8")
    assert math.isinf(scorer.ensemble_from)
    assert scorer.reject_below == 0
    assert scorer.score_batch(PICTURES)[0].std() > 0.001
