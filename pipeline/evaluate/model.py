"""Measuring a model on labelled clips.

in       a model, datasets
out      recall, false alarms and what they mean for simulation, as one flat object
promise  every clip that the protocol counts is counted; clips for training never are
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.datasets.store import Dataset, load_dataset
from stages.contracts import Float32s
from stages.detector import checkpoint
from stages.detector.thresholds import pr_auc
from stages.errors import ModelMismatchError
from stages.scores import score_rasters, scorer_of

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Shares of the non-hotspots that may be flagged."""

SIMULATION_S = 10.0
"""Simulating a clip, in the papers of the field; ours is faster: give what was measured."""

NORMAL_95 = 1.959964
"""Quantile of the normal distribution that leaves 2.5 % above."""

Bools = npt.NDArray[np.bool_]


def evaluate_model(
    name_or_path: str,
    datasets: Sequence[Path],
    *,
    trained_on: Sequence[Path] = (),
    threshold: float | None = None,
    protocol: str = "core",
    simulation_s: float = SIMULATION_S,
    prefiltered: bool = True,
) -> dict[str, Any]:
    """Score the test clips of `datasets` and compare with their labels.

    Parameters
    ----------
    datasets
        Of those that are divided, the test clips count; of others, all.
    trained_on
        Datasets that the model was trained on: recall is then also given for the hotspots whose
        picture, in any of the process's symmetries, does not occur among their training clips.
        Without any, the training clips of those of `datasets` that are divided.
    threshold
        Score that flags a clip; the model's own by default.
    protocol
        One of `pipeline.datasets.store.PROTOCOLS`.
    simulation_s
        Time to simulate a clip, in seconds, for ``odst_s``.
    prefiltered
        Whether the model's prefilter looks first, where it has one that holds for the threshold.

    Raises
    ------
    ModelMismatchError
        When a dataset has another raster than the model.
    """
    path = checkpoint.find(name_or_path)
    model = checkpoint.load(path)
    limit = model.threshold if threshold is None else threshold
    scorer = scorer_of(model, prefiltered=prefiltered and model.may_prefilter(limit))
    loaded = [load_dataset(other) for other in datasets]
    known = [load_dataset(other) for other in trained_on]
    divided = [dataset for dataset in loaded if dataset.split is not None]
    seen = _keys(dataset.part("train", "core") for dataset in known or divided)
    scores, labels, new, seconds = [], [], [], 0.0
    for dataset in (one.part("test", protocol) for one in loaded):
        if dataset.spec != model.raster:
            raise ModelMismatchError(
                f"the dataset's raster is {dataset.spec} but the model's is {model.raster}; "
                "label with the model's pixel, clip and core"
            )
        started = time.perf_counter()
        scores.append(score_rasters(dataset.raster, scorer).score[dataset.pattern])
        seconds += time.perf_counter() - started
        labels.append(dataset.label)
        unseen = np.array([key.tobytes() not in seen for key in dataset.key], bool)
        new.append(unseen[dataset.pattern])
    made = measures(
        np.concatenate(scores), np.concatenate(labels),
        np.concatenate(new) if known or divided else None, limit,
    )  # fmt: skip
    return {
        "protocol": protocol,
        **made,
        "detection_s": seconds,
        "simulation_s_per_clip": simulation_s,
        "odst_s": made["flagged_share"] * made["clips"] * simulation_s + seconds,
    }


def _keys(datasets: Iterable[Dataset]) -> set[bytes]:
    return {key.tobytes() for dataset in datasets for key in dataset.key}


def measures(
    scores: Float32s, labels: Bools, unseen: Bools | None, threshold: float
) -> dict[str, Any]:
    """Return the figures of scored and labelled clips.

    Each share that is estimated from few hotspots has the ends of its 95 % confidence interval
    beside it, as ``_low`` and ``_high``: how far the share of another such sample may lie, at the
    same threshold.

    Parameters
    ----------
    scores, labels : (n,)
        Score of each clip, and whether it is a hotspot.
    unseen : (n,) bool, optional
        Whether the clip's picture is new to the model.
    """
    flagged = scores >= threshold
    hot, cold = int(labels.sum()), int((~labels).sum())
    found, false_alarms = int((flagged & labels).sum()), int((flagged & ~labels).sum())
    flagged_share = (found + false_alarms) / max(hot + cold, 1)
    made: dict[str, Any] = {
        "clips": hot + cold,
        "hotspots": hot,
        "non_hotspots": cold,
        "hotspot_share": hot / max(hot + cold, 1),
        "threshold": threshold,
        **interval_of("recall", found, hot),
        "false_alarms": false_alarms,
        "false_alarm_rate": false_alarms / max(cold, 1),
        "precision": found / max(found + false_alarms, 1),
        "flagged_share": flagged_share,
        "simulated_share": flagged_share,
        "pr_auc": pr_auc(scores, labels) if hot else None,
    }
    for rate in RATES:
        # The least score that flags at most this share of the others.
        others = np.sort(scores[~labels])[::-1]
        allowed = min(math.floor(rate * cold + 1e-9), cold - 1)  # 0.29 * 100 is 28.999999999999996
        limit = others[allowed] if cold else -math.inf
        made |= interval_of(f"recall_at_{rate:g}", int((scores[labels] > limit).sum()), hot)
    if unseen is not None:
        fresh = labels & unseen
        made["hotspots_unseen"] = int(fresh.sum())
        made |= interval_of("recall_unseen", int((flagged & fresh).sum()), int(fresh.sum()))
    return made


def interval_of(name: str, part: int, whole: int) -> dict[str, float | None]:
    """Return a share and the ends of its interval, as ``_low`` and ``_high``; None of nothing."""
    low, high = wilson(part, whole) if whole else (None, None)
    share = part / whole if whole else None
    return {name: share, f"{name}_low": low, f"{name}_high": high}


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (E. B. Wilson, JASA 1927).

    It holds for few samples and for shares near 1, where the normal interval does not.

    Examples
    --------
    >>> [round(end, 4) for end in wilson(41, 41)]
    [0.9143, 1.0]
    """
    share, z2 = part / whole, NORMAL_95**2
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    spread = NORMAL_95 / (1 + z2 / whole)
    half = spread * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)
