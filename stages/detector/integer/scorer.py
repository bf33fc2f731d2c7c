"""Score patterns with networks in integers.

in: pictures of patterns; out: scores, embeddings, margins
promise: the same bytes on every machine, with any number of threads, in any batch
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.arithmetic import Arithmetic, make_noise, measure_arithmetic
from stages.contracts import Bytes, Float32s, RasterSpec
from stages.detector.integer.kernels import fill_sigmoid, normalise
from stages.detector.integer.network import IntegerNetwork, Tensors
from stages.detector.networks.prefilter import Prefilter
from stages.detector.networks.shapes import DetectorConfig, Rules

PREFILTER = "prefilter."
"""Prefix of the names of the prefilter's integer weights."""
NAME = "int8, the same on every machine"


def build_networks(
    integers: Tensors, shapes: tuple[DetectorConfig, ...], raster: RasterSpec
) -> list[IntegerNetwork]:
    """Return the members of a committee.

    Raises
    ------
    ValueError
        The weights are not those of networks of these shapes.
    """
    return [
        IntegerNetwork(shape, raster, select_weights(integers, f"members.{number}."))
        for number, shape in enumerate(shapes)
    ]


def build_prefilter(integers: Tensors, prefilter: Prefilter, raster: RasterSpec) -> IntegerNetwork:
    """Return the network of a prefilter; raises as `build_networks` does."""
    return IntegerNetwork(prefilter.config, raster, select_weights(integers, PREFILTER))


def select_weights(integers: Tensors, prefix: str) -> Tensors:
    """Return the weights whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in integers.items()
        if name.startswith(prefix)
    }


class IntegerScorer:
    """A detector in integers, with its prefilter; it computes on the CPU, on one thread."""

    def __init__(
        self,
        integers: Tensors,
        shapes: tuple[DetectorConfig, ...],
        rules: Rules,
        raster: RasterSpec,
        prefilter: Prefilter | None = None,
    ) -> None:
        self.raster, self._rules = raster, rules
        self.embedding, self.kinds = shapes[0].embedding, shapes[0].kinds
        self._members = build_networks(integers, shapes, raster)
        self.reject_below = prefilter.reject_below if prefilter else 0.0
        self._prefilter = build_prefilter(integers, prefilter, raster) if prefilter else None
        self.ensemble_from = math.inf
        if math.isfinite(rules.ensemble_from):
            odds = np.array([rules.ensemble_from], np.float32)
            self.ensemble_from = float(self._calibrate(odds)[0])

    def prefilter_batch(self, rasters: Bytes) -> Float32s:
        """Return (n,) scores of the prefilter."""
        assert self._prefilter is not None  # called only where reject_below is over 0
        return _to_probability(self._prefilter(rasters)[:, 0])

    def score_batch(self, rasters: Bytes) -> tuple[Float32s, npt.NDArray[np.float16], Float32s]:
        """Return (n,) scores, (n, e) embeddings and (n, kinds) margins."""
        found = self._members[0](rasters)
        embedding = np.ascontiguousarray(found[:, 1 : 1 + self.embedding])
        normalise(embedding)
        margin = np.clip(found[:, 1 + self.embedding :], np.float32(-1), np.float32(1))
        return self._calibrate(found[:, 0]), embedding.astype(np.float16), margin

    def score_ensemble_batch(self, rasters: Bytes) -> Float32s:
        """Return (n,) scores: the mean over members, each with its mean log odds of all turns."""
        mean = np.zeros(len(rasters), np.float32)
        for member in self._members:
            odds = np.zeros(len(rasters), np.float32)
            for turned in turn_pictures(rasters, self._rules.symmetries):
                odds += member(turned)[:, 0]
            mean += self._calibrate(odds / np.float32(self._rules.symmetries))
        return mean / np.float32(len(self._members))

    def predict_margins(self, rasters: Bytes) -> Float32s:
        """Return the margins of pictures, (n, kinds); the detector must predict `kinds`."""
        return self.score_batch(rasters)[2]

    def measure_arithmetic(self) -> Arithmetic:
        """Return what computes the scores here, by those of fixed pictures."""
        spec = self.raster
        pictures = make_noise((64, spec.layers, spec.clip_px, spec.clip_px))
        arrays: list[npt.NDArray[Any]] = [member(pictures) for member in self._members]
        arrays += self.score_batch(pictures)
        if self._prefilter is not None:
            arrays.append(self.prefilter_batch(pictures))
        return measure_arithmetic(arrays, name=NAME)

    def _calibrate(self, odds: Float32s) -> Float32s:
        """Return the probability of log odds as a network gives them."""
        return _to_probability(odds * np.float32(self._rules.scale) + np.float32(self._rules.shift))


def _to_probability(odds: Float32s) -> Float32s:
    found = np.empty(len(odds), np.float32)
    fill_sigmoid(np.ascontiguousarray(odds), found)
    return found


def turn_pictures(rasters: Bytes, symmetries: int) -> list[Bytes]:
    """Return pictures in each of 4 or 8 orientations, as `networks.network.turn` does."""
    flips = ((), (2,), (3,), (2, 3))
    seen = (rasters, rasters.transpose(0, 1, 3, 2))[: symmetries // 4]
    return [np.flip(one, axes) for one in seen for axes in flips]
