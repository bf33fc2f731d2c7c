"""Measuring a model on labelled clips.

in       a model, datasets that it was not trained on
out      recall, false alarms and what they mean for simulation, as one flat object
promise  every clip of the datasets counts, hotspots and others
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets import Dataset, load_dataset
from stages.detector import checkpoint
from stages.detector.training import pr_auc
from stages.errors import ModelMismatchError
from stages.scores import load_scorer, score_rasters


def evaluate_model(
    name_or_path: str,
    datasets: Sequence[Path],
    *,
    trained_on: Sequence[Path] = (),
    threshold: float | None = None,
) -> dict[str, Any]:
    """Score every clip of `datasets` and compare with its label.

    Parameters
    ----------
    trained_on
        Datasets that the model was trained on: recall is then also given for the hotspots whose
        picture does not occur in them.
    threshold
        Score that flags a clip; the model's own by default.

    Raises
    ------
    ModelMismatchError
        When a dataset has another raster than the model.
    """
    path = checkpoint.find(name_or_path)
    model = checkpoint.load(path)
    scorer = load_scorer(path)
    seen = _keys([load_dataset(other) for other in trained_on])
    scores, labels, new = [], [], []
    for dataset in (load_dataset(other) for other in datasets):
        if dataset.spec != model.raster:
            raise ModelMismatchError(
                f"the dataset's raster is {dataset.spec} but the model's is {model.raster}; "
                "label with the model's pixel, clip and core"
            )
        scores.append(score_rasters(dataset.raster, scorer).score[dataset.pattern])
        labels.append(dataset.label)
        unseen = np.array([key.tobytes() not in seen for key in dataset.key], bool)
        new.append(unseen[dataset.pattern])
    limit = model.threshold if threshold is None else threshold
    return measures(
        np.concatenate(scores), np.concatenate(labels),
        np.concatenate(new) if trained_on else None, limit,
    )  # fmt: skip


def _keys(datasets: Sequence[Dataset]) -> set[bytes]:
    return {key.tobytes() for dataset in datasets for key in dataset.key}


def measures(scores: Any, labels: Any, unseen: Any | None, threshold: float) -> dict[str, Any]:
    """Return the figures of scored and labelled clips.

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
    made: dict[str, Any] = {
        "clips": hot + cold,
        "hotspots": hot,
        "non_hotspots": cold,
        "hotspot_share": hot / max(hot + cold, 1),
        "threshold": threshold,
        "recall": found / hot if hot else None,
        "false_alarms": false_alarms,
        "false_alarm_rate": false_alarms / max(cold, 1),
        "precision": found / max(found + false_alarms, 1),
        "flagged_share": float(flagged.mean()) if len(flagged) else 0.0,
        "pr_auc": pr_auc(scores, labels) if hot else None,
    }
    for rate in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05):
        # The least score that flags at most this share of the others.
        others = np.sort(scores[~labels])[::-1]
        limit = others[min(int(rate * cold), cold - 1)] if cold else 0.0
        made[f"recall_at_{rate:g}"] = float((scores[labels] > limit).mean()) if hot else None
    if unseen is not None:
        fresh = labels & unseen
        made["hotspots_unseen"] = int(fresh.sum())
        made["recall_unseen"] = float(flagged[fresh].mean()) if fresh.any() else None
    return made
