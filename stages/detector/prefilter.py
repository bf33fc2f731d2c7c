"""A small network that looks first, and sends the clips that are certainly cold away.

in: pictures; out: `Judgement`.
It sees less than the detector and costs a small part of it: the stem looks once every 8 pixels, and
what follows at each place and its neighbours. Features of the core are pooled apart, as the clip
answers for the core alone. What it may send away is set on validation clips.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.model import SCALE, pooled_apart
from stages.detector.network import Convolution, Judgement, Network


@dataclass(frozen=True, slots=True)
class PrefilterConfig:
    """The shape of the network."""

    layers: int = 1
    core_px: int = 0
    """Side of the core, whose features are pooled apart as well; 0 pools the whole clip only."""
    width: int = 32
    """Channels."""
    stem_px: int = 12
    """Side of the squares that the stem sees, 8 pixels apart."""

    @property
    def embedding(self) -> int:
        """Length of the embedding."""
        return self.width


@dataclass(frozen=True, slots=True, eq=False)
class Prefilter:
    """A prefilter that was trained, and what it may send away."""

    config: PrefilterConfig
    weights: dict[str, Tensor]
    """State dict of `PrefilterNetwork`, on the CPU."""
    reject_below: float
    """Score under which a clip is cold, whatever the detector would say."""
    lost: float
    """Share of the validation hotspots that the detector flags, and that are sent away."""
    passed: float
    """Share of the validation patterns that are not."""

    def network(self) -> PrefilterNetwork:
        """Return the network with these weights."""
        made = PrefilterNetwork(self.config)
        made.load_state_dict(self.weights)
        return made.eval()

    def about(self) -> dict[str, Any]:
        """Return all but the weights, as plain values."""
        return {
            "config": asdict(self.config), "reject_below": self.reject_below, "lost": self.lost,
            "passed": self.passed,
        }  # fmt: skip


class PrefilterNetwork(Network):
    """A stem, two convolutions, a verdict."""

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

    def forward(self, x: Tensor) -> Judgement:
        """Judge clips, (n, layers, h, w) area coverage in [0, 1]; h and w multiples of 8."""
        x = self.blocks(self.stem(x))  # (n, width, h/8, w/8)
        pooled = pooled_apart(x, *self.sides)
        average = pooled[:, : self.config.width]
        return Judgement(self.verdict(pooled).squeeze(1), F.normalize(average, eps=1e-6))
