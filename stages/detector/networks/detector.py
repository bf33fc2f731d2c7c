"""The network, top to bottom.

Geng, Yang, Zhang, Miao, Yang, Zeng, Yu: "Hotspot Detection via Attention-based Deep Layout Metric
Learning", ICCAD 2020: inception blocks, each followed by channel and spatial attention; from one
backbone an embedding of unit norm (metric learning) and the log odds (classification).
Ours, not the paper's: the head for margins, the widths, the strided stem, the position input, the
pooling before the heads. The stem reduces the resolution to 1/4 but has more channels than the
pixels it replaces, so that the sub-pixel position of an edge, encoded in its grey level, is
preserved.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.networks.attention import ATTENTION, NAMES, AttentionBranch, place_attention
from stages.detector.networks.network import Convolution, Network, Prediction, turn
from stages.detector.networks.shapes import DISTINCT, DetectorConfig, inner_places
from stages.errors import ConfigError


class Inception(nn.Module):
    """Four parallel branches, then attention."""

    def __init__(self, c_in: int, c_out: int, attention: str) -> None:
        super().__init__()
        if c_out % 8:
            raise ConfigError(f"an inception block has {c_out} channels; take a multiple of 8")
        self.eighth = c_out // 8
        self.point = Convolution(c_in, 6 * self.eighth, 1)  # the 1x1 of three branches, as one
        self.three = Convolution(2 * self.eighth, 3 * self.eighth, 3)
        self.five = Convolution(2 * self.eighth, 2 * self.eighth, 5)
        self.pool = Convolution(c_in, self.eighth, 1)
        self.attention = ATTENTION[attention](c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c_out, h, w) from (n, c_in, h, w)."""
        one, three, five = self.point(x).split(2 * self.eighth, dim=1)
        pooled = self.pool(F.max_pool2d(x, 3, 1, 1) if x.requires_grad else largest_around(x))
        out: Tensor = self.attention(
            torch.cat([one, self.three(three), self.five(five), pooled], 1), x
        )
        return out


def largest_around(x: Tensor) -> Tensor:
    """Return the maximum of the 3 x 3 places around each, as ``max_pool2d(x, 3, 1, 1)`` does.

    Without the index of the maximum, which only gradients need, it takes a third of the time.
    """
    for axis in (2, 3):
        last = x.shape[axis] - 1
        largest = x.clone()
        for here, there in ((0, 1), (1, 0)):
            part = largest.narrow(axis, here, last)
            torch.maximum(part, x.narrow(axis, there, last), out=part)
        x = largest
    return x


class Plain(nn.Module):
    """One convolution, then attention: a block without inception."""

    def __init__(self, c_in: int, c_out: int, attention: str) -> None:
        super().__init__()
        self.view = Convolution(c_in, c_out, 3)
        self.attention = ATTENTION[attention](c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, c_out, h, w) from (n, c_in, h, w)."""
        out: Tensor = self.attention(self.view(x), x)
        return out


class Detector(Network):
    """From pictures of clips to log odds and embeddings."""

    config: DetectorConfig

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        if config.attention not in NAMES:
            raise ConfigError(
                f"attention {config.attention!r} is unknown; choose one of {', '.join(NAMES)}"
            )
        self.config = config
        block = Inception if config.inception else Plain
        self.stem = Convolution(config.layers, config.stem, 8, stride=4)
        self.place = nn.Conv2d(2, config.stem, 1)
        widths = (config.stem, *config.fine, *config.coarse)
        kinds = place_attention(config.attention, len(config.fine), len(config.coarse))
        pairs = zip(itertools.pairwise(widths), kinds, strict=True)
        blocks = [block(*pair, kind) for pair, kind in pairs]
        self.fine = nn.Sequential(*blocks[: len(config.fine)])
        self.coarse = nn.Sequential(*blocks[len(config.fine) :])
        self.sides = tuple(side for side in (config.core_px, *config.centres_px) if side)
        pooled = 2 * (1 + len(self.sides)) * widths[-1]
        self.embed = nn.Linear(pooled, config.embedding)
        self.verdict = nn.Linear(pooled, 1)
        self.kinds = config.kinds
        self.margin = nn.Linear(pooled, len(config.kinds)) if config.kinds else None

    def features(self, x: Tensor) -> Tensor:
        """Return the final feature map, (n, coarse, h/8, w/8)."""
        x = self.stem(x)  # (n, stem, h/4, w/4)
        x = self.fine(x + self.place(distance_from_centre(x)))  # (n, fine, h/4, w/4)
        out: Tensor = self.coarse(F.max_pool2d(x, 2))
        return out

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w) area coverage in [0, 1]; h and w multiples of 8."""
        x = self._pool(x)
        logit, embedding = self.verdict(x).squeeze(1), F.normalize(self.embed(x))
        margin = None if self.margin is None else self.margin(x)
        return Prediction(logit, embedding, margin, self._take_branch_logits())

    def _pool(self, x: Tensor) -> Tensor:
        """Return the pooled features, (n, 2 coarse (1 + squares))."""
        return pool_separately(self.features(x), *self.sides)

    def likeness(self, x: Tensor) -> Tensor:
        """Return the pooled features, of unit norm.

        They find failures of the same kind more often than the embedding does, which is trained to
        tell hotspots from others (docs/explanation/results.md).
        """
        pooled = self._pool(x)
        self._take_branch_logits()
        return F.normalize(pooled)

    def _take_branch_logits(self) -> tuple[Tensor, ...]:
        taken = []
        for module in self.modules():
            if isinstance(module, AttentionBranch) and module.logit is not None:
                taken.append(module.logit)
                module.logit = None
        return tuple(taken)

    def activation_map(self, x: Tensor) -> Tensor:
        """Return the contribution of each place to the logit, (n, h/8, w/8).

        The sum over places plus the bias is the logit: the average pooling distributes its part
        over all places, the maximum pooling assigns its part to the place of the maximum.
        Zhou, Khosla, Lapedriza, Oliva, Torralba: "Learning Deep Features for Discriminative
        Localization", CVPR 2016, for the average.
        """
        x = self.features(x)
        self._take_branch_logits()
        adds = torch.zeros_like(x[:, :1])
        weights = self.verdict.weight.view(-1, 2, x.shape[1])
        parts = zip(
            crop_squares(x, *self.sides), crop_squares(adds, *self.sides), weights, strict=True
        )  # fmt: skip
        for part, place, (average, maximum) in parts:
            n, _, h, w = part.shape
            mean = torch.einsum("nchw,c->nhw", part, average) / (h * w)
            peak, at = part.flatten(2).max(2)  # (n, c)
            place += mean.flatten(1).scatter_add(1, at, peak * maximum).view(n, 1, h, w)
        return adds[:, 0]

    def resemblance_map(self, x: Tensor, known: Tensor, symmetries: int = 8) -> Tensor:
        """Return where clips (n, layers, h, w) are like a known one each, (n, h/8, w/8), 0 or more.

        Channels in which the two are alike weigh most: ``M = sum of W^c Q_c``, ``W^c = 1 / D^c``
        divided by their sum, ``D^c = |GAP(S_c) - GAP(Q_c)|``, of the features Q of the clip and S
        of the known one, in that of its orientations which is closest. No head takes part.
        Shen et al., PRCV 2021: "Dist-CAM", for metric learning.
        """
        features = self.features(x)
        means = features.mean((2, 3))  # (n, c)
        apart = torch.stack(
            [
                (self.features(turned).mean((2, 3)) - means).abs()
                for turned in turn(known, symmetries)
            ]
        )  # (orientations, n, c)
        self._take_branch_logits()
        closest = apart.square().sum(2).argmin(0)  # (n,)
        least = DISTINCT * means.mean(1, keepdim=True).clamp_min(1e-9)
        weight = 1 / (apart[closest, torch.arange(len(x), device=x.device)] + least)
        weight = weight / weight.sum(1, keepdim=True)
        return torch.einsum("nchw,nc->nhw", features, weight)


def pool_separately(x: Tensor, *sides_px: int) -> Tensor:
    """Return means and maxima of features (n, c, h, w) and of each square, (n, 2 c parts)."""
    parts = crop_squares(x, *sides_px)
    return torch.cat([p for part in parts for p in (part.mean((2, 3)), part.amax((2, 3)))], 1)


def crop_squares(x: Tensor, *sides_px: int) -> list[Tensor]:
    """Return features (n, c, h, w), and those of the places that each square overlaps."""
    inner = [[inner_places(places, side) for places in x.shape[2:]] for side in sides_px]
    return [x, *(x[:, :, rows, columns] for rows, columns in inner)]


def distance_from_centre(x: Tensor) -> Tensor:
    """Return |column| and |row| from the centre, 1 at the edge of the clip, (1, 2, h, w).

    Pooling discards positions, but the label of a clip concerns its core only: this input lets the
    network tell a defect in the core from the same defect in the halo.
    """
    h, w = x.shape[-2:]
    row = (torch.arange(h, device=x.device, dtype=x.dtype) * 2 + 1 - h).abs() / h
    column = (torch.arange(w, device=x.device, dtype=x.dtype) * 2 + 1 - w).abs() / w
    return torch.stack([column.expand(h, w), row[:, None].expand(h, w)])[None]
