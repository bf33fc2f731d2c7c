"""The interface of all detectors: a module that predicts, and can be prepared for inference.

in: pictures; out: `Prediction`.
promise: preparing a network for inference changes its predictions by rounding only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, channels_last, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.detector.networks.shapes import Shape


class Prediction(NamedTuple):
    """The output of a detector for clips."""

    logit: Tensor
    """(n,) log odds of a hotspot; uncalibrated, as if half of all clips were hotspots."""
    embedding: Tensor
    """(n, e) of unit norm; similar clips are close."""
    margin: Tensor | None = None
    """(n, kinds) of the worst place of each of `Network.kinds`; None where it predicts none."""
    branch_logits: tuple[Tensor, ...] = ()
    """(n,) each: log odds of auxiliary branches in training, which get the same loss."""


class Network(nn.Module):
    """A detector. Subclasses are built from a config, keep it, and predict in `forward`."""

    config: Shape
    kinds: tuple[str, ...] = ()
    """What margins it predicts, see `stages.lithography.measure.margins`."""

    @property
    def ensemble_from(self) -> float:
        """Log odds of `forward` from which `ensemble_logit` is more accurate."""
        return math.inf

    def ensemble_logit(self, x: Tensor) -> Tensor:
        """Return the log odds of all members and orientations, (n,); slower than `forward`."""
        prediction: Prediction = self(x)
        return prediction.logit

    def activation_map(self, x: Tensor) -> Tensor | None:
        """Return the contribution of each place to the log odds, (n, rows, columns), or None."""
        return None

    def resemblance_map(self, x: Tensor, known: Tensor, symmetries: int = 8) -> Tensor | None:
        """Return where each clip is like a known one, (n, rows, columns), or None."""
        return None

    def likeness(self, x: Tensor) -> Tensor:
        """Return vectors of unit norm for comparing clips with each other, (n, f)."""
        prediction: Prediction = self(x)
        return prediction.embedding

    def get_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights by name, as a checkpoint keeps them."""
        return {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()}

    def load_arrays(self, weights: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return itself with these weights, not in training."""
        self.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return self.eval()

    def for_inference(self) -> Self:
        """Return a copy for inference: batch norm folded into the convolutions, channels last."""
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
        """Return features, all at least 0."""
        return F.relu(self.norm(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Fold batch norm, as it is in evaluation, into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


def turn(x: Tensor, symmetries: int) -> Iterator[Tensor]:
    """Yield pictures in each of 4 or 8 orientations, (n, layers, h, w)."""
    for turned in (x, x.transpose(2, 3))[: symmetries // 4]:
        for axes in ((), (2,), (3,), (2, 3)):
            yield turned.flip(axes).contiguous(memory_format=channels_last)
