import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.detector.losses import joint_loss, triplet_loss


def brute_force_triplet(embedding, labels, margin):
    losses = []
    for a in range(len(labels)):
        to = [float(((embedding[a] - embedding[b]) ** 2).sum()) for b in range(len(labels))]
        positive = max(d for d, label in zip(to, labels, strict=True) if label == labels[a])
        negative = min(d for d, label in zip(to, labels, strict=True) if label != labels[a])
        losses.append(max(0.0, margin + positive - negative))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("hot", [1, 5, 11])
def test_triplet_loss_is_that_of_every_anchor_in_turn(margin, hot):
    rng = np.random.default_rng(hot)
    embedding = rng.normal(size=(12, 6))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    labels = np.arange(12) < hot
    loss = triplet_loss(torch.tensor(embedding), torch.tensor(labels), margin)
    assert float(loss) == pytest.approx(brute_force_triplet(embedding, labels, margin))


def test_triplet_loss_of_classes_further_apart_than_the_margin_is_zero():
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    labels = torch.tensor([True, True, False])
    assert float(triplet_loss(embedding, labels, margin=3.9)) == 0
    assert float(triplet_loss(embedding, labels, margin=4.5)) == pytest.approx(0.5)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_has_no_triplets_and_no_gradient(label):
    embedding = F.normalize(torch.randn(4, 3)).requires_grad_()
    loss = triplet_loss(embedding, torch.full((4,), label), margin=1.0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(embedding.grad.abs().sum()) == 0


def test_joint_loss_is_cross_entropy_plus_weighted_triplets():
    logit = torch.tensor([2.0, -1.0, 0.5])
    embedding = F.normalize(torch.tensor([[1.0, 0.2], [0.1, 1.0], [1.0, -0.3]]))
    labels = torch.tensor([True, False, True])
    p = [1 / (1 + math.exp(-z)) for z in logit.tolist()]
    entropy = -(math.log(p[0]) + math.log(1 - p[1]) + math.log(p[2])) / 3
    triplets = brute_force_triplet(embedding.numpy(), labels.numpy(), 2.0)
    assert triplets > 0
    loss = joint_loss(logit, embedding, labels, margin=2.0, metric_weight=0.25)
    assert float(loss) == pytest.approx(entropy + 0.25 * triplets)
