"""Read a layout file into packed arrays, keeping its hierarchy.

in       an uncompressed GDSII or OASIS file, the layers, the top cell
out      `PackedLayout`: integer dbu, one `PackedLayer` per layer
unit     the file
promise  the same region as in the file; arrays and repetitions stay folded, so that 3 million
         placed shapes take the memory of the few that are drawn

Both formats are read from their bytes without an object per element, in a quarter of the time. A
GDSII stream is checked first, by `stages.layout.gdsii.stream_check`; OASIS as it is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.contracts import Bytes, Int64s, Layer, PackedLayout
from stages.layout.assemble import assemble, choose_layers, compute_shape_boxes, describe
from stages.layout.gdsii.elements import Elements, leave_shapes, read_elements
from stages.layout.gdsii.grammar import SMALL_LIBRARY
from stages.layout.gdsii.index import StreamIndex
from stages.layout.gdsii.stream_check import StreamCheck, check_stream
from stages.layout.gdsii.summary import ShapeSummary
from stages.layout.info import LayoutInfo
from stages.layout.limits import DEFAULT_LIMITS, ReadLimits
from stages.layout.oasis.grammar import MAGIC as OASIS_MAGIC
from stages.layout.oasis.pack import SMALL_LIBRARY as SMALL_OASIS
from stages.layout.oasis.pack import describe_oasis, pack_oasis, read_oasis_boxes


def describe_layout(
    path: Path, limits: ReadLimits = DEFAULT_LIMITS, index: StreamIndex | None = None
) -> LayoutInfo:
    """Return cells, tops, layers with counts, extent and dbu; `path`, `index` as `pack_layout`."""
    data = _map_bytes(path)
    if _is_oasis(data):
        return describe_oasis(data, limits)
    if index is None:
        index = StreamCheck(None, extent_mm=math.inf, summary=ShapeSummary()).report(data).index
    summary, structures = index.summary, len(index.structure)
    assert summary is not None  # nothing else describes a layout
    counts = summary.count_layers()
    if len(index.odd):  # the corners under these turns are turned one by one
        elements = read_elements(data, check_stream(data, None).index)
        return describe(elements, counts, structures)
    elements, boxes = leave_shapes(data, index), summary.bound_structures(structures)
    return describe(elements, counts, structures, drawn=boxes)


def pack_layout(
    path: Path, layers: Sequence[Layer], cell: str | None, limits: ReadLimits = DEFAULT_LIMITS,
    index: StreamIndex | None = None,
) -> PackedLayout:  # fmt: skip
    """Read `layers` under one top cell of an uncompressed layout file.

    Parameters
    ----------
    path : Path
        GDSII or OASIS, detected from its magic bytes.
    layers : sequence of Layer
        In the order of the picture's channels.
    cell : str or None
        The top cell; None takes the only one, `EVERY_TOP` all.
    limits : ReadLimits
        Limits on the contents of the file.
    index : StreamIndex or None
        Of a GDSII file that was checked, with the shapes of `choose_layers`; None to check it.

    Raises
    ------
    ConfigError
        No such layer or cell (those present are listed), or several top cells and none chosen.
    LayoutError
        The file cannot be read, or a cell contains itself.
    """
    data = _map_bytes(path)
    if _is_oasis(data):
        return pack_oasis(data, layers, cell, limits)
    chosen = choose_layers(layers, cell)
    index = index or check_stream(data, chosen).index
    read = chosen or index.layers
    if len(index.odd) or chosen is None:  # all corners are turned, or bounded
        elements = read_elements(data, index, extent_mm=limits.extent_mm)
        return assemble(elements, read, layers, cell, (), limits)
    unread = [_leave_shapes(data, index, limits.extent_mm)]
    del index
    return assemble(unread.pop(), read, layers, cell, (), limits)  # which lets go of what it has


def _leave_shapes(data: Bytes, index: StreamIndex, extent_mm: float) -> Elements:
    """Return unread elements, without what was read of the index."""
    unread = leave_shapes(data, index, extent_mm=extent_mm)
    return replace(unread, index=replace(index, reference=index.reference[:0].copy()))


def read_shape_boxes(
    path: Path, layers: Sequence[Layer], cell: str | None, limits: ReadLimits = DEFAULT_LIMITS,
    index: StreamIndex | None = None,
) -> list[Int64s]:  # fmt: skip
    """Return the box of each shape of each layer, (n, 4) in dbu; arguments as `pack_layout`."""
    data = _map_bytes(path)
    if _is_oasis(data):
        return read_oasis_boxes(data, layers, cell, limits)
    chosen = choose_layers(layers, cell)
    elements = read_elements(data, index or check_stream(data, chosen).index)
    return compute_shape_boxes(elements, chosen or elements.layers, layers, cell)


def load_kernels(*, oasis: bool = False) -> None:
    """Load the kernels of `pack_layout` for a format, whose first call takes a second."""
    layers = (Layer(0, 0),)
    if oasis:
        pack_oasis(np.frombuffer(SMALL_OASIS, np.uint8), layers, None)
    else:
        data = np.frombuffer(SMALL_LIBRARY, np.uint8)
        assemble(leave_shapes(data, check_stream(data, layers).index), layers, layers, None)


def _map_bytes(path: Path) -> Bytes:
    data: Bytes = np.memmap(path, np.uint8, "r").view(np.ndarray)
    return data


def _is_oasis(data: Bytes) -> bool:
    return data[: len(OASIS_MAGIC)].tobytes() == OASIS_MAGIC
