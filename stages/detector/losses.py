"""What training minimises: the verdict's cross entropy, and the triplet loss of the embedding.

Both at once, from one backbone, as in Geng et al., ICCAD 2020. Triplets are mined batch-hard
(Hermans, Beyer, Leibe: "In Defense of the Triplet Loss for Person Re-Identification", 2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def triplet_loss(embedding: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return ``mean max(0, margin + |f(x) - f(x+)|^2 - |f(x) - f(x-)|^2)``, batch-hard.

    Every clip is an anchor once: x+ is the farthest clip of its class in the batch, x- the nearest
    of the other class.

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
    if bool(labels.all()) or not bool(labels.any()):
        return embedding.sum() * 0
    distance = 2 - 2 * embedding @ embedding.T  # (n, n), |a - b|^2 of unit vectors
    same = labels[:, None] == labels[None, :]  # (n, n)
    farthest = distance.masked_fill(~same, -torch.inf).amax(1)  # (n,)
    nearest = distance.masked_fill(same, torch.inf).amin(1)  # (n,)
    return (margin + farthest - nearest).clamp_min(0).mean()


def joint_loss(
    logit: Tensor, embedding: Tensor, labels: Tensor, *, margin: float, metric_weight: float
) -> Tensor:
    """Return ``L_prediction + metric_weight * L_metric`` of a batch.

    ``L_prediction`` is the mean of ``-(y log p + (1 - y) log(1 - p))`` with ``p = sigma(logit)``.
    """
    prediction = F.binary_cross_entropy_with_logits(logit, labels.to(logit.dtype))
    return prediction + metric_weight * triplet_loss(embedding, labels, margin)
