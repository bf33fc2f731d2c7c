import io

import numpy as np
import pytest
import torch

from stages.detector.model import DetectorConfig
from stages.detector.training import (
    LabelledClips,
    TrainingConfig,
    choose_threshold,
    draw_batches,
    flip_and_turn,
    learning_rate,
    pr_auc,
    score,
    train,
)
from stages.errors import UsageError

SMALL = DetectorConfig(stem=16, fine=(16,), coarse=(16,), embedding=8)


def two_bars(n: int, seed: int, hot_share: float = 0.2) -> LabelledClips:
    """Two bars with a gap between, by area coverage; a hotspot when it is under 3.5 pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < hot_share
    gap = np.where(labels, rng.uniform(2.6, 3.3, n), rng.uniform(3.7, 6, n))
    middle = rng.uniform(28, 36, n)
    pixel = np.arange(64)

    def covered(low, high):  # (n, 64) share of each pixel between low and high, (n,) each
        inside = np.minimum(high[:, None], pixel + 1) - np.maximum(low[:, None], pixel)
        return np.clip(inside, 0, 1)

    bars = covered(middle - gap / 2 - 12, middle - gap / 2)
    bars += covered(middle + gap / 2, middle + gap / 2 + 12)
    along = covered(rng.uniform(0, 12, n), rng.uniform(52, 64, n))
    rasters = np.rint(255 * bars[:, :, None] * along[:, None, :])[:, None]
    return LabelledClips(rasters.astype(np.uint8), labels)


@pytest.fixture(scope="module")
def trained():
    config = TrainingConfig(epochs=3, steps=25, batch=64, learning_rate=8e-3)
    return train(two_bars(2000, 1), two_bars(500, 2), model=SMALL, config=config)


def test_training_finds_gaps_that_differ_by_less_than_a_pixel(trained):
    unseen = two_bars(500, 3)
    scores = score(trained.detector, unseen.rasters)
    assert pr_auc(scores, unseen.labels) > 0.95
    assert trained.history[-1].loss < trained.history[0].loss


def test_pictures_may_be_read_only_and_batches_do_not_matter(trained):
    rasters = two_bars(20, 3).rasters
    rasters.flags.writeable = False  # as an array on disk is
    scores = score(trained.detector, rasters)
    np.testing.assert_allclose(scores, score(trained.detector, rasters, batch=7), atol=1e-5)
    assert scores.std() > 0.1


def test_best_epoch_and_its_threshold_are_returned(trained):
    validation = two_bars(500, 2)
    scores = score(trained.detector, validation.rasters)
    areas = [report.pr_auc for report in trained.history]
    assert pr_auc(scores, validation.labels) == pytest.approx(max(areas))
    assert trained.operating_point == choose_threshold(scores, validation.labels, 0.99)


def test_same_seed_same_weights_also_when_resumed():
    clips, validation = two_bars(300, 1), two_bars(100, 2)
    config = TrainingConfig(epochs=3, steps=2, batch=16)
    states = []

    def keep(report, state):
        file = io.BytesIO()
        torch.save(state, file)
        states.append(file)

    def run(config, **resumed):
        return train(clips, validation, model=SMALL, config=config, on_epoch=keep, **resumed)

    first = run(config)
    states[0].seek(0)
    resumed = run(config, state=torch.load(states[0], weights_only=True))
    other = run(TrainingConfig(epochs=3, steps=2, batch=16, seed=1))
    assert len(states) == 3 + 2 + 3
    assert first.history == resumed.history != other.history
    weights = [each.detector.state_dict() for each in (first, resumed, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["embed.weight"], weights[2]["embed.weight"])


def test_batches_are_half_hot_and_the_rest_leans_to_high_scores():
    labels = np.arange(1000) < 20
    last_score = torch.full((1000,), 0.001)
    last_score[100:110] = 0.9
    config = TrainingConfig(steps=50, batch=40, hard=0.5)
    drawn = draw_batches(labels, last_score, 3, config)
    assert drawn.shape == (50, 40)
    assert (labels[drawn].sum(1) == 20).all()
    cold = drawn[~labels[drawn]]
    hard = ((cold >= 100) & (cold < 110)).mean()
    expected = 0.5 * 10 / 980 + 0.5 * 9 / (9 + 0.97)
    assert hard == pytest.approx(expected, abs=0.06)
    assert np.array_equal(drawn, draw_batches(labels, last_score, 3, config))
    assert not np.array_equal(drawn, draw_batches(labels, last_score, 4, config))


@pytest.mark.parametrize(("turns", "count"), [(True, 8), (False, 4)])
def test_flips_and_turns_are_the_symmetries_of_the_square(turns, count):
    picture = torch.arange(9.0).reshape(1, 3, 3)
    symmetries = {
        tuple(torch.rot90(side, k, (1, 2)).flatten().tolist())
        for side in (picture, picture.flip(2))
        for k in ((0, 1, 2, 3) if turns else (0, 2))
    }
    generator = torch.Generator().manual_seed(0)
    out = flip_and_turn(picture.expand(200, 1, 3, 3), generator, quarter_turns=turns)
    assert {tuple(each.flatten().tolist()) for each in out} == symmetries
    assert len(symmetries) == count


def test_learning_rate_rises_then_falls():
    config = TrainingConfig(epochs=10, steps=10, learning_rate=1.0)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize(
    ("recall", "threshold", "found", "false_alarms"),
    [
        (1.0, 0.2, 4, 3),  # the lowest hotspot decides
        (0.8, 0.2, 4, 3),  # 3.2 hotspots are 4
        (0.75, 0.5, 3, 2),  # a tie is flagged whole
        (0.5, 0.8, 2, 0),
        (0.01, 0.9, 1, 0),
    ],
)
def test_threshold_is_the_highest_that_finds_enough(recall, threshold, found, false_alarms):
    scores = np.array([0.9, 0.8, 0.5, 0.2, 0.5, 0.6, 0.2, 0.1], np.float32)
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    point = choose_threshold(scores, labels, recall)
    assert point.threshold == np.float32(threshold)
    assert point.recall == found / 4
    assert point.false_alarms == false_alarms
    assert point.false_alarm_rate == false_alarms / 4
    assert (point.hotspots, point.clips) == (4, 8)


@pytest.mark.parametrize("share", [0.07, 0.29, 0.57, 0.58])
def test_threshold_does_not_ask_for_one_more_because_of_rounding(share):
    scores = np.linspace(0, 1, 100, dtype=np.float32)
    point = choose_threshold(scores, np.ones(100, bool), share)
    assert point.recall == pytest.approx(share)


@pytest.mark.parametrize(("recall", "hot"), [(0.0, 1), (1.1, 1), (0.9, 0)])
def test_threshold_needs_a_recall_and_a_hotspot(recall, hot):
    with pytest.raises(UsageError, match=f"recall is {recall} and hotspots are {hot}"):
        choose_threshold(np.zeros(3, np.float32), np.arange(3) < hot, recall)


def brute_force_pr_auc(scores, labels):
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        flagged = scores >= threshold
        recall = (flagged & labels).sum() / labels.sum()
        area += (recall - recall_before) * (flagged & labels).sum() / flagged.sum()
        recall_before = recall
    return area


@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_pr_auc_is_that_of_every_threshold_in_turn(levels):
    rng = np.random.default_rng(levels)
    labels = rng.random(300) < 0.1
    scores = (rng.integers(0, levels, 300) / levels).astype(np.float32)
    assert pr_auc(scores, labels) == pytest.approx(brute_force_pr_auc(scores, labels))
    assert pr_auc(labels.astype(np.float32), labels) == 1


@pytest.mark.parametrize("hot", [0, 4])
def test_one_class_cannot_be_learnt(hot):
    with pytest.raises(UsageError, match=f"{hot} of 4 clips are hotspots"):
        LabelledClips(np.zeros((4, 1, 64, 64), np.uint8), np.arange(4) < hot)


def test_pictures_and_labels_must_be_as_many():
    with pytest.raises(UsageError, match="3 pictures have 4 labels"):
        LabelledClips(np.zeros((3, 1, 64, 64), np.uint8), np.arange(4) < 2)


def test_batch_of_two_is_refused():
    with pytest.raises(UsageError, match="batch is 2"):
        TrainingConfig(batch=2)
