"""Score patterns.

In: pictures of patterns. Out: hotspot probability and embedding of each. Unit: a shard of
patterns. Promise: a pattern's score does not depend on what else is in the shard, nor on its place
in it: every batch has the same padded size, so that a pattern always meets the same arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from stages.contracts import Bytes, Float32s, RasterSpec
from stages.detector import checkpoint
from stages.detector.model import Detector
from stages.errors import ConfigError, ModelMismatchError

BATCH = 64
"""Pictures scored at once; at 64 x 64 pixels their features fit a core's cache."""

Float16s = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a detector says of patterns, in their order."""

    score: Float32s
    """(n,) hotspot probability."""
    embedding: Float16s
    """(n, e) of unit norm; alike patterns are near."""

    def __len__(self) -> int:
        return len(self.score)


class Scorer(Protocol):
    """What patterns are scored with: a network, or a test double."""

    raster: RasterSpec
    """The picture that it takes."""
    embedding: int
    """Length of its embeddings."""

    def score_batch(self, rasters: Bytes) -> tuple[Float32s, Float16s]:
        """Return (`BATCH`,) scores and (`BATCH`, e) embeddings of exactly `BATCH` pictures."""


class NetworkScorer:
    """A detector made ready for scoring.

    On a CPU it keeps torch to one thread: parallel running is by processes.
    """

    def __init__(self, detector: Detector, raster: RasterSpec, device: str = "cpu") -> None:
        if device == "cpu":
            torch.set_num_threads(1)
        self.raster = raster
        self.embedding = detector.config.embedding
        self._detector = detector.for_inference().to(device)
        self._device = device

    def score_batch(self, rasters: Bytes) -> tuple[Float32s, Float16s]:
        """Return (`BATCH`,) scores and (`BATCH`, e) embeddings of exactly `BATCH` pictures."""
        with torch.inference_mode():
            x = torch.from_numpy(rasters).to(self._device, torch.float32).div_(255)
            logit, embedding = self._detector(x)
            return logit.sigmoid().cpu().numpy(), embedding.to(torch.float16).cpu().numpy()


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks.

    Raises
    ------
    ConfigError
        When torch cannot put anything there.
    """
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"[scores] device is {device!r} but cannot be used here "
            f"({str(error).splitlines()[0]}); give --device cpu"
        ) from error


def load_scorer(path: Path, device: str = "cpu") -> NetworkScorer:
    """Return the detector of the checkpoint at `path`, ready on `device`."""
    model = checkpoint.load(path)
    return NetworkScorer(model.detector(), model.raster, device)


def score_rasters(rasters: Bytes, detector: Scorer) -> Scores:
    """Score patterns.

    Parameters
    ----------
    rasters
        (n, layers, h, w) area coverage, 0 to 255.
    detector
        What to score them with.

    Raises
    ------
    ModelMismatchError
        When the pictures are not of the shape that the detector was trained on.
    """
    spec = detector.raster
    if rasters.shape[1:] != (spec.layers, spec.clip_px, spec.clip_px):
        raise ModelMismatchError(
            f"pictures are {rasters.shape[1:]} (layers, rows, columns) but the model was trained "
            f"on {(spec.layers, spec.clip_px, spec.clip_px)}; draw clips with the model's raster"
        )
    n = len(rasters)
    score = np.empty(n, np.float32)
    embedding = np.empty((n, detector.embedding), np.float16)
    batch = np.zeros((BATCH, *rasters.shape[1:]), np.uint8)
    for start in range(0, n, BATCH):
        stop = min(start + BATCH, n)
        batch[: stop - start] = rasters[start:stop]
        scores, embeddings = detector.score_batch(batch)
        score[start:stop] = scores[: stop - start]
        embedding[start:stop] = embeddings[: stop - start]
    return Scores(score, embedding)
