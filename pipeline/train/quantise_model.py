"""``hotscan models quantise``: weights in integers for a model that has none.

in       a model, labelled clips as a scan meets them
out      a checkpoint with the same networks, and their weights in integers
promise  the same clips give the same integers; what is calibrated with is chosen by their order
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.store import load_dataset
from pipeline.train.training_set import Patterns, merge_datasets, require_same_kind
from stages.contracts import Bytes, Int64s
from stages.detector.models import checkpoint
from stages.detector.quantisation.quantise import quantise
from stages.errors import ModelMismatchError, UsageError

CALIBRATED = 2048
"""Pictures that a model is calibrated with, half of them hotspots where there are as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantiseRequest:
    """A model to quantise."""

    model: str
    """Name of a shipped model, or path of a checkpoint."""
    datasets: tuple[Path, ...]
    """What to calibrate with: the training clips of those that are divided, all of others."""
    out: Path
    """The checkpoint to write."""


def quantise_model(request: QuantiseRequest) -> dict[str, Any]:
    """Write a model with weights in integers; return what it is.

    Raises
    ------
    UsageError
        When a file exists or cannot be read, or the detector has no form in integers.
    ModelMismatchError
        When the datasets have another raster than the model.
    """
    if request.out.exists():
        raise UsageError(f"{request.out} exists; choose another --out, or remove it")
    model = checkpoint.load(checkpoint.find(request.model))
    datasets = [load_dataset(path).subset("train", "scan") for path in request.datasets]
    if (spec := require_same_kind(datasets).spec) != model.raster:
        raise ModelMismatchError(
            f"the dataset's raster is {spec} but the model's is {model.raster}; label with the "
            "model's pixel, clip and core"
        )
    made = quantise(model, choose_pictures(merge_datasets(datasets)))
    checkpoint.save(request.out, made)
    return {"model": str(request.out), "digest": made.digest}


def choose_pictures(patterns: Patterns) -> Bytes:
    """Return pictures to calibrate with: at most half of them hotspots, evenly over their order."""
    is_hotspot = patterns.hotspots > 0
    hotspots, others = np.flatnonzero(is_hotspot), np.flatnonzero(~is_hotspot)
    first = _spread_over(hotspots, CALIBRATED // 2)
    rows = np.concatenate([first, _spread_over(others, CALIBRATED - len(first))])
    pictures: Bytes = patterns.raster[rows]
    return pictures


def _spread_over(rows: Int64s, most: int) -> Int64s:
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
