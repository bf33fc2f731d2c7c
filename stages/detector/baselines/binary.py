"""A residual network whose weights and activations are -1 or 1.

Jiang, Yang, Zhu, Yu, Zeng: "Efficient Layout Hotspot Detection via Binarized Residual Neural
Network", DAC 2019. A scale per channel is the mean absolute weight; gradients pass straight
through. It is computed in floating point here: the predictions are the paper's, the speed is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.networks.network import Convolution, Network, Prediction


@dataclass(frozen=True, slots=True)
class BinaryConfig:
    """The shape of the network."""

    layers: int = 1
    widths: tuple[int, ...] = (32, 32, 64, 64, 128)
    """Channels after the stem and after each residual block; where they grow, places halve."""

    @property
    def embedding(self) -> int:
        """Length of the embedding."""
        return self.widths[-1]


def signs(x: Tensor) -> Tensor:
    """Return -1 or 1; the gradient is that of x where |x| <= 1, and 0 elsewhere."""
    soft = x.clamp(-1, 1)
    hard = (x >= 0).to(x.dtype) * 2 - 1
    return soft + (hard - soft).detach()


class BinaryConvolution(nn.Module):
    """Norm, signs, and a convolution of 3 x 3 with signs for weights."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(c_in)
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c_out, h/stride, w/stride)."""
        weight = self.conv.weight
        scale = weight.abs().mean((1, 2, 3), keepdim=True)
        binary = signs(weight) * scale
        return F.conv2d(signs(self.norm(x)), binary, stride=self.conv.stride, padding=1)


class Residual(nn.Module):
    """Two binary convolutions beside a way around them."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.stride = 1 if c_in == c_out else 2
        self.first = BinaryConvolution(c_in, c_out, self.stride)
        self.second = BinaryConvolution(c_out, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c_out, h/stride, w/stride)."""
        inner: Tensor = self.second(self.first(x))
        if self.stride == 2:
            x = F.avg_pool2d(x, 2, ceil_mode=True)
            x = F.pad(x, (0, 0, 0, 0, 0, inner.shape[1] - x.shape[1]))
        return x + inner


class BinaryNetwork(Network):
    """A stem in full precision, residual blocks in signs, a classifier."""

    def __init__(self, config: BinaryConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Convolution(config.layers, config.widths[0], 8, stride=4)  # ours
        self.blocks = nn.Sequential(*(Residual(*pair) for pair in pairwise(config.widths)))
        self.norm = nn.BatchNorm2d(config.embedding)
        self.verdict = nn.Linear(config.embedding, 1)

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w)."""
        features = self.norm(self.blocks(self.stem(x))).relu().mean((2, 3))
        return Prediction(self.verdict(features).squeeze(1), F.normalize(features, eps=1e-6))
