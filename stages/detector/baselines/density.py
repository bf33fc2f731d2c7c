"""Local densities and gradient boosting: the plain approach, from no particular paper.

The clip is cut into 16 x 16 blocks; the coverage of each is a feature. LightGBM fits the trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.contracts import Bytes, Floats
from stages.detector.networks.network import Network, Prediction
from stages.errors import UsageError

BLOCKS = 16
_TREES, _LEAVES, _RATE = 300, 15, 0.05


@dataclass(frozen=True, slots=True)
class DensityConfig:
    """The size of the trees."""

    layers: int = 1
    text: int = 0
    """Bytes of their description."""
    embedding: int = 1
    """Trees have no embedding: a constant."""


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise UsageError(
            "detector 'density' needs LightGBM; install it with: pip install 'hotscan[rows]'"
        ) from None
    return lightgbm


def measure_density(x: Tensor) -> Floats:
    """Return the coverage of each block of each layer, (n, layers * 256)."""
    found: Floats = F.adaptive_avg_pool2d(x, BLOCKS).flatten(1).double().numpy()
    return found


class DensityTrees(Network):
    """Boosted trees; their description, as LightGBM writes it, is the only weight."""

    text: Tensor

    def __init__(self, config: DensityConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("text", torch.zeros(config.text, dtype=torch.uint8))
        self._booster: Any = None

    def for_inference(self) -> Self:
        """Return itself: there is nothing to fold."""
        return self.eval()

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w)."""
        if self._booster is None:
            text = self.text.cpu().numpy().tobytes().decode()
            self._booster = _lightgbm().Booster(model_str=text)
        raw = self._booster.predict(measure_density(x.cpu()), raw_score=True, num_threads=1)
        logit = torch.from_numpy(np.asarray(raw)).to(x)
        return Prediction(logit, torch.ones_like(logit)[:, None])


def fit_trees(rasters: Bytes, labels: npt.NDArray[np.bool_], seed: int) -> DensityTrees:
    """Fit trees to labelled pictures; hotspots weigh as much as all others together."""
    x = torch.tensor(rasters)
    twins = [torch.rot90(turned, quarter, (2, 3)) for turned in (x[labels], x[labels].flip(3))
             for quarter in range(4)]  # fmt: skip
    parts = [torch.tensor(rasters[~labels]), *twins]
    features = np.concatenate([measure_density(part.float() / 255) for part in parts])
    negatives = int((~labels).sum())
    y = np.arange(len(features)) >= negatives
    weight = np.where(y, negatives / max(int(y.sum()), 1), 1.0)
    lightgbm = _lightgbm()
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": _LEAVES, "learning_rate": _RATE, "seed": seed,
         "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1},
        lightgbm.Dataset(features, y, weight=weight), num_boost_round=_TREES,
    )  # fmt: skip
    text = booster.model_to_string().encode()
    trees = DensityTrees(DensityConfig(rasters.shape[1], len(text)))
    trees.text.copy_(torch.tensor(np.frombuffer(text, np.uint8).copy()))
    return trees
