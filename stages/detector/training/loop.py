"""Train a network.

In: pictures of labelled clips, and some to validate on. Out: the weights of the best epoch. Unit: a
training set in memory. Promise: on a CPU, the same seed gives the same weights, also when training
was stopped between two epochs and resumed from its state.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from stages.contracts import Bytes, Float32s, Int64s
from stages.detector.networks.network import Network, Prediction
from stages.detector.training.losses import ALIKE, METRIC, PREDICTION, margin_loss
from stages.detector.training.thresholds import Bools, choose_threshold, pr_auc
from stages.errors import UsageError

NEAR = 0.04
"""Errors of margins up to this are squared where `TrainingConfig.soft_margin` is 0."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train."""

    epochs: int = 30
    steps: int = 250
    """Batches in an epoch, whatever the size of the training set."""
    batch: int = 128
    """Clips in a batch, half of them hotspots."""
    learning_rate: float = 4e-3
    """Peak, after a linear warm-up over the first tenth, followed by a cosine decay to 0."""
    weight_decay: float = 1e-2
    prediction: str = "cross_entropy"
    """Loss of the log odds, one of `stages.detector.training.losses.PREDICTION`."""
    bias: float = 0.0
    """Final target of non-hotspots, raised from 0 in three steps: biased learning."""
    metric: str = "batch_hard"
    """Loss of the embedding, one of `stages.detector.training.losses.METRIC`."""
    alike: str = "label"
    """Which clips the metric loss draws together, one of `losses.ALIKE`."""
    margin: float = 0.5
    """M of the metric loss, a squared distance of unit vectors."""
    metric_weight: float = 0.5
    """Weight of the metric loss relative to the prediction loss."""
    soft_margin: float = 0.04
    """Of clips with margins, the target of the prediction is ``sigma(worst margin / soft_margin)``;
    0 takes the labels."""
    margin_weight: float = 0.5
    """Weight of the loss of predicted margins relative to the prediction loss."""
    hard: float = 0.5
    """Share of a batch's non-hotspots that is drawn in proportion to their last score."""
    quarter_turns: bool = True
    """Rotate as well as flip; not for a process whose source treats x and y differently."""
    rim_px: int = 0
    """Width of the outer rim that is hidden in half of the pictures, at random."""
    recall: float = 0.99
    """Recall on validation that the threshold is chosen for."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 4 or self.steps < 1 or self.epochs < 1:
            raise UsageError(
                f"batch is {self.batch}, steps {self.steps}, epochs {self.epochs}; a batch needs "
                "two clips of each class, so 4, and there must be one step and one epoch at least"
            )
        for name, table in (("prediction", PREDICTION), ("metric", METRIC), ("alike", ALIKE)):
            if getattr(self, name) not in table:
                raise UsageError(
                    f"{name} is {getattr(self, name)!r}; choose one of {', '.join(table)}"
                )


@dataclass(frozen=True, slots=True)
class LabelledClips:
    """Pictures of clips and their labels."""

    rasters: Bytes
    """(n, layers, h, w)"""
    labels: Bools
    """(n,) True for a hotspot."""
    weights: Float32s | None = None
    """(n,) weight of each clip in the loss; 1 when not given. One of weight 0 is left out."""
    soft_targets: Float32s | None = None
    """(n,) target score of each clip; 1 for a hotspot, else 0, when not given."""
    margins: Float32s | None = None
    """(n, kinds) how far past its limit the worst place of each kind is."""

    def __post_init__(self) -> None:
        if len(self.rasters) != len(self.labels):
            raise UsageError(
                f"{len(self.rasters)} pictures have {len(self.labels)} labels; give one each"
            )
        counts = self.labels if self.weights is None else self.labels[self.weights > 0]
        hotspots, clips = int(counts.sum()), len(counts)
        if not 0 < hotspots < clips:
            raise UsageError(
                f"{hotspots} of {clips} clips are hotspots; a detector needs examples of both "
                "classes"
            )


@dataclass(frozen=True, slots=True)
class EpochReport:
    """The figures of an epoch."""

    epoch: int
    """Number of epochs done, including this one."""
    loss: float
    """Mean over the epoch's batches."""
    pr_auc: float | None = None
    """Area under the precision-recall curve, on validation; None when there is none."""
    recall: float | None = None
    """On validation, at the threshold for the configured recall."""
    false_alarms: int | None = None
    """At the same threshold."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of training."""

    detector: Network
    """With the weights of the epoch with the highest `pr_auc`; without validation, of the last."""
    history: tuple[EpochReport, ...]


State = dict[str, Any]
"""Tensors and plain values, so that ``torch.load(weights_only=True)`` reads it back."""


def train(
    clips: LabelledClips,
    validation: LabelledClips | None,
    *,
    network: Callable[[], Network],
    config: TrainingConfig,
    on_epoch: Callable[[EpochReport, State], None] = lambda report, state: None,
    state: State | None = None,
    device: str = "cpu",
    revise: Callable[[Network, int], LabelledClips] | None = None,
) -> Trained:
    """Train a detector.

    Parameters
    ----------
    clips, validation
        Training clips, and clips to choose the epoch on; None takes the last epoch.
    network
        Builds the network; its weights are initialised with the config's seed.
    on_epoch
        Called after every epoch. The state is that of training itself, not a copy.
    state
        The state that `on_epoch` last got in a run that was stopped, to resume from.
    revise
        Returns the clips with new labels and weights before each epoch, from the network as it is
        and the number of epochs done.
    """
    torch.manual_seed(config.seed)
    detector = convert_conv2d_weight_memory_format(network().to(device), torch.channels_last)
    optimiser = torch.optim.AdamW(detector.parameters(), weight_decay=config.weight_decay)
    last_score = torch.full(
        (len(clips.labels),), 0.5
    )  # a clip that was never drawn counts as undecided
    history: list[EpochReport] = []
    best = copy.deepcopy(detector.state_dict())
    if state is not None:
        detector.load_state_dict(state["detector"])
        optimiser.load_state_dict(state["optimiser"])
        last_score, best = state["last_score"], state["best"]
        history = [EpochReport(**report) for report in state["history"]]
    for epoch in range(len(history), config.epochs):
        if revise is not None:
            clips = revise(detector, epoch)
        torch.manual_seed(config.seed * 100_003 + epoch)  # dropout is the same when resumed
        loss = train_one_epoch(detector, optimiser, clips, last_score, epoch, config)
        report = _report(epoch, loss, detector, validation, config.recall)
        if (report.pr_auc or 0.0) >= max((past.pr_auc or 0.0 for past in history), default=0.0):
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
    return Trained(detector.eval(), tuple(history))


def _report(
    epoch: int, loss: float, detector: Network, validation: LabelledClips | None, recall: float
) -> EpochReport:
    if validation is None:
        return EpochReport(epoch + 1, loss)
    scores = score(detector, validation.rasters)
    point = choose_threshold(scores, validation.labels, recall)
    area = pr_auc(scores, validation.labels)
    return EpochReport(epoch + 1, loss, area, point.recall, point.false_alarms)


def train_one_epoch(
    detector: Network,
    optimiser: torch.optim.Optimizer,
    clips: LabelledClips,
    last_score: Tensor,
    epoch: int,
    config: TrainingConfig,
) -> float:
    """Take `config.steps` steps, update `last_score` (n,), and return the mean loss."""
    detector.train()
    device = next(detector.parameters()).device
    generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    total = 0.0
    for step, drawn in enumerate(draw_batches(clips, last_score, epoch, config)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch * config.steps + step, config)
        x = to_pictures(clips.rasters[drawn]).to(device)
        x = flip_and_turn(x, generator, quarter_turns=config.quarter_turns)
        x = hide_rims(x, generator, config.rim_px)
        prediction = detector(x)
        weights = None if clips.weights is None else clips.weights[drawn]
        soft = None if clips.soft_targets is None else clips.soft_targets[drawn]
        margins = None if clips.margins is None else clips.margins[drawn]
        labels = torch.from_numpy(clips.labels[drawn]).to(device)
        loss = joint_loss(prediction, labels, weights, epoch / config.epochs, config, soft, margins)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        last_score[torch.from_numpy(drawn)] = prediction.logit.detach().sigmoid().cpu()
        total += float(loss.detach())
    return total / config.steps


def joint_loss(
    prediction: Prediction,
    labels: Tensor,
    weights: Float32s | None,
    done: float,
    config: TrainingConfig,
    soft_targets: Float32s | None = None,
    margins: Float32s | None = None,
) -> Tensor:
    """Return ``L_prediction + metric_weight * L_metric + margin_weight * L_margin`` of a batch.

    Parameters
    ----------
    labels
        (n,) bool.
    weights
        (n,) of each clip's prediction loss.
    done
        Share of the training that is done.
    soft_targets
        (n,) target of each prediction; given by the margins or labels when None.
    margins
        (n, kinds) of each clip.
    """
    # Yang et al., DAC 2017: the target of non-hotspots is raised in steps: 0, then half, then all.
    raised = config.bias * min(int(3 * done), 2) / 2
    target = torch.where(labels, 1.0, raised).to(prediction.logit.dtype)
    known = None if margins is None else torch.from_numpy(margins).to(prediction.logit)
    if soft_targets is not None:
        target = torch.from_numpy(soft_targets).to(prediction.logit)
    elif known is not None and config.soft_margin:
        target = (known.amax(1) / config.soft_margin).sigmoid()
    loss = torch.zeros((), device=labels.device)
    for logit in (prediction.logit, *prediction.branch_logits):
        each = PREDICTION[config.prediction](logit, target)
        if weights is not None:
            each = each * torch.from_numpy(weights).to(each)
        loss = loss + each.mean()
    alike = ALIKE[config.alike](labels, known)
    metric = METRIC[config.metric](prediction.embedding, alike, config.margin)
    loss = loss + config.metric_weight * metric
    if known is not None and prediction.margin is not None:
        near = config.soft_margin or NEAR
        loss = loss + config.margin_weight * margin_loss(prediction.margin, known, near)
    return loss


def draw_batches(
    clips: LabelledClips, last_score: Tensor, epoch: int, config: TrainingConfig
) -> Int64s:
    """Return (steps, batch) indices of clips, each batch half hotspots.

    A clip of weight 0 is never drawn.

    Of the others a share is drawn in proportion to their last score: nearly every clip of a layout
    is easy, and uniformly drawn batches would soon contribute nothing.
    """
    rng = np.random.default_rng((config.seed, epoch))
    counts = True if clips.weights is None else clips.weights > 0
    positives, negatives = (
        np.flatnonzero(which & counts) for which in (clips.labels, ~clips.labels)
    )
    n_positive = config.batch // 2
    n_hard = round(config.hard * (config.batch - n_positive))
    n_uniform = config.batch - n_positive - n_hard
    weight = last_score.numpy()[negatives].astype(np.float64) + 1e-6
    return np.concatenate(
        [
            rng.choice(positives, (config.steps, n_positive)),
            rng.choice(negatives, (config.steps, n_uniform)),
            rng.choice(negatives, (config.steps, n_hard), p=weight / weight.sum()),
        ],
        axis=1,
    )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the rate of `step`: a linear warm-up to the peak, then a cosine decay to 0."""
    done = step / (config.epochs * config.steps)
    rise = 0.1
    if done < rise:
        return config.learning_rate * (done + 1 / (config.epochs * config.steps)) / rise
    return config.learning_rate * (1 + math.cos(math.pi * (done - rise) / (1 - rise))) / 2


def to_pictures(rasters: Bytes) -> Tensor:
    """Return (n, layers, h, w) float32 in [0, 1] from uint8."""
    return torch.tensor(rasters, dtype=torch.float32).div_(255)  # copies: may be read-only


def flip_and_turn(x: Tensor, generator: torch.Generator, *, quarter_turns: bool) -> Tensor:
    """Return (n, layers, h, w), each picture in a random one of 4, or 8, orientations."""
    chosen = torch.rand(3, len(x), 1, 1, 1, generator=generator).lt(0.5).to(x.device)
    x = torch.where(chosen[0], x.flip(3), x)
    x = torch.where(chosen[1], x.flip(2), x)
    return torch.where(chosen[2], x.transpose(2, 3), x) if quarter_turns else x


def hide_rims(x: Tensor, generator: torch.Generator, rim_px: int) -> Tensor:
    """Return (n, layers, h, w); in a random half of the pictures the rim repeats the inner edge.

    The rim may identify single clips, and a network that relies on it learns nothing else from
    them. One that sees both versions can use the rim but does not need it.
    """
    if not rim_px:
        return x
    hidden = F.pad(x[:, :, rim_px:-rim_px, rim_px:-rim_px], (rim_px,) * 4, mode="replicate")
    chosen = torch.rand(len(x), 1, 1, 1, generator=generator).lt(0.5).to(x.device)
    return torch.where(chosen, hidden, x)


def score(detector: Network, rasters: Bytes) -> Float32s:
    """Return (n,) hotspot probabilities of (n, layers, h, w) pictures."""
    return np.concatenate(
        [one.logit.sigmoid().cpu().numpy() for one in _predict(detector, rasters)]
    )


def embed(detector: Network, rasters: Bytes) -> Float32s:
    """Return (n, e) embeddings of (n, layers, h, w) pictures, of unit norm."""
    return np.concatenate([one.embedding.cpu().numpy() for one in _predict(detector, rasters)])


def likeness(detector: Network, rasters: Bytes) -> Float32s:
    """Return vectors of unit norm, (n, f): similar pictures (n, layers, h, w) are close."""
    fused = detector.for_inference()
    with torch.inference_mode():
        vectors = [fused.likeness(x).cpu().numpy() for x in _batches(fused, rasters)]
    return np.concatenate(vectors)


def _predict(detector: Network, rasters: Bytes) -> Iterator[Prediction]:
    fused = detector.for_inference()
    for x in _batches(fused, rasters):
        with torch.inference_mode():
            yield fused(x)


def _batches(fused: Network, rasters: Bytes, batch: int = 256) -> Iterator[Tensor]:
    """Yield pictures, a batch at a time, on the device of the network."""
    device = next(itertools.chain(fused.parameters(), fused.buffers())).device
    for part in np.split(rasters, range(batch, len(rasters), batch)):
        yield to_pictures(part).to(device)
