"""Read an OASIS file into packed layers, keeping its hierarchy.

in: the bytes of an OASIS file, the layers, the top cell
out: `PackedLayout`, `LayoutInfo`, or the boxes of shapes · unit: the file
promise: the same region as in the file; arrays and repetitions stay folded
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.contracts import Bytes, Int64s, Layer, PackedLayout
from stages.layout.assemble import assemble, choose_layers, compute_shape_boxes, describe
from stages.layout.info import LayoutInfo
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from stages.layout.oasis.elements import build_elements
from stages.layout.oasis.grammar import MAGIC
from stages.layout.oasis.read import read_file

SMALL_LIBRARY = MAGIC + bytes.fromhex(
    f"01 03312e30 00e807 00 {24 * '0'}"  # version 1.0, 1000 dbu per um, no tables
    "0e0141 147b 00 00 02 01 00 00"
    "0e0142 11b0 0141 00 00"
    f"02 fc01 {504 * '0'} 00"
)
"""A complete file, dbu 1 nm: cell B places cell A, which has a rectangle on 0/0."""


def pack_oasis(
    data: Bytes, layers: Sequence[Layer], cell: str | None, limits: ReadLimits = DEFAULT_LIMITS
) -> PackedLayout:
    """Read `layers` under one top cell; arguments and errors as `builder.pack_layout`."""
    file = read_file(data, choose_layers(layers, cell), limits.unpacked_bytes)
    read = choose_layers(layers, cell) or tuple(file.layers)
    return assemble(build_elements(file, read), read, layers, cell, file.warnings, limits)


def read_oasis_boxes(
    data: Bytes, layers: Sequence[Layer], cell: str | None, limits: ReadLimits = DEFAULT_LIMITS
) -> list[Int64s]:
    """Return the box of each shape of each layer, (n, 4) in dbu; arguments as `pack_oasis`."""
    file = read_file(data, choose_layers(layers, cell), limits.unpacked_bytes)
    read = choose_layers(layers, cell) or tuple(file.layers)
    return compute_shape_boxes(build_elements(file, read), read, layers, cell)


def describe_oasis(data: Bytes, limits: ReadLimits = DEFAULT_LIMITS) -> LayoutInfo:
    """Return cells, tops, layers with counts, extent and dbu of a file."""
    file = read_file(data, None, limits.unpacked_bytes)
    elements = build_elements(file, tuple(file.layers))
    return describe(elements, file.layers, len(file.names), file.warnings)
