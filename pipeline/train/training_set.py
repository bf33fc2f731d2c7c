"""What a training learns from and is checked on: distinct pictures, with their labels.

in       datasets
out      `Patterns`, whole or in parts
promise  a picture that occurs in several datasets is one pattern; parts do not depend on order
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.datasets.store import Dataset
from stages.contracts import Bytes
from stages.detector.training import LabelledClips
from stages.errors import ModelMismatchError, UsageError

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

    def __len__(self) -> int:
        return len(self.hot)

    def labelled(self) -> LabelledClips:
        """Return one clip per picture; what lies past the clip may decide: then the majority."""
        return LabelledClips(self.raster, 2 * self.hot >= self.clips)

    def some(self, which: npt.NDArray[np.bool_]) -> Patterns:
        """Return some of them."""
        return Patterns(self.raster[which], self.hot[which], self.clips[which])


def alike(datasets: Sequence[Dataset]) -> Dataset:
    """Return the first dataset, once all are known to be of one raster and process.

    Raises
    ------
    UsageError
        When there is none.
    ModelMismatchError
        When they differ.
    """
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


def patterns_of(datasets: Sequence[Dataset]) -> Patterns:
    """Put datasets together; a picture that occurs in several is one pattern."""
    keys = np.concatenate([dataset.key for dataset in datasets])
    counts = [dataset.counts() for dataset in datasets]
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rasters = np.concatenate([dataset.raster for dataset in datasets])[first]
    hot = np.bincount(number.ravel(), np.concatenate([c[0] for c in counts]))
    clips = np.bincount(number.ravel(), np.concatenate([c[1] for c in counts]))
    return Patterns(rasters, hot.astype(np.int64), clips.astype(np.int64))


def parts_of(patterns: Patterns, count: int) -> npt.NDArray[np.int64]:
    """Divide patterns into parts, evenly over the (sorted, hence random) keys.

    Each has the same share of each class: of few hotspots, chance might leave a part without.
    """
    hot = patterns.hot > 0
    part: npt.NDArray[np.int64] = (np.where(hot, np.cumsum(hot), np.cumsum(~hot)) - 1) % count
    return part


def split(patterns: Patterns) -> tuple[Patterns, Patterns]:
    """Set some patterns apart for validation."""
    apart = parts_of(patterns, round(1 / VALIDATION_SHARE)) == 0
    return patterns.some(~apart), patterns.some(apart)


def judged(patterns: Patterns) -> Patterns:
    """Return all patterns with a hotspot, and some of the others, evenly."""
    hot = patterns.hot > 0
    cold = np.flatnonzero(~hot)
    step = max(1, -(-len(cold) // max(EPOCH_PATTERNS - int(hot.sum()), 1)))
    hot[cold[::step]] = True
    return patterns.some(hot)


def labels_of(patterns: Patterns) -> npt.NDArray[np.bool_]:
    """Return the label of every clip, pattern after pattern."""
    both = np.stack([patterns.hot, patterns.clips - patterns.hot], axis=1).ravel()
    return np.repeat(np.tile([True, False], len(patterns.hot)), both)
