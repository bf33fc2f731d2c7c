"""Quantise a network: integer weights and scales, from float weights and pictures.

in: a network as trained, pictures to calibrate with
out: weights of an `IntegerNetwork`, by name
promise: what a machine computes with them is exact; they are stored, not computed again

Each channel of features has a scale of its own: its largest value over the pictures is 255. The
scales of the input go into the weights, which have a step for each output.
B. Jacob et al.: "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stages.contracts import Bytes, Floats
from stages.detector.integer.dot import OUTPUTS
from stages.detector.integer.network import (
    Array,
    place_channels,
)
from stages.detector.integer.scorer import PREFILTER
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.networks.attention import ChannelSpatial
from stages.detector.networks.committee import Committee
from stages.detector.networks.detector import Detector, Inception, distance_from_centre
from stages.detector.networks.network import Convolution, Network
from stages.detector.networks.prefilter_network import PrefilterNetwork
from stages.detector.networks.shapes import DetectorConfig, inner_places
from stages.detector.quantisation.observation import FIRST_BLOCK, Observed, observe
from stages.detector.quantisation.rounding import round_weights
from stages.errors import UsageError

BYTE = 255
HALF = 0.5
"""Added before a number is cut to a byte, which rounds it."""
INTEGER_ATTENTION = ("channel_spatial", "none")
"""Attention that has integer kernels."""


@dataclass(frozen=True, slots=True)
class Features:
    """What bytes mean: ``scale * (byte - zero)``, by byte of a word, groups x 4."""

    channel: npt.NDArray[np.intp]
    """Channel in each byte, or -1."""
    scale: Floats
    zero: Floats


def can_be_quantised(model: Checkpoint) -> bool:
    """Return whether the networks of a model have a form in integers."""
    return all(
        isinstance(shape, DetectorConfig)
        and shape.inception
        and shape.attention in INTEGER_ATTENTION
        for shape in model.shapes
    )


def quantise(model: Checkpoint, pictures: Bytes) -> Checkpoint:
    """Return a model with the weights in integers of all its networks.

    Parameters
    ----------
    pictures
        (n, layers, h, w) to calibrate with: hotspots and others, as a scan meets them.

    Raises
    ------
    UsageError
        A network has no form in integers.
    """
    if not can_be_quantised(model):
        raise UsageError(
            f"detector {model.name!r} with attention "
            f"{getattr(model.config, 'attention', 'of its own')!r} has no form in integers; those "
            f"of kind 'attention' with inception and {' or '.join(INTEGER_ATTENTION)} have"
        )
    detector = model.detector()
    members = list(detector.members) if isinstance(detector, Committee) else [detector]
    networks = {f"members.{at}.": cast(Network, one) for at, one in enumerate(members)}
    if model.prefilter is not None:
        networks[PREFILTER] = model.prefilter.network()
    integers = {
        prefix + name: value
        for prefix, network in networks.items()
        for name, value in quantise_network(network, pictures).items()
    }
    return replace(model, integers=integers)


def quantise_network(network: Network, pictures: Bytes) -> dict[str, Array]:
    """Return the weights of an `IntegerNetwork`.

    Parameters
    ----------
    network
        A `Detector` or `PrefilterNetwork`, of such a model as `can_be_quantised` says.
    pictures
        (n, layers, h, w) to calibrate with.
    """
    folded = network.for_inference()
    observed = observe(folded, pictures)
    made: dict[str, Array] = {}
    places = pictures.shape[2] // 8
    if isinstance(folded, Detector):
        features = _quantise_detector(folded, observed, pictures.shape[2], made)
        heads: list[nn.Linear] = [folded.verdict, folded.embed]
        heads += [folded.margin] if folded.margin is not None else []
    else:
        prefilter = cast(PrefilterNetwork, folded)
        features = _quantise_prefilter(prefilter, observed, made)
        heads = [prefilter.verdict]
    sides = cast(Any, folded).sides
    weight = np.concatenate([_values(head.weight) for head in heads])
    made["head.weight"] = _fold_pooling(weight, features, places, sides)
    made["head.bias"] = np.concatenate([_values(head.bias) for head in heads]).astype(np.float32)
    return made


def _values(tensor: Tensor) -> Floats:
    return tensor.detach().double().numpy()


def _make_features(found: Floats) -> Features:
    """Return the scales of features with such least and largest values, (2, c)."""
    least, largest = np.minimum(found[0], 0), np.maximum(found[1], 0)
    span = largest - least
    scale = np.where(span > 0, span, 1.0) / BYTE
    zero = np.rint(-least / scale)
    channel = place_channels(found.shape[1])
    return Features(channel, _place(scale, channel, 1.0), _place(zero, channel, 0.0))


def _place(values: Floats, channel: npt.NDArray[np.intp], absent: float) -> Floats:
    """Return values of channels (c, ...) by byte; `absent` where there is no channel."""
    placed = values[np.maximum(channel, 0)]
    placed[channel < 0] = absent
    return placed


def _join(*parts: Features) -> Features:
    first, channels = 0, []
    for part in parts:
        channels.append(np.where(part.channel < 0, -1, part.channel + first))
        first += int(part.channel.max()) + 1
    return Features(
        np.concatenate(channels),
        np.concatenate([part.scale for part in parts]),
        np.concatenate([part.zero for part in parts]),
    )


def _quantise_convolution(
    weight: Floats, bias: Floats, products: Floats, before: Features, after: Features
) -> dict[str, Array]:
    """Return the weights of a convolution (outputs, channels, rows, columns) between features."""
    outputs, _, *kernel = weight.shape
    units = before.scale[before.channel >= 0].repeat(math.prod(kernel))
    whole, step, bias = _round(weight, bias, products, units)
    placed = _place(whole.swapaxes(0, 1), before.channel, 0.0)
    words = placed.reshape(-1, 4, outputs, *kernel).transpose(2, 0, 3, 4, 1)
    zero = before.zero.reshape(-1, 4)[None, :, None, None]
    shift = (words * zero).reshape(outputs, -1).sum(1)
    return _pack(words, bias / step - shift, step, after)


def _quantise_stem(layer: Convolution, products: Floats, after: Features) -> dict[str, Array]:
    """Return the weights of a stem: its words are four pixels of a row."""
    weight = _values(layer.conv.weight)
    outputs, layers, rows, columns = weight.shape
    units = np.full(layers * rows * columns, 1 / BYTE)
    whole, step, bias = _round(weight, _bias(layer), products, units)
    return _pack(whole.reshape(outputs, layers, rows, columns // 4, 4), bias / step, step, after)


def _round(
    weight: Floats, bias: Floats, products: Floats, units: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return whole weights for inputs in `units`, of the shape given, with step and bias."""
    scaled = weight.reshape(len(weight), -1) * units
    all_units = np.append(units, 1.0)
    whole, step, bias = round_weights(scaled, bias, products / np.outer(all_units, all_units))
    return whole.reshape(weight.shape), step, bias


def _pack(words: Floats, bias: Floats, step: Floats, after: Features) -> dict[str, Array]:
    """Return what a layer stores, of whole weights by word (outputs, groups, rows, words, 4)."""
    placed = _place(words, after.channel, 0.0)
    taps = placed.reshape(-1, OUTPUTS, placed[0].size // 4, 4).transpose(0, 2, 1, 3)
    whole = np.clip(np.rint(_place(bias, after.channel, 0.0)), -(2**30), 2**30)
    return {
        "weight": np.ascontiguousarray(taps).astype(np.int8),
        "bias": whole.astype(np.int32),
        "scale": (_place(step, after.channel, 0.0) / after.scale).astype(np.float32),
        "added": np.full((len(placed), 1), HALF, np.float32),
    }


def _bias(layer: Convolution) -> Floats:
    return _values(cast(Tensor, layer.conv.bias))


def _name(made: dict[str, Array], name: str) -> dict[str, Array]:
    return {f"{name}.{key}": value for key, value in made.items()}


def _quantise_layer(
    layer: Convolution, before: Features, observed: Observed, name: str, made: dict[str, Array]
) -> Features:
    """Quantise a whole convolution; return the features that it gives."""
    after = _make_features(observed.ranges[name])
    weight, bias = _values(layer.conv.weight), _bias(layer)
    found = _quantise_convolution(weight, bias, observed.products[name], before, after)
    made |= _name(found, name)
    return after


def _quantise_prefilter(
    network: PrefilterNetwork, observed: Observed, made: dict[str, Array]
) -> Features:
    features = _make_features(observed.ranges["stem"])
    made |= _name(_quantise_stem(network.stem, observed.products["stem"], features), "stem")
    for at, layer in enumerate(network.blocks):
        name = f"blocks.{at}"
        features = _quantise_layer(cast(Convolution, layer), features, observed, name, made)
    return features


def _quantise_detector(
    network: Detector, observed: Observed, side: int, made: dict[str, Array]
) -> Features:
    config = network.config
    features = _make_features(observed.ranges[FIRST_BLOCK])
    made |= _name(_quantise_stem(network.stem, observed.products["stem"], features), "stem")
    places = side // 4
    where = distance_from_centre(torch.zeros(1, 1, places, places))
    added = _values(network.place(where))[0].reshape(config.stem, -1)
    added = _place(added, features.channel, 0.0) / features.scale[:, None]
    made["stem.added"] = (added + features.zero[:, None] + HALF).astype(np.float32)
    for name, block in _blocks(network):
        places = side // (4 if name.startswith("fine") else 8)
        features = _quantise_block(block, name, features, observed, places, made)
    return features


def _blocks(network: Detector) -> Iterator[tuple[str, Inception]]:
    for part in ("fine", "coarse"):
        for at, block in enumerate(getattr(network, part)):
            yield f"{part}.{at}", block


def _quantise_block(
    block: Inception, name: str, before: Features, observed: Observed, places: int,
    made: dict[str, Array],
) -> Features:  # fmt: skip
    width = 2 * block.eighth
    weight, bias = _values(block.point.conv.weight), _bias(block.point)
    points = []
    for part in range(3):
        own = slice(part * width, (part + 1) * width)
        points.append(_make_features(observed.ranges[f"{name}.point"][:, own]))
        found = _quantise_convolution(
            weight[own], bias[own], observed.products[f"{name}.point"], before, points[-1]
        )
        made |= _name(found, f"{name}.point.{part}")
    branches = [
        _quantise_layer(layer, seen, observed, f"{name}.{branch}", made)
        for branch, layer, seen in (
            ("three", block.three, points[1]), ("five", block.five, points[2]),
            ("pool", block.pool, before),
        )
    ]  # fmt: skip
    features = _join(points[0], *branches)
    if not isinstance(block.attention, ChannelSpatial):
        return features
    largest = observed.ranges[f"{name}.attention"][1]
    scale = _place(np.where(largest > 0, largest, 1.0) / BYTE, features.channel, 1.0)
    out = Features(features.channel, scale, features.zero)
    made |= _name(_quantise_attention(block.attention, features, out, places), f"{name}.attention")
    return out


def _quantise_attention(
    attention: ChannelSpatial, before: Features, after: Features, places: int
) -> dict[str, Array]:
    channels, spatial = cast(Any, attention)
    encode = _place(_values(channels.encode.weight).T, before.channel, 0.0) * before.scale[:, None]
    decode = _place(_values(channels.decode.weight), before.channel, 0.0)
    decoded_bias = _place(2 * _values(channels.decode.bias), before.channel, 0.0)
    weight = _values(spatial.conv.weight)[0]  # (2, rows, columns): of the maximum, of the mean
    weight[1] /= (before.channel >= 0).sum()
    seen = np.where(before.channel >= 0, before.scale, 0.0)
    made = {
        "of_total": encode.T / places**2, "of_largest": encode.T,
        "bias": _values(channels.encode.bias), "decode": decode, "decoded_bias": decoded_bias,
        "scales": np.stack([seen, seen / after.scale]), "place": weight,
        "place_bias": _values(spatial.conv.bias),
    }  # fmt: skip
    rounded = {key: value.astype(np.float32) for key, value in made.items()}
    return rounded | {"side": np.array([weight.shape[1]], np.int32)}


def _fold_pooling(weight: Floats, features: Features, places: int, sides: tuple[int, ...]) -> Array:
    """Return the weights of a head for sums and maxima of bytes, (outputs, 2 parts bytes)."""
    folded = []
    seen = [places, *(len(range(places)[inner_places(places, side)]) for side in sides)]
    channels = int(features.channel.max()) + 1
    parts = weight.reshape(len(weight), -1, 2, channels).swapaxes(0, 1)
    for part, inner in zip(parts, seen, strict=True):
        for kind, share in zip(part.swapaxes(0, 1), (1 / inner**2, 1.0), strict=True):
            folded.append(_place(kind.T, features.channel, 0.0).T * features.scale * share)
    return np.concatenate(folded, 1).astype(np.float32)
