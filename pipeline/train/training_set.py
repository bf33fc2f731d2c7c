"""The training data: distinct pictures with their labels, and how they are divided.

in       datasets
out      `Patterns`, all of them or a part
promise  a picture that occurs in several datasets is one pattern; parts do not depend on order
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.datasets.store import Dataset
from stages.contracts import Bytes, Float32s, Int64s
from stages.detector.training.loop import LabelledClips
from stages.errors import ModelMismatchError, UsageError
from stages.lithography.measure.margins import LEAST, find_worst_margin, split_by_margin

VALIDATION_SHARE = 1 / 8
"""Share of the patterns used for validation when no validation dataset is given."""

EPOCH_PATTERNS = 16_384
"""Patterns that an epoch is validated on, all hotspots among them; the threshold uses all."""

SAME = ("spec", "process", "opc")
"""What datasets must have in common to be trained on together."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Distinct pictures with the number of clips and of hotspots of each, and their margins."""

    raster: Bytes
    hotspots: Int64s
    """(p,) clips of each picture that are hotspots."""
    clips: Int64s
    """(p,) clips of each picture."""
    margins: Float32s | None = None
    """(p, kinds) mean over the clips of each picture; None unless every dataset has margins."""
    kinds: tuple[str, ...] = ()
    """What each margin is of."""

    def __len__(self) -> int:
        return len(self.hotspots)

    def to_clips(self) -> LabelledClips:
        """Return one clip per picture with the majority label: context past the clip may matter."""
        labels = 2 * self.hotspots >= self.clips
        return LabelledClips(self.raster, labels, margins=self.margins)

    def select(self, which: npt.NDArray[np.bool_]) -> Patterns:
        """Return the patterns where `which` is true."""
        margins = None if self.margins is None else self.margins[which]
        return Patterns(
            self.raster[which], self.hotspots[which], self.clips[which], margins, self.kinds
        )

    def find_sure(self) -> npt.NDArray[np.bool_]:
        """Return which patterns surely fail or surely pass; all where no margin is known."""
        if self.margins is None:
            return np.ones(len(self), bool)
        fails, passes = split_by_margin(find_worst_margin(self.margins))
        return fails | passes

    def expand_labels(self) -> npt.NDArray[np.bool_]:
        """Return the label of every clip, pattern after pattern."""
        counts = np.stack([self.hotspots, self.clips - self.hotspots], axis=1).ravel()
        return np.repeat(np.tile([True, False], len(self)), counts)


def require_same_kind(datasets: Sequence[Dataset]) -> Dataset:
    """Return the first dataset after checking that all agree in raster, process and OPC.

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
        for name in SAME:
            if getattr(other, name) != getattr(first, name):
                raise ModelMismatchError(
                    f"datasets differ in {name}: {getattr(first, name)} and "
                    f"{getattr(other, name)}; train on datasets of one kind"
                )
    return first


def merge_datasets(datasets: Sequence[Dataset]) -> Patterns:
    """Merge datasets; a picture that occurs in several becomes one pattern."""
    keys = np.concatenate([dataset.key for dataset in datasets])
    counts = [dataset.counts() for dataset in datasets]
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rasters = np.concatenate([dataset.raster for dataset in datasets])[first]
    hotspots = np.bincount(number.ravel(), np.concatenate([c[0] for c in counts]))
    clips = np.bincount(number.ravel(), np.concatenate([c[1] for c in counts]))
    margins = None
    kinds = tuple(dict.fromkeys(kind for dataset in datasets for kind in dataset.kinds))
    if all(dataset.kinds for dataset in datasets):
        # A kind that a dataset does not know was not measured there.
        sums = np.zeros((len(clips), len(kinds)))
        start = np.cumsum([0, *(len(dataset.key) for dataset in datasets)])
        for dataset, first in zip(datasets, start, strict=False):
            assert dataset.margin is not None  # it has kinds
            known = np.full((len(dataset), len(kinds)), LEAST)
            known[:, [kinds.index(kind) for kind in dataset.kinds]] = dataset.margin
            np.add.at(sums, number.ravel()[first + dataset.pattern], known)
        margins = (sums / clips[:, None]).astype(np.float32)
    else:
        kinds = ()
    return Patterns(rasters, hotspots.astype(np.int64), clips.astype(np.int64), margins, kinds)


def assign_parts(patterns: Patterns, count: int) -> Int64s:
    """Return the part, 0 to count - 1, of each pattern, (p,).

    Patterns are dealt out in the order of their keys, which are digests and hence random. Each part
    gets its share of each class: a random division could leave a part without any of few hotspots.
    """
    hotspot = patterns.hotspots > 0
    rank = np.where(hotspot, np.cumsum(hotspot), np.cumsum(~hotspot)) - 1
    part: Int64s = rank % count
    return part


def split_patterns(patterns: Patterns) -> tuple[Patterns, Patterns]:
    """Return the patterns for training and those for validation."""
    validation = assign_parts(patterns, round(1 / VALIDATION_SHARE)) == 0
    return patterns.select(~validation), patterns.select(validation)


def subsample(patterns: Patterns) -> Patterns:
    """Return all patterns with a hotspot and evenly spaced others, about `EPOCH_PATTERNS`."""
    chosen = patterns.hotspots > 0
    negatives = np.flatnonzero(~chosen)
    step = max(1, -(-len(negatives) // max(EPOCH_PATTERNS - int(chosen.sum()), 1)))
    chosen[negatives[::step]] = True
    return patterns.select(chosen)
