"""The network, top to bottom.

Geng, Yang, Zhang, Miao, Yang, Zeng, Yu: "Hotspot Detection via Attention-based Deep Layout Metric
Learning", ICCAD 2020: inception blocks, each followed by channel and spatial attention; from one
backbone an embedding of unit norm (metric learning) and a verdict (classification).
Ours, not the paper's: the widths, the strided stem, the map of places, the pooling before the
heads. The stem leaves 1/4 of the resolution but keeps more channels than the pixels it replaces,
so that an edge's place within a pixel, held in its grey level, survives.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.detector.attention import ChannelAttention, SpatialAttention
from stages.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """The shape of a detector."""

    layers: int = 1
    """Channels of the picture."""
    stem: int = 48
    """Channels after the stem."""
    fine: tuple[int, ...] = (48,)
    """Channels of the inception blocks at 1/4 of the picture's resolution; multiples of 8."""
    coarse: tuple[int, ...] = (64, 64)
    """Channels of the inception blocks at 1/8 of the picture's resolution; multiples of 8."""
    embedding: int = 64
    """Length of the embedding."""


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU; (n, c_in, h, w) to (n, c_out, h/stride, w/stride)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        padding = (kernel - stride + 1) // 2
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return features, none below 0."""
        return F.relu(self.norm(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Put what batch norm does to a batch in evaluation into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Inception(nn.Module):
    """Four views of the same input side by side, then channel and spatial attention."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        if c_out % 8:
            raise ConfigError(f"an inception block has {c_out} channels; take a multiple of 8")
        self.eighth = c_out // 8
        self.point = Convolution(c_in, 6 * self.eighth, 1)  # the 1x1 of three branches, as one
        self.three = Convolution(2 * self.eighth, 3 * self.eighth, 3)
        self.five = Convolution(2 * self.eighth, 2 * self.eighth, 5)
        self.pool = Convolution(c_in, self.eighth, 1)
        self.attention = nn.Sequential(ChannelAttention(c_out), SpatialAttention())

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c_out, h, w) from (n, c_in, h, w)."""
        one, three, five = self.point(x).split(2 * self.eighth, dim=1)
        pooled = self.pool(F.max_pool2d(x, 3, 1, 1))
        out: Tensor = self.attention(
            torch.cat([one, self.three(three), self.five(five), pooled], 1)
        )
        return out


class Detector(nn.Module):
    """From pictures of clips to verdicts and embeddings."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Convolution(config.layers, config.stem, 8, stride=4)
        self.place = nn.Conv2d(2, config.stem, 1)
        widths = (config.stem, *config.fine, *config.coarse)
        blocks = [Inception(c_in, c_out) for c_in, c_out in itertools.pairwise(widths)]
        self.fine = nn.Sequential(*blocks[: len(config.fine)])
        self.coarse = nn.Sequential(*blocks[len(config.fine) :])
        self.embed = nn.Linear(2 * widths[-1], config.embedding)
        self.verdict = nn.Linear(2 * widths[-1], 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Judge clips.

        Parameters
        ----------
        x
            (n, layers, h, w) area coverage in [0, 1]; h and w multiples of 8.

        Returns
        -------
        logit, embedding
            (n,) log odds of a hotspot in a population with as many hotspots as others, and
            (n, embedding) of unit norm.
        """
        x = self.stem(x)  # (n, stem, h/4, w/4)
        x = self.fine(x + self.place(distance_from_centre(x)))  # (n, fine, h/4, w/4)
        x = self.coarse(F.max_pool2d(x, 2))  # (n, coarse, h/8, w/8)
        x = torch.cat([x.mean((2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)], 1)  # (n, 2 coarse)
        return self.verdict(x).squeeze(1), F.normalize(self.embed(x))

    def for_inference(self) -> Detector:
        """Return a copy for scoring: batch norm folded into the convolutions, channels last."""
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        for module in fused.modules():
            if isinstance(module, Convolution):
                module.fold()
        return convert_conv2d_weight_memory_format(fused, torch.channels_last)


def distance_from_centre(x: Tensor) -> Tensor:
    """Return |column| and |row| from the centre, 1 at the edge of the clip, (1, 2, h, w).

    Pooling forgets places, but a clip answers for its core alone: with these the network can tell
    a defect in the core from the same defect in the halo.
    """
    h, w = x.shape[-2:]
    row = (torch.arange(h, device=x.device, dtype=x.dtype) * 2 + 1 - h).abs() / h
    column = (torch.arange(w, device=x.device, dtype=x.dtype) * 2 + 1 - w).abs() / w
    return torch.stack([column.expand(h, w), row[:, None].expand(h, w)])[None]
