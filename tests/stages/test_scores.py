import math

import numpy as np
import pytest
import torch

from stages import scores
from stages.contracts import RasterSpec
from stages.detector.models import checkpoint
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.networks.committee import Committee
from stages.detector.networks.detector import Detector
from stages.detector.networks.prefilter import Prefilter
from stages.detector.networks.prefilter_network import PrefilterNetwork
from stages.detector.networks.shapes import DetectorConfig, PrefilterConfig, Rules
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import ConfigError, IncompleteError, ModelMismatchError
from stages.scores import NetworkScorer, build_scorer, check_device, score_rasters

RASTER = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32)


class InkDensity:
    """Scores a picture by its mean; stands in for the network."""

    raster = RASTER
    embedding = 2
    kinds = ("ink",)
    reject_below = 0.0
    ensemble_from = math.inf

    def __init__(self):
        self.sizes = []

    def score_batch(self, rasters):
        self.sizes.append(len(rasters))
        ink = rasters.mean(axis=(1, 2, 3)) / 255
        return (
            ink.astype(np.float32), np.stack([ink, 1 - ink], 1).astype(np.float16),
            ink[:, None].astype(np.float32),
        )  # fmt: skip

    def score_ensemble_batch(self, rasters):
        raise AssertionError("called although no score is that high")


class Prefiltered(InkDensity):
    """Rejects pictures with little ink on the left."""

    reject_below = 0.25

    def prefilter_batch(self, rasters):
        self.sizes.append(-len(rasters))
        return rasters[:, :, :, :32].mean(axis=(1, 2, 3)).astype(np.float32) / 255


def pictures(n, seed=0):
    """Random grey blocks, so that scores differ."""
    rng = np.random.default_rng(seed)
    ink = rng.integers(0, 256, (n, 1, 8, 8)) * (rng.random((n, 1, 1, 1)) < rng.random((n, 1, 8, 8)))
    return np.kron(ink, np.ones((8, 8))).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    detector = Detector(DetectorConfig())
    with torch.no_grad():
        for _ in range(5):  # batch norms get to know such pictures
            detector(torch.from_numpy(pictures(128)).float() / 255)
        detector.verdict.weight *= 50
    return detector.eval()


@pytest.fixture(scope="module")
def scorer(network):
    return NetworkScorer(network, RASTER)


@pytest.mark.parametrize("n", [0, 1, scores.BATCH - 1, scores.BATCH, scores.BATCH + 1, 200])
def test_every_batch_has_the_same_size_and_order_is_kept(n):
    rasters = pictures(n)
    double = InkDensity()
    judged = score_rasters(rasters, double)
    assert double.sizes == [scores.BATCH] * -(-n // scores.BATCH)
    assert len(judged) == n
    assert judged.score.dtype == np.float32
    assert judged.embedding.dtype == np.float16
    assert judged.embedding.shape == (n, 2)
    np.testing.assert_allclose(judged.score, [picture.mean() / 255 for picture in rasters])


def test_place_and_company_do_not_change_a_bit(scorer):
    rasters = pictures(150)
    whole = score_rasters(rasters, scorer)
    assert len(np.unique(whole.score)) > 100
    slices = [slice(0, 1), slice(1, None), slice(77, 78), slice(3, 100), slice(149, None)]
    orders = [np.arange(150)[s] for s in slices]
    orders += [np.arange(150)[::-1], np.random.default_rng(1).permutation(150)]
    orders += [np.full(70, 42), np.array([], np.int64)]
    for order in orders:
        part = score_rasters(rasters[order], scorer)
        np.testing.assert_array_equal(part.score, whole.score[order])
        np.testing.assert_array_equal(part.embedding, whole.embedding[order])


def test_each_place_in_a_batch_gives_the_same_bits(scorer):
    crowd = pictures(scores.BATCH, seed=5)
    alone = score_rasters(crowd[:1], scorer)
    for place in range(0, scores.BATCH, 5):
        moved = np.roll(crowd, place, axis=0)
        judged = score_rasters(moved, scorer)
        assert judged.score[place] == alone.score[0]
        assert np.array_equal(judged.embedding[place], alone.embedding[0])


def test_scores_are_those_of_the_network(network, scorer):
    rasters = pictures(20)
    with torch.inference_mode():
        logit, embedding, *_ = network(torch.from_numpy(rasters).float() / 255)
    judged = score_rasters(rasters, scorer)
    np.testing.assert_allclose(judged.score, logit.sigmoid(), atol=1e-5)
    np.testing.assert_allclose(judged.embedding, embedding, atol=1e-3)


def test_rejected_patterns_score_0_and_never_reach_the_detector():
    rasters = pictures(200)
    double = Prefiltered()
    judged, whole = score_rasters(rasters, double), score_rasters(rasters, InkDensity())
    passed = rasters[:, :, :, :32].mean(axis=(1, 2, 3)) / 255 >= 0.25
    assert 20 < passed.sum() < 180
    np.testing.assert_array_equal(judged.score, np.where(passed, whole.score, 0))
    np.testing.assert_array_equal(judged.embedding, whole.embedding * passed[:, None])
    np.testing.assert_array_equal(
        judged.margin, np.where(passed[:, None], whole.margin, np.nan).astype(np.float32)
    )
    assert double.sizes == [-scores.BATCH] * 4 + [scores.BATCH] * math.ceil(
        passed.sum() / scores.BATCH
    )


class Edges(InkDensity):
    """Each picture scores what its first pixel says, in quarters; the ensemble scores 1."""

    reject_below = 0.25
    ensemble_from = 0.75

    def prefilter_batch(self, rasters):
        return rasters[:, 0, 0, 0].astype(np.float32) / 4

    def score_batch(self, rasters):
        score = rasters[:, 0, 0, 1].astype(np.float32) / 4
        return score, np.ones((len(rasters), 2), np.float16), score[:, None]

    def score_ensemble_batch(self, rasters):
        return np.ones(len(rasters), np.float32)


@pytest.mark.parametrize(
    ("prefilter", "single_pass", "expected"),
    [
        (0, 2, 0.0),  # rejected
        (1, 2, 0.5),  # exactly at reject_below: passes
        (2, 2, 0.5),
        (1, 3, 1.0),  # exactly at ensemble_from: the ensemble decides
        (1, 4, 1.0),
    ],
)
def test_scores_exactly_at_a_limit(prefilter, single_pass, expected):
    rasters = np.zeros((1, 1, 64, 64), np.uint8)
    rasters[0, 0, 0, :2] = prefilter, single_pass
    assert score_rasters(rasters, Edges()).score.tolist() == [expected]


@pytest.mark.parametrize("where", ["prefilter_batch", "score_batch", "score_ensemble_batch"])
def test_a_score_that_is_not_a_number_is_an_error(where):
    """A comparison with NaN is false: without a check, a hotspot would be rejected silently."""

    class Broken(Edges):
        pass

    def broken(self, rasters):
        scores = getattr(Edges, where)(self, rasters)
        (scores[0] if isinstance(scores, tuple) else scores)[3] = np.nan
        return scores

    setattr(Broken, where, broken)
    rasters = np.full((5, 1, 64, 64), 4, np.uint8)
    assert score_rasters(rasters, Edges()).score.tolist() == [1] * 5
    with pytest.raises(IncompleteError, match="is not finite for 1 of 5 patterns"):
        score_rasters(rasters, Broken())
    score_rasters(rasters[:3], Broken())  # the padding of a batch is nobody's score


def test_an_embedding_that_is_not_a_number_is_an_error():
    class Broken(InkDensity):
        def score_batch(self, rasters):
            scores, embedding, margin = super().score_batch(rasters)
            embedding[1] = -np.inf  # one pattern, whatever the number of its values
            return scores, embedding, margin

    with pytest.raises(IncompleteError, match="detector's embedding is not finite for 1 of 2"):
        score_rasters(pictures(2), Broken())


def test_it_scores_on_one_thread_and_leaves_those_of_the_process_alone(network):
    seen = []

    class Recorder(Detector):
        def forward(self, pictures):
            seen.append(torch.get_num_threads())
            return super().forward(pictures)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        score_rasters(pictures(3), NetworkScorer(Recorder(network.config).eval(), RASTER))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.5, math.inf, -math.inf])
def test_the_limit_of_the_ensemble_is_a_log_odds(network, logit):
    scorer = NetworkScorer(Committee([network], Rules(ensemble_from=logit)), RASTER)
    expected = logit if math.isinf(logit) else torch.tensor(logit).sigmoid().item()
    assert scorer.ensemble_from == pytest.approx(expected, rel=1e-6)


def test_a_missing_device_is_explained_in_one_line(monkeypatch):
    def refuse(*size, device):
        raise RuntimeError(f"no {device} here\nsecond line")

    check_device("cpu")
    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(ConfigError, match=r"used here \(no tpu here\); give --device cpu"):
        check_device("tpu")


@pytest.mark.parametrize("shape", [(5, 2, 64, 64), (5, 1, 32, 32), (5, 1, 64, 60), (0, 1, 8, 8)])
def test_pictures_of_another_shape_are_refused(scorer, shape):
    with pytest.raises(ModelMismatchError) as refusal:
        score_rasters(np.zeros(shape, np.uint8), scorer)
    assert str(shape[1:]) in str(refusal.value)
    assert "(1, 64, 64)" in str(refusal.value)


def test_a_scorer_is_made_of_a_checkpoint(tmp_path, network, scorer):
    torch.manual_seed(4)
    small = PrefilterNetwork(PrefilterConfig(core_px=32)).eval()
    prefilter = Prefilter(small.config, small.get_arrays(), 0.5, 0.0, 0.25)
    point = OperatingPoint(0.5, 0.99, 1, 0.01, 100, 200)
    model = Checkpoint(
        network.get_arrays(), network.config, RASTER, ("met1",), "krf130", point, {"seed": 3},
        prefilter=prefilter,
    )  # fmt: skip
    checkpoint.save(tmp_path / "model.pt", model)
    again = checkpoint.load(tmp_path / "model.pt")
    assert again.digest == model.digest
    assert again.prefilter.about() == prefilter.about()
    behind = build_scorer(again)
    assert behind.reject_below == 0.5
    looked = torch.from_numpy(pictures(scores.BATCH)).float() / 255
    np.testing.assert_allclose(
        behind.prefilter_batch(pictures(scores.BATCH)),
        small(looked).logit.sigmoid().detach().numpy(), atol=1e-6,
    )  # fmt: skip
    loaded = build_scorer(again, prefiltered=False)
    assert loaded.raster == RASTER
    rasters = pictures(9)
    np.testing.assert_array_equal(
        score_rasters(rasters, loaded).score, score_rasters(rasters, scorer).score
    )
