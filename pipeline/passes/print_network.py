"""A print model as a network: for what takes a network of every model.

in       a `PrintModel`
out      predictions for pictures, as the model gives them
"""

from __future__ import annotations

from typing import Self

import torch

from pipeline.passes.print_model import PrintModel
from stages.detector.models.user_model import ModuleShape
from stages.detector.networks.network import Network, Prediction


class PrintNetwork(Network):
    """A print model as a detector; it has no weights that torch knows of."""

    def __init__(self, model: PrintModel) -> None:
        super().__init__()
        self.config = ModuleShape(model.raster.layers)
        self._model = model
        self._features = model.make_features()

    def for_inference(self) -> Self:
        """Return itself: there is nothing to fold."""
        return self.eval()

    def forward(self, x: torch.Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w) area coverage in [0, 1]."""
        pictures = x.mul(255).round().to(torch.uint8).cpu().numpy()
        odds = self._model.head.compute_odds(self._features.measure(pictures))
        logit = torch.from_numpy(odds).to(x)
        return Prediction(logit, torch.ones_like(logit)[:, None])
