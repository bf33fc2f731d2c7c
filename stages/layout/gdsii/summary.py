"""What ``hotscan info`` says of the shapes of a stream, summed up part by part of a walk over it.

in: the tables of a part, with the shapes of all layers · out: `ShapeSummary`
unit: the file · promise: in which parts the stream was walked over makes no difference; few of its
shapes are in memory at once
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.contracts import Bytes, Int64s, Layer
from stages.layout.gdsii.collect import Tables
from stages.layout.gdsii.corners import MOST_SHAPES, read_corners, read_rects

_FAR = 2**62


@dataclass(slots=True)
class ShapeSummary:
    """How many shapes each layer has, and the box around those of each structure."""

    counts: dict[int, int] = field(default_factory=dict)
    """By ``layer << 16 | datatype``."""
    boxes: Int64s = field(default_factory=lambda: make_empty_boxes(0))
    """(structures, 4) in dbu, of a structure without a shape as `make_empty_boxes`; perhaps fewer
    rows than there are structures."""
    _paths: int = 0

    def take(self, data: Bytes, part: Tables) -> Tables:
        """Sum up the shapes of the next part; return its tables without them."""
        cells, shapes, paths, placed, odd, tags = part
        for tag, count in zip(*np.unique(shapes[:, 1], return_counts=True), strict=True):
            self.counts[int(tag)] = self.counts.get(int(tag), 0) + int(count)
        for first in range(0, len(shapes), MOST_SHAPES):
            self._bound(data, shapes[first : first + MOST_SHAPES], paths)
        self._paths += len(paths)
        return cells, shapes[:0].copy(), paths[:0].copy(), placed, odd, tags

    def count_layers(self) -> dict[Layer, int]:
        """Return the number of shapes of each layer."""
        return {Layer(tag >> 16, tag & 65535): count for tag, count in self.counts.items()}

    def bound_structures(self, structures: int) -> Int64s:
        """Return the box of each of so many structures, (structures, 4)."""
        boxes = make_empty_boxes(structures)
        boxes[: len(self.boxes)] = self.boxes
        return boxes

    def _bound(self, data: Bytes, shapes: Int64s, paths: Int64s) -> None:
        """Widen the boxes of structures by some of their shapes."""
        if shapes[-1, 0] >= len(self.boxes):  # they come in the order of the file
            self.boxes = self.bound_structures(int(shapes[-1, 0]) + 1)
        rects, drawn, rest = read_rects(data, shapes, np.arange(len(shapes)))
        widen(self.boxes, shapes[drawn, 0], rects)
        shapes = shapes[rest]
        shapes[:, 3] -= np.where(shapes[:, 3] >= 0, self._paths, 0)
        points, starts = read_corners(data, shapes, paths)
        counts = np.diff(starts)
        widen(self.boxes, shapes[counts > 0, 0], bound_shapes(points, counts)[counts > 0])


def make_empty_boxes(count: int) -> Int64s:
    """Return boxes of nothing, (count, 4): any other widens them to itself."""
    return np.tile(np.array([_FAR, _FAR, -_FAR, -_FAR]), (count, 1))


def bound_shapes(points: Int64s, counts: Int64s) -> Int64s:
    """Return the box of each shape, (n, 4); arbitrary for a shape without corners."""
    starts = np.minimum(np.cumsum(counts) - counts, max(len(points) - 1, 0))
    if not len(points):
        return np.zeros((len(counts), 4), np.int64)
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    return np.concatenate((low, high), axis=1)


def widen(boxes: Int64s, which: int | Int64s, by: Int64s) -> None:
    """Widen boxes, in place, by others."""
    np.minimum.at(boxes[:, :2], which, by[:, :2])
    np.maximum.at(boxes[:, 2:], which, by[:, 2:])
