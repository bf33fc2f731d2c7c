import math

import numpy as np
import pytest
import torch

from stages import scores
from stages.contracts import RasterSpec
from stages.detector import checkpoint
from stages.detector.checkpoint import Checkpoint
from stages.detector.model import Detector, DetectorConfig
from stages.detector.prefilter import Prefilter, PrefilterConfig, PrefilterNetwork
from stages.detector.thresholds import OperatingPoint
from stages.errors import ModelMismatchError
from stages.scores import NetworkScorer, build_scorer, score_rasters

RASTER = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32)


class InkDensity:
    """Scores a picture by its mean; stands in for the network."""

    raster = RASTER
    embedding = 2
    reject_below = 0.0
    ensemble_from = math.inf

    def __init__(self):
        self.sizes = []

    def score_batch(self, rasters):
        self.sizes.append(len(rasters))
        ink = rasters.mean(axis=(1, 2, 3)) / 255
        return ink.astype(np.float32), np.stack([ink, 1 - ink], 1).astype(np.float16)

    def score_ensemble_batch(self, rasters):
        raise AssertionError("asked although no score is that high")


class Screened(InkDensity):
    """Looks first whether there is any ink on the left, and calls the others cold."""

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
        logit, embedding, _ = network(torch.from_numpy(rasters).float() / 255)
    judged = score_rasters(rasters, scorer)
    np.testing.assert_allclose(judged.score, logit.sigmoid(), atol=1e-5)
    np.testing.assert_allclose(judged.embedding, embedding, atol=1e-3)


def test_what_the_prefilter_sends_away_is_cold_and_no_more_is_asked_of_it():
    rasters = pictures(200)
    double = Screened()
    judged, whole = score_rasters(rasters, double), score_rasters(rasters, InkDensity())
    warm = rasters[:, :, :, :32].mean(axis=(1, 2, 3)) / 255 >= 0.25
    assert 20 < warm.sum() < 180
    np.testing.assert_array_equal(judged.score, np.where(warm, whole.score, 0))
    np.testing.assert_array_equal(judged.embedding, whole.embedding * warm[:, None])
    assert double.sizes == [-scores.BATCH] * 4 + [scores.BATCH] * math.ceil(
        warm.sum() / scores.BATCH
    )


@pytest.mark.parametrize("shape", [(5, 2, 64, 64), (5, 1, 32, 32), (5, 1, 64, 60), (0, 1, 8, 8)])
def test_pictures_of_another_shape_are_refused(scorer, shape):
    with pytest.raises(ModelMismatchError) as refusal:
        score_rasters(np.zeros(shape, np.uint8), scorer)
    assert str(shape[1:]) in str(refusal.value)
    assert "(1, 64, 64)" in str(refusal.value)


def test_a_scorer_is_made_of_a_checkpoint(tmp_path, network, scorer):
    torch.manual_seed(4)
    small = PrefilterNetwork(PrefilterConfig(core_px=32)).eval()
    prefilter = Prefilter(small.config, small.state_dict(), 0.5, 0.0, 0.25)
    point = OperatingPoint(0.5, 0.99, 1, 0.01, 100, 200)
    model = Checkpoint(
        network.state_dict(), network.config, RASTER, ("met1",), "krf130", point, {"seed": 3},
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
