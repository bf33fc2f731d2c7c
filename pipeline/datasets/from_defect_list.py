"""Contiguous layouts whose defects a file lists, as datasets.

in       a layout, a CSV file of places
out      a dataset whose clips stand on a grid, see `pipeline.datasets.store`
promise  every listed defect is kept, for a scan to be measured against
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.from_labels import Places, opened
from pipeline.datasets.store import ROLES, SPLITS
from pipeline.layout import ingest
from stages.clips import place_grid_clips
from stages.contracts import Box, Defect, Floats, RasterSpec
from stages.errors import ConfigError, LayoutError
from stages.lithography.measure.defects import label_clips

SPEC = RasterSpec(pixel_nm=8.0, clip_px=64, core_px=32)
"""A clip of 512 nm: 16 pitches of the 16 nm lines of ICCAD-2016 N7 EUV."""


def import_defects(
    layout_path: Path,
    defects_path: Path,
    out: Path,
    spec: RasterSpec,
    *,
    metal: Sequence[str],
    process: str,
    stride_nm: float | None = None,
) -> dict[str, Any]:
    """Write the clips of a layout whose defects are listed to `out`; return what was made.

    A clip is a hotspot when a defect lies in its core. Those whose core lies in the left half are
    for training, all others for test, as R-HSD has it (R. Chen et al., DAC 2019).

    Parameters
    ----------
    defects_path
        CSV file with the columns ``x`` and ``y``, in dbu. A place that is listed for several
        process conditions is one defect.
    stride_nm
        Step of the grid; half a core by default.

    Raises
    ------
    UsageError
        When `out` exists, or the stride is over a core.
    LayoutError
        When the layout or the list cannot be read.
    """
    defects = _read_places(defects_path)
    with opened(layout_path, out, metal, spec, process) as work:
        core, dbu_nm, extent = work.drawn.core_dbu, work.layout.dbu_nm, work.layout.extent
        stride = round((stride_nm or spec.core_nm / 2) / dbu_nm)
        if not 0 < stride <= core:
            raise ConfigError(
                f"stride_nm is {stride_nm} but a core is {spec.core_nm:g} nm; a larger stride "
                "would leave places that no clip answers for"
            )
        middle = (extent.x_min + extent.x_max) // 2
        about = {
            "labels": "defects listed in a file", "stride_nm": stride * dbu_nm,
            "test_from_x_dbu": middle, "defects": len(defects),
            "defects_file": {"name": defects_path.name, "sha256": ingest.sha256_of(defects_path)},
        }  # fmt: skip
        places = _grid_places(extent, middle, core, stride, defects)
        made = work.write(
            places, about, {"defect_x_dbu": defects[:, 0], "defect_y_dbu": defects[:, 1]}
        )
        test = defects[:, 0] >= middle
        return {**made, "defects_train": int((~test).sum()), "defects_test": int(test.sum())}


def _grid_places(
    extent: Box, middle_dbu: int, core_dbu: int, stride_dbu: int, defects: Floats
) -> Places:
    clips = place_grid_clips(extent.grow(core_dbu), extent, core_dbu, stride_dbu)
    named = tuple(Defect("listed", round(x), round(y), "", 0.0) for x, y in defects.tolist())
    label = label_clips(clips.x_dbu, clips.y_dbu, core_dbu, named)
    train = clips.x_dbu + core_dbu // 2 <= middle_dbu
    split = np.where(train, SPLITS.index("train"), SPLITS.index("test")).astype(np.uint8)
    role = np.full(len(clips), ROLES.index("core"), np.uint8)
    return Places(clips.x_dbu, clips.y_dbu, label, split, role)


def _read_places(path: Path) -> Floats:
    """Return the distinct places of a list of defects, (d, 2) in dbu and fractions of it."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        raise LayoutError(
            f"{path} is no list of defects ({error!r}); it must be a CSV file with the columns "
            "x and y, in database units"
        ) from error
    if not rows or not np.isfinite(rows).all():
        raise LayoutError(f"{path} lists no defect, or one without a place; give each an x and a y")
    return np.unique(np.array(rows), axis=0)
