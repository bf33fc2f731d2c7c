"""Pattern matching: a clip is a hotspot when it equals a known one, or nearly does.

The pictures of the pipeline are in a canonical orientation, so that equal geometry gives equal
pictures. Nearly: every edge lies within a tolerance; the canonical orientation may then differ, and
all orientations of a known hotspot are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.contracts import Bytes
from stages.detector.networks.network import Network, Prediction

_MATCH_LOGIT = 10.0
"""Log odds of a clip that matches; its negative where nothing is close."""
_FAR_PX = 2.0
"""Largest edge displacement that still counts as similar."""
_PROBES = 64
"""Pixels that are compared first: they rule out nearly all pairs."""


@dataclass(frozen=True, slots=True)
class LibraryConfig:
    """The shape of a library."""

    layers: int = 1
    clip_px: int = 64
    known: int = 0
    """Pictures in it."""
    embedding: int = 1
    """A library has no embedding: a constant."""


class Library(Network):
    """Known hotspots, as drawn."""

    known: Tensor

    def __init__(self, config: LibraryConfig) -> None:
        super().__init__()
        self.config = config
        shape = (config.known, config.layers, config.clip_px, config.clip_px)
        self.register_buffer("known", torch.zeros(shape, dtype=torch.uint8))

    def for_inference(self) -> Self:
        """Return itself: there is nothing to fold."""
        return self.eval()

    def predict(self, logit: Tensor) -> Prediction:
        """Return a prediction with these log odds."""
        return Prediction(logit, torch.ones_like(logit)[:, None])


class ExactLibrary(Library):
    """A clip is a hotspot when it equals a known one."""

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w) in [0, 1]."""
        pixels = (x * 255).round().to(torch.uint8).flatten(1)
        known = {row.numpy().tobytes() for row in self.known.flatten(1).cpu()}
        found = [row.numpy().tobytes() in known for row in pixels.cpu()]
        return self.predict(_MATCH_LOGIT * (2 * torch.tensor(found).to(x) - 1))


class FuzzyLibrary(Library):
    """A clip is the more likely a hotspot the less its edges must move to match a known one.

    An edge that moves by a share of a pixel changes the pixels beside it by that share of the
    difference to their neighbours: so the move that explains a pixel is its difference over the
    range of the 3 x 3 pixels around. A pair is as far apart as its worst pixel.
    """

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w) in [0, 1]."""
        known = self.known.to(x.dtype) / 255
        twins = torch.cat([turned for flipped in (known, known.flip(3)) for turned in (
            torch.rot90(flipped, quarter, (2, 3)) for quarter in range(4))])  # fmt: skip
        room = (F.max_pool2d(twins, 3, 1, 1) + F.max_pool2d(-twins, 3, 1, 1)).flatten(1)
        twins, x = twins.flatten(1), x.flatten(1)
        # The pixels of which known hotspots differ most tell most.
        probes = twins.var(0).topk(min(_PROBES, twins.shape[1])).indices
        moved = x.new_full((len(x),), _FAR_PX)
        for clip, pixels in enumerate(x):
            near = torch.arange(len(twins), device=x.device)
            for which in (probes, slice(None)):
                worst = _moves(pixels[which], twins[near][:, which], room[near][:, which])
                near, worst = near[worst < _FAR_PX], worst[worst < _FAR_PX]
            if len(near):
                moved[clip] = worst.min()
        return self.predict(_MATCH_LOGIT * (1 - 2 * moved / _FAR_PX))


def _moves(pixels: Tensor, twins: Tensor, room: Tensor) -> Tensor:
    """Return by how many pixels the edges of each twin must move to give the clip, (k,)."""
    difference = (pixels - twins).abs()
    move = torch.where(difference < 1.5 / 255, 0.0, difference / room.clamp_min(1e-6))
    return move.amax(1)


def build_library(rasters: Bytes, kind: type[Library]) -> Library:
    """Return a library of pictures of hotspots, (n, layers, h, w)."""
    library = kind(LibraryConfig(rasters.shape[1], rasters.shape[2], len(rasters)))
    library.known.copy_(torch.tensor(rasters))
    return library
