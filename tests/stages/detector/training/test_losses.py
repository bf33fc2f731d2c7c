import math
import resource

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate

from stages.detector.networks.network import Prediction
from stages.detector.training.loop import TrainingConfig, joint_loss
from stages.detector.training.losses import (
    METRIC,
    PREDICTION,
    alike_by_label,
    alike_by_margin,
    batch_all,
    batch_hard,
    batch_mean,
    cross_entropy,
    focal,
    improved_cross_entropy,
    margin_loss,
    pairwise,
    semi_hard,
)
from stages.errors import UsageError


def unit_vectors(n, length, seed):
    embedding = np.random.default_rng(seed).normal(size=(n, length))
    return embedding / np.linalg.norm(embedding, axis=1, keepdims=True)


def by_label(labels):
    return alike_by_label(torch.as_tensor(labels), None)


def square_distance(embedding, a, b):
    return float(((embedding[a] - embedding[b]) ** 2).sum())


def brute_force_hard(embedding, labels, margin):
    losses = []
    for a in range(len(labels)):
        to = [square_distance(embedding, a, b) for b in range(len(labels))]
        positive = max(d for d, label in zip(to, labels, strict=True) if label == labels[a])
        negative = min(d for d, label in zip(to, labels, strict=True) if label != labels[a])
        losses.append(max(0.0, margin + positive - negative))
    return sum(losses) / len(losses)


def brute_force_triplets(embedding, labels, margin, semi_hard):
    losses = []
    for a in range(len(labels)):
        for p in range(len(labels)):
            for n in range(len(labels)):
                if p == a or labels[p] != labels[a] or labels[n] == labels[a]:
                    continue
                near, far = square_distance(embedding, a, p), square_distance(embedding, a, n)
                if near + margin > far and (far > near or not semi_hard):
                    losses.append(near + margin - far)
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("hot", [1, 5, 11])
def test_batch_hard_is_that_of_every_anchor_in_turn(margin, hot):
    embedding, labels = unit_vectors(12, 6, hot), np.arange(12) < hot
    loss = batch_hard(torch.tensor(embedding), by_label(labels), margin)
    assert float(loss) == pytest.approx(brute_force_hard(embedding, labels, margin))


@pytest.mark.parametrize("kind", [batch_all, semi_hard])
@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("hot", [0, 1, 4, 8])
def test_triplet_losses_are_means_over_the_triplets_that_lose(kind, margin, hot):
    embedding, labels = unit_vectors(8, 5, hot), np.arange(8) < hot
    loss = kind(torch.tensor(embedding), by_label(labels), margin)
    expected = brute_force_triplets(embedding, labels, margin, kind is semi_hard)
    assert float(loss) == pytest.approx(expected)
    if margin and 0 < hot < 8:
        assert expected > 0


@pytest.mark.parametrize("hot", [1, 4, 8])
def test_the_papers_loss_is_the_plain_mean_over_all_triplets(hot):
    embedding, labels = unit_vectors(9, 5, hot), np.arange(9) < hot
    losses = [
        max(0.0, 0.3 + square_distance(embedding, a, p) - square_distance(embedding, a, n))
        for a in range(9) for p in range(9) for n in range(9)
        if p != a and labels[p] == labels[a] != labels[n]
    ]  # fmt: skip
    assert 0 in losses
    loss = batch_mean(torch.tensor(embedding), by_label(labels), 0.3)
    assert float(loss) == pytest.approx(sum(losses) / len(losses))


@pytest.mark.parametrize("kind", [batch_mean, batch_all, semi_hard])
def test_gradients_of_triplet_losses_are_those_of_finite_differences(kind):
    embedding = torch.tensor(unit_vectors(7, 3, 2)).requires_grad_()
    alike = by_label([True, False, True, False, False, True, False])
    assert torch.autograd.gradcheck(lambda x: kind(x, alike, 0.7), (embedding,), eps=1e-7)


def test_memory_of_a_triplet_loss_grows_with_the_square_of_the_batch():
    """Of 1,024 clips the cube would be 4 GiB; the process may take 256 MiB more."""
    embedding = F.normalize(torch.randn(1024, 8)).requires_grad_()
    alike = by_label(torch.arange(1024) % 3 == 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch_mean(embedding, alike, 0.5).backward()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


def test_clips_are_alike_by_margin_where_every_kind_is_close():
    margins = torch.tensor([[0.3, -1.0], [0.25, -0.6], [0.05, -1.0], [-0.5, 0.3], [0.15, -1.0]])
    labels = torch.tensor([True, True, True, True, True])
    same, other = alike_by_margin(labels, margins)
    assert same[0].tolist() == [True, True, False, False, False]  # far from failing is all one
    assert other[0].tolist() == [False, False, True, True, False]  # and 0.15 apart is neither
    assert torch.equal(same, same.T)
    for ours, plain in zip(alike_by_margin(labels, None), by_label(labels), strict=True):
        assert torch.equal(ours, plain)


def test_joint_loss_draws_together_what_is_alike_by_margin():
    margins = np.array([[0.3, -1], [-0.5, -0.04], [-0.2, 0.02]], np.float32)
    config = TrainingConfig(metric="batch_mean", alike="margin", margin=1.5, metric_weight=2.0)
    plain = TrainingConfig(metric="none", alike="margin")
    with_metric, without = (
        joint_loss(JUDGED, LABELS, None, 0.0, each, None, margins) for each in (config, plain)
    )
    alike = alike_by_margin(LABELS, torch.from_numpy(margins))
    expected = 2 * batch_mean(JUDGED.embedding, alike, 1.5)
    assert float(with_metric - without) == pytest.approx(float(expected))


def test_batch_hard_of_classes_further_apart_than_the_margin_is_zero():
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    labels = torch.tensor([True, True, False])
    assert float(batch_hard(embedding, by_label(labels), margin=3.9)) == 0
    assert float(batch_hard(embedding, by_label(labels), margin=4.5)) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["batch_hard", "batch_mean", "batch_all", "semi_hard", "none"])
@pytest.mark.parametrize("label", [True, False])
def test_one_class_has_no_triplets_and_no_gradient(kind, label):
    embedding = F.normalize(torch.randn(4, 3)).requires_grad_()
    loss = METRIC[kind](embedding, by_label(torch.full((4,), label)), 1.0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(embedding.grad.abs().sum()) == 0


@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_pairwise_loss_is_that_of_every_pair_in_turn(margin):
    embedding, labels = unit_vectors(6, 4, 1), np.arange(6) < 2
    losses = []
    for a, p in enumerate(embedding**2):
        for b, q in enumerate(embedding**2):
            divergence = sum(pk * math.log(pk / qk) for pk, qk in zip(p, q, strict=True))
            together = labels[a] == labels[b]
            losses.append(divergence if together else max(0.0, margin - divergence))
    loss = pairwise(torch.tensor(embedding), by_label(labels), margin)
    assert float(loss) == pytest.approx(sum(losses) / 36)


def test_pairwise_loss_of_empty_clusters_is_finite():
    embedding = torch.eye(3).requires_grad_()
    loss = pairwise(embedding, by_label([True, False, True]), 2.0)
    loss.backward()
    assert 0 < float(loss.detach()) < math.inf
    assert bool(embedding.grad.isfinite().all())


def test_cross_entropy_by_its_formula():
    logit, target = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.3])
    p = [1 / (1 + math.exp(-z)) for z in logit.tolist()]
    expected = [
        -math.log(p[0]),
        -math.log(1 - p[1]),
        -0.3 * math.log(p[2]) - 0.7 * math.log1p(-p[2]),
    ]
    assert cross_entropy(logit, target).tolist() == pytest.approx(expected)


def test_focal_loss_without_sharpness_is_cross_entropy():
    logit, target = torch.linspace(-5, 5, 11), torch.arange(11) % 2.0
    assert torch.equal(focal(logit, target, 0.0), cross_entropy(logit, target))


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
def test_focal_loss_by_its_formula(sharpness):
    logit, target = torch.linspace(-5, 5, 11), torch.arange(11) % 2.0
    right = [1 / (1 + math.exp(-z if t else z)) for z, t in zip(logit, target, strict=True)]
    expected = [-((1 - p) ** sharpness) * math.log(p) for p in right]
    assert focal(logit, target, sharpness).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_the_loss_that_bears_wrong_labels_by_its_integral_and_gradient(target):
    logit = torch.linspace(-6, 6, 7, dtype=torch.float64).requires_grad_()
    loss = improved_cross_entropy(logit, torch.full_like(logit, target))
    loss.sum().backward()
    for z, value, slope in zip(logit.tolist(), loss.tolist(), logit.grad.tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        parts = [
            integrate.quad(lambda q: math.exp(4 * (q - 0.5)) / q, start, 1)[0]
            for start in (p, 1 - p)
        ]
        assert value == pytest.approx(target * parts[0] + (1 - target) * parts[1], rel=1e-7)
        slopes = math.exp(4 * (p - 0.5)) * (p - 1), math.exp(4 * (0.5 - p)) * p
        expected = target * slopes[0] + (1 - target) * slopes[1]
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_contradicted_label_pulls_less_than_one_in_doubt():
    slopes = []
    for loss in (improved_cross_entropy, cross_entropy):
        logit = torch.tensor([-6.0, 0.0]).requires_grad_()
        loss(logit, torch.ones(2)).sum().backward()
        slopes.append(logit.grad.abs().tolist())
    (contradicted, doubted), (plain, plain_doubted) = slopes
    assert contradicted < doubted / 3
    assert plain > plain_doubted


JUDGED = Prediction(
    torch.tensor([2.0, -1.0, 0.5]),
    F.normalize(torch.tensor([[1.0, 0.2], [0.1, 1.0], [1.0, -0.3]])),
)
LABELS = torch.tensor([True, False, True])
VERDICT_ONLY = {"metric": "none", "metric_weight": 7.0}


def entropies(logit, cold_target=0.0):
    targets = [1.0, cold_target, 1.0]
    p = [1 / (1 + math.exp(-z)) for z in logit.tolist()]
    return [-t * math.log(q) - (1 - t) * math.log(1 - q) for q, t in zip(p, targets, strict=True)]


def test_joint_loss_is_cross_entropy_plus_weighted_triplets():
    triplets = brute_force_hard(JUDGED.embedding.numpy(), LABELS.numpy(), 2.0)
    assert triplets > 0
    config = TrainingConfig(margin=2.0, metric_weight=0.25)
    loss = joint_loss(JUDGED, LABELS, None, 0.5, config)
    assert float(loss) == pytest.approx(sum(entropies(JUDGED.logit)) / 3 + 0.25 * triplets)


def test_margin_loss_is_huber_of_what_is_not_far():
    predicted = torch.tensor([[0.0, 0.3], [0.2, -0.9]])
    margin = torch.tensor([[0.02, 0.1], [1.0, -1.0]])  # the last counts as -0.5
    parts = [0.02**2 / 2 / 0.04, 0.2 - 0.02, 0.8 - 0.02, 0.4 - 0.02]
    assert float(margin_loss(predicted, margin, 0.04)) == pytest.approx(sum(parts) / 4)


@pytest.mark.parametrize(("soft", "softened"), [(0.04, True), (0.0, False)])
def test_joint_loss_takes_the_target_from_the_worst_margin_and_learns_each(soft, softened):
    margins = np.array([[0.3, -1], [-0.5, -0.04], [-0.2, 0.02]], np.float32)
    predicted = torch.full((3, 2), 0.1)
    judged = JUDGED._replace(margin=predicted)
    config = TrainingConfig(metric="none", soft_margin=soft, margin_weight=0.3)
    worst = torch.tensor([0.3, -0.04, 0.02])
    target = torch.sigmoid(worst / 0.04) if softened else LABELS.float()
    expected = cross_entropy(JUDGED.logit, target).mean()
    expected += 0.3 * margin_loss(predicted, torch.from_numpy(margins), 0.04)
    loss = joint_loss(judged, LABELS, None, 0.0, config, None, margins)
    assert float(loss) == pytest.approx(float(expected))
    alone = joint_loss(JUDGED, LABELS, None, 0.0, config, None, margins)  # no head
    assert float(alone) == pytest.approx(float(cross_entropy(JUDGED.logit, target).mean()))


@pytest.mark.parametrize("prediction", PREDICTION)
@pytest.mark.parametrize("metric", METRIC)
def test_joint_loss_is_of_the_kinds_that_are_chosen(prediction, metric):
    config = TrainingConfig(prediction=prediction, metric=metric, margin=1.5, metric_weight=0.5)
    verdict = PREDICTION[prediction](JUDGED.logit, LABELS.float()).mean()
    expected = verdict + 0.5 * METRIC[metric](JUDGED.embedding, by_label(LABELS), 1.5)
    assert float(joint_loss(JUDGED, LABELS, None, 0.0, config)) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("done", "share"), [(0.0, 0), (0.33, 0), (1 / 3, 0.5), (0.66, 0.5), (2 / 3, 1), (0.99, 1)]
)
def test_bias_raises_the_target_of_non_hotspots_at_each_third(done, share):
    config = TrainingConfig(bias=0.3, **VERDICT_ONLY)
    expected = sum(entropies(JUDGED.logit, 0.3 * share)) / 3
    assert float(joint_loss(JUDGED, LABELS, None, done, config)) == pytest.approx(expected)


def test_weights_scale_the_loss_of_each_clip():
    weights = np.array([0.5, 2.0, 0.0], np.float32)
    each = entropies(JUDGED.logit)
    loss = joint_loss(JUDGED, LABELS, weights, 0.0, TrainingConfig(**VERDICT_ONLY))
    assert float(loss) == pytest.approx((0.5 * each[0] + 2 * each[1]) / 3)


def test_soft_targets_replace_the_labels():
    targets = np.array([0.9, 0.2, 0.5], np.float32)
    p = [1 / (1 + math.exp(-z)) for z in JUDGED.logit.tolist()]
    each = [-t * math.log(q) - (1 - t) * math.log(1 - q) for t, q in zip(targets, p, strict=True)]
    config = TrainingConfig(bias=0.3, **VERDICT_ONLY)
    loss = joint_loss(JUDGED, LABELS, None, 0.9, config, targets)
    assert float(loss) == pytest.approx(sum(each) / 3, rel=1e-5)


def test_verdicts_of_branches_add_their_loss():
    branches = (torch.tensor([0.1, 0.2, -3.0]), torch.tensor([1.0, 1.0, 4.0]))
    weights = np.array([0.5, 2.0, 1.0], np.float32)
    expected = 0.0
    for logit in (JUDGED.logit, *branches):
        expected += sum(w * e for w, e in zip(weights, entropies(logit, 0.1), strict=True)) / 3
    config = TrainingConfig(bias=0.1, **VERDICT_ONLY)
    loss = joint_loss(JUDGED._replace(branch_logits=branches), LABELS, weights, 0.9, config)
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize(
    "chosen", [{"prediction": "hinge"}, {"metric": "angular"}, {"alike": "twins"}]
)
def test_a_loss_that_is_not_there_is_refused_by_name(chosen):
    ((what, name),) = chosen.items()
    with pytest.raises(UsageError, match=f"{what} is '{name}'; choose one of"):
        TrainingConfig(**chosen)
