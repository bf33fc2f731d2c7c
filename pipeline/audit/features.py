"""The features of a scan's pictures, which certifying learns from: read once, by shards.

in       the stored pictures of a scan, its process and model
out      per shard of patterns a few numbers of each picture
promise  those of a picture depend on it, the process and the model alone
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.engine.storage.checksums import seal
from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run, write_array
from pipeline.engine.storage.tables import explain_damage
from pipeline.passes.arrays import compute_shard_rows, read_pattern_rows
from pipeline.passes.job import Job, load_model_process
from pipeline.passes.model_file import ModelFile, load_model
from pipeline.passes.print_model import Features, PrintModel, make_features
from stages.arithmetic import Arithmetic, make_noise, measure_arithmetic
from stages.contracts import Float32s, Floats
from stages.detector.models.scan_model import ScanModel
from stages.scores import BATCH, build_scorer


def make_model_features(model: ScanModel, device: str = "cpu") -> Features:
    """Return the features of pictures for certifying from a model.

    Raises
    ------
    ConfigError, UsageError
        As `PrintModel.make_features`.
    """
    if isinstance(model, PrintModel):
        return model.make_features(device)
    scorer = build_scorer(model, device, prefiltered=False)
    return make_features(load_model_process(model), model.raster, scorer)


@lru_cache(maxsize=1)
def _load_features(file: ModelFile, device: str) -> Features:
    return make_model_features(load_model(file), device)


def rank_features(features: Float32s, model: ScanModel) -> Floats:
    """Return how likely pictures are to fail before any was simulated, (n,): higher, likelier."""
    if isinstance(model, PrintModel):
        return model.head.compute_odds(features)
    return features[:, -1].astype(np.float64)


def measure_arithmetic_of(job: Job) -> Arithmetic:
    """Return what computes features in this process."""
    spec = job.spec
    noise = make_noise((BATCH, spec.layers, spec.clip_px, spec.clip_px))
    return measure_arithmetic([_load_features(job.model, job.device).measure(noise)], job.device)


def name_features(shard: int) -> str:
    """Return the file of a shard, relative to the run directory."""
    return f"certify/features/{shard:05d}.npy"


def measure_shard(shard: int, *, job: Job, patterns: int) -> UnitOutcome:
    """Compute the features of a shard's pictures, as stored."""
    started = time.perf_counter()
    rows = compute_shard_rows(shard, job.shard_patterns, patterns)
    (pictures,) = read_pattern_rows(Run(job.run), rows, "raster")
    file = name_features(shard)
    write_array(job.run / file, _load_features(job.model, job.device).measure(pictures))
    return UnitOutcome(
        "features", f"{shard:05d}", Status.DONE, {"patterns": len(pictures)},
        seal(job.run, (file,)), time.perf_counter() - started, files=(file,),
        arithmetic=measure_arithmetic_of(job),
    )  # fmt: skip


def read_features(run: Path, shards: int) -> Float32s:
    """Return the features of all pictures, (patterns, f).

    Raises
    ------
    IncompleteError
        When a file is missing or damaged.
    """
    parts = []
    for shard in range(shards):
        with explain_damage(run / name_features(shard)):
            part = np.load(run / name_features(shard), allow_pickle=False)
            if part.dtype != np.float32 or part.ndim != 2 or not np.isfinite(part).all():
                raise ValueError(f"it is {part.dtype} of shape {part.shape}, or not finite")
            parts.append(part)
    return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
