"""What a report says of pictures, by NumPy: vectors for comparing them, and maps of evidence.

in       a model, pictures (n, layers, h, w) uint8
out      (n, f) vectors of unit norm, (n, h/8, w/8) maps
promise  as torch computes them, but for rounding

A scan whose network computes in integers needs floats for this only, of a few pictures, and
importing torch takes longer than they do. The network is explained in
`stages.detector.networks.detector`, whose methods of the same names say what they return.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from stages.contracts import Bytes, Float32s
from stages.detector.integer.scorer import turn_pictures
from stages.detector.models.checkpoint import Arrays, Checkpoint
from stages.detector.models.scan_model import ScanModel
from stages.detector.networks.shapes import DISTINCT, DetectorConfig, inner_places
from stages.errors import UsageError

BATCH = 64
"""Pictures computed at once."""
NORM_EPSILON = np.float32(1e-5)
"""Added to the variances of batch norm, as torch does."""
ATTENTION = ("channel_spatial", "none")
"""Kinds of attention that are known here."""


class PlainDetector:
    """The detector of a model of which `is_plain` holds.

    Raises
    ------
    UsageError
        The weights are not those of its networks.
    """

    def __init__(self, model: Checkpoint) -> None:
        firsts = [f"members.{at}." for at in range(model.rules.members)] if model.rules else [""]
        self._scale = np.float32(model.rules.scale if model.rules else 1.0)
        self._members = [
            _Network(cast(DetectorConfig, shape), _Layers(model.weights, first))
            for shape, first in zip(model.shapes, firsts, strict=True)
        ]
        spec = model.raster
        try:
            self.activation_map(np.zeros((1, spec.layers, spec.clip_px, spec.clip_px), np.uint8))
        except (KeyError, ValueError) as error:
            raise UsageError(
                f"the model is damaged: its weights are not those of its networks ({error}); copy "
                "it, or train it, again"
            ) from error

    def likeness(self, pictures: Bytes) -> Float32s:
        """Return vectors of unit norm, (n, f): similar pictures are close."""
        pooled = self._members[0].pool(pictures)
        length = np.sqrt(np.square(pooled).sum(1, keepdims=True))
        vectors: Float32s = pooled / np.maximum(length, np.float32(1e-12))
        return vectors

    def activation_map(self, pictures: Bytes) -> Float32s:
        """Return the contribution of each place to the log odds, (n, rows, columns)."""
        maps = [member.map_activation(pictures) for member in self._members]
        mean: Float32s = np.stack(maps).mean(0)
        return self._scale * mean

    def resemblance_map(self, pictures: Bytes, known: Bytes, symmetries: int) -> Float32s:
        """Return where each picture is like a known one, (n, rows, columns), 0 or more."""
        first = self._members[0]
        features = first.see(pictures)
        means = features.mean((1, 2))
        turned = [first.see(one).mean((1, 2)) for one in turn_pictures(known, symmetries)]
        apart = np.abs(np.stack(turned) - means)  # (orientations, n, c)
        closest = np.square(apart).sum(2).argmin(0)
        least = np.float32(DISTINCT) * np.maximum(means.mean(1, keepdims=True), np.float32(1e-9))
        weight = 1 / (apart[closest, np.arange(len(pictures))] + least)
        weight /= weight.sum(1, keepdims=True)
        alike: Float32s = np.einsum("nhwc,nc->nhw", features, weight)
        return alike


def is_plain(model: ScanModel) -> bool:
    """Return whether NumPy can compute the detector of a model."""
    return isinstance(model, Checkpoint) and all(
        isinstance(shape, DetectorConfig) and shape.inception and shape.attention in ATTENTION
        for shape in model.shapes
    )


class _Network:
    """One network; features are (n, h, w, c)."""

    def __init__(self, config: DetectorConfig, layers: _Layers) -> None:
        self._config, self._layers = config, layers
        self._sides = [side for side in (config.core_px, *config.centres_px) if side]

    def see(self, pictures: Bytes) -> Float32s:
        """Return the final features."""
        parts = np.split(pictures, range(BATCH, len(pictures), BATCH))
        return np.concatenate([_see(part, self._config, self._layers) for part in parts])

    def pool(self, pictures: Bytes) -> Float32s:
        """Return means and maxima of features and of each square in the middle, (n, f)."""
        x = self.see(pictures)
        parts = [x[:, rows, columns] for rows, columns in self._squares(x)]
        pooled = [f for part in parts for f in (part.mean((1, 2)), part.max((1, 2)))]
        return np.concatenate(pooled, axis=1)

    def map_activation(self, pictures: Bytes) -> Float32s:
        """Return what each place adds to the log odds before calibration."""
        x = self.see(pictures)
        adds = np.zeros(x.shape[:3], np.float32)
        weights = self._layers.take("verdict.weight").reshape(-1, 2, x.shape[3])
        for (rows, columns), (average, maximum) in zip(self._squares(x), weights, strict=True):
            part, added = x[:, rows, columns], adds[:, rows, columns]
            n, h, w, c = part.shape
            flat = part.reshape(n, h * w, c)
            at, share = flat.argmax(1), (part @ average / np.float32(h * w)).reshape(n, h * w)
            np.add.at(share, (np.arange(n)[:, None], at), flat.max(1) * maximum)
            added += share.reshape(n, h, w)
        return adds

    def _squares(self, x: Float32s) -> list[tuple[slice, slice]]:
        """Return the rows and columns of all features, and of each square in the middle."""
        h, w = x.shape[1:3]
        inner = [(inner_places(h, side), inner_places(w, side)) for side in self._sides]
        return [(slice(0, h), slice(0, w)), *inner]


class _Layers:
    """The layers of a network by name."""

    def __init__(self, weights: Arrays, first: str) -> None:
        self._weights, self._first = weights, first

    def take(self, name: str) -> Float32s:
        """Return a weight."""
        found: Float32s = self._weights[self._first + name]
        return found

    def convolve(self, name: str, x: Float32s) -> Float32s:
        """Return a convolution with a bias."""
        weight, bias = self.take(f"{name}.weight"), self.take(f"{name}.bias")
        return _convolve(x, weight, bias, 1, weight.shape[2] // 2)

    def convolve_and_rectify(self, name: str, x: Float32s, stride: int = 1) -> Float32s:
        """Return a convolution, batch norm, and what of it is over 0."""
        weight = self.take(f"{name}.conv.weight")
        scale, shift, mean, variance = (
            self.take(f"{name}.norm.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor: Float32s = scale / np.sqrt(variance + NORM_EPSILON)
        padding = (weight.shape[2] - stride + 1) // 2
        folded = weight * factor[:, None, None, None]
        return np.maximum(_convolve(x, folded, shift - mean * factor, stride, padding), 0)

    def apply_linear(self, name: str, x: Float32s) -> Float32s:
        """Return ``x @ weight.T + bias``."""
        out: Float32s = x @ self.take(f"{name}.weight").T + self.take(f"{name}.bias")
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
