"""A quantised network: what `stages.detector.quantisation.quantise` makes, and how it computes.

in: pictures (n, layers, h, w) uint8
out: its numbers (n, outputs) float32: log odds, embedding, margins
promise: the numbers of a picture are the same on every machine and in every batch; weights of other
shapes than those of its config are refused
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.contracts import Bytes, Float32s, RasterSpec
from stages.detector.integer import kernels
from stages.detector.integer.dot import CLIPS, OUTPUTS
from stages.detector.networks.shapes import DetectorConfig, PrefilterConfig, inner_places

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
"""Weights by name, as a checkpoint has them."""

MARGIN = 2
"""Pixels of zeros around a picture: the padding of both stems."""


@dataclass(frozen=True, slots=True)
class Stem:
    """The kernel of a network's first convolution, in pixels; multiples of 4."""

    kernel: int
    stride: int


def count_groups(channels: int) -> int:
    """Return the words that channels fill."""
    return -(-channels // OUTPUTS)


def place_channels(channels: int) -> npt.NDArray[np.intp]:
    """Return the channel in each byte of the words that channels fill; -1 for none.

    Examples
    --------
    >>> place_channels(5)
    array([ 0,  1,  2,  3,  4, -1, -1, -1])
    """
    placed = np.arange(OUTPUTS * count_groups(channels))
    placed[channels:] = -1
    return placed


def split_block(channels: int) -> tuple[int, int, int, int]:
    """Return the channels of the branches of an inception block: 1 x 1, 3 x 3, 5 x 5, pooled."""
    eighth = channels // 8
    return 2 * eighth, 3 * eighth, 2 * eighth, eighth


class _Weights:
    """The weights of a network, taken by name; each must have the shape that is asked for."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = dict(tensors)

    def take(self, name: str, kind: type, *shape: int) -> Array:
        found = self._tensors.pop(name, None)
        if found is None or found.dtype != kind or found.shape != shape:
            has = None if found is None else (found.dtype, found.shape)
            raise ValueError(f"weight {name} is {has}, but its settings ask for {kind}, {shape}")
        return np.ascontiguousarray(found)

    def require_empty(self) -> None:
        if self._tensors:
            raise ValueError(f"weight {min(self._tensors)} is none of its network's")


class _Convolution:
    """A convolution, and the features that it writes."""

    def __init__(
        self, weights: _Weights, name: str, groups: int, outputs: int, kernel: tuple[int, int],
        places: int = 1,
    ) -> None:  # fmt: skip
        rows = count_groups(outputs)
        filled = OUTPUTS * rows
        self.groups, self.kernel = groups, kernel
        packed = weights.take(
            f"{name}.weight", np.int8, rows, groups * kernel[0] * kernel[1], OUTPUTS, 4
        )
        self.layer = (
            packed.view(np.int32)[..., 0],
            weights.take(f"{name}.bias", np.int32, filled),
            weights.take(f"{name}.scale", np.float32, filled),
        )
        self.added = weights.take(f"{name}.added", np.float32, filled, places)
        self._offsets: dict[tuple[int, int], Array] = {}

    def __call__(self, x: Array, out: Array, margin: int, step: tuple[int, int] = (1, 1)) -> None:
        _, rows, columns, _ = x.shape
        offsets = self._offsets.get((rows, columns))
        if offsets is None:
            taps = itertools.product(range(self.groups), *map(range, self.kernel))
            offsets = np.array([((g * rows + i) * columns + j) * CLIPS for g, i, j in taps])
            self._offsets[rows, columns] = offsets
        kernels.convolve(x, step, offsets, self.layer, self.added, out, margin)


class _Attention:
    """Channel and spatial attention."""

    def __init__(self, weights: _Weights, name: str, groups: int, channels: int) -> None:
        hidden, filled = channels // 4, 4 * groups
        take = weights.take
        self.channels = (
            take(f"{name}.of_total", np.float32, hidden, filled),
            take(f"{name}.of_largest", np.float32, hidden, filled),
            take(f"{name}.bias", np.float32, hidden),
            take(f"{name}.decode", np.float32, filled, hidden),
            take(f"{name}.decoded_bias", np.float32, filled),
        )
        self.scales = _spread(take(f"{name}.scales", np.float32, 2, filled))
        side = weights.take(f"{name}.side", np.int32, 1)[0]
        if not (1 <= side <= 15 and side % 2):
            raise ValueError(f"weight {name}.side is {side}; it is odd, from 1 to 15")
        self.places = (
            take(f"{name}.place", np.float32, 2, side, side),
            take(f"{name}.place_bias", np.float32, 1)[0],
        )

    def __call__(self, x: Array, room: _Room) -> Array:
        """Return the gated features; bytes, (g, h, w, k)."""
        groups, h, w, lanes = x.shape
        total, largest = (room(name, groups, lanes) for name in ("sum", "peak"))
        gates = room("gates", 2, groups, lanes, kind=np.float32)
        kernels.pool(x, np.array([0, h]), np.array([0, w]), total, largest)
        kernels.gate_channels(total, largest, self.channels, self.scales, gates)
        side = self.places[0].shape[1]
        maps = room("maps", 2, h + side - 1, w + side - 1, CLIPS, kind=np.float32)
        kernels.summarise_places(x, gates[0], maps)
        out = room("gated", groups, h, w, lanes, kind=np.uint8)
        kernels.gate_places(x, gates[1], maps, self.places, out)
        return out


def _spread(of_channels: Float32s) -> Float32s:
    """Return numbers of channels (n, c) in each byte of the lanes, (n, g, k)."""
    words = of_channels.reshape(len(of_channels), -1, 1, 4)
    return np.tile(words, (1, CLIPS, 1)).reshape(*words.shape[:2], 4 * CLIPS)


class _Room:
    """Arrays to compute in, kept from clip to clip; margins stay 0, as nothing writes them."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[Any, ...], Array] = {}

    def __call__(self, name: str, *shape: int, kind: type = np.int32) -> Array:
        key = (name, *shape)
        if key not in self._arrays:
            self._arrays[key] = np.zeros(shape, kind)
        return self._arrays[key]


class _Block:
    """An inception block with its attention."""

    def __init__(
        self, weights: _Weights, name: str, groups: int, channels: int, attention: str
    ) -> None:
        self.parts = split_block(channels)
        one, three, five, pooled = self.parts
        self.point = [
            _Convolution(weights, f"{name}.point.{part}", groups, one, (1, 1)) for part in range(3)
        ]
        self.inner = count_groups(one)
        self.three = _Convolution(weights, f"{name}.three", self.inner, three, (3, 3))
        self.five = _Convolution(weights, f"{name}.five", self.inner, five, (5, 5))
        self.pool = _Convolution(weights, f"{name}.pool", groups, pooled, (1, 1))
        self.groups = sum(map(count_groups, self.parts))
        self.attention = None
        if attention != "none":
            self.attention = _Attention(weights, f"{name}.attention", self.groups, channels)

    def __call__(self, x: Array, room: _Room) -> Array:
        """Return features without a margin, from such."""
        groups, h, w, _ = x.shape
        out = room("block", self.groups, h, w, CLIPS)
        edges = np.cumsum([0, *map(count_groups, self.parts)])
        one, three, five, pooled = (out[first:last] for first, last in itertools.pairwise(edges))
        narrow = room("three", self.inner, h + 2, w + 2, CLIPS)
        wide = room("five", self.inner, h + 4, w + 4, CLIPS)
        for margin, target in enumerate((one, narrow, wide)):
            self.point[margin](x, target, margin)
        self.three(narrow, three, 0)
        self.five(wide, five, 0)
        around = room("around", groups, h, w, CLIPS)
        kernels.find_largest_around(x.view(np.uint8), around.view(np.uint8))
        self.pool(around, pooled, 0)
        if self.attention is None:
            return out.copy()  # the next block writes there
        return self.attention(out.view(np.uint8), room).view(np.int32)


class IntegerNetwork:
    """A network in integers.

    Raises
    ------
    ValueError
        The weights are not those of a network of this config.
    """

    def __init__(
        self, config: DetectorConfig | PrefilterConfig, raster: RasterSpec, tensors: Tensors
    ) -> None:
        weights = _Weights(tensors)
        self.raster, self._room = raster, _Room()
        self._prefilter = isinstance(config, PrefilterConfig)
        if isinstance(config, PrefilterConfig):
            self.stem, width = Stem(config.stem_px, 8), config.width
            places, self.outputs = 1, 1
            sides: tuple[int, ...] = (config.core_px,)
        else:
            self.stem, width = Stem(8, 4), config.stem
            sides = (config.core_px, *config.centres_px)
            places = (raster.clip_px // 4) ** 2
            self.outputs = 1 + config.embedding + len(config.kinds)
        self.sides = tuple(side for side in sides if side)
        self._first = _Convolution(
            weights, "stem", config.layers, width, (self.stem.kernel, self.stem.kernel // 4), places
        )
        self._fine: list[_Block] = []
        self._coarse: list[_Block] = []
        groups = count_groups(width)
        if isinstance(config, PrefilterConfig):
            self._layers = [
                _Convolution(weights, f"blocks.{at}", groups, width, (3, 3)) for at in range(2)
            ]
        else:
            for part, channels in (("fine", config.fine), ("coarse", config.coarse)):
                for at, each in enumerate(channels):
                    block = _Block(weights, f"{part}.{at}", groups, each, config.attention)
                    (self._fine if part == "fine" else self._coarse).append(block)
                    groups = block.groups
        pooled = 2 * (1 + len(self.sides)) * OUTPUTS * groups
        self._head = (
            weights.take("head.weight", np.float32, self.outputs, pooled),
            weights.take("head.bias", np.float32, self.outputs),
        )
        weights.require_empty()

    def __call__(self, pictures: Bytes) -> Float32s:
        """Return the numbers of pictures, (n, outputs); log odds, embedding, margins."""
        out = np.empty((len(pictures), self.outputs), np.float32)
        block = np.zeros((CLIPS, *pictures.shape[1:]), np.uint8)
        for first in range(0, len(pictures), CLIPS):
            rows = pictures[first : first + CLIPS]
            block[: len(rows)] = rows
            out[first : first + CLIPS] = self._predict(block).T[: len(rows)]
        return out

    def _predict(self, pictures: Bytes) -> Float32s:
        room = self._room
        layers, side = pictures.shape[1:3]
        rows, words = side + 2 * MARGIN, (side + 2 * MARGIN + 3) // 4
        framed = room("framed", CLIPS, layers, rows, 4 * words, kind=np.uint8)
        framed[:, :, MARGIN : MARGIN + side, MARGIN : MARGIN + side] = pictures
        packed = room("packed", layers, rows, words, CLIPS)
        kernels.put_side_by_side(framed.view(np.int32), packed)
        step = (self.stem.stride, self.stem.stride // 4)
        margin = 1 if self._prefilter else 0
        places = side // self.stem.stride
        groups = len(self._first.layer[0])
        x = room("stem", groups, places + 2 * margin, places + 2 * margin, CLIPS)
        self._first(packed, x, margin, step)
        x = self._look(x) if self._prefilter else self._study(x)
        return self._judge(x.view(np.uint8))

    def _look(self, x: Array) -> Array:
        """Return the last features of a prefilter."""
        first, second = self._layers
        between = self._room("between", *x.shape)
        first(x, between, 1)
        groups, h, w, _ = x.shape
        last = self._room("last", groups, h - 2, w - 2, CLIPS)
        second(between, last, 0)
        return last

    def _study(self, x: Array) -> Array:
        """Return the last features of a detector."""
        for block in self._fine:
            x = block(x, self._room)
        groups, h, w, _ = x.shape
        half = self._room("half", groups, h // 2, w // 2, CLIPS)
        kernels.halve(x.view(np.uint8), half.view(np.uint8))
        for block in self._coarse:
            half = block(half, self._room)
        return half

    def _judge(self, x: Bytes) -> Float32s:
        """Return the numbers of the last features, (outputs, `CLIPS`)."""
        groups, h, w, lanes = x.shape
        total, largest = (self._room(name, groups, lanes) for name in ("sum", "peak"))
        found = []
        for rows, columns in [
            (slice(0, h), slice(0, w)),
            *((inner_places(h, side), inner_places(w, side)) for side in self.sides),
        ]:
            edges = [np.array([each.start, each.stop]) for each in (rows, columns)]
            kernels.pool(x, *edges, total, largest)
            found += [
                part.reshape(groups, CLIPS, 4).transpose(0, 2, 1).reshape(-1, CLIPS)
                for part in (total, largest)
            ]  # a copy
        pooled = np.concatenate(found).astype(np.float32)
        out = np.empty((self.outputs, CLIPS), np.float32)
        kernels.apply_linear(pooled, *self._head, out)
        return out
