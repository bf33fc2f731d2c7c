"""Layouts that mark their hotspots with shapes, as datasets: benchmarks, and users' own.

in       a layout with marker layers
out      a dataset whose clips say what they are for, see `pipeline.datasets.store`
promise  each marker is one clip centred on the middle of the marker's box, whatever its shape

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

from pipeline.datasets.from_labels import Bools, Places, opened
from pipeline.datasets.store import ROLES, SPLITS
from pipeline.layout import ingest
from stages.contracts import Int64s, Layer, RasterSpec
from stages.errors import LayoutError, UsageError
from stages.geometry.windows import touched

SPEC = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=30)
"""The core of 1.2 um that the benchmarks mark, in a clip of 2.56 um."""

EVERY_TOP = "*"
"""All top cells side by side, see `stages.layout.builder.EVERY_TOP`."""


@dataclass(frozen=True, slots=True)
class Marking:
    """Which layers of a layout mean what, as layer/datatype."""

    metal: tuple[str, ...]
    """What is drawn, in the order of the picture's channels."""
    hotspot: tuple[str, ...]
    """Cores of hotspots."""
    non_hotspot: tuple[str, ...]
    """Cores of clips that are known to print."""
    train_window: tuple[str, ...] = ()
    """Where a core is for training; without any, the dataset is not divided."""

    @property
    def markers(self) -> list[Layer]:
        """All layers but the metal."""
        names = (*self.hotspot, *self.non_hotspot, *self.train_window)
        return [Layer.parse(name) for name in names]

    def within(self, present: Sequence[str]) -> Marking:
        """Leave out the markers that a layout lacks: not every design of a contest has all."""
        kept = {
            name: tuple(layer for layer in layers if layer in present)
            for name, layers in asdict(self).items()
        }
        return Marking(**{**kept, "metal": self.metal})


BENCHMARKS = {
    "iccad2012": Marking(("1000/0",), ("21/0", "22/0"), ("23/0",), ("11/0", "12/0", "13/0")),
    "iccad2019": Marking(("10/0",), ("21/0",), ("23/0",)),
}
"""Files of ICCAD-2019 hold one clip in each cell, and are as a whole for training or for test."""


def import_benchmark(
    name: str, layout_path: Path, out: Path, spec: RasterSpec, *, process: str
) -> dict[str, Any]:
    """Write the dataset of a benchmark of `BENCHMARKS`; as `import_marked`."""
    info, _ = ingest.read_info(layout_path)
    cell = EVERY_TOP if len(info.top_cells) > 1 else None
    marking = BENCHMARKS[name].within(tuple(info.layers))
    return import_marked(layout_path, out, marking, spec, process=process, cell=cell)


def import_marked(
    layout_path: Path,
    out: Path,
    marking: Marking,
    spec: RasterSpec,
    *,
    process: str,
    cell: str | None = None,
) -> dict[str, Any]:
    """Write the clips that a layout marks to `out`; return what was made.

    Parameters
    ----------
    spec
        Its core is the step to the neighbours, too.
    process
        Whose symmetries make pictures alike, and whose rules a scan samples by; the labels are
        not simulated.
    cell
        The top cell; None takes the only one, `EVERY_TOP` lays all side by side.

    Raises
    ------
    UsageError
        When `out` exists, or no layer is given for metal, hotspots or non-hotspots.
    LayoutError
        When the layout cannot be read, or marks no hotspot or no non-hotspot.
    """
    for field in ("metal", "hotspot", "non_hotspot"):
        if not getattr(marking, field):
            option = field.replace("_", "-")
            raise UsageError(
                f"{layout_path.name} has no layer for {option}; name one with --{option} "
                "LAYER/DATATYPE: hotscan info lists the layers"
            )
    with opened(
        layout_path, out, marking.metal, spec, process, markers=marking.markers, cell=cell
    ) as work:
        layers = list(work.layout.layers)  # with the metal: it decides where a cell is laid
        boxes = ingest.read_boxes(layout_path, layers, cell)[len(marking.metal) :]
        places = marked_places(boxes, marking, work.drawn.core_dbu)
        counts = places.counts()
        if not counts["hotspots"] or not counts["non_hotspots"]:
            raise LayoutError(
                f"{layout_path.name} marks {counts['hotspots']} hotspots and "
                f"{counts['non_hotspots']} non-hotspots; a dataset needs both"
            )
        about = {"labels": "marked in the layout", "marking": asdict(marking), "cell": cell}
        return work.write(places, about)


def marked_places(boxes: Sequence[Int64s], marking: Marking, core_dbu: int) -> Places:
    """Return nine clips for each marked core, less those that would teach what is wrong.

    Parameters
    ----------
    boxes
        Boxes of the shapes of each of `marking.markers`, (n, 4) in dbu.
    """
    first_cold = len(marking.hotspot)
    first_window = first_cold + len(marking.non_hotspot)
    hot, cold, windows = (
        np.concatenate([np.empty((0, 4), np.int64), *of_kind])
        for of_kind in (boxes[:first_cold], boxes[first_cold:first_window], boxes[first_window:])
    )
    cores = np.concatenate((hot, cold))
    x, y = (cores[:, 0] + cores[:, 2]) // 2, (cores[:, 1] + cores[:, 3]) // 2
    step_y, step_x = np.mgrid[-1:2, -1:2].reshape(2, 9) * core_dbu
    neighbour = np.tile((step_x != 0) | (step_y != 0), len(cores))
    role = np.where(neighbour, ROLES.index("neighbour"), ROLES.index("core")).astype(np.uint8)
    label = np.repeat(np.arange(len(cores)) < len(hot), 9) & ~neighbour
    inside = np.repeat(touched(windows, x, y, 1), 9)
    divided = bool(marking.train_window)
    learnt = inside if divided else np.ones_like(inside)
    x, y = (x[:, None] + step_x).ravel(), (y[:, None] + step_y).ravel()
    # The protocol counts these at test; at training they would call part of a hotspot cold.
    kept = ~(neighbour & learnt & _over_a_hotspot(x, y, label & learnt, core_dbu))
    split = np.where(inside, SPLITS.index("train"), SPLITS.index("test")).astype(np.uint8)
    return Places(x[kept], y[kept], label[kept], split[kept] if divided else None, role[kept])


def _over_a_hotspot(x_dbu: Int64s, y_dbu: Int64s, label: Bools, core_dbu: int) -> Bools:
    """Say which cores overlap that of a hotspot, (n,) bool."""
    places = np.stack((x_dbu, y_dbu), axis=1)
    distance, _ = cKDTree(places[label]).query(places, p=np.inf)
    return np.asarray(distance < core_dbu)
