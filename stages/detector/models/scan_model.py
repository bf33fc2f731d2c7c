"""What a scan needs to know of a model, whatever kind it is.

in: weights; out: `ScanModel`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from stages.contracts import Bytes, RasterSpec
from stages.detector.models.familiarity import Familiar
from stages.detector.networks.prefilter import Prefilter
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import UsageError

if TYPE_CHECKING:
    from stages.detector.networks.network import Network


USER_FILE = "user_module.pkl"
"""`ScanModel.file_name` of a user's own module."""


class ScanModel(Protocol):
    """What a scan needs to know of a model: `Checkpoint` and `UserModel` have all of it."""

    @property
    def file_name(self) -> str:
        """Name of its file in a run directory: of each kind of model another."""

    @property
    def raster(self) -> RasterSpec:
        """The picture that it takes."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Name of each channel of the picture."""

    @property
    def process(self) -> str:
        """Name of the process that its labels came from."""

    @property
    def process_settings(self) -> dict[str, Any]:
        """The process as plain values; empty for a shipped process of that name."""

    @property
    def opc(self) -> str:
        """Whether its labels are those of corrected masks, ``none`` or ``model``."""

    @property
    def provenance(self) -> dict[str, Any]:
        """What it was trained on, for people."""

    @property
    def operating_point(self) -> OperatingPoint:
        """The threshold and the figures measured with it."""

    @property
    def prefilter(self) -> Prefilter | None:
        """A smaller network that rejects confident negatives."""

    @property
    def familiar(self) -> Familiar | None:
        """What it was trained on; None where that was not kept."""

    @property
    def examples(self) -> Bytes | None:
        """(k, layers, h, w) uint8 pictures of training hotspots."""

    @property
    def embedding(self) -> int:
        """Length of the embeddings that it gives."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of defects whose margins it predicts."""

    @property
    def threshold(self) -> float:
        """Score from which a clip is flagged."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything that its scores depend on, 64 hexadecimal digits."""

    def may_prefilter(self, threshold: float) -> bool:
        """Return whether the prefilter may be used with a threshold."""

    def detector(self) -> Network:
        """Return the network."""


def require_finite(weights: Mapping[str, npt.NDArray[Any]], name: str) -> None:
    """Refuse weights that are not numbers.

    Raises
    ------
    UsageError
        When a weight is infinite or NaN.
    """
    for key, value in weights.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise UsageError(
                f"model {name!r} has a weight in {key} that is not finite; train it again, or use "
                "another model"
            )
