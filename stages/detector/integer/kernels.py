"""The layers of a network on features of bytes, `CLIPS` clips side by side.

in: features, four channels to a word, (groups, rows, columns, `CLIPS`) int32, some with a margin
out: features of the same kind, gates, or numbers of the pooled features
promise: exact on every machine: integers, and float32 operations that IEEE 754 rounds in one way,
in an order that is written here (nothing is contracted or reordered)

Channels fill whole words: what a layer has beside them has weight 0 and stays 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.compiled import gil_free_kernel, kernel
from stages.detector.integer.dot import CLIPS, OUTPUTS, sum_products

HALVINGS = 32
"""An exponential is that of a 32nd, to the power 32."""


@gil_free_kernel
def convolve(
    features: Any, place: Any, offsets: Any, layer: Any, added: Any, out: Any, margin: int
) -> None:
    """Convolve, multiply, add, and round to bytes.

    Parameters
    ----------
    features
        (groups, rows, columns, `CLIPS`) int32, with the margin that the taps need.
    place
        (2,) step of the kernel in rows and columns.
    offsets
        (taps,) of each tap from the first, in words.
    layer
        Weights (outputs/4, taps, 4) int32, of four channels each; bias (outputs,) int32; scale
        (outputs,) float32.
    added
        (outputs, places or 1) float32, added after the rectifier; what is behind the point is cut.
    out
        (outputs/4, rows, columns, `CLIPS`) int32, with a margin of `margin` places.
    """
    weights, bias, scale = layer
    sums = np.empty((OUTPUTS, CLIPS), np.int32)
    packed = np.empty(CLIPS, np.int32)
    rows, columns = out.shape[1] - 2 * margin, out.shape[2] - 2 * margin
    wide, flat = features.shape[2], features.reshape(features.size)
    each_place = 1 if added.shape[1] > 1 else 0
    for row in range(rows):
        for column in range(columns):
            at = row * place[0] * wide + column * place[1]
            for group in range(len(weights)):
                sum_products(sums, flat, at, offsets, weights, group)
                packed[:] = 0
                for output in range(OUTPUTS):
                    channel = OUTPUTS * group + output
                    add = added[channel, each_place * (row * columns + column)]
                    for clip in range(CLIPS):
                        value = np.float32(sums[output, clip] + bias[channel]) * scale[channel]
                        value = max(value, np.float32(0)) + add
                        byte = np.int32(min(max(value, np.float32(0)), np.float32(255)))
                        packed[clip] |= byte << np.int32(8 * output)
                for clip in range(CLIPS):
                    out[group, row + margin, column + margin, clip] = packed[clip]


@gil_free_kernel
def put_side_by_side(words: Any, out: Any) -> None:
    """Fill `out` (layers, rows, words, `CLIPS`) with the words of pictures (`CLIPS`, ...)."""
    clips, layers, rows, columns = words.shape
    for layer in range(layers):
        for row in range(rows):
            for column in range(columns):
                for clip in range(clips):
                    out[layer, row, column, clip] = words[clip, layer, row, column]


@gil_free_kernel
def find_largest_around(x: Any, out: Any) -> None:
    """Fill `out` with the maximum of the 3 x 3 places around each; bytes, (g, h, w, k)."""
    groups, h, w, lanes = x.shape
    row_largest = np.empty((w, lanes), np.uint8)
    for group in range(groups):
        for row in range(h):
            for column in range(w):
                for k in range(lanes):
                    largest = x[group, row, column, k]
                    if row > 0:
                        largest = max(largest, x[group, row - 1, column, k])
                    if row + 1 < h:
                        largest = max(largest, x[group, row + 1, column, k])
                    row_largest[column, k] = largest
            for column in range(w):
                left, right = max(column - 1, 0), min(column + 1, w - 1)
                for k in range(lanes):
                    largest = max(row_largest[left, k], row_largest[right, k])
                    out[group, row, column, k] = max(largest, row_largest[column, k])


@gil_free_kernel
def halve(x: Any, out: Any) -> None:
    """Fill `out` with the maximum of each 2 x 2 places; bytes, (g, h, w, k)."""
    groups, h, w, lanes = out.shape
    for group in range(groups):
        for row in range(h):
            for column in range(w):
                for k in range(lanes):
                    out[group, row, column, k] = max(
                        max(x[group, 2 * row, 2 * column, k], x[group, 2 * row, 2 * column + 1, k]),
                        max(
                            x[group, 2 * row + 1, 2 * column, k],
                            x[group, 2 * row + 1, 2 * column + 1, k],
                        ),
                    )


@gil_free_kernel
def pool(x: Any, rows: Any, columns: Any, total: Any, largest: Any) -> None:
    """Fill sums and maxima, (g, k) int32, of bytes (g, h, w, k) over some rows and columns."""
    groups, _, _, lanes = x.shape
    for group in range(groups):
        for k in range(lanes):
            total[group, k], largest[group, k] = 0, 0
        for row in range(rows[0], rows[1]):
            for column in range(columns[0], columns[1]):
                for k in range(lanes):
                    byte = np.int32(x[group, row, column, k])
                    total[group, k] += byte
                    largest[group, k] = max(largest[group, k], byte)


@kernel
def sigmoid(x: Any) -> Any:
    """Return the logistic function, to 1e-6, by operations that are rounded in one way."""
    one = np.float32(1)
    size = min(abs(x), np.float32(40))
    r = -size * np.float32(1 / HALVINGS)
    power = one + r * np.float32(1 / 7)
    power = one + r * np.float32(1 / 6) * power
    power = one + r * np.float32(1 / 5) * power
    power = one + r * np.float32(1 / 4) * power
    power = one + r * np.float32(1 / 3) * power
    power = one + r * np.float32(1 / 2) * power
    power = one + r * power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    return (one if x >= 0 else power) / (one + power)


@gil_free_kernel
def fill_sigmoid(x: Any, out: Any) -> None:
    """Fill `out` (n,) float32 with the logistic function of `x`."""
    for number in range(len(x)):
        out[number] = sigmoid(x[number])


@gil_free_kernel
def normalise(rows: Any) -> None:
    """Divide rows (n, e) float32 by their lengths; a row of zeros stays."""
    for row in rows:
        total = np.float32(0)
        for value in row:
            total += value * value
        length = max(np.sqrt(total), np.float32(1e-12))
        for k in range(len(row)):
            row[k] /= length


@gil_free_kernel
def apply_linear(x: Any, weights: Any, bias: Any, out: Any) -> None:
    """Fill `out` (outputs, `CLIPS`) with ``weights @ x + bias``, all float32."""
    for output in range(len(weights)):
        for clip in range(CLIPS):
            out[output, clip] = bias[output]
        for channel in range(len(x)):
            weight = weights[output, channel]
            for clip in range(CLIPS):
                out[output, clip] += weight * x[channel, clip]


@gil_free_kernel
def gate_channels(total: Any, largest: Any, layers: Any, scales: Any, gates: Any) -> None:
    """Fill the gates of channels, (2, g, k) float32: each times its scale of `scales` (2, g, k).

    Parameters
    ----------
    total, largest
        (g, k) int32, sums and maxima of bytes.
    layers
        Weights of the encoder for sums and for maxima, its bias, the decoder, its bias.
    """
    of_total, of_largest, bias, decode, decoded_bias = layers
    groups = len(total)
    pooled = np.empty((4 * groups, CLIPS), np.float32)
    hidden = np.empty((len(bias), CLIPS), np.float32)
    both = np.zeros((len(bias), CLIPS), np.float32)
    for which in range(2):
        for channel in range(4 * groups):
            for clip in range(CLIPS):
                at = channel // 4, 4 * clip + channel % 4
                pooled[channel, clip] = largest[at] if which else total[at]
        apply_linear(pooled, of_largest if which else of_total, bias, hidden)
        for j in range(len(bias)):
            for clip in range(CLIPS):
                both[j, clip] += max(hidden[j, clip], np.float32(0))
    apply_linear(both, decode, decoded_bias, pooled)
    for channel in range(4 * groups):
        for clip in range(CLIPS):
            group, k = channel // 4, 4 * clip + channel % 4
            gate = sigmoid(pooled[channel, clip])
            gates[0, group, k] = gate * scales[0, group, k]
            gates[1, group, k] = gate * scales[1, group, k]


@gil_free_kernel
def summarise_places(x: Any, gates: Any, maps: Any) -> None:
    """Fill the maximum and the sum over channels of gated features, (2, h, w, `CLIPS`) float32.

    The maps have a margin, so that a convolution finds zeros there.
    """
    groups, h, w, lanes = x.shape
    margin = (maps.shape[1] - h) // 2
    largest, total = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    for row in range(h):
        for column in range(w):
            largest[:] = 0
            total[:] = 0
            for group in range(groups):
                for k in range(lanes):
                    value = np.float32(x[group, row, column, k]) * gates[group, k]
                    largest[k] = max(largest[k], value)
                    total[k] += value
            for clip in range(CLIPS):
                k = 4 * clip
                maps[0, row + margin, column + margin, clip] = max(
                    max(largest[k], largest[k + 1]), max(largest[k + 2], largest[k + 3])
                )
                maps[1, row + margin, column + margin, clip] = (total[k] + total[k + 1]) + (
                    total[k + 2] + total[k + 3]
                )


@gil_free_kernel
def gate_places(x: Any, gates: Any, maps: Any, layer: Any, out: Any) -> None:
    """Fill `out` with bytes (g, h, w, k), gated by channel and by place.

    Parameters
    ----------
    gates
        (g, k) float32, from a byte to a byte of `out`.
    layer
        Weights (2, kernel, kernel) float32 of the two maps, and bias.
    """
    weights, bias = layer
    groups, h, w, lanes = x.shape
    odds, gate = np.empty(CLIPS, np.float32), np.empty(lanes, np.float32)
    for row in range(h):
        for column in range(w):
            odds[:] = bias
            for kind in range(2):
                for i in range(weights.shape[1]):
                    for j in range(weights.shape[2]):
                        for clip in range(CLIPS):
                            seen = maps[kind, row + i, column + j, clip]
                            odds[clip] += weights[kind, i, j] * seen
            for clip in range(CLIPS):
                value = sigmoid(odds[clip])
                for byte in range(4):
                    gate[4 * clip + byte] = value
            for group in range(groups):
                for k in range(lanes):
                    value = np.float32(x[group, row, column, k]) * gates[group, k] * gate[k]
                    value = min(value + np.float32(0.5), np.float32(255))
                    out[group, row, column, k] = np.uint8(np.int32(value))
