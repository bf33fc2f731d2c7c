"""Score patterns.

In: pictures of patterns. Out: hotspot probability, embedding and margins of each. Unit: a shard of
patterns. Promise: the score of a pattern depends neither on the other patterns of the shard nor on
its position among them: every batch has the same padded size, so that the arithmetic is the same.
A score that is not a number is an error, never an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self, cast

import numpy as np
import numpy.typing as npt
import torch

from stages.arithmetic import Arithmetic, make_noise, measure_arithmetic
from stages.contracts import Bytes, Float32s, Int64s, RasterSpec
from stages.detector.integer.scorer import IntegerScorer
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.models.familiarity import Float16s
from stages.detector.models.plain_detector import PlainDetector, is_plain
from stages.detector.models.scan_model import ScanModel
from stages.detector.networks.prefilter import Prefilter
from stages.errors import ConfigError, IncompleteError, ModelMismatchError
from stages.threads import limit_threads

if TYPE_CHECKING:
    from stages.detector.networks.network import Network, Prediction

BATCH = 64
"""Pictures scored at once; at 64 x 64 pixels their features fit a core's cache."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The output of a detector for patterns, in their order."""

    score: Float32s
    """(n,) hotspot probability."""
    embedding: Float16s
    """(n, e) of unit norm; similar patterns are close."""
    margin: Float32s
    """(n, kinds) of the worst place of each kind of defect, -1 to 1; NaN where not predicted."""

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def blank(cls, n: int, embedding: int, kinds: int) -> Self:
        """Return those of patterns that are not scored: NaN, but embeddings of 0."""
        return cls(
            np.full(n, np.nan, np.float32), np.zeros((n, embedding), np.float16),
            np.full((n, kinds), np.nan, np.float32),
        )  # fmt: skip

    def put(self, rows: Int64s, found: Scores) -> None:
        """Fill some rows."""
        self.score[rows], self.embedding[rows] = found.score, found.embedding
        self.margin[rows] = found.margin


class Scorer(Protocol):
    """What patterns are scored with: a network, or a test double."""

    raster: RasterSpec
    """The picture that it takes."""
    embedding: int
    """Length of its embeddings."""
    kinds: tuple[str, ...]
    """Kinds of defects whose margins it predicts."""

    reject_below: float
    """Score of `prefilter_batch` below which a pattern is rejected; 0 without a prefilter."""
    ensemble_from: float
    """Score of `score_batch` from which `score_ensemble_batch` decides."""

    def prefilter_batch(self, rasters: Bytes) -> Float32s:
        """Return (`BATCH`,) scores of the prefilter for exactly `BATCH` pictures."""

    def score_batch(self, rasters: Bytes) -> tuple[Float32s, Float16s, Float32s]:
        """Return scores, embeddings and margins of exactly `BATCH` pictures; see `Scores`."""

    def score_ensemble_batch(self, rasters: Bytes) -> Float32s:
        """Return (`BATCH`,) scores of the ensemble for exactly `BATCH` pictures."""


class NetworkScorer:
    """A detector prepared for scoring.

    On a CPU it computes on one thread, as parallelism is by processes, and leaves the number of
    threads of the process as it is.
    """

    def __init__(
        self,
        detector: Network,
        raster: RasterSpec,
        device: str = "cpu",
        prefilter: Prefilter | None = None,
    ) -> None:
        self.raster = raster
        self.embedding = detector.config.embedding
        self.kinds = detector.kinds
        logit = detector.ensemble_from
        self.ensemble_from = logit if math.isinf(logit) else 1 / (1 + math.exp(-logit))
        self._detector = detector.for_inference().to(device)
        self._device = device
        self.reject_below = prefilter.reject_below if prefilter else 0.0
        self._prefilter = prefilter.network().for_inference().to(device) if prefilter else None

    def prefilter_batch(self, rasters: Bytes) -> Float32s:
        """Return (`BATCH`,) scores of the prefilter for exactly `BATCH` pictures."""
        assert self._prefilter is not None  # called only where reject_below is over 0
        with _inference():
            prediction: Prediction = self._prefilter(self._to_pictures(rasters))
            scores: Float32s = prediction.logit.float().sigmoid().cpu().numpy()
            return scores

    def score_batch(self, rasters: Bytes) -> tuple[Float32s, Float16s, Float32s]:
        """Return scores, embeddings and margins of exactly `BATCH` pictures; see `Scores`."""
        margin = np.empty((len(rasters), 0), np.float32)
        with _inference():
            prediction: Prediction = self._detector(self._to_pictures(rasters))
            score = prediction.logit.float().sigmoid()  # float16 where it runs in half precision
            embedding = prediction.embedding.to(torch.float16)
            if self.kinds:
                assert prediction.margin is not None  # of the kinds
                margin = prediction.margin.float().clamp(-1, 1).cpu().numpy()
            return score.cpu().numpy(), embedding.cpu().numpy(), margin

    def score_ensemble_batch(self, rasters: Bytes) -> Float32s:
        """Return (`BATCH`,) scores of the ensemble for exactly `BATCH` pictures."""
        with _inference():
            logit = self._detector.ensemble_logit(self._to_pictures(rasters))
            scores: Float32s = logit.float().sigmoid().cpu().numpy()
            return scores

    def predict_margins(self, rasters: Bytes) -> Float32s:
        """Return the margins of pictures, (n, kinds); the detector must predict `kinds`.

        As scores, those of a picture do not depend on the others.
        """
        margins = np.zeros((len(rasters), len(self.kinds)), np.float32)
        for rows, batch in _batches(rasters, np.arange(len(rasters))):
            margins[rows] = self.score_batch(batch)[2][: len(rows)]
        _require_finite(margins, "detector's margin")
        return margins

    def measure_arithmetic(self) -> Arithmetic:
        """Return what computes the scores here, by those of fixed pictures."""
        spec = self.raster
        pictures = make_noise((BATCH, spec.layers, spec.clip_px, spec.clip_px))
        with _inference():
            prediction: Prediction = self._detector(self._to_pictures(pictures))
            results = [prediction.logit, prediction.logit.float().sigmoid(), prediction.embedding]
        arrays = [result.cpu().numpy() for result in results]
        if math.isfinite(self.ensemble_from):
            arrays.append(self.score_ensemble_batch(pictures))
        if self._prefilter is not None:
            arrays.append(self.prefilter_batch(pictures))
        return measure_arithmetic(arrays, self._device)

    def likeness(self, rasters: Bytes) -> Float32s:
        """Return vectors of unit norm, (n, f): similar pictures are close."""
        from stages.detector.training.loop import likeness

        return likeness(self._detector, rasters)

    def activation_map(self, rasters: Bytes) -> Float32s | None:
        """Return the contribution of each place to the log odds, (n, rows, columns).

        None when the detector has no such map.
        """
        with _inference():
            maps = self._detector.activation_map(self._to_pictures(rasters))
            return None if maps is None else maps.cpu().numpy()

    def resemblance_map(self, rasters: Bytes, known: Bytes, symmetries: int) -> Float32s | None:
        """Return where each picture is like a known one, (n, rows, columns), 0 or more.

        None when the detector has no such map. Known pictures, one for each, are looked at in every
        orientation of the process.
        """
        with _inference():
            maps = self._detector.resemblance_map(
                self._to_pictures(rasters), self._to_pictures(known), symmetries
            )
            return None if maps is None else maps.cpu().numpy()

    def _to_pictures(self, rasters: Bytes) -> torch.Tensor:
        pictures = torch.from_numpy(rasters)
        if self._device != "cpu":  # a byte a pixel, from memory that a card reads by itself
            pictures = pictures.pin_memory().to(self._device, non_blocking=True)
        return pictures.to(torch.float32).div_(255)


@contextmanager
def _inference() -> Iterator[None]:
    with torch.inference_mode(), limit_threads(1):
        yield


ModelScorer = NetworkScorer | IntegerScorer


def build_explainer(model: ScanModel) -> PlainDetector | NetworkScorer:
    """Return what compares pictures and maps evidence: by NumPy where it can, else by torch."""
    if is_plain(model):
        return PlainDetector(cast(Checkpoint, model))
    return NetworkScorer(model.detector(), model.raster)


def choose_arithmetic(model: ScanModel, device: str, asked: str | None = None) -> str:
    """Return what scores are computed in: ``int8`` where the model and the device allow it.

    Raises
    ------
    ConfigError
        ``int8`` was asked for and cannot be.
    """
    has = isinstance(model, Checkpoint) and model.integers is not None
    if asked == "int8" and not has:
        raise ConfigError(
            "[scores] arithmetic is 'int8' but the model has no weights in integers; make them "
            "with: hotscan models quantise, or leave it out"
        )
    if asked == "int8" and device != "cpu":
        raise ConfigError(
            f"[scores] arithmetic is 'int8', which is for the CPU, but device is {device!r}; give "
            "--device cpu, or leave one of them out"
        )
    return asked or ("int8" if has and device == "cpu" else "float32")


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks.

    Raises
    ------
    ConfigError
        When torch cannot use it.
    """
    if device == "cpu":
        return
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"[scores] device is {device!r} but cannot be used here "
            f"({str(error).splitlines()[0]}); give --device cpu"
        ) from error


def build_scorer(
    model: ScanModel,
    device: str = "cpu",
    *,
    prefiltered: bool = True,
    one_look: bool = False,
    arithmetic: str = "float32",
) -> ModelScorer:
    """Return the detector of a model on `device`, with its prefilter if it has one.

    With `one_look` every clip gets a single pass of one network, however many the model has.

    Parameters
    ----------
    arithmetic
        ``float32`` or ``int8``, see `choose_arithmetic`.
    """
    if arithmetic == "int8":
        assert isinstance(model, Checkpoint)  # no other model has integers
        scorer = model.integer_scorer(prefiltered=prefiltered)
        if one_look:
            scorer.ensemble_from = math.inf
        return scorer
    from stages.detector.networks.committee import Committee

    prefilter = model.prefilter if prefiltered else None
    detector = model.detector()
    if one_look and isinstance(detector, Committee):
        detector.rules = replace(detector.rules, ensemble_from=math.inf)
    return NetworkScorer(detector, model.raster, device, prefilter)


def score_rasters(rasters: Bytes, detector: Scorer) -> Scores:
    """Score patterns.

    A pattern that the prefilter rejects gets the score 0, a zero embedding and no margins.

    Parameters
    ----------
    rasters
        (n, layers, h, w) area coverage, 0 to 255.
    detector
        What to score them with.

    Raises
    ------
    ModelMismatchError
        When the pictures have another shape than those that the detector was trained on.
    IncompleteError
        When a score, an embedding or a margin is not finite.
    """
    spec = detector.raster
    if rasters.shape[1:] != (spec.layers, spec.clip_px, spec.clip_px):
        raise ModelMismatchError(
            f"pictures are {rasters.shape[1:]} (layers, rows, columns) but the model was trained "
            f"on {(spec.layers, spec.clip_px, spec.clip_px)}; draw clips with the model's raster"
        )
    n = len(rasters)
    score, passed = np.zeros(n, np.float32), np.arange(n)
    found = Scores.blank(n, detector.embedding, len(detector.kinds))
    if detector.reject_below > 0:
        for rows, batch in _batches(rasters, passed):
            score[rows] = detector.prefilter_batch(batch)[: len(rows)]
        _require_finite(score, "prefilter")
        passed = np.flatnonzero(score >= detector.reject_below)
    found.score[:] = 0.0
    for rows, batch in _batches(rasters, passed):
        values, n = detector.score_batch(batch), len(rows)
        found.put(rows, Scores(values[0][:n], values[1][:n], values[2][:n]))
    _require_finite(found.score, "detector")
    _require_finite(found.embedding, "detector's embedding")
    _require_finite(found.margin[passed], "detector's margin")
    for rows, batch in _batches(rasters, np.flatnonzero(found.score >= detector.ensemble_from)):
        found.score[rows] = detector.score_ensemble_batch(batch)[: len(rows)]
    _require_finite(found.score, "ensemble")
    return found


def _require_finite(values: npt.NDArray[np.floating], name: str) -> None:
    finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if not finite.all():
        raise IncompleteError(
            f"the {name} is not finite for {int((~finite).sum())} of {len(values)} patterns; "
            "check the weights of the model, or use another model"
        )


def _batches(rasters: Bytes, which: Int64s) -> Iterator[tuple[Int64s, Bytes]]:
    """Yield rows and their pictures, `BATCH` at a time; the last batch is padded with others."""
    batch = np.zeros((BATCH, *rasters.shape[1:]), np.uint8)
    for start in range(0, len(which), BATCH):
        rows = which[start : start + BATCH]
        batch[: len(rows)] = rasters[rows]
        yield rows, batch
