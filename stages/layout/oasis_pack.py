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
from stages.layout.oasis_elements import elements_of
from stages.layout.oasis_read import read_file

UNPACKED_BYTES = 64 << 30
"""Most that the compressed parts of a file may unpack to."""


def pack_oasis(
    data: Bytes, layers: Sequence[Layer], cell: str | None, unpacked_bytes: int = UNPACKED_BYTES
) -> PackedLayout:
    """Read `layers` under one top cell; arguments and errors as `builder.pack_layout`."""
    file = read_file(data, layers_to_read(layers, cell), unpacked_bytes)
    read = layers_to_read(layers, cell) or tuple(file.layers)
    return assemble(elements_of(file, read), read, layers, cell, file.warnings)


def oasis_boxes(
    data: Bytes, layers: Sequence[Layer], cell: str | None, unpacked_bytes: int = UNPACKED_BYTES
) -> list[Int64s]:
    """Return the box of each shape of each layer, (n, 4) in dbu; arguments as `pack_oasis`."""
    file = read_file(data, layers_to_read(layers, cell), unpacked_bytes)
    read = layers_to_read(layers, cell) or tuple(file.layers)
    return shape_boxes_of(elements_of(file, read), read, layers, cell)


def describe_oasis(data: Bytes, unpacked_bytes: int = UNPACKED_BYTES) -> LayoutInfo:
    """Return cells, tops, layers with counts, extent and dbu of a file."""
    file = read_file(data, None, unpacked_bytes)
    elements = elements_of(file, tuple(file.layers))
    return describe(elements, file.layers, len(file.names), file.warnings)
