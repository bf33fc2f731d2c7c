"""The losses of training: of the prediction, of the margins, and of the embedding.

Both at once, from one backbone, as in Geng et al., ICCAD 2020. `PREDICTION` and `METRIC` name the
kinds; a training chooses one of each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = -0.5
"""Least margin that is predicted."""
_LEAST = 1e-7
"""Least probability of a cluster."""


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


def margin_loss(predicted: Tensor, margin: Tensor, near: float) -> Tensor:
    """Return the mean error of margins (n, kinds), squared where it is under `near`.

    What is further than `FAR` from failing counts as if it were there: how far is of no use.
    P. J. Huber: "Robust Estimation of a Location Parameter", 1964.
    """
    return F.smooth_l1_loss(predicted, margin.clamp_min(FAR), beta=near)


def no_metric(embedding: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return 0: the embedding is not trained."""
    return embedding.sum() * 0


def batch_hard(embedding: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return ``mean max(0, M + |f(x) - f(x+)|^2 - |f(x) - f(x-)|^2)`` over the hardest triplets.

    Every clip is an anchor once: x+ is the farthest clip of its class in the batch, x- the nearest
    of the other class. Hermans, Beyer, Leibe: "In Defense of the Triplet Loss for Person
    Re-Identification", 2017.

    Parameters
    ----------
    embedding
        (n, e) of unit norm.
    labels
        (n,) bool.
    margin
        M, in squared distance; two unit vectors are at most 4 apart.

    Returns
    -------
    Tensor
        A number; 0 when the batch holds one class only, for then there are no triplets.
    """
    if not _mixed(labels):
        return embedding.sum() * 0
    distance, same = _pairs(embedding, labels)
    farthest = distance.masked_fill(~same, -torch.inf).amax(1)  # (n,)
    nearest = distance.masked_fill(same, torch.inf).amin(1)  # (n,)
    return (margin + farthest - nearest).clamp_min(0).mean()


def batch_all(embedding: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return the mean over all triplets that violate the margin; arguments as `batch_hard`."""
    distance, same = _pairs(embedding, labels)
    violation = margin + distance[:, :, None] - distance[:, None, :]  # anchor, x+, x-
    return _mean_violation(violation, _valid(same))


def semi_hard(embedding: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return the mean over triplets whose x- is farther than x+, by less than the margin.

    Schroff, Kalenichenko, Philbin: "FaceNet", CVPR 2015; arguments as `batch_hard`.
    """
    distance, same = _pairs(embedding, labels)
    farther = distance[:, None, :] > distance[:, :, None]
    violation = margin + distance[:, :, None] - distance[:, None, :]
    return _mean_violation(violation, _valid(same) & farther)


def pairwise(embedding: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return the loss of clusters that hold pairs of one class together and others apart.

    ``KL(p || q)`` of a pair of one class, ``max(0, M - KL(p || q))`` of the others, where p and q
    are the squares of the embeddings, which sum to 1: distributions over clusters.
    Hsu, Kira: "Neural network-based clustering using pairwise constraints", 2015, which Chen et
    al., ASP-DAC 2019, take for their clustering stream. Arguments as `batch_hard`.
    """
    p = embedding.square().clamp_min(_LEAST)
    entropy = (p * p.log()).sum(1)
    divergence = entropy[:, None] - p @ p.log().T  # (n, n)
    same = labels[:, None] == labels[None, :]
    return torch.where(same, divergence, (margin - divergence).clamp_min(0)).mean()


def _mixed(labels: Tensor) -> bool:
    return bool(labels.any()) and not bool(labels.all())


def _pairs(embedding: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return |a - b|^2 of unit vectors, and which pairs are of one class, (n, n)."""
    return 2 - 2 * embedding @ embedding.T, labels[:, None] == labels[None, :]


def _valid(same: Tensor) -> Tensor:
    """Return which (anchor, x+, x-) are triplets of three clips."""
    other = ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    return (same & other)[:, :, None] & ~same[:, None, :]


def _mean_violation(violation: Tensor, which: Tensor) -> Tensor:
    lost = violation.clamp_min(0) * which
    return lost.sum() / ((lost > 0).sum() + 1e-9)


PREDICTION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
}
METRIC: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "batch_hard": batch_hard,
    "batch_all": batch_all,
    "semi_hard": semi_hard,
    "pairwise": pairwise,
    "none": no_metric,
}
