"""The network of a prefilter.

in: pictures; out: `Prediction`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.networks.detector import pool_separately
from stages.detector.networks.network import Convolution, Network, Prediction
from stages.detector.networks.shapes import SCALE, PrefilterConfig


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
