"""Datasets from a layout and a list of its defects.

in       a layout, a CSV file of defect positions
out      a dataset of the clips on a grid, see `pipeline.datasets.store`
promise  every listed defect is in the dataset, so that a scan can be compared with it
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.from_labels import Places, read_labelled_layout
from pipeline.datasets.store import ROLES, SPLITS
from pipeline.layout import ingest
from stages.clips import place_grid_clips
from stages.contracts import Box, Defect, Floats, RasterSpec
from stages.errors import ConfigError, LayoutError
from stages.lithography.measure.defects import label_clips

SPEC = RasterSpec(pixel_nm=8.0, clip_px=64, core_px=32)
"""A clip of 512 nm: 16 pitches of the 16 nm lines of ICCAD-2016 N7 EUV."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectListRequest:
    """A dataset to write from a layout and a list of its defects."""

    layout: Path
    defects: Path
    """CSV file with the columns ``x`` and ``y``, in dbu. A position that is listed for several
    process conditions is one defect."""
    out: Path
    metal: tuple[str, ...]
    """Layers to draw, as layer/datatype."""
    spec: RasterSpec = SPEC
    process: str = "arfi45"
    """Its symmetries are used; the labels are not simulated."""
    stride_nm: float | None = None
    """Step of the grid; half a core by default."""
    limits: ingest.Limits = ingest.DEFAULT_LIMITS
    """Limits on reading the layout."""


def import_defects(request: DefectListRequest) -> dict[str, Any]:
    """Write a dataset of the clips on a grid; return its counts.

    A clip is a hotspot when a defect lies in its core. Clips whose core lies in the left half are
    for training, all others for test, as in R-HSD (R. Chen et al., DAC 2019).

    Raises
    ------
    UsageError
        When `out` exists.
    ConfigError
        When the stride is larger than a core.
    LayoutError
        When the layout or the list cannot be read.
    """
    spec, stride_nm = request.spec, request.stride_nm
    defects = _read_positions(request.defects)
    with read_labelled_layout(
        request.layout,
        request.out,
        request.metal,
        spec,
        request.process,
        limits=request.limits,
    ) as work:
        core, dbu_nm, extent = work.drawn.core_dbu, work.layout.dbu_nm, work.layout.extent
        stride = round((stride_nm or spec.core_nm / 2) / dbu_nm)
        if not 0 < stride <= core:
            raise ConfigError(
                f"stride_nm is {stride_nm} but a core is {spec.core_nm:g} nm; a larger stride "
                "would leave gaps that no core covers"
            )
        middle = (extent.x_min + extent.x_max) // 2
        about = {
            "labels": "defects listed in a file", "stride_nm": stride * dbu_nm,
            "test_from_x_dbu": middle, "defects": len(defects),
            "defects_file": {
                "name": request.defects.name, "sha256": ingest.compute_sha256(request.defects),
            },
        }  # fmt: skip
        places = _place_grid_clips(extent, middle, core, stride, defects)
        counts = work.write(
            places, about, {"defect_x_dbu": defects[:, 0], "defect_y_dbu": defects[:, 1]}
        )
        test = defects[:, 0] >= middle
        return {**counts, "defects_train": int((~test).sum()), "defects_test": int(test.sum())}


def _place_grid_clips(
    extent: Box, middle_dbu: int, core_dbu: int, stride_dbu: int, defects: Floats
) -> Places:
    clips = place_grid_clips(extent.grow(core_dbu), extent, core_dbu, stride_dbu)
    listed = tuple(Defect("listed", round(x), round(y), "", 0.0) for x, y in defects.tolist())
    label = label_clips(clips.x_dbu, clips.y_dbu, core_dbu, listed)
    train = clips.x_dbu + core_dbu // 2 <= middle_dbu
    split = np.where(train, SPLITS.index("train"), SPLITS.index("test")).astype(np.uint8)
    role = np.full(len(clips), ROLES.index("core"), np.uint8)
    return Places(clips.x_dbu, clips.y_dbu, label, split, role)


def _read_positions(path: Path) -> Floats:
    """Return the distinct positions of a list of defects, (d, 2) in fractional dbu."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        raise LayoutError(
            f"{path} is not a list of defects ({error!r}); give a CSV file with the columns "
            "x and y, in database units"
        ) from error
    if not rows or not np.isfinite(rows).all():
        raise LayoutError(
            f"{path} lists no defect, or one without a position; give each an x and a y"
        )
    return np.unique(np.array(rows), axis=0)
