"""A print model as a network: for what takes a network of every model.

in       the function by which a `PrintModel` gives log odds
out      predictions for pictures, as the model gives them
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch

from stages.contracts import Bytes, Floats
from stages.detector.models.user_model import ModuleShape
from stages.detector.networks.network import Network, Prediction


class PrintNetwork(Network):
    """A print model as a detector; it has no weights that torch knows of."""

    def __init__(self, channels: int, odds: Callable[[Bytes], Floats]) -> None:
        super().__init__()
        self.config = ModuleShape(channels)
        self._odds = odds

    def for_inference(self) -> Self:
        """Return itself: there is nothing to fold."""
        return self.eval()

    def forward(self, x: torch.Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w) area coverage in [0, 1]."""
        pictures = x.mul(255).round().to(torch.uint8).cpu().numpy()
        logit = torch.from_numpy(self._odds(pictures)).to(x)
        return Prediction(logit, torch.ones_like(logit)[:, None])
