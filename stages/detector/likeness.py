"""Vectors for comparing pictures: those of a model's `Network.likeness`, by NumPy where it can.

in       a model, pictures (n, layers, h, w) uint8
out      (n, f) of unit norm
promise  as torch computes them, but for rounding

A scan whose network computes in integers needs floats for this only, of a few pictures, and
importing torch takes longer than they do. The network is explained in `stages.detector.model`.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from stages.contracts import Bytes, Float32s
from stages.detector.checkpoint import Arrays, Checkpoint
from stages.detector.scan_model import ScanModel
from stages.detector.shapes import DetectorConfig, Shape, inner_places

BATCH = 64
"""Pictures computed at once."""
NORM_EPSILON = np.float32(1e-5)
"""Added to the variances of batch norm, as torch does."""
ATTENTION = ("channel_spatial", "none")
"""Kinds of attention that are known here."""


def compute_likeness(model: ScanModel, pictures: Bytes) -> Float32s:
    """Return vectors of unit norm, (n, f): similar pictures are close."""
    if not isinstance(model, Checkpoint) or not is_known(model.config):
        from stages.detector.training import likeness

        return likeness(model.detector(), pictures)
    first = "members.0." if model.rules else ""
    layers, config = _Layers(model.weights, first), cast(DetectorConfig, model.config)
    parts = np.split(pictures, range(BATCH, len(pictures), BATCH))
    pooled = np.concatenate([_pool(_see(part, config, layers), config) for part in parts])
    length = np.sqrt(np.square(pooled).sum(1, keepdims=True))
    vectors: Float32s = pooled / np.maximum(length, np.float32(1e-12))
    return vectors


def is_known(config: Shape) -> bool:
    """Return whether NumPy can compute the vectors of such a detector."""
    return isinstance(config, DetectorConfig) and config.inception and config.attention in ATTENTION


class _Layers:
    """The layers of a network by name; features are (n, h, w, c)."""

    def __init__(self, weights: Arrays, first: str) -> None:
        self._weights, self._first = weights, first

    def _take(self, name: str) -> Float32s:
        found: Float32s = self._weights[self._first + name]
        return found

    def convolve(self, name: str, x: Float32s) -> Float32s:
        """Return a convolution with a bias."""
        weight, bias = self._take(f"{name}.weight"), self._take(f"{name}.bias")
        return _convolve(x, weight, bias, 1, weight.shape[2] // 2)

    def convolve_and_rectify(self, name: str, x: Float32s, stride: int = 1) -> Float32s:
        """Return a convolution, batch norm, and what of it is over 0."""
        weight = self._take(f"{name}.conv.weight")
        scale, shift, mean, variance = (
            self._take(f"{name}.norm.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor: Float32s = scale / np.sqrt(variance + NORM_EPSILON)
        padding = (weight.shape[2] - stride + 1) // 2
        folded = weight * factor[:, None, None, None]
        return np.maximum(_convolve(x, folded, shift - mean * factor, stride, padding), 0)

    def apply_linear(self, name: str, x: Float32s) -> Float32s:
        """Return ``x @ weight.T + bias``."""
        out: Float32s = x @ self._take(f"{name}.weight").T + self._take(f"{name}.bias")
        return out


def _convolve(
    x: Float32s, weight: Float32s, bias: Float32s, stride: int, padding: int
) -> Float32s:  # fmt: skip
    outputs, _, *kernel = weight.shape
    framed = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(framed, kernel, (1, 2))
    taps = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)  # copied by whole channels
    flat = taps.reshape(-1, weight[0].size) @ weight.transpose(0, 2, 3, 1).reshape(outputs, -1).T
    out: Float32s = (flat + bias).reshape(*taps.shape[:3], outputs)
    return out


def _see(pictures: Bytes, config: DetectorConfig, layers: _Layers) -> Float32s:
    """Return the final features."""
    x = pictures.transpose(0, 2, 3, 1).astype(np.float32) / np.float32(255)
    x = layers.convolve_and_rectify("stem", x, stride=4)
    x = x + layers.convolve("place", _measure_distance(x.shape[1], x.shape[2]))
    for number, _ in enumerate(config.fine):
        x = _apply_block(x, f"fine.{number}", config, layers)
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))
    for number, _ in enumerate(config.coarse):
        x = _apply_block(x, f"coarse.{number}", config, layers)
    return x


def _measure_distance(h: int, w: int) -> Float32s:
    """Return |column| and |row| from the centre, 1 at the edge, (1, h, w, 2)."""
    row, column = (np.abs(np.arange(size) * 2 + 1 - size) / size for size in (h, w))
    both = np.broadcast_arrays(column[None], row[:, None])
    return np.stack(both, axis=2)[None].astype(np.float32)


def _apply_block(x: Float32s, name: str, config: DetectorConfig, layers: _Layers) -> Float32s:
    """Return what an inception block makes of features, with its attention."""
    one, three, five = np.split(layers.convolve_and_rectify(f"{name}.point", x), 3, axis=3)
    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    around = np.maximum(np.maximum(around[:, :-2], around[:, 1:-1]), around[:, 2:])
    around = np.maximum(np.maximum(around[:, :, :-2], around[:, :, 1:-1]), around[:, :, 2:])
    parts = [
        one, layers.convolve_and_rectify(f"{name}.three", three),
        layers.convolve_and_rectify(f"{name}.five", five),
        layers.convolve_and_rectify(f"{name}.pool", around),
    ]  # fmt: skip
    x = np.concatenate(parts, axis=3)
    return x if config.attention == "none" else _attend(x, f"{name}.attention", layers)


def _attend(x: Float32s, name: str, layers: _Layers) -> Float32s:
    """Return features weighed by channel, then by place."""

    def weigh(pooled: Float32s) -> Float32s:
        hidden = np.maximum(layers.apply_linear(f"{name}.0.encode", pooled), 0)
        return layers.apply_linear(f"{name}.0.decode", hidden)

    odds = weigh(x.mean((1, 2))) + weigh(x.max((1, 2)))
    x = x * _to_share(odds)[:, None, None]
    both = np.stack([x.max(3), x.mean(3)], axis=3)
    return x * _to_share(layers.convolve(f"{name}.1.conv", both))


def _to_share(odds: Float32s) -> Float32s:
    with np.errstate(over="ignore"):  # 1 / infinity is 0
        return cast(Float32s, 1 / (1 + np.exp(-odds)))


def _pool(x: Float32s, config: DetectorConfig) -> Float32s:
    """Return means and maxima of features and of each square in the middle, (n, f)."""
    sides = [side for side in (config.core_px, *config.centres_px) if side]
    parts = [x]
    for side in sides:
        rows, columns = (inner_places(places, side) for places in x.shape[1:3])
        parts.append(x[:, rows, columns])
    return np.concatenate([f for part in parts for f in (part.mean((1, 2)), part.max((1, 2)))], 1)
