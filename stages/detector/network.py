"""What every detector is: a module that judges clips, and can be made ready for scoring.

in: pictures; out: `Judgement`.
promise: what is made ready for scoring judges as before, to rounding.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple, Protocol, Self

import torch.nn.functional as F
from torch import Tensor, channels_last, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Judgement(NamedTuple):
    """What a detector says of clips."""

    logit: Tensor
    """(n,) log odds of a hotspot in a population with as many hotspots as others."""
    embedding: Tensor
    """(n, e) of unit norm; alike clips are near."""
    more: tuple[Tensor, ...] = ()
    """(n,) each: verdicts of branches, in training, that have the same loss."""


class Shape(Protocol):
    """What the configs of all detectors have."""

    @property
    def layers(self) -> int:
        """Channels of the picture."""

    @property
    def embedding(self) -> int:
        """Length of the embedding."""


class Network(nn.Module):
    """A detector. Subclasses take their config, keep it, and judge in `forward`."""

    config: Shape

    @property
    def ensemble_from(self) -> float:
        """Least log odds from which `careful` says more than `forward`."""
        return math.inf

    def careful(self, x: Tensor) -> Tensor:
        """Return log odds that took more time, (n,)."""
        judgement: Judgement = self(x)
        return judgement.logit

    def where(self, x: Tensor) -> Tensor | None:
        """Return what each place adds to the log odds, (n, rows, columns); None if unknown."""
        return None

    def likeness(self, x: Tensor) -> Tensor:
        """Return vectors of unit norm by which clips are compared with each other, (n, f)."""
        judgement: Judgement = self(x)
        return judgement.embedding

    def for_inference(self) -> Self:
        """Return a copy for scoring: batch norm folded into the convolutions, channels last."""
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        for module in fused.modules():
            if isinstance(module, Convolution):
                module.fold()
        return convert_conv2d_weight_memory_format(fused, channels_last)


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
