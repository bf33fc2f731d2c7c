"""Datasets from layouts that mark their hotspots with shapes: benchmarks and your own.

in       a layout with marker layers
out      a dataset with splits and roles, see `pipeline.datasets.store`
promise  each marker gives one clip, centred on the marker's bounding box, whatever its shape

The decoding is that of the ICCAD-2012 contest (J. A. Torres, ICCAD 2012): a marked core is a
training clip when its centre lies inside a training window, a test clip otherwise. The eight clips
one core beside a marked one are non-hotspots: the 3x3 scan that false alarms are counted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from pipeline.datasets.from_labels import Bools, Places, read_labelled_layout
from pipeline.datasets.store import ROLES, SPLITS
from pipeline.layout import ingest
from stages.contracts import Int64s, Layer, RasterSpec
from stages.errors import LayoutError, UsageError
from stages.geometry.windows import find_touched_windows
from stages.layout.info import EVERY_TOP

SPEC = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=30)
"""The core of 1.2 um that the benchmarks mark, in a clip of 2.56 um."""


@dataclass(frozen=True, slots=True)
class Marking:
    """What each layer of a layout means, as layer/datatype."""

    metal: tuple[str, ...]
    """What is drawn, in the order of the picture's channels."""
    hotspot: tuple[str, ...]
    """Cores of hotspots."""
    non_hotspot: tuple[str, ...]
    """Cores of clips that are known to print well."""
    train_window: tuple[str, ...] = ()
    """Windows whose cores are for training; without any, the dataset is not divided."""

    @property
    def markers(self) -> list[Layer]:
        """All layers but the metal."""
        names = (*self.hotspot, *self.non_hotspot, *self.train_window)
        return [Layer.parse(name) for name in names]

    def within(self, present: Sequence[str]) -> Marking:
        """Return the marking without layers that a layout lacks: few contest designs have all."""
        present_in = {
            name: tuple(layer for layer in layers if layer in present)
            for name, layers in asdict(self).items()
        }
        return Marking(**{**present_in, "metal": self.metal})


BENCHMARKS = {
    "iccad2012": Marking(("1000/0",), ("21/0", "22/0"), ("23/0",), ("11/0", "12/0", "13/0")),
    "iccad2019": Marking(("10/0",), ("21/0",), ("23/0",)),
}
"""A file of ICCAD-2019 holds one clip per cell, and is entirely for training or for test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedRequest:
    """A dataset to write from a layout with marker layers."""

    layout: Path
    out: Path
    marking: Marking
    spec: RasterSpec = SPEC
    """Its core is also the step to the neighbours."""
    process: str = "arfi45"
    """Its symmetries and sampling rules are used; the labels are not simulated."""
    cell: str | None = None
    """The top cell; None takes the only one, `EVERY_TOP` places all side by side."""
    limits: ingest.Limits = ingest.DEFAULT_LIMITS
    """Limits on reading the layout."""


def import_benchmark(
    name: str,
    layout_path: Path,
    out: Path,
    spec: RasterSpec,
    *,
    process: str,
    limits: ingest.Limits = ingest.DEFAULT_LIMITS,
) -> dict[str, Any]:
    """Write the dataset of one of `BENCHMARKS`; see `import_marked`."""
    info, _ = ingest.read_info(layout_path, limits=limits)
    cell = EVERY_TOP if len(info.top_cells) > 1 else None
    marking = BENCHMARKS[name].within(tuple(info.layers))
    return import_marked(MarkedRequest(
        layout=layout_path, out=out, marking=marking, spec=spec, process=process, cell=cell,
        limits=limits,
    ))  # fmt: skip


def import_marked(request: MarkedRequest) -> dict[str, Any]:
    """Write a dataset of the clips that a layout marks; return its counts.

    Raises
    ------
    UsageError
        When `out` exists, or no layer is given for metal, hotspots or non-hotspots.
    LayoutError
        When the layout cannot be read, or marks no hotspot or no non-hotspot.
    """
    marking, name = request.marking, request.layout.name
    for field in ("metal", "hotspot", "non_hotspot"):
        if not getattr(marking, field):
            option = field.replace("_", "-")
            raise UsageError(
                f"{name} has no layer for {option}; name one with --{option} "
                "LAYER/DATATYPE: hotscan info lists the layers"
            )
    with read_labelled_layout(
        request.layout, request.out, marking.metal, request.spec, request.process,
        markers=marking.markers, cell=request.cell, limits=request.limits,
    ) as work:  # fmt: skip
        layers = list(work.layout.layers)  # with the metal, which affects where cells are placed
        boxes = ingest.read_boxes(request.layout, layers, request.cell, limits=request.limits)
        places = place_marked_clips(boxes[len(marking.metal) :], marking, work.drawn.core_dbu)
        counts = places.counts()
        if not counts["hotspots"] or not counts["non_hotspots"]:
            raise LayoutError(
                f"{name} marks {counts['hotspots']} hotspots and "
                f"{counts['non_hotspots']} non-hotspots; a dataset needs both"
            )
        about = {"labels": "marked in the layout", "marking": asdict(marking),
                 "cell": request.cell}  # fmt: skip
        return work.write(places, about)


def place_marked_clips(boxes: Sequence[Int64s], marking: Marking, core_dbu: int) -> Places:
    """Return nine clips for each marked core, except training clips with a wrong label.

    Parameters
    ----------
    boxes
        Boxes of the shapes on each of `marking.markers`, (n, 4) in dbu.
    """
    first_negative = len(marking.hotspot)
    first_window = first_negative + len(marking.non_hotspot)
    hotspots, negatives, windows = (
        np.concatenate([np.empty((0, 4), np.int64), *of_kind])
        for of_kind in (
            boxes[:first_negative], boxes[first_negative:first_window], boxes[first_window:]
        )
    )  # fmt: skip
    cores = np.concatenate((hotspots, negatives))
    x, y = (cores[:, 0] + cores[:, 2]) // 2, (cores[:, 1] + cores[:, 3]) // 2
    step_y, step_x = np.mgrid[-1:2, -1:2].reshape(2, 9) * core_dbu
    neighbour = np.tile((step_x != 0) | (step_y != 0), len(cores))
    role = np.where(neighbour, ROLES.index("neighbour"), ROLES.index("core")).astype(np.uint8)
    label = np.repeat(np.arange(len(cores)) < len(hotspots), 9) & ~neighbour
    inside = np.repeat(find_touched_windows(windows, x, y, 1), 9)
    divided = bool(marking.train_window)
    training = inside if divided else np.ones_like(inside)
    x, y = (x[:, None] + step_x).ravel(), (y[:, None] + step_y).ravel()
    # Neighbours that overlap a hotspot: the protocol counts them in a test, but in training their
    # label would call part of a hotspot negative.
    kept = ~(neighbour & training & _overlap_hotspot(x, y, label & training, core_dbu))
    split = np.where(inside, SPLITS.index("train"), SPLITS.index("test")).astype(np.uint8)
    return Places(x[kept], y[kept], label[kept], split[kept] if divided else None, role[kept])


def _overlap_hotspot(x_dbu: Int64s, y_dbu: Int64s, label: Bools, core_dbu: int) -> Bools:
    """Return which cores overlap the core of a hotspot, (n,) bool."""
    places = np.stack((x_dbu, y_dbu), axis=1)
    distance, _ = cKDTree(places[label]).query(places, p=np.inf)
    return np.asarray(distance < core_dbu)
