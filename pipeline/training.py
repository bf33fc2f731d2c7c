"""Training a detector on labelled datasets, from files to a checkpoint.

in       datasets, a seed
out      a checkpoint that says what it was trained on and what it reaches on validation clips
promise  a stopped training goes on where it was; on a CPU, the same seed gives the same weights
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.dataset_file import Dataset, load_dataset
from stages.contracts import Bytes
from stages.detector import checkpoint
from stages.detector.model import DetectorConfig
from stages.detector.training import (
    EpochReport,
    LabelledClips,
    State,
    TrainingConfig,
    choose_threshold,
    score,
    train,
)
from stages.errors import ModelMismatchError, RunMismatchError, UsageError
from stages.lithography.process import load_process, process_of

VALIDATION_SHARE = 1 / 8
"""Share of the patterns kept for validation where no dataset is given for it."""

EPOCH_PATTERNS = 16_384
"""Patterns that an epoch is judged on, all hotspots among them; the threshold is set on all."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Distinct pictures with how often each is a hotspot."""

    raster: Bytes
    hot: npt.NDArray[np.int64]
    clips: npt.NDArray[np.int64]

    def labelled(self) -> LabelledClips:
        """Return one clip per picture; what lies past the clip may decide: then the majority."""
        return LabelledClips(self.raster, 2 * self.hot >= self.clips)


def train_model(
    datasets: Sequence[Path],
    out: Path,
    *,
    validation: Sequence[Path],
    config: TrainingConfig,
    say: Callable[[str], None],
    threads: int = 1,
    protocol: str = "scan",
) -> dict[str, Any]:
    """Train on `datasets`, write the checkpoint to `out`, return its figures.

    Of datasets that are divided, the training clips are used, for validation too; the test clips
    never are. Of those, `protocol` takes the ones on marked cores alone, or their neighbours too.
    The weights depend on `threads`, as the order of sums does, but not on the machine's load.

    Raises
    ------
    UsageError
        When a dataset cannot be read, or holds no hotspot.
    ModelMismatchError
        When the datasets differ in raster or process.
    RunMismatchError
        When a stopped training of `out` had other data or settings.
    """
    if not out.parent.is_dir():
        raise UsageError(
            f"checkpoint {out} cannot be written: {out.parent} is no directory; make it, or "
            "choose another --out"
        )
    torch.set_num_threads(threads)
    learnt = [load_dataset(path).part("train", protocol) for path in datasets]
    held = [load_dataset(path).part("train", protocol) for path in validation]
    first = _alike(learnt + held)
    if held:
        training, checked = _patterns(learnt), _patterns(held)
    else:
        training, checked = _split(_patterns(learnt))
    settings = first.provenance.get("process_settings", {})
    process = process_of(settings) if settings else load_process(first.process)
    config = replace(config, quarter_turns=process.symmetries == 8)
    model = DetectorConfig(layers=first.spec.layers)
    identity = f"{_identity(learnt + held, model, config)} threads {threads}"
    unfinished = out.with_name(out.name + ".training")

    def on_epoch(report: EpochReport, state: State) -> None:
        say(
            f"epoch {report.epoch}/{config.epochs}  loss {report.loss:.4f}  validation: "
            f"PR AUC {report.pr_auc:.4f}, {report.false_alarms} false alarms at recall "
            f"{report.recall:.4f}"
        )
        _write_state(unfinished, {"identity": identity, "state": state})

    trained = train(
        training.labelled(), _judged(checked).labelled(), model=model, config=config,
        on_epoch=on_epoch,
        state=_read_state(unfinished, identity),
    )  # fmt: skip
    scores = score(trained.detector, checked.raster)
    point = choose_threshold(np.repeat(scores, checked.clips), _expanded(checked), config.recall)
    made = checkpoint.Checkpoint(
        weights=trained.detector.state_dict(),
        config=model,
        raster=first.spec,
        layers=tuple(f"metal {name}" for name in first.layers),
        process=first.process,
        operating_point=point,
        provenance={
            "trained_on": [dataset.provenance for dataset in learnt],
            "validated_on": [dataset.provenance for dataset in held] or "patterns set apart",
            "trained_on_layers": list(first.layers),
            "measured_on": f"{int(checked.clips.sum()):,} validation clips",
            "training": asdict(config),
            "epochs": [asdict(report) for report in trained.history],
        },
        process_settings=settings,
        opc=first.provenance.get("opc", "none"),
    )
    checkpoint.save(out, made)
    unfinished.unlink(missing_ok=True)
    return {"model": str(out), "digest": made.digest, **asdict(point)}


def _alike(datasets: Sequence[Dataset]) -> Dataset:
    """Return the first dataset, once all are known to be of one raster and process."""
    if not datasets:
        raise UsageError("no dataset to train on; make one with: hotscan label")
    first = datasets[0]
    for other in datasets[1:]:
        for name in ("spec", "process"):
            if getattr(other, name) != getattr(first, name):
                raise ModelMismatchError(
                    f"datasets differ in {name}: {getattr(first, name)} and "
                    f"{getattr(other, name)}; train on datasets of one kind"
                )
    return first


def _patterns(datasets: Sequence[Dataset]) -> Patterns:
    """Put datasets together; a picture that occurs in several is one pattern."""
    keys = np.concatenate([dataset.key for dataset in datasets])
    counts = [dataset.counts() for dataset in datasets]
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rasters = np.concatenate([dataset.raster for dataset in datasets])[first]
    hot = np.bincount(number.ravel(), np.concatenate([c[0] for c in counts]))
    clips = np.bincount(number.ravel(), np.concatenate([c[1] for c in counts]))
    return Patterns(rasters, hot.astype(np.int64), clips.astype(np.int64))


def _split(patterns: Patterns) -> tuple[Patterns, Patterns]:
    """Set some patterns apart for validation, evenly over the (sorted, hence random) keys.

    Of each class the same share: a benchmark has few hotspots, and chance might take none.
    """
    hot = patterns.hot > 0
    rank = np.where(hot, np.cumsum(hot), np.cumsum(~hot)) - 1
    apart = rank % round(1 / VALIDATION_SHARE) == 0
    return _some(patterns, ~apart), _some(patterns, apart)


def _judged(patterns: Patterns) -> Patterns:
    """Return all patterns with a hotspot, and some of the others, evenly."""
    hot = patterns.hot > 0
    cold = np.flatnonzero(~hot)
    step = max(1, -(-len(cold) // max(EPOCH_PATTERNS - int(hot.sum()), 1)))
    hot[cold[::step]] = True
    return _some(patterns, hot)


def _some(patterns: Patterns, which: npt.NDArray[np.bool_]) -> Patterns:
    return Patterns(patterns.raster[which], patterns.hot[which], patterns.clips[which])


def _expanded(patterns: Patterns) -> npt.NDArray[np.bool_]:
    """Return the label of every clip, pattern after pattern."""
    both = np.stack([patterns.hot, patterns.clips - patterns.hot], axis=1).ravel()
    return np.repeat(np.tile([True, False], len(patterns.hot)), both)


def _identity(datasets: Sequence[Dataset], model: DetectorConfig, config: TrainingConfig) -> str:
    """Return a digest of everything that a training depends on."""
    sha = hashlib.sha256(json.dumps([asdict(model), asdict(config)], sort_keys=True).encode())
    for dataset in datasets:
        sha.update(dataset.key.tobytes() + dataset.pattern.tobytes() + dataset.label.tobytes())
    return sha.hexdigest()


def _read_state(path: Path, identity: str) -> State | None:
    if not path.exists():
        return None
    kept = torch.load(path, weights_only=True)
    if kept["identity"] != identity:
        raise RunMismatchError(
            f"{path} was left by a training on other data or settings; remove it to start anew"
        )
    state: State = kept["state"]
    return state


def _write_state(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    torch.save(content, part)
    os.replace(part, path)
