"""Score patterns.

In: pictures of patterns. Out: hotspot probability and embedding of each. Unit: a shard of
patterns. Promise: a pattern's score does not depend on what else is in the shard, nor on its place
in it: every batch has the same padded size, so that a pattern always meets the same arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from stages.contracts import Bytes, Float32s, Int64s, RasterSpec
from stages.detector import checkpoint
from stages.detector.network import Judgement, Network
from stages.detector.prefilter import Prefilter
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

    reject_below: float
    """Score of `prefilter_batch` under which a pattern is cold; 0 when there is no first look."""
    ensemble_from: float
    """Score from which `score_ensemble_batch` is asked, too."""

    def prefilter_batch(self, rasters: Bytes) -> Float32s:
        """Return (`BATCH`,) scores of exactly `BATCH` pictures, as fast as can be."""

    def score_batch(self, rasters: Bytes) -> tuple[Float32s, Float16s]:
        """Return (`BATCH`,) scores and (`BATCH`, e) embeddings of exactly `BATCH` pictures."""

    def score_ensemble_batch(self, rasters: Bytes) -> Float32s:
        """Return (`BATCH`,) scores of exactly `BATCH` pictures, however long that takes."""


class NetworkScorer:
    """A detector made ready for scoring.

    On a CPU it keeps torch to one thread: parallel running is by processes.
    """

    def __init__(
        self,
        detector: Network,
        raster: RasterSpec,
        device: str = "cpu",
        prefilter: Prefilter | None = None,
    ) -> None:
        if device == "cpu":
            torch.set_num_threads(1)
        self.raster = raster
        self.embedding = detector.config.embedding
        least = detector.ensemble_from
        self.ensemble_from = least if math.isinf(least) else 1 / (1 + math.exp(-least))
        self._detector = detector.for_inference().to(device)
        self._device = device
        self.reject_below = prefilter.reject_below if prefilter else 0.0
        self._prefilter = prefilter.network().for_inference().to(device) if prefilter else None

    def prefilter_batch(self, rasters: Bytes) -> Float32s:
        """Return (`BATCH`,) scores of the prefilter, of exactly `BATCH` pictures."""
        assert self._prefilter is not None  # asked only where reject_below is over 0
        with torch.inference_mode():
            judged: Judgement = self._prefilter(self._pictures(rasters))
            scores: Float32s = judged.logit.float().sigmoid().cpu().numpy()
            return scores

    def score_batch(self, rasters: Bytes) -> tuple[Float32s, Float16s]:
        """Return (`BATCH`,) scores and (`BATCH`, e) embeddings of exactly `BATCH` pictures."""
        with torch.inference_mode():
            judged: Judgement = self._detector(self._pictures(rasters))
            score = judged.logit.float().sigmoid()  # a half where it is run in halves
            embedding = judged.embedding.to(torch.float16)
            return score.cpu().numpy(), embedding.cpu().numpy()

    def score_ensemble_batch(self, rasters: Bytes) -> Float32s:
        """Return (`BATCH`,) scores of exactly `BATCH` pictures, of all that the detector knows."""
        with torch.inference_mode():
            logit = self._detector.careful(self._pictures(rasters))
            scores: Float32s = logit.float().sigmoid().cpu().numpy()
            return scores

    def where(self, rasters: Bytes) -> Float32s | None:
        """Return what each place of pictures adds to their log odds, (n, rows, columns).

        None when the detector cannot tell.
        """
        with torch.inference_mode():
            found = self._detector.where(self._pictures(rasters))
            return None if found is None else found.cpu().numpy()

    def _pictures(self, rasters: Bytes) -> torch.Tensor:
        return torch.from_numpy(rasters).to(self._device, torch.float32).div_(255)


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


def scorer_of(
    model: checkpoint.Checkpoint, device: str = "cpu", *, prefiltered: bool = True
) -> NetworkScorer:
    """Return a checkpoint's detector on `device`, behind its prefilter if it has one."""
    prefilter = model.prefilter if prefiltered else None
    return NetworkScorer(model.detector(), model.raster, device, prefilter)


def score_rasters(rasters: Bytes, detector: Scorer) -> Scores:
    """Score patterns.

    What the prefilter sends away has the score 0, and 0 for its embedding.

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
    score, warm = np.zeros(n, np.float32), np.arange(n)
    embedding = np.zeros((n, detector.embedding), np.float16)
    if detector.reject_below > 0:
        for rows, batch in _batches(rasters, warm):
            score[rows] = detector.prefilter_batch(batch)[: len(rows)]
        warm = np.flatnonzero(score >= detector.reject_below)
        score[:] = 0.0
    for rows, batch in _batches(rasters, warm):
        scores, embeddings = detector.score_batch(batch)
        score[rows], embedding[rows] = scores[: len(rows)], embeddings[: len(rows)]
    for rows, batch in _batches(rasters, np.flatnonzero(score >= detector.ensemble_from)):
        score[rows] = detector.score_ensemble_batch(batch)[: len(rows)]
    return Scores(score, embedding)


def _batches(rasters: Bytes, which: Int64s) -> Iterator[tuple[Int64s, Bytes]]:
    """Yield rows and their pictures, `BATCH` at a time; the last are filled up with others."""
    batch = np.zeros((BATCH, *rasters.shape[1:]), np.uint8)
    for start in range(0, len(which), BATCH):
        rows = which[start : start + BATCH]
        batch[: len(rows)] = rasters[rows]
        yield rows, batch
