"""Attention: what a feature map is multiplied with, so that the verdict looks where it should.

Channel and spatial attention as in Geng et al., "Hotspot Detection via Attention-based Deep
Layout Metric Learning", ICCAD 2020: first which channels matter, then which positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Weigh the channels: ``T' = sigma(ED(GAP(T)) + ED(GMP(T))) * T``.

    One encoder-decoder ED, C -> C/4 -> C, serves the average and the maximum over h and w.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode = nn.Linear(channels, channels // 4)
        self.decode = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed features, of the shape of `x`, (n, c, h, w)."""
        pooled = torch.stack([x.mean((2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)])  # (2, n, c)
        weight: Tensor = self.decode(self.encode(pooled).relu()).sum(0).sigmoid()  # (n, c)
        return x * weight[:, :, None, None]


class SpatialAttention(nn.Module):
    """Weigh the positions: ``T'' = sigma(conv(max over channels, mean over channels)) * T'``."""

    def __init__(self, kernel: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed features, of the shape of `x`, (n, c, h, w)."""
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)  # (n, 2, h, w)
        weight: Tensor = self.conv(pooled).sigmoid()  # (n, 1, h, w)
        return x * weight
