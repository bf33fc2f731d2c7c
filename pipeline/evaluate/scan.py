"""Evaluating a scan against the known defects of its layout.

in       a finished run, a dataset with the positions of defects (listed or simulated)
out      recall, extras and the simulation they cause, as one flat object
promise  only what was scanned and is not for training counts
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.datasets.store import require_dataset
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import read_record
from pipeline.engine.storage.tables import ANY, explain_damage, open_arrays, read_array
from pipeline.evaluate.model import estimate_share
from pipeline.passes.arrays import read_pattern_clips, read_patterns
from pipeline.report.run_view import RunView, open_view
from stages.contracts import Box, Floats, Int64s
from stages.errors import RunMismatchError, UsageError
from stages.geometry.union import merge


def evaluate_scan(run_path: Path, dataset_path: Path) -> dict[str, Any]:
    """Compare the clips that a scan flags with the known defects of its layout.

    A defect is found when it lies in the core of a flagged clip; a flagged clip without a defect in
    its core is an extra, the false alarm of region-based detection (R. Chen et al., DAC 2019). They
    are counted before touching clips are merged into hotspots, which would hide extras. Of a
    dataset that is divided, the test half counts, as far as it was scanned.

    Raises
    ------
    UsageError
        When the dataset does not list defects, or nothing of the test half was scanned.
    RunMismatchError
        When the dataset is of another layout than the run.
    IncompleteError
        When the run is not finished.
    """
    places, about = _read_defects(dataset_path)
    run = Run(run_path)
    view = open_view(run)
    digests = read_record(run).layout.sha256, about["sha256"]
    if digests[0] != digests[1]:
        raise RunMismatchError(
            f"run {run_path} is of a layout with digest {digests[0]} but {dataset_path} of one "
            f"with {digests[1]}; give the dataset of the layout that was scanned"
        )
    area = view.job.area
    middle = about.get("test_from_x_dbu", area.x_min)
    counted = area.intersect(Box(max(middle, area.x_min), area.y_min, area.x_max, area.y_max))
    if counted is None:
        raise UsageError(
            f"run {run_path} scanned nothing of the test half, which begins at x = {middle} dbu; "
            "scan it with --roi"
        )
    defects = np.stack(places, axis=1).astype(float)
    return _compare(_find_flagged_cores(view), defects, counted, view.layout.dbu_nm)


def _read_defects(path: Path) -> tuple[list[Int64s], dict[str, Any]]:
    """Return x and y of the defects that a dataset lists, and what is known of their layout."""
    require_dataset(path)
    names = ("defect_x_dbu", "defect_y_dbu")
    with explain_damage(
        path, UsageError, fault="holds no defects", advice="give a dataset that lists them"
    ):
        stored = open_arrays(path, dict.fromkeys(names, ((ANY,), "i8|f8")))
        places = [read_array(stored[name]) for name in names]
        provenance: Any = zarr.open_group(path, mode="r", zarr_format=3).attrs["provenance"]
        about: dict[str, Any] = {"sha256": str(provenance["layout"]["sha256"])}
        if "test_from_x_dbu" in provenance:
            about |= {"test_from_x_dbu": int(provenance["test_from_x_dbu"])}
    if len(places[0]) != len(places[1]):
        raise UsageError(f"{path} is damaged: its defects have not as many x as y; make it again")
    return places, about


def _find_flagged_cores(view: RunView) -> Int64s:
    """Return the core of each flagged clip, (f, 4) in dbu."""
    (scores,) = read_patterns(view.run, "score")
    tiles = [tile.name for tile in view.job.tiles]
    flagged, _, _ = read_pattern_clips(view.run, tiles, scores >= view.config.scores.threshold)
    low = np.stack((flagged.x_dbu, flagged.y_dbu), axis=1) - view.job.core_dbu // 2
    return np.concatenate((low, low + view.job.core_dbu), axis=1)


def _compare(boxes: Int64s, defects: Floats, area: Box, dbu_nm: float) -> dict[str, Any]:
    """Return the figures of flagged cores (f, 4) and defects (d, 2) in a part of a layout."""
    low, high = np.array(area.as_tuple()).reshape(2, 2)
    within = np.clip(boxes.reshape(-1, 2, 2), low, high).reshape(-1, 4)
    reported = (within[:, 0] < within[:, 2]) & (within[:, 1] < within[:, 3])
    boxes, within = boxes[reported], within[reported]
    past, before = defects >= boxes[:, None, :2], defects < boxes[:, None, 2:]
    holds = np.all(past & before, axis=2)  # (cores, defects)
    counted = np.all((defects >= low) & (defects < high), axis=1)
    known, found = int(counted.sum()), int((np.any(holds, axis=0) & counted).sum())
    extras = int((~np.any(holds, axis=1)).sum())
    um2 = (dbu_nm / 1000) ** 2
    runs = merge(np.ascontiguousarray(within))
    simulated = int(((runs[:, 2] - runs[:, 0]) * (runs[:, 3] - runs[:, 1])).sum())
    return {
        "defects": known,
        "found": found,
        **estimate_share("recall", found, known),
        "flagged_clips": len(boxes),
        "extras": extras,
        "area_um2": area.area * um2,
        "extras_per_um2": extras / (area.area * um2),
        "simulated_um2": simulated * um2,
        "simulated_share": simulated / area.area,
    }
