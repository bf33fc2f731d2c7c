"""An OASIS file as packed layers, hierarchy kept.

in: the bytes of an OASIS file, the layers, the top cell
out: `PackedLayout`, `LayoutInfo`, or the boxes of shapes · unit: the file
promise: the same region as the file draws; arrays and repetitions stay folded
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.contracts import Bytes, Int64s, Layer, PackedLayout
from stages.layout.assemble import assemble, describe, layers_to_read, shape_boxes_of
from stages.layout.info import LayoutInfo
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from stages.layout.oasis.elements import elements_of
from stages.layout.oasis.read import read_file


def pack_oasis(
    data: Bytes, layers: Sequence[Layer], cell: str | None, limits: ReadLimits = DEFAULT_LIMITS
) -> PackedLayout:
    """Read `layers` under one top cell; arguments and errors as `builder.pack_layout`."""
    file = read_file(data, layers_to_read(layers, cell), limits.unpacked_bytes)
    read = layers_to_read(layers, cell) or tuple(file.layers)
    return assemble(elements_of(file, read), read, layers, cell, file.warnings, limits)


def oasis_boxes(
    data: Bytes, layers: Sequence[Layer], cell: str | None, limits: ReadLimits = DEFAULT_LIMITS
) -> list[Int64s]:
    """Return the box of each shape of each layer, (n, 4) in dbu; arguments as `pack_oasis`."""
    file = read_file(data, layers_to_read(layers, cell), limits.unpacked_bytes)
    read = layers_to_read(layers, cell) or tuple(file.layers)
    return shape_boxes_of(elements_of(file, read), read, layers, cell)


def describe_oasis(data: Bytes, limits: ReadLimits = DEFAULT_LIMITS) -> LayoutInfo:
    """Return cells, tops, layers with counts, extent and dbu of a file."""
    file = read_file(data, None, limits.unpacked_bytes)
    elements = elements_of(file, tuple(file.layers))
    return describe(elements, file.layers, len(file.names), file.warnings)
