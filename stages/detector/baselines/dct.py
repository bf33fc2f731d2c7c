"""The feature tensor of block-wise cosine transforms, and its network.

Yang, Su, Zou, Lin, Yu, Young: "Layout Hotspot Detection with Feature Tensor Generation and Deep
Biased Learning", DAC 2017 and TCAD 2019. Theirs: blocks of 100 nm drawn at 1 nm, 32 coefficients.
Ours: blocks of a twelfth of the clip, at its pixel, and as many of the 32 as a block has pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.networks.network import Network, Prediction

BLOCKS, COEFFICIENTS = 12, 32


@dataclass(frozen=True, slots=True)
class DctConfig:
    """The shape of the network."""

    layers: int = 1
    clip_px: int = 64
    embedding: int = 250

    @property
    def block_px(self) -> int:
        """Side of a block."""
        return self.clip_px // BLOCKS

    @property
    def coefficients(self) -> int:
        """How many are kept of a block and layer."""
        return min(COEFFICIENTS, self.block_px**2)


def cosines(side: int, count: int) -> Tensor:
    """Return the first `count` orthonormal DCT-II functions in zig-zag order, (count, side, side).

    Examples
    --------
    >>> basis = cosines(4, 16).flatten(1)
    >>> bool(torch.allclose(basis @ basis.T, torch.eye(16), atol=1e-6))
    True
    """
    k = torch.arange(side, dtype=torch.float64)
    line = torch.cos(math.pi * k[:, None] * (2 * k[None, :] + 1) / (2 * side))
    line *= torch.where(k == 0, 1 / side, 2 / side).sqrt()[:, None]
    order = sorted(
        ((row, column) for row in range(side) for column in range(side)),
        key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
    )
    return torch.stack([torch.outer(line[r], line[c]) for r, c in order[:count]]).float()


class DctNetwork(Network):
    """Cosine transforms of blocks, four convolutions, two layers."""

    config: DctConfig
    basis: Tensor

    def __init__(self, config: DctConfig) -> None:
        super().__init__()
        self.config = config
        basis = cosines(config.block_px, config.coefficients)
        self.register_buffer("basis", basis[:, None], persistent=False)
        widths = (config.layers * config.coefficients, 16, 16, 32, 32)
        views = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)]
        self.first, self.second = nn.ModuleList(views[:2]), nn.ModuleList(views[2:])
        self.hidden = nn.Linear(32 * (BLOCKS // 4) ** 2, config.embedding)
        self.verdict = nn.Linear(config.embedding, 1)

    def tensor(self, x: Tensor) -> Tensor:
        """Return the feature tensor, (n, layers * coefficients, 12, 12)."""
        block = self.config.block_px
        edge = (x.shape[-1] - BLOCKS * block) // 2
        x = x[:, :, edge : edge + BLOCKS * block, edge : edge + BLOCKS * block]
        n, layers = x.shape[:2]
        found: Tensor = F.conv2d(x.reshape(n * layers, 1, *x.shape[2:]), self.basis, stride=block)
        return found.reshape(n, -1, BLOCKS, BLOCKS) / block

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w)."""
        x = self.tensor(x)
        for views in (self.first, self.second):
            for view in views:
                x = view(x).relu()
            x = F.max_pool2d(x, 2)
        hidden = self.hidden(x.flatten(1)).relu()
        logit = self.verdict(F.dropout(hidden, 0.5, self.training)).squeeze(1)
        return Prediction(logit, F.normalize(hidden, eps=1e-6))
