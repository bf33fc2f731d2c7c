"""Local densities and gradient boosting: the plain way, outside the papers.

The clip is cut into 16 x 16 blocks; the covered share of each is a feature. LightGBM learns trees.
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
from stages.detector.network import Judgement, Network
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
    """Trees embed nothing; all clips are alike to them."""


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise UsageError(
            "detector 'density' needs LightGBM; install it with: pip install 'hotscan[rows]'"
        ) from None
    return lightgbm


def densities(x: Tensor) -> Floats:
    """Return the covered share of each block of each layer, (n, layers * 256)."""
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

    def forward(self, x: Tensor) -> Judgement:
        """Judge clips, (n, layers, h, w)."""
        if self._booster is None:
            text = self.text.cpu().numpy().tobytes().decode()
            self._booster = _lightgbm().Booster(model_str=text)
        raw = self._booster.predict(densities(x.cpu()), raw_score=True, num_threads=1)
        logit = torch.from_numpy(np.asarray(raw)).to(x)
        return Judgement(logit, torch.ones_like(logit)[:, None])


def trees_of(rasters: Bytes, labels: npt.NDArray[np.bool_], seed: int) -> DensityTrees:
    """Learn trees of labelled pictures; hotspots weigh as much as all others together."""
    x = torch.tensor(rasters)
    twins = [torch.rot90(turned, quarter, (2, 3)) for turned in (x[labels], x[labels].flip(3))
             for quarter in range(4)]  # fmt: skip
    parts = [torch.tensor(rasters[~labels]), *twins]
    features = np.concatenate([densities(part.float() / 255) for part in parts])
    cold = int((~labels).sum())
    y = np.arange(len(features)) >= cold
    weight = np.where(y, cold / max(int(y.sum()), 1), 1.0)
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
