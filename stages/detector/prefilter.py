"""The prefilter: a small network that rejects confident negatives before the detector runs.

in: pictures; out: `Prediction`.
It costs a fraction of the detector: the stem has a stride of 8 pixels, and two convolutions follow.
Features of the core are pooled separately, as the label of a clip concerns its core only. The score
below which it rejects is chosen on validation clips.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.model import SCALE, pool_separately
from stages.detector.network import Convolution, Network, Prediction


@dataclass(frozen=True, slots=True)
class PrefilterConfig:
    """The shape of the network."""

    layers: int = 1
    core_px: int = 0
    """Side of the core, whose features are pooled separately; 0 pools the whole clip only."""
    width: int = 32
    """Channels."""
    stem_px: int = 12
    """Kernel of the stem, whose stride is 8 pixels."""

    @property
    def embedding(self) -> int:
        """Length of the embedding."""
        return self.width


@dataclass(frozen=True, slots=True, eq=False)
class Prefilter:
    """A trained prefilter and the score below which it rejects."""

    config: PrefilterConfig
    weights: dict[str, Tensor]
    """State dict of `PrefilterNetwork`, on the CPU."""
    reject_below: float
    """A clip with a lower score is rejected and never reaches the detector."""
    lost: float
    """Share of the validation hotspots that the detector flags but the prefilter rejects."""
    passed: float
    """Share of the validation patterns that pass."""

    def network(self) -> PrefilterNetwork:
        """Return the network with these weights."""
        network = PrefilterNetwork(self.config)
        network.load_state_dict(self.weights)
        return network.eval()

    def about(self) -> dict[str, Any]:
        """Return everything but the weights as plain values."""
        return {
            "config": asdict(self.config), "reject_below": self.reject_below, "lost": self.lost,
            "passed": self.passed,
        }  # fmt: skip


class PrefilterNetwork(Network):
    """A stem, two convolutions, a linear classifier."""

    config: PrefilterConfig

    def __init__(self, config: PrefilterConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Convolution(config.layers, config.width, config.stem_px, stride=SCALE)
        self.blocks = nn.Sequential(
            Convolution(config.width, config.width, 3), Convolution(config.width, config.width, 3)
        )
        self.sides = (config.core_px,) if config.core_px else ()
        self.verdict = nn.Linear(2 * (1 + len(self.sides)) * config.width, 1)

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w) area coverage in [0, 1]; h and w multiples of 8."""
        x = self.blocks(self.stem(x))  # (n, width, h/8, w/8)
        pooled = pool_separately(x, *self.sides)
        average = pooled[:, : self.config.width]
        return Prediction(self.verdict(pooled).squeeze(1), F.normalize(average, eps=1e-6))
