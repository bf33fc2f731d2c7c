"""The prefilter: a small network that rejects confident negatives before the detector runs.

in: the values of a model file; out: a network; unit: a model
It costs a fraction of the detector: the stem has a stride of 8 pixels, and two convolutions follow.
Features of the core are pooled separately, as the label of a clip concerns its core only. The score
below which it rejects is chosen on validation clips.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from stages.detector.networks.shapes import PrefilterConfig

if TYPE_CHECKING:
    from stages.detector.networks.prefilter_network import PrefilterNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Prefilter:
    """A trained prefilter and the score below which it rejects."""

    config: PrefilterConfig
    weights: dict[str, npt.NDArray[Any]]
    """Those of its `PrefilterNetwork`."""
    reject_below: float
    """A clip with a lower score is rejected and never reaches the detector."""
    lost: float
    """Share of the validation hotspots that the detector flags but the prefilter rejects."""
    passed: float
    """Share of the validation patterns that pass."""

    def network(self) -> PrefilterNetwork:
        """Return the network with these weights."""
        from stages.detector.networks.prefilter_network import PrefilterNetwork  # with torch

        return PrefilterNetwork(self.config).load_arrays(self.weights)

    def about(self) -> dict[str, Any]:
        """Return everything but the weights as plain values."""
        return {
            "config": asdict(self.config), "reject_below": self.reject_below, "lost": self.lost,
            "passed": self.passed,
        }  # fmt: skip
