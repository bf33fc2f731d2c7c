"""The semi-supervised network of two tasks: classify, and cluster.

Chen, Lin, Gai, Li, Yu: "Semi-supervised Hotspot Detection with Self-paced Multi-Task Learning",
ASP-DAC 2019. Two convolutions are shared; each task has two of its own. Clips without a label get
the label of the classifier, and a weight that falls with the mean distance to the members of their
cluster; both are renewed before every epoch but the first, which is of the labelled clips alone.
Pairs are all pairs of a batch, by label or pseudo-label.

Ours, not the paper's, which leaves them open or has other clips: half of the labels are hidden, as
all our clips have one; widths and epochs; distances are squared ones between the roots of the
cluster shares, and the weight is exp(-d / mean d); half of each batch are hotspots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from stages.contracts import Float32s
from stages.detector.networks.network import Network, Prediction


@dataclass(frozen=True, slots=True)
class MultiTaskConfig:
    """The shape of the network."""

    layers: int = 1
    clip_px: int = 64
    embedding: int = 8
    """Clusters."""


def _stage(c_in: int, c_out: int) -> nn.Sequential:
    """Two convolutions and a halving, (n, c_in, h, w) to (n, c_out, h/2, w/2)."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(),
        nn.Conv2d(c_out, c_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip


class MultiTaskNetwork(Network):
    """Shared layers, then a stream for the class and one for the clusters."""

    def __init__(self, config: MultiTaskConfig) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Sequential(nn.AvgPool2d(2), _stage(config.layers, 16))
        flat = 32 * (config.clip_px // 8) ** 2
        self.classify = nn.Sequential(
            _stage(16, 32), nn.Flatten(), nn.Linear(flat, 64), nn.ReLU(), nn.Linear(64, 1)
        )
        self.cluster = nn.Sequential(
            _stage(16, 32), nn.Flatten(), nn.Linear(flat, 64), nn.ReLU(),
            nn.Linear(64, config.embedding),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w); the embedding is the root of the cluster shares."""
        x = self.shared(x)
        shares = F.softmax(self.cluster(x), dim=1)
        return Prediction(self.classify(x).squeeze(1), shares.clamp_min(1e-12).sqrt())


def weigh_clips(embedding: Float32s) -> Float32s:
    """Return the weights of pseudo-labelled clips, over 0 and up to 1, (n,).

    ``exp(-d / mean d)``, d the mean squared distance of a clip to the members of its cluster.
    """
    vectors = embedding.astype(np.float64)
    cluster, size = vectors.argmax(1), (vectors**2).sum(1)
    distance = np.zeros(len(vectors))
    for number in np.unique(cluster):
        mine = cluster == number
        # The mean of |a - b|^2 over the members b, without a matrix of all pairs.
        across = vectors[mine] @ vectors[mine].mean(0)
        distance[mine] = np.maximum(size[mine] + size[mine].mean() - 2 * across, 0)
    weight: Float32s = np.exp(-distance / max(float(distance.mean()), 1e-9)).astype(np.float32)
    return weight
