"""Attention: weights by which feature maps are multiplied.

in: the output of a block and its input; out: features of the shape of the output.
`ATTENTION` names the kinds; a model chooses one with ``attention = "..."``.
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


class ChannelSpatial(nn.Sequential):
    """First which channels matter, then which positions: the pair of Geng et al., ICCAD 2020."""

    def __init__(self, channels: int) -> None:
        super().__init__(ChannelAttention(channels), SpatialAttention())

    def forward(self, x: Tensor, before: Tensor) -> Tensor:  # type: ignore[override]
        """Return the weighed features, of the shape of `x`, (n, c, h, w)."""
        for weigh in self:
            x = weigh(x)
        return x


class NoAttention(nn.Module):
    """Leave the features as they are."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Return `x`."""
        return x


class SqueezeExcitation(nn.Module):
    """Weigh the channels by their averages: ``sigma(W2 relu(W1 GAP(T))) * T``.

    Hu, Shen, Sun: "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode = nn.Linear(channels, channels // 4)
        self.decode = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Return the weighed features, of the shape of `x`, (n, c, h, w)."""
        weight: Tensor = self.decode(self.encode(x.mean((2, 3))).relu()).sigmoid()
        return x * weight[:, :, None, None]


class ScaleSpace(nn.Module):
    """Weigh what stands out between adjacent layers, as extrema of scale space do.

    ``D = |T - mean over channels of the earlier layer|``; ``alpha`` is the share of the nine
    places around one, itself among them, that are not larger in D; the mask is
    ``sigma(relu(conv(alpha * D)))``.
    Garg, Candan, Sapino: "SAN: Scale-Space Attention Networks", ICDE 2020.
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Return the weighed features, of the shape of `x`, (n, c, h, w)."""
        difference = (x - before.mean(1, keepdim=True)).abs()
        mask: Tensor = self.smooth(extremal(difference) * difference).relu().sigmoid()
        return x * mask


def extremal(x: Tensor) -> Tensor:
    """Return the share of the 3 x 3 places around each that are not larger, (n, c, h, w).

    Past the edge the picture goes on as at the edge.

    Examples
    --------
    >>> peak = torch.zeros(1, 1, 3, 3)
    >>> peak[0, 0, 1, 1] = 1
    >>> round(float(extremal(peak)[0, 0, 1, 1]), 3), round(float(extremal(peak)[0, 0, 0, 1]), 3)
    (1.0, 0.889)
    """
    h, w = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    shifts = [(i, j) for i in range(3) for j in range(3)]
    not_larger = sum((x >= padded[:, :, i : i + h, j : j + w]).to(x.dtype) for i, j in shifts)
    return torch.as_tensor(not_larger) / len(shifts)


class FeatureDifference(nn.Module):
    """Weigh what a block changed: ``sigma(smooth_L1(T - its input)) * T``, without parameters.

    Xu et al.: "Convolution Tells Where to Look", where input and output have the same channels.
    Ours may not: then each channel is compared with the mean over those of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Return the weighed features, of the shape of `x`, (n, c, h, w)."""
        if before.shape[1] != x.shape[1]:
            before = before.mean(1, keepdim=True)
        difference = F.smooth_l1_loss(before.expand_as(x), x, reduction="none")
        return x * difference.sigmoid()


class AttentionBranch(nn.Module):
    """Weigh the positions by a class-activation map that has a prediction and a loss of its own.

    Fukui, Hirakawa, Yamashita, Fujiyoshi: "Attention Branch Network", CVPR 2019:
    ``(1 + map) * T``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(channels, channels, 3, padding=1)
        self.respond = nn.Conv2d(channels, 1, 1)
        self.map = nn.Conv2d(1, 1, 3, padding=1)
        self.logit: Tensor | None = None
        """(n,) log odds of the last batch, for their loss; the network takes them away."""

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Return the weighed features, of the shape of `x`, (n, c, h, w)."""
        response: Tensor = self.respond(self.look(x).relu())  # (n, 1, h, w)
        if self.training:
            self.logit = response.mean((1, 2, 3))
        weighed: Tensor = x * (1 + self.map(response).sigmoid())
        return weighed


class SelfAttention(nn.Module):
    """Let each position look at all others: ``T + g softmax(Q K^T / sqrt(d)) V``, g trained from 0.

    Wang, Girshick, Gupta, He: "Non-local Neural Networks", CVPR 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = max(channels // 4, 1)
        self.query_key = nn.Conv2d(channels, 2 * self.inner, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Return the features with what they saw elsewhere, of the shape of `x`, (n, c, h, w)."""
        query, key = self.query_key(x).flatten(2).transpose(1, 2).split(self.inner, dim=2)
        value = self.value(x).flatten(2).transpose(1, 2)  # (n, h w, c)
        seen = F.scaled_dot_product_attention(query, key, value)
        return x + self.share * seen.transpose(1, 2).reshape(x.shape)


ATTENTION: dict[str, type[nn.Module]] = {
    "channel_spatial": ChannelSpatial,
    "none": NoAttention,
    "squeeze_excitation": SqueezeExcitation,
    "scale_space": ScaleSpace,
    "attention_branch": AttentionBranch,
    "self_attention": SelfAttention,
    "feature_difference": FeatureDifference,
}
"""Each kind of attention, which follows every block."""

ONCE = {
    "scale_space_pooling": ("scale_space", "pooling"),
    "attention_branch_once": ("attention_branch", "last"),
}
"""Kinds that follow one block: the one before the pooling between blocks, or before the last."""

NAMES = (*ATTENTION, *ONCE)
"""The names, as models have them in ``attention``."""


def place_attention(name: str, fine: int, coarse: int) -> list[str]:
    """Return the kind of attention, one of `ATTENTION`, that follows each block.

    Parameters
    ----------
    name
        One of `NAMES`.
    fine, coarse
        Number of blocks before and after the pooling.

    Examples
    --------
    >>> place_attention("attention_branch_once", 1, 2)
    ['none', 'attention_branch', 'none']
    """
    if name in ATTENTION:
        return [name] * (fine + coarse)
    kind, where = ONCE[name]
    place = fine - 1 if where == "pooling" else max(fine + coarse - 2, 0)
    return [kind if block == place else "none" for block in range(fine + coarse)]
