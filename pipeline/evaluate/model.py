"""Evaluating a model on labelled clips.

in       a model, datasets
out      recall, false alarms and the simulation they cause, as one flat object
promise  every clip of the protocol is counted; training clips never are
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.datasets.store import Dataset, load_dataset
from stages.contracts import Float32s
from stages.detector.models import checkpoint
from stages.detector.training.thresholds import pr_auc
from stages.errors import ModelMismatchError
from stages.lithography.measure.margins import find_worst_margin, name_kinds, split_by_margin
from stages.scores import build_scorer, choose_arithmetic, score_rasters

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""False-alarm rates that recall is given at."""

NEAR = 0.2
"""Clips whose margin is at most this, either way, are near the limit."""

SIMULATION_S = 10.0
"""Time to simulate a clip in the literature; ours is faster: give a measured one."""

NORMAL_95 = 1.959964
"""97.5 % quantile of the normal distribution."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """A model to evaluate."""

    model: str
    """Name of a shipped model, or path of a checkpoint."""
    datasets: tuple[Path, ...]
    """Datasets to evaluate on: the test clips of those that are divided, all clips of others."""
    trained_on: tuple[Path, ...] = ()
    """Datasets that the model was trained on: recall is then also given for the hotspots whose
    picture, in any orientation, does not occur among their training clips. Without any, the
    training clips of those of `datasets` that are divided."""
    threshold: float | None = None
    """Score from which a clip is flagged; the model's own by default."""
    protocol: str = "core"
    """One of `pipeline.datasets.store.PROTOCOLS`."""
    simulation_s: float = SIMULATION_S
    """Time to simulate a clip, in seconds, for ``odst_s``."""
    prefiltered: bool = True
    """Whether the model's prefilter is used, where it has one that is valid for the threshold."""
    one_look: bool = False
    """Whether every clip gets a single pass of one network, where the model has several."""
    arithmetic: str | None = None
    """What scores are computed in; ``int8`` by default where the model has it."""


def evaluate_model(request: EvaluateRequest) -> dict[str, Any]:
    """Score the test clips of datasets and compare with their labels.

    Raises
    ------
    ModelMismatchError
        When a dataset has another raster than the model.
    """
    model = checkpoint.load(checkpoint.find(request.model))
    limit = model.threshold if request.threshold is None else request.threshold
    prefiltered = request.prefiltered and model.may_prefilter(limit)
    arithmetic = choose_arithmetic(model, "cpu", request.arithmetic)
    scorer = build_scorer(
        model, prefiltered=prefiltered, one_look=request.one_look, arithmetic=arithmetic
    )
    loaded = [load_dataset(path) for path in request.datasets]
    known = [load_dataset(path) for path in request.trained_on]
    divided = [dataset for dataset in loaded if dataset.split is not None]
    seen = _collect_keys(dataset.subset("train", "core") for dataset in known or divided)
    scores, labels, worst, new, seconds = [], [], [], [], 0.0
    margins: list[tuple[Float32s, Float32s]] = []
    for dataset in (one.subset("test", request.protocol) for one in loaded):
        if dataset.spec != model.raster:
            raise ModelMismatchError(
                f"the dataset's raster is {dataset.spec} but the model's is {model.raster}; "
                "label with the model's pixel, clip and core"
            )
        started = time.perf_counter()
        scores.append(score_rasters(dataset.raster, scorer).score[dataset.pattern])
        seconds += time.perf_counter() - started
        labels.append(dataset.label)
        worst.append(dataset.worst_margin())
        if dataset.margin is not None and dataset.kinds == scorer.kinds:
            margins.append(
                (dataset.margin, scorer.predict_margins(dataset.raster)[dataset.pattern])
            )
        unseen = np.array([key.tobytes() not in seen for key in dataset.key], bool)
        new.append(unseen[dataset.pattern])
    figures = compute_figures(
        np.concatenate(scores), np.concatenate(labels),
        np.concatenate(new) if known or divided else None, limit, np.concatenate(worst),
    )  # fmt: skip
    if margins:
        margin, predicted = (np.concatenate(each) for each in zip(*margins, strict=True))
        figures |= compute_margin_figures(margin, predicted, scorer.kinds)
    return {
        "protocol": request.protocol,
        **figures,
        "detection_s": seconds,
        "simulation_s_per_clip": request.simulation_s,
        "odst_s": figures["flagged_share"] * figures["clips"] * request.simulation_s + seconds,
    }


def _collect_keys(datasets: Iterable[Dataset]) -> set[bytes]:
    return {key.tobytes() for dataset in datasets for key in dataset.key}


def _find_limit(negatives: Float32s, rate: float) -> float:
    """Return the score above which there is at most this share of the negatives."""
    if not len(negatives):
        return -math.inf
    allowed = math.floor(rate * len(negatives) + 1e-9)  # 0.29 * 100 is 28.999999999999996
    return float(np.sort(negatives)[::-1][min(allowed, len(negatives) - 1)])


def compute_figures(
    scores: Float32s,
    labels: Bools,
    unseen: Bools | None,
    threshold: float,
    worst: Float32s | None = None,
) -> dict[str, Any]:
    """Return the figures of scored and labelled clips.

    Recall and false alarms leave out marginal clips; figures that end in ``_with_marginal`` count
    every clip by its label. Each share that is estimated from few hotspots comes with the limits of
    its 95 % confidence interval, as ``_low`` and ``_high``, at a fixed threshold.

    Parameters
    ----------
    scores, labels : (n,)
        Score of each clip, and whether it is a hotspot.
    unseen : (n,) bool, optional
        Whether the clip's picture is new to the model.
    worst : (n,) float32, optional
        Margin of each clip; beyond all limits, as its label says, when not given.
    """
    if worst is None:
        worst = np.where(labels, 1, -1).astype(np.float32)
    fails, passes = split_by_margin(worst)
    flagged = scores >= threshold
    hotspots, negatives = int(fails.sum()), int(passes.sum())
    found, false_alarms = int((flagged & fails).sum()), int((flagged & passes).sum())
    flagged_share = int(flagged.sum()) / max(len(labels), 1)
    clear = fails | passes
    figures: dict[str, Any] = {
        "clips": len(labels),
        "hotspots": hotspots,
        "non_hotspots": negatives,
        "marginal": int((~clear).sum()),
        "marginal_share": float((~clear).mean()) if len(clear) else 0.0,
        "hotspot_share": int(labels.sum()) / max(len(labels), 1),
        "threshold": threshold,
        **estimate_share("recall", found, hotspots),
        **estimate_share("recall_with_marginal", int((flagged & labels).sum()), int(labels.sum())),
        "false_alarms": false_alarms,
        "false_alarm_rate": false_alarms / max(negatives, 1),
        "false_alarms_with_marginal": int((flagged & ~labels).sum()),
        "precision": found / max(found + false_alarms, 1),
        "flagged_share": flagged_share,
        "simulated_share": flagged_share,
        "pr_auc": pr_auc(scores[clear], fails[clear]) if hotspots else None,
    }
    for rate in RATES:
        above = int((scores[fails] > _find_limit(scores[passes], rate)).sum())
        figures |= estimate_share(f"recall_at_{rate:g}", above, hotspots)
    if unseen is not None:
        fresh = fails & unseen
        figures["hotspots_unseen"] = int(fresh.sum())
        figures |= estimate_share("recall_unseen", int((flagged & fresh).sum()), int(fresh.sum()))
    return figures


def compute_margin_figures(
    margin: Float32s, predicted: Float32s, kinds: tuple[str, ...]
) -> dict[str, Any]:
    """Return how well margins are predicted, (n, kinds) of clips as they are and as predicted.

    The error is that of the worst kind's margin, of clips that surely fail and of those that are no
    further than `NEAR` from the limit; a kind is named rightly where the same one is worst.
    """
    worst, guess = find_worst_margin(margin), find_worst_margin(predicted)
    fails, _ = split_by_margin(worst)
    near = np.abs(worst) <= NEAR
    right = name_kinds(margin, kinds)[fails] == name_kinds(predicted, kinds)[fails]
    error = np.abs(worst - guess)
    return {
        **estimate_share("kind_named_rightly", int(right.sum()), len(right)),
        "margin_error_failing": float(error[fails].mean()) if fails.any() else None,
        "margin_error_near": float(error[near].mean()) if near.any() else None,
    }


def estimate_share(name: str, part: int, whole: int) -> dict[str, float | None]:
    """Return a share and its interval, as ``_low`` and ``_high``; None where `whole` is 0."""
    low, high = compute_interval(part, whole) if whole else (None, None)
    share = part / whole if whole else None
    return {name: share, f"{name}_low": low, f"{name}_high": high}


def compute_interval(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (E. B. Wilson, JASA 1927).

    It holds for few samples and for shares near 1, where the normal interval does not.

    Examples
    --------
    >>> [round(end, 4) for end in compute_interval(41, 41)]
    [0.9143, 1.0]
    """
    share, z2 = part / whole, NORMAL_95**2
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    spread = NORMAL_95 / (1 + z2 / whole)
    half = spread * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)
