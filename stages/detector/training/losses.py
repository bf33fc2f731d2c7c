"""The losses of training: of the prediction, of the margins, and of the embedding.

All at once, from one backbone, as in Geng et al., ICCAD 2020. `PREDICTION` and `METRIC` name the
losses, and `ALIKE` says which clips the metric loss draws together; a training chooses one of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = -0.5
"""Least margin that is predicted."""
NEAR, APART = 0.1, 0.2
"""Clips whose margins differ by at most `NEAR` in every kind are alike; by `APART` in any, not."""
_LEAST = 1e-7
"""Least probability of a cluster."""
_TERMS = 24
"""Of a series whose k-th term is at most ``T^k / (k k!)``: the rest is under 1e-8 for T = 4."""


class Alike(NamedTuple):
    """Which pairs of a batch belong together, and which do not."""

    same: Tensor
    """(n, n) bool; a clip is like itself."""
    other: Tensor
    """(n, n) bool; a pair may be neither."""


def cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Return ``-(y log p + (1 - y) log(1 - p))`` of each clip, ``p = sigma(logit)``, (n,)."""
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")


def focal(logit: Tensor, target: Tensor, sharpness: float = 2.0) -> Tensor:
    """Return ``-(1 - p_t)^g log p_t`` of each clip, (n,).

    Lin, Goyal, Girshick, He, Dollar: "Focal Loss for Dense Object Detection", ICCV 2017.
    """
    plain = cross_entropy(logit, target)
    p = logit.sigmoid()
    missed = target * (1 - p) + (1 - target) * p
    return missed**sharpness * plain


def improved_cross_entropy(logit: Tensor, target: Tensor, sharpness: float = 4.0) -> Tensor:
    """Return the loss that bears wrong labels, of each clip, (n,).

    ``integral of exp(T (p - 1/2)) / p dp`` from p_t to 1, p_t the probability of the label: its
    gradient, ``exp(T (p_t - 1/2)) (p_t - 1)``, is small where p_t is, so that a label which
    contradicts all others is not fitted. With the exponential series the integral is
    ``exp(-T / 2) (-log p_t + sum of T^k (1 - p_t^k) / (k k!))``. A soft target is a mean of both.
    Li et al.: "Improved Categorical Cross-Entropy Loss for Training Deep Neural Networks with Noisy
    Labels", PRCV 2021; T = 4 as there.
    """
    losses = []
    for odds in (logit, -logit):
        log_p = F.logsigmoid(odds)
        loss, factor = -log_p, 1.0
        for k in range(1, _TERMS + 1):
            factor *= sharpness / k
            loss = loss + factor / k * -torch.expm1(k * log_p)
        losses.append(math.exp(-sharpness / 2) * loss)
    return target * losses[0] + (1 - target) * losses[1]


def margin_loss(predicted: Tensor, margin: Tensor, near: float) -> Tensor:
    """Return the mean error of margins (n, kinds), squared where it is under `near`.

    What is further than `FAR` from failing counts as if it were there: how far is of no use.
    P. J. Huber: "Robust Estimation of a Location Parameter", 1964.
    """
    return F.smooth_l1_loss(predicted, margin.clamp_min(FAR), beta=near)


def alike_by_label(labels: Tensor, margins: Tensor | None) -> Alike:
    """Return the pairs of clips (n,) that are both hotspots or both not, and all others."""
    same = labels[:, None] == labels[None, :]
    return Alike(same, ~same)


def alike_by_margin(labels: Tensor, margins: Tensor | None) -> Alike:
    """Return the pairs of clips with about the same margins (n, kinds), and those far apart.

    Two clips that fail in different kinds, or one of which fails by a hair, are unlike. What is
    further than `FAR` from failing counts as if it were there. Without margins, by label.
    """
    if margins is None:
        return alike_by_label(labels, margins)
    near = margins.clamp_min(FAR)
    apart = torch.cdist(near, near, p=torch.inf)
    return Alike(apart <= NEAR, apart >= APART)


def no_metric(embedding: Tensor, alike: Alike, margin: float) -> Tensor:
    """Return 0: the embedding is not trained."""
    return embedding.sum() * 0


def batch_hard(embedding: Tensor, alike: Alike, margin: float) -> Tensor:
    """Return ``mean max(0, M + |f(x) - f(x+)|^2 - |f(x) - f(x-)|^2)`` over the hardest triplets.

    Every clip is an anchor once: x+ is the farthest clip of the batch that is like it, x- the
    nearest that is not. Hermans, Beyer, Leibe: "In Defense of the Triplet Loss for Person
    Re-Identification", 2017.

    Parameters
    ----------
    embedding
        (n, e) of unit norm.
    alike
        The pairs of the batch.
    margin
        M, in squared distance; two unit vectors are at most 4 apart.

    Returns
    -------
    Tensor
        A number; 0 when there are no triplets.
    """
    distance = _distances(embedding)
    farthest = distance.masked_fill(~alike.same, -torch.inf).amax(1)  # (n,)
    nearest = distance.masked_fill(~alike.other, torch.inf).amin(1)  # (n,)
    return (margin + farthest - nearest).clamp_min(0).mean()


def batch_mean(embedding: Tensor, alike: Alike, margin: float) -> Tensor:
    """Return the plain mean over all triplets, those without a loss among them.

    Equation 5a of Geng et al., ICCAD 2020; arguments as `batch_hard`.
    """
    lost, _, triplets = _sum_triplets(embedding, alike, margin)
    return lost / triplets.clamp_min(1)


def batch_all(embedding: Tensor, alike: Alike, margin: float) -> Tensor:
    """Return the mean over all triplets that violate the margin; arguments as `batch_hard`."""
    lost, losing, _ = _sum_triplets(embedding, alike, margin)
    return lost / losing.clamp_min(1)


def semi_hard(embedding: Tensor, alike: Alike, margin: float) -> Tensor:
    """Return the mean over triplets whose x- is farther than x+, by less than the margin.

    Schroff, Kalenichenko, Philbin: "FaceNet", CVPR 2015; arguments as `batch_hard`.
    """
    lost, losing, _ = _sum_triplets(embedding, alike, margin, farther=True)
    return lost / losing.clamp_min(1)


def pairwise(embedding: Tensor, alike: Alike, margin: float) -> Tensor:
    """Return the loss of clusters that hold pairs of one class together and others apart.

    ``KL(p || q)`` of a pair of one class, ``max(0, M - KL(p || q))`` of the others, where p and q
    are the squares of the embeddings, which sum to 1: distributions over clusters.
    Hsu, Kira: "Neural network-based clustering using pairwise constraints", 2015, which Chen et
    al., ASP-DAC 2019, take for their clustering stream. Arguments as `batch_hard`.
    """
    p = embedding.square().clamp_min(_LEAST)
    entropy = (p * p.log()).sum(1)
    divergence = entropy[:, None] - p @ p.log().T  # (n, n)
    apart = (margin - divergence).clamp_min(0)
    return (alike.same * divergence + alike.other * apart).mean()


def _distances(embedding: Tensor) -> Tensor:
    """Return |a - b|^2 of unit vectors, (n, n)."""
    return 2 - 2 * embedding @ embedding.T


def _sum_triplets(
    embedding: Tensor, alike: Alike, margin: float, *, farther: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum of all triplets' losses, how many lose anything, and how many there are.

    With the x- of each anchor in order and their distances summed up, the losses of an anchor and
    its x+ are one look-up: memory grows with the square of the batch, not with its cube.

    Parameters
    ----------
    farther
        Whether only triplets count whose x- is farther than x+.
    """
    distance = _distances(embedding)
    pair = alike.same & ~torch.eye(len(embedding), dtype=torch.bool, device=embedding.device)
    limit = distance + margin  # (anchor, x+)
    far = distance.masked_fill(~alike.other, torch.inf).sort(1).values  # (anchor, x-)
    total = F.pad(far.masked_fill(far.isinf(), 0).cumsum(1), (1, 0))
    known = far.detach()
    end = torch.searchsorted(known, limit.detach())
    start = torch.zeros_like(end)
    if farther:
        start = torch.searchsorted(known, distance.detach(), right=True)
        end = torch.maximum(start, end)
    losing = (end - start) * pair
    lost = losing * limit - pair * (total.gather(1, end) - total.gather(1, start))
    return lost.sum(), losing.sum(), (pair.sum(1) * alike.other.sum(1)).sum()


PREDICTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "improved_cross_entropy": improved_cross_entropy,
}
METRIC: dict[str, Callable[[Tensor, Alike, float], Tensor]] = {
    "batch_hard": batch_hard,
    "batch_mean": batch_mean,
    "batch_all": batch_all,
    "semi_hard": semi_hard,
    "pairwise": pairwise,
    "none": no_metric,
}
ALIKE: dict[str, Callable[[Tensor, Tensor | None], Alike]] = {
    "label": alike_by_label,
    "margin": alike_by_margin,
}
