import math

import numpy as np
import pytest
import torch

from stages import scores
from stages.contracts import RasterSpec
from stages.detector.networks.committee import Committee, pool_probabilities, turn
from stages.detector.networks.detector import Detector
from stages.detector.networks.shapes import Rules
from stages.scores import NetworkScorer, score_rasters
from tests.support.detectors import SMALL, two_bars

RASTER = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32)


def pictures(n):
    """Two bars with grey blocks on them, so that no picture has a symmetry."""
    rng = np.random.default_rng(4)
    spots = np.kron(rng.integers(0, 128, (n, 1, 8, 8)), np.ones((8, 8), np.int64))
    return np.minimum(two_bars(n, 4).rasters + spots, 255).astype(np.uint8)


def member(seed):
    """A network whose log odds of such pictures are around 0, by about 1."""
    torch.manual_seed(seed)
    detector, x = Detector(SMALL), tensor(pictures(64))
    with torch.no_grad():
        for _ in range(3):
            detector(x)  # batch norms get to know such pictures
        logit = detector.eval()(x).logit
        detector.verdict.bias -= logit.mean()
        detector.verdict.weight /= logit.std()
        detector.verdict.bias /= logit.std()
    return detector


def tensor(rasters):
    return torch.from_numpy(rasters).float() / 255


@pytest.fixture(scope="module")
def members():
    return [member(seed) for seed in range(3)]


def turned(x, symmetries):
    """Pictures turned and flipped in each way that means the same, one by one."""
    quarters = (0, 1, 2, 3) if symmetries == 8 else (0, 2)
    return [torch.rot90(side, k, (2, 3)) for side in (x, x.flip(3)) for k in quarters]


@pytest.mark.parametrize("symmetries", [4, 8])
def test_orientations_are_the_symmetries(symmetries):
    x = torch.rand(2, 3, 6, 6)
    found = list(turn(x, symmetries))
    expected = turned(x, symmetries)
    assert len(found) == len(expected) == symmetries
    for each in expected:
        assert sum(torch.equal(each, other) for other in found) == 1


@pytest.mark.parametrize("symmetries", [4, 8])
@pytest.mark.parametrize("count", [1, 3])
@torch.inference_mode()
def test_careful_is_the_mean_over_members_and_orientations(members, count, symmetries):
    """Log odds over orientations, then, calibrated, probabilities over members."""
    x, scale, shift = tensor(pictures(10)), 0.6, -0.3
    committee = Committee(members[:count], Rules(count, symmetries, 0.0, scale, shift))
    ways = turned(x, symmetries)
    each = [sum(one(way).logit for way in ways) / symmetries for one in members[:count]]
    expected = (sum((scale * odds + shift).sigmoid() for odds in each) / count).logit()
    assert (expected - (scale * each[0] + shift)).abs().median() > (0.01 if count > 1 else -1)
    torch.testing.assert_close(committee.ensemble_logit(x), expected, atol=1e-3, rtol=0)
    folded = committee.for_inference()
    torch.testing.assert_close(folded.ensemble_logit(x), expected, atol=1e-3, rtol=0)


def test_nobody_has_a_veto():
    """However sure one member is, even past what a probability in float32 can tell."""
    odds = torch.tensor([[-200.0, 200.0, -3.0], [2.0, 2.0, -3.0]])
    half = math.log(0.5 * 0.880797 / (1 - 0.5 * 0.880797))
    more = math.log((1 + 0.880797) / (1 - 0.880797))
    torch.testing.assert_close(
        pool_probabilities(odds), torch.tensor([half, more, -3.0]), rtol=0, atol=1e-4
    )


@torch.inference_mode()
def test_quick_is_the_first_member(members):
    x = tensor(pictures(10))
    quick, alone = Committee(members, Rules(3))(x), members[0](x)
    assert torch.equal(quick.logit, alone.logit)
    assert torch.equal(quick.embedding, alone.embedding)


@pytest.mark.parametrize("symmetries", [4, 8])
@torch.inference_mode()
def test_careful_verdict_is_the_same_for_all_orientations(members, symmetries):
    x = tensor(pictures(10))
    committee = Committee(members, Rules(3, symmetries, 0.0))
    first = committee.ensemble_logit(x)
    for way in turned(x, symmetries):
        torch.testing.assert_close(committee.ensemble_logit(way), first, atol=1e-3, rtol=0)
    assert (members[0](x).logit - members[0](x.flip(3)).logit).abs().max() > 0.1


class Counting(NetworkScorer):
    """Counts how often it is asked for care."""

    asked = 0

    def score_ensemble_batch(self, rasters):
        assert len(rasters) == scores.BATCH
        self.asked += 1
        return super().score_ensemble_batch(rasters)


@pytest.fixture(scope="module")
def verdicts(members):
    """Quick and careful log odds of 150 pictures, by all members."""
    committee, x = Committee(members, Rules(3)).for_inference(), tensor(pictures(150))
    with torch.inference_mode():
        return committee(x).logit.double().numpy(), committee.ensemble_logit(x).double().numpy()


@pytest.mark.parametrize("doubtful", [0, 1, 30, 64, 65, 150])
def test_only_scores_from_careful_from_are_careful(members, verdicts, doubtful):
    rasters = pictures(150)
    quick, careful = verdicts
    falling = np.concatenate([[9.0], np.sort(quick)[::-1], [-9.0]])
    cut = falling[doubtful : doubtful + 2].mean()
    scorer = Counting(Committee(members, Rules(3, 8, float(cut))), RASTER)
    judged = score_rasters(rasters, scorer)
    assert scorer.asked == -(-doubtful // scores.BATCH)
    expected = np.where(quick >= cut, careful, quick)
    np.testing.assert_allclose(judged.score, 1 / (1 + np.exp(-expected)), atol=1e-3)
    assert np.abs(careful - quick).mean() > 0.1
    with torch.inference_mode():
        embedding = members[0](tensor(rasters)).embedding
    np.testing.assert_allclose(judged.embedding, embedding, atol=2e-3)


@pytest.mark.parametrize(("ensemble_from", "batches"), [(math.inf, 0), (-math.inf, 2)])
def test_no_clip_or_every_clip_may_be_judged_with_care(members, ensemble_from, batches):
    scorer = Counting(Committee(members[:1], Rules(1, 4, ensemble_from)), RASTER)
    score_rasters(pictures(100), scorer)
    assert scorer.asked == batches


def test_a_network_alone_is_never_asked_with_care(members):
    scorer = Counting(members[0], RASTER)
    rasters = pictures(20)
    judged = score_rasters(rasters, scorer)
    assert scorer.asked == 0
    np.testing.assert_array_equal(
        scorer.score_ensemble_batch(np.resize(rasters, (scores.BATCH, 1, 64, 64)))[:20],
        judged.score,
    )


def test_place_and_company_do_not_change_a_bit_of_careful_scores(members, verdicts):
    rasters = pictures(150)
    cut = float(np.median(verdicts[0]))
    scorer = Counting(Committee(members[:2], Rules(2, 4, cut)), RASTER)
    whole = score_rasters(rasters, scorer)
    assert scorer.asked == 2
    assert len(np.unique(whole.score)) > 100
    orders = [np.arange(150)[s] for s in (slice(0, 1), slice(1, None), slice(77, 79))]
    orders += [np.random.default_rng(1).permutation(150)]
    orders += [np.full(70, 42), np.full(3, whole.score.argmax()), np.array([], np.int64)]
    for order in orders:
        part = score_rasters(rasters[order], scorer)
        np.testing.assert_array_equal(part.score, whole.score[order])
        np.testing.assert_array_equal(part.embedding, whole.embedding[order])


def test_making_a_committee_ready_leaves_it_as_it_is(members):
    committee = Committee(members, Rules(3))
    before = {name: value.clone() for name, value in committee.state_dict().items()}
    committee.for_inference()
    after = committee.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_a_clip_is_like_is_for_the_first_member_to_say(members):
    committee, x = Committee(members, Rules(3)).eval(), pictures(70)
    scorer, known = NetworkScorer(committee, RASTER), x[::-1].copy()
    found = scorer.resemblance_map(x, known, 8)
    alone = NetworkScorer(members[0], RASTER).resemblance_map(x, known, 8)
    assert found.shape == (70, 8, 8)
    np.testing.assert_array_equal(found, alone)
    assert np.abs(found - scorer.resemblance_map(x, x, 8)).max() > 0
