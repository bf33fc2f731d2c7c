import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.detector.networks.attention import NAMES
from stages.detector.networks.detector import Detector
from stages.detector.training.loop import (
    LabelledClips,
    TrainingConfig,
    draw_batches,
    embed,
    flip_and_turn,
    hide_rims,
    learning_rate,
    score,
    to_pictures,
    train,
)
from stages.detector.training.thresholds import choose_threshold, pr_auc
from stages.errors import UsageError
from tests.support.detectors import SMALL, two_bars


def small():
    return Detector(SMALL)


@pytest.fixture(scope="module")
def trained():
    config = TrainingConfig(epochs=3, steps=25, batch=64, learning_rate=8e-3)
    return train(two_bars(2000, 1), two_bars(500, 2), network=small, config=config)


def test_training_finds_gaps_that_differ_by_less_than_a_pixel(trained):
    unseen = two_bars(500, 3)
    scores = score(trained.detector, unseen.rasters)
    assert pr_auc(scores, unseen.labels) > 0.95
    assert trained.history[-1].loss < trained.history[0].loss


def test_margins_are_learnt_beside_the_verdict():
    """The margin of two bars is how much closer they are than they may be."""
    clips, unseen = two_bars(1500, 4), two_bars(300, 5)

    def network():
        return Detector(replace(SMALL, kinds=("space", "nothing")))

    config = TrainingConfig(epochs=6, steps=25, batch=64, learning_rate=8e-3, margin_weight=2.0)
    fitted = train(
        replace(clips, margins=margins_of(clips)), unseen, network=network, config=config
    ).detector
    assert pr_auc(score(fitted, unseen.rasters), unseen.labels) > 0.95
    with torch.inference_mode():
        predicted = fitted(to_pictures(unseen.rasters)).margin.numpy()
    space = margins_of(unseen)[:, 0]
    assert np.corrcoef(predicted[:, 0], space)[0, 1] > 0.9
    assert np.abs(predicted[:, 1] + 0.5).mean() < 0.1


def margins_of(clips):
    """Margins of the gap between two bars, whose limit is 3.5 pixels, and of a kind never met."""
    column = clips.rasters[:, 0, :, 32] / 255  # crosses both bars, each 12 pixels wide
    first, last = (column > 0).argmax(axis=1), 63 - (column > 0)[:, ::-1].argmax(axis=1)
    every = np.arange(len(column))
    gap = last + column[every, last] - (first + 1 - column[every, first]) - 24
    return np.stack([1 - gap / 3.5, np.full(len(gap), -1.0)], axis=1).astype(np.float32)


def test_pictures_may_be_read_only_and_batches_do_not_matter(trained):
    rasters = two_bars(300, 3).rasters  # more than are judged at once
    rasters.flags.writeable = False  # as an array on disk is
    scores = score(trained.detector, rasters)
    apart = np.concatenate([score(trained.detector, part) for part in np.split(rasters, 6)])
    np.testing.assert_allclose(scores, apart, atol=1e-5)
    assert scores.std() > 0.1
    units = np.linalg.norm(embed(trained.detector, rasters), axis=1)
    np.testing.assert_allclose(units, 1, atol=1e-5)


def test_best_epoch_is_returned_and_reports_are_of_validation(trained):
    validation = two_bars(500, 2)
    scores = score(trained.detector, validation.rasters)
    best = max(trained.history, key=lambda report: report.pr_auc)
    assert pr_auc(scores, validation.labels) == pytest.approx(best.pr_auc)
    point = choose_threshold(scores, validation.labels, 0.99)
    assert (best.recall, best.false_alarms) == (point.recall, point.false_alarms)
    assert [report.epoch for report in trained.history] == [1, 2, 3]
    assert not trained.detector.training


def test_without_validation_the_last_epoch_is_returned():
    config = TrainingConfig(epochs=3, steps=2, batch=8)
    weights = []

    def keep(report, state):
        assert (report.pr_auc, report.recall, report.false_alarms) == (None, None, None)
        weights.append({name: value.clone() for name, value in state["detector"].items()})

    trained = train(two_bars(60, 1), None, network=small, config=config, on_epoch=keep)
    assert len(weights) == len(trained.history) == 3
    returned = trained.detector.state_dict()
    assert all(torch.equal(returned[name], weights[2][name]) for name in returned)
    assert not torch.equal(returned["embed.weight"], weights[1]["embed.weight"])


@pytest.mark.parametrize("inception", [True, False])
@pytest.mark.parametrize("attention", NAMES)
def test_every_shape_of_the_network_can_be_trained(attention, inception):
    shape = replace(SMALL, attention=attention, inception=inception)
    config = TrainingConfig(epochs=1, steps=2, batch=8)
    clips = two_bars(40, 1)
    trained = train(clips, clips, network=lambda: Detector(shape), config=config)
    torch.manual_seed(config.seed)
    untrained = Detector(shape).state_dict()
    for name, value in trained.detector.named_parameters():
        assert value.isfinite().all()
        assert not torch.equal(value, untrained[name])
    assert 0 < trained.history[0].pr_auc <= 1


def test_clips_weigh_as_they_are_given():
    clips = two_bars(40, 1)
    config = TrainingConfig(epochs=1, steps=3, batch=8, metric="none")

    def run(weights):
        weighed = replace(clips, weights=None if weights is None else weights.astype(np.float32))
        trained = train(weighed, None, network=small, config=config)
        return trained.history[0].loss, trained.detector.verdict.weight

    loss, weight = run(None)
    same_loss, same_weight = run(np.ones(40))
    assert loss == same_loss
    assert torch.equal(weight, same_weight)
    hot_loss, hot_weight = run(np.where(clips.labels, 2.0, 1e-6))
    assert 0 < hot_loss != loss
    assert not torch.equal(weight, hot_weight)
    assert run(np.full(40, 1e-30))[0] == pytest.approx(0)
    with pytest.raises(UsageError, match="7 of 7 clips are hotspots"):
        run(clips.labels)


def test_same_seed_same_weights_also_when_resumed():
    clips, validation = two_bars(300, 1), two_bars(100, 2)
    config = TrainingConfig(epochs=3, steps=2, batch=16)
    states = []

    def keep(report, state):
        file = io.BytesIO()
        torch.save(state, file)
        states.append(file)

    def run(config, **resumed):
        return train(clips, validation, network=small, config=config, on_epoch=keep, **resumed)

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
    clips = LabelledClips(np.zeros((1000, 1, 1, 1), np.uint8), labels)
    last_score = torch.full((1000,), 0.001)
    last_score[100:110] = 0.9
    config = TrainingConfig(steps=50, batch=40, hard=0.5)
    drawn = draw_batches(clips, last_score, 3, config)
    assert drawn.shape == (50, 40)
    assert (labels[drawn].sum(1) == 20).all()
    cold = drawn[~labels[drawn]]
    hard = ((cold >= 100) & (cold < 110)).mean()
    expected = 0.5 * 10 / 980 + 0.5 * 9 / (9 + 0.97)
    assert hard == pytest.approx(expected, abs=0.06)
    assert np.array_equal(drawn, draw_batches(clips, last_score, 3, config))
    assert not np.array_equal(drawn, draw_batches(clips, last_score, 4, config))
    weights = (np.arange(1000) % 2).astype(np.float32)
    half = draw_batches(replace(clips, weights=weights), last_score, 3, config)
    assert (labels[half].sum(1) == 20).all()
    assert (half % 2 == 1).all()


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


def test_half_of_the_pictures_go_on_at_the_rim():
    picture = torch.rand(2, 9, 8)
    hidden = picture.clone()
    for row, column in np.ndindex(9, 8):
        hidden[:, row, column] = picture[:, min(max(row, 2), 6), min(max(column, 2), 5)]
    generator = torch.Generator().manual_seed(0)
    out = hide_rims(picture.expand(300, 2, 9, 8), generator, 2)
    kept = [torch.equal(each, picture) for each in out]
    assert [torch.equal(each, hidden) for each in out] == [not one for one in kept]
    assert 120 < sum(kept) < 180


def test_without_a_rim_the_picture_is_itself():
    x = torch.rand(2, 1, 8, 8)
    assert hide_rims(x, torch.Generator(), 0) is x


def test_learning_rate_rises_then_falls():
    config = TrainingConfig(epochs=10, steps=10, learning_rate=1.0)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize("hot", [0, 4])
def test_one_class_cannot_be_learnt(hot):
    with pytest.raises(UsageError, match=f"{hot} of 4 clips are hotspots"):
        LabelledClips(np.zeros((4, 1, 64, 64), np.uint8), np.arange(4) < hot)


def test_pictures_and_labels_must_be_as_many():
    with pytest.raises(UsageError, match="3 pictures have 4 labels"):
        LabelledClips(np.zeros((3, 1, 64, 64), np.uint8), np.arange(4) < 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"batch": 2}, "batch is 2"), ({"steps": 0}, "steps 0"), ({"epochs": 0}, "epochs 0")],
)
def test_a_training_of_nothing_is_refused(config, message):
    with pytest.raises(UsageError, match=message):
        TrainingConfig(**config)
