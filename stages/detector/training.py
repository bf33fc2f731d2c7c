"""Train a detector.

In: pictures of labelled clips and a validation set. Out: the weights that did best on validation,
with a threshold. Unit: a training set in memory. Promise: on a CPU, the same seed gives the same
weights, also when training was stopped between two epochs and resumed from its state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from stages.contracts import Bytes, Float32s, Int64s
from stages.detector.losses import joint_loss
from stages.detector.model import Detector, DetectorConfig
from stages.errors import UsageError

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train."""

    epochs: int = 30
    steps: int = 250
    """Batches in an epoch, whatever the size of the training set."""
    batch: int = 128
    """Clips in a batch, half of them hotspots."""
    learning_rate: float = 4e-3
    """Peak, after a linear rise over the first tenth; a cosine takes it down to 0."""
    weight_decay: float = 1e-2
    margin: float = 0.5
    """M of the triplet loss, in squared distance of unit vectors."""
    metric_weight: float = 0.5
    """Weight of the triplet loss beside the cross entropy."""
    hard: float = 0.5
    """Share of a batch's non-hotspots that is drawn in proportion to the score they last got."""
    quarter_turns: bool = True
    """Turn as well as flip; not for a process whose source treats x and y differently."""
    recall: float = 0.99
    """Recall on validation that the threshold is chosen for."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 4 or self.steps < 1 or self.epochs < 1:
            raise UsageError(
                f"batch is {self.batch}, steps {self.steps}, epochs {self.epochs}; a batch needs "
                "two clips of each class, so 4, and there must be one step and one epoch at least"
            )


@dataclass(frozen=True, slots=True)
class LabelledClips:
    """Pictures of clips, and which are hotspots."""

    rasters: Bytes
    """(n, layers, h, w)"""
    labels: Bools
    """(n,) True for a hotspot."""

    def __post_init__(self) -> None:
        hot, clips = int(self.labels.sum()), len(self.labels)
        if len(self.rasters) != clips:
            raise UsageError(f"{len(self.rasters)} pictures have {clips} labels; give one each")
        if not 0 < hot < clips:
            raise UsageError(
                f"{hot} of {clips} clips are hotspots; a detector needs examples of both classes"
            )


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and what it does on the clips that it was measured on."""

    threshold: float
    """A clip of at least this score is flagged."""
    recall: float
    """Flagged hotspots / hotspots."""
    false_alarms: int
    """Flagged clips that are no hotspots."""
    false_alarm_rate: float
    """False alarms / clips that are no hotspots."""
    hotspots: int
    clips: int


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What an epoch came to."""

    epoch: int
    """Epochs done, this one included."""
    loss: float
    """Mean over the epoch's batches."""
    pr_auc: float
    """Area under the precision-recall curve, on validation."""
    recall: float
    """At the threshold that the configured recall asks for, on validation."""
    false_alarms: int
    """At the same threshold."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of training."""

    detector: Detector
    """With the weights of the epoch of highest `pr_auc`."""
    operating_point: OperatingPoint
    """Of those weights, on validation."""
    history: tuple[EpochReport, ...]


State = dict[str, Any]
"""Tensors and plain values, so that ``torch.load(weights_only=True)`` reads it back."""


def train(
    clips: LabelledClips,
    validation: LabelledClips,
    *,
    model: DetectorConfig,
    config: TrainingConfig,
    on_epoch: Callable[[EpochReport, State], None] = lambda report, state: None,
    state: State | None = None,
    device: str = "cpu",
) -> Trained:
    """Train a detector.

    Parameters
    ----------
    clips, validation
        What is learnt from, and what the epoch and the threshold are chosen on.
    on_epoch
        Called after every epoch. The state is that of training itself, not a copy.
    state
        What `on_epoch` was last given in a run that was stopped: training goes on from there.
    """
    torch.manual_seed(config.seed)
    detector = convert_conv2d_weight_memory_format(Detector(model).to(device), torch.channels_last)
    optimiser = torch.optim.AdamW(detector.parameters(), weight_decay=config.weight_decay)
    last_score = torch.full((len(clips.labels),), 0.5)  # a clip never drawn counts as undecided
    history: list[EpochReport] = []
    best = copy.deepcopy(detector.state_dict())
    if state is not None:
        detector.load_state_dict(state["detector"])
        optimiser.load_state_dict(state["optimiser"])
        last_score, best = state["last_score"], state["best"]
        history = [EpochReport(**report) for report in state["history"]]
    for epoch in range(len(history), config.epochs):
        loss = train_one_epoch(detector, optimiser, clips, last_score, epoch, config)
        scores = score(detector, validation.rasters)
        point = choose_threshold(scores, validation.labels, config.recall)
        area = pr_auc(scores, validation.labels)
        report = EpochReport(epoch + 1, loss, area, point.recall, point.false_alarms)
        if area > max((past.pr_auc for past in history), default=-1.0):
            best = copy.deepcopy(detector.state_dict())
        history.append(report)
        state = {
            "detector": detector.state_dict(),
            "optimiser": optimiser.state_dict(),
            "last_score": last_score,
            "best": best,
            "history": [asdict(past) for past in history],
        }
        on_epoch(report, state)
    detector.load_state_dict(best)
    point = choose_threshold(score(detector, validation.rasters), validation.labels, config.recall)
    return Trained(detector.eval(), point, tuple(history))


def train_one_epoch(
    detector: Detector,
    optimiser: torch.optim.Optimizer,
    clips: LabelledClips,
    last_score: Tensor,
    epoch: int,
    config: TrainingConfig,
) -> float:
    """Take `config.steps` steps, keep `last_score` (n,) up to date, and return the mean loss."""
    detector.train()
    device = next(detector.parameters()).device
    generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    total = 0.0
    for step, drawn in enumerate(draw_batches(clips.labels, last_score, epoch, config)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch * config.steps + step, config)
        x = to_pictures(clips.rasters[drawn]).to(device)
        x = flip_and_turn(x, generator, quarter_turns=config.quarter_turns)
        y = torch.from_numpy(clips.labels[drawn]).to(device)
        logit, embedding = detector(x)
        loss = joint_loss(
            logit, embedding, y, margin=config.margin, metric_weight=config.metric_weight
        )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        last_score[torch.from_numpy(drawn)] = logit.detach().sigmoid().cpu()
        total += float(loss.detach())
    return total / config.steps


def draw_batches(labels: Bools, last_score: Tensor, epoch: int, config: TrainingConfig) -> Int64s:
    """Return (steps, batch) indices of clips, each batch half hotspots.

    Of the others a share is drawn in proportion to the score they last got: in a layout nearly
    every clip is easy, and evenly drawn batches would soon teach nothing.
    """
    rng = np.random.default_rng((config.seed, epoch))
    hot, cold = np.flatnonzero(labels), np.flatnonzero(~labels)
    n_hot = config.batch // 2
    n_hard = round(config.hard * (config.batch - n_hot))
    n_even = config.batch - n_hot - n_hard
    weight = last_score.numpy()[cold].astype(np.float64) + 1e-6
    return np.concatenate(
        [
            rng.choice(hot, (config.steps, n_hot)),
            rng.choice(cold, (config.steps, n_even)),
            rng.choice(cold, (config.steps, n_hard), p=weight / weight.sum()),
        ],
        axis=1,
    )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the rate of `step`: a linear rise to the peak, then a cosine down to 0."""
    done = step / (config.epochs * config.steps)
    rise = 0.1
    if done < rise:
        return config.learning_rate * (done + 1 / (config.epochs * config.steps)) / rise
    return config.learning_rate * (1 + math.cos(math.pi * (done - rise) / (1 - rise))) / 2


def to_pictures(rasters: Bytes) -> Tensor:
    """Return (n, layers, h, w) float32 in [0, 1] from uint8."""
    return torch.tensor(rasters, dtype=torch.float32).div_(255)  # copies: may be read-only


def flip_and_turn(x: Tensor, generator: torch.Generator, *, quarter_turns: bool) -> Tensor:
    """Return (n, layers, h, w) with every picture in one of its 4, or with turns 8, symmetries."""
    chosen = torch.rand(3, len(x), 1, 1, 1, generator=generator).lt(0.5).to(x.device)
    x = torch.where(chosen[0], x.flip(3), x)
    x = torch.where(chosen[1], x.flip(2), x)
    return torch.where(chosen[2], x.transpose(2, 3), x) if quarter_turns else x


def score(detector: Detector, rasters: Bytes, batch: int = 256) -> Float32s:
    """Return (n,) hotspot probabilities of (n, layers, h, w) pictures."""
    fused = detector.for_inference()
    device = next(fused.parameters()).device
    parts = np.split(rasters, range(batch, len(rasters), batch))
    with torch.inference_mode():
        return np.concatenate(
            [fused(to_pictures(part).to(device))[0].sigmoid().cpu().numpy() for part in parts]
        )


def choose_threshold(scores: Float32s, labels: Bools, recall: float) -> OperatingPoint:
    """Return the highest threshold that finds at least a share `recall` of the hotspots.

    Parameters
    ----------
    scores
        (n,); a clip is flagged when its score is at least the threshold.
    labels
        (n,) True for a hotspot.
    recall
        Over 0, at most 1.

    Raises
    ------
    UsageError
        When `recall` is out of range, or there is no hotspot to measure it on.
    """
    hot = np.sort(scores[labels])[::-1]
    if not 0 < recall <= 1 or not len(hot):
        raise UsageError(
            f"recall is {recall} and hotspots are {len(hot)}; a threshold needs a recall over 0 "
            "and up to 1, and at least one hotspot to measure it on"
        )
    needed = math.ceil(recall * len(hot) - 1e-9)  # 0.07 * 100 is 7.000000000000001
    threshold = hot[needed - 1]
    flagged = scores >= threshold
    false_alarms = int((flagged & ~labels).sum())
    return OperatingPoint(
        threshold=float(threshold),
        recall=float(flagged[labels].mean()),
        false_alarms=false_alarms,
        false_alarm_rate=false_alarms / max(1, int((~labels).sum())),
        hotspots=len(hot),
        clips=len(labels),
    )


def pr_auc(scores: Float32s, labels: Bools) -> float:
    """Return the area under the precision-recall curve, as average precision.

    ``sum over thresholds of (recall_k - recall_{k-1}) precision_k``; equal scores are one
    threshold, so the order of the clips does not matter.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(labels[order])
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    flagged = np.flatnonzero(last_of_equals) + 1
    found = found[last_of_equals]
    gained = np.diff(found, prepend=0) / found[-1]
    return float((gained * found / flagged).sum())
