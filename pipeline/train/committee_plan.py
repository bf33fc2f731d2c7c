"""The networks of a checkpoint: which there are, how each differs, how they are combined.

in       a training plan, patterns
out      `FittedDetector`: networks, the rules they are combined by, and held-out scores
promise  what a network is depends on its row of a table, not on the order of calls
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from pipeline.train.network_jobs import (
    FittedNetwork,
    Log,
    Machine,
    NetworkJob,
    Source,
    run_job,
    run_jobs,
)
from pipeline.train.training_set import Patterns, assign_parts, subsample
from stages.contracts import Float32s, Floats, RasterSpec
from stages.detector.catalogue import Kind, find_kind
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.networks.committee import Committee
from stages.detector.networks.network import Network
from stages.detector.networks.shapes import SCALE, Rules
from stages.detector.training.loop import LabelledClips, State, TrainingConfig, score
from stages.detector.training.thresholds import fit_calibration
from stages.scores import NetworkScorer, score_rasters

PARTS = 5
"""Parts that the patterns are divided into where hotspots are few."""

DOUBTFUL_SHARE = 0.03
"""Share of the non-hotspots that a single pass leaves for the ensemble."""

PREFILTER_EPOCHS = 2
"""Epochs of a prefilter per epoch of the detector: its epochs are short, and it keeps improving."""


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """What sets one network of a checkpoint apart from the others."""

    name: str
    seed: int
    """Added to the seed of the training."""
    centre: bool = False
    """Whether the middle of the core is pooled separately, see `few_shape`."""
    rim: bool = False
    """Whether the rim of half of its training pictures is hidden."""
    left_out: int | None = None
    """Part of the patterns that it is not trained on, and scores instead."""


COMMITTEE = (
    NetworkRow("all but part 1", 0, centre=True, left_out=0),
    NetworkRow("all but part 2", 1000, rim=True, left_out=1),
    NetworkRow("all, network 1", 2000),
    NetworkRow("all, network 2", 3000, centre=True, rim=True),
)
"""The networks of a checkpoint where hotspots are few: all four combinations of centre and rim."""

SINGLE = NetworkRow("", 0)
"""The network of a checkpoint where hotspots are many."""

PREFILTER = NetworkRow("prefilter", 1000, rim=True)

SCORED_PARTS = sum(row.left_out is not None for row in COMMITTEE)
"""Parts whose patterns are scored by a network that was not trained on them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the networks of one checkpoint are trained."""

    detector: str
    spec: RasterSpec
    symmetries: int
    shape: dict[str, Any]
    """Where the shape differs from the default."""
    centre_shape: dict[str, Any]
    """As `shape`, for rows with `NetworkRow.centre`."""
    usual: dict[str, Any]
    """Training settings that depend on the data."""
    requested: dict[str, Any]
    """Training settings that override all others."""
    folder: Path
    identity: str
    machine: Machine
    source: Source
    start: State | None = None
    """Weights to initialise from."""
    teacher: Checkpoint | None = None
    """Model whose scores are learnt, see `pipeline.train.distil`."""

    @property
    def kind(self) -> Kind:
        """The row of the detector in the catalogue."""
        return find_kind(self.detector)

    def settings_of(self, kind: Kind) -> TrainingConfig:
        """Return the training settings of a kind of network."""
        return TrainingConfig(**(self.usual | kind.training | self.requested))

    def job_of(self, row: NetworkRow) -> NetworkJob:
        """Return the job of one network."""
        settings = self.settings_of(self.kind)
        config = replace(settings, seed=settings.seed + row.seed, rim_px=settings.rim_px * row.rim)
        shape = self.kind.shape(self.spec, **(self.centre_shape if row.centre else self.shape))
        return NetworkJob(
            row.name, self.detector, shape, config, self.folder, self.identity, self.machine,
            self.start, row.left_out,
        )  # fmt: skip

    def prefilter_job(self) -> NetworkJob:
        """Return the job of the prefilter."""
        kind, row = find_kind("prefilter"), PREFILTER
        settings = self.settings_of(kind)
        config = replace(
            settings, seed=settings.seed + row.seed, rim_px=settings.rim_px * row.rim,
            epochs=settings.epochs * PREFILTER_EPOCHS,
        )  # fmt: skip
        return NetworkJob(
            row.name, "prefilter", kind.shape(self.spec), config, self.folder, self.identity,
            self.machine,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FittedDetector:
    """Networks that are combined, and their scores of patterns they were not trained on."""

    networks: list[Network]
    rules: Rules
    held_out: Patterns
    scores: Float32s
    """(p,) of each of the held-out patterns."""
    history: list[list[dict[str, Any]]]
    """For each network an `EpochReport` per epoch."""

    def committee(self) -> Committee:
        """Return the networks as one."""
        return Committee(self.networks, self.rules)


def few_shape(spec: RasterSpec) -> dict[str, Any]:
    """Return the shape of a network that pools the middle of the core separately.

    Few hotspots were marked by hand or by a tool, in the middle of their clips, and a network
    cannot learn that from few examples.
    """
    return {"centres_px": (spec.core_px // 2, SCALE)}


def fit_single(plan: Plan, training: Patterns, validation: Patterns, log: Log) -> FittedDetector:
    """Train one network, and score the validation patterns with it.

    Each clip gets a single pass: eight orientations of the doubtful ones take as long as everything
    else, and with many hotspots to train on they avoid few false alarms (docs/decisions/0011).
    """
    clips, checked = training.to_clips(), subsample(validation).to_clips()
    fitted = run_job(plan.job_of(SINGLE), clips, checked, log)
    rules = Rules(1, plan.symmetries)
    scores = score(fitted.network, validation.raster)
    return calibrate(FittedDetector([fitted.network], rules, validation, scores, [fitted.history]))


def fit_committee(plan: Plan, patterns: Patterns, log: Log) -> FittedDetector:
    """Train networks on all but one part of the patterns, then others on all of them.

    With few hotspots none can be reserved for validation, and a threshold set on a handful would be
    chance. In the end all networks are combined (L. Breiman: "Bagging predictors", 1996).
    """
    together = plan.kind.together
    rows = COMMITTEE if together else COMMITTEE[: SCORED_PARTS + 1]
    # A library or trees take less time to fit than a process takes to start.
    workers = plan.machine.workers if together else 1
    fitted = run_jobs([plan.job_of(row) for row in rows], patterns, plan.source, workers, log)
    part = assign_parts(patterns, PARTS)
    scores, cuts = np.empty(len(patterns), np.float32), []
    for row, one in zip(rows[:SCORED_PARTS], fitted[:SCORED_PARTS], strict=True):
        own = part == row.left_out
        scores[own], rules = _score_alone(plan, one.network, patterns.select(own))
        cuts.append(rules.ensemble_from)
    networks = _order_members(fitted, together=together)
    rules = Rules(len(networks), plan.symmetries, min(cuts))
    held_out = part < SCORED_PARTS
    history = [one.history for one in fitted]
    return calibrate(
        FittedDetector(networks, rules, patterns.select(held_out), scores[held_out], history)
    )


def _order_members(fitted: Sequence[FittedNetwork], *, together: bool) -> list[Network]:
    """Return the networks that are combined, first the one that makes the single pass.

    That is one that pools the whole core evenly and was trained on everything.
    """
    networks = [one.network for one in fitted]
    partly, wholly = networks[:SCORED_PARTS], networks[SCORED_PARTS:]
    return [*wholly, *partly] if together else wholly


def _score_alone(plan: Plan, network: Network, patterns: Patterns) -> tuple[Float32s, Rules]:
    """Return the scores of one network, and the rules that they were computed with."""
    rules = Rules(1, plan.symmetries)
    if plan.kind.together:
        single_pass = score(network, patterns.raster)
        negatives = single_pass[patterns.hotspots == 0]
        cut = np.quantile(negatives, [1 - DOUBTFUL_SHARE]) if len(negatives) else np.zeros(1)
        rules = replace(rules, ensemble_from=float(_logit(cut)[0]))
    scorer = NetworkScorer(Committee([network], rules), plan.spec, plan.machine.device)
    return score_rasters(patterns.raster, scorer).score, rules


def calibrate(fitted: FittedDetector) -> FittedDetector:
    """Turn the scores into probabilities, for clips as frequent as in the held-out patterns."""
    logits = _logit(fitted.scores)
    scale, shift = fit_calibration(logits, fitted.held_out.hotspots, fitted.held_out.clips)
    scores = expit(scale * logits + shift).astype(np.float32)
    return replace(fitted, rules=replace(fitted.rules, scale=scale, shift=shift), scores=scores)


def fit_prefilter_network(plan: Plan, clips: LabelledClips, log: Log) -> FittedNetwork:
    """Train a prefilter."""
    return run_job(plan.prefilter_job(), clips, None, log)


def _logit(scores: npt.NDArray[Any]) -> Floats:
    share = np.clip(np.asarray(scores, np.float64), 1e-12, 1 - 1e-7)
    logits: Floats = np.log(share / (1 - share))
    return logits
