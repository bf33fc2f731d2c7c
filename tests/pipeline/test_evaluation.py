"""The figures of a model, against counting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import evaluation
from pipeline.datasets import load_dataset
from pipeline.evaluation import evaluate_model, measures
from stages.detector import checkpoint
from stages.errors import ModelMismatchError
from stages.scores import Scores
from tests.small_scan import SmallScan

CLIP = st.tuples(st.integers(1, 9).map(lambda tenth: tenth / 10), st.booleans(), st.booleans())


def best_recall(hot: list[float], others: list[float], most: float) -> float:
    """Return the highest recall of all thresholds that flag at most `most` of the others."""
    limits = [0.0, *hot, *others]
    return max(
        sum(score > limit for score in hot) / len(hot)
        for limit in limits
        if sum(score > limit for score in others) <= most + 1e-9
    )


@given(st.lists(CLIP, min_size=1, max_size=200), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_measures_are_counts(clips: list[tuple[float, bool, bool]], threshold: float) -> None:
    scores, labels, unseen = (np.array(column) for column in zip(*clips, strict=True))
    made = measures(scores, labels, unseen, threshold)
    hot = [score for score, is_hot, _ in clips if is_hot]
    others = [score for score, is_hot, _ in clips if not is_hot]
    found = sum(score >= threshold for score in hot)
    false_alarms = sum(score >= threshold for score in others)
    assert (made["clips"], made["hotspots"]) == (len(clips), len(hot))
    assert made["non_hotspots"] == len(others)
    assert made["false_alarms"] == false_alarms
    assert made["false_alarm_rate"] == pytest.approx(false_alarms / max(len(others), 1))
    assert made["flagged_share"] == pytest.approx((found + false_alarms) / len(clips))
    assert made["precision"] == pytest.approx(found / max(found + false_alarms, 1))
    assert made["recall"] == (pytest.approx(found / len(hot)) if hot else None)
    fresh = [score for score, is_hot, is_new in clips if is_hot and is_new]
    assert made["hotspots_unseen"] == len(fresh)
    if fresh:
        share = sum(score >= threshold for score in fresh) / len(fresh)
        assert made["recall_unseen"] == pytest.approx(share)
    else:
        assert made["recall_unseen"] is None
    if hot:
        for rate in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05):
            best = best_recall(hot, others, rate * len(others))
            assert made[f"recall_at_{rate:g}"] == pytest.approx(best)


def test_every_clip_counts_by_its_picture(
    labelled: Path, small_scan: SmallScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up scores; the dataset twice, so every count doubles."""
    dataset = load_dataset(labelled)
    made_up = np.random.default_rng(0).random(len(dataset.raster), np.float32)

    def scored(rasters: npt.NDArray[np.uint8], scorer: Any) -> Scores:
        assert np.array_equal(rasters, dataset.raster)
        return Scores(made_up, np.zeros((len(rasters), 1), np.float16))

    monkeypatch.setattr(evaluation, "score_rasters", scored)
    made = evaluate_model(str(small_scan.model), [labelled, labelled], threshold=0.6)
    pairs = list(zip(made_up[dataset.pattern], dataset.label, strict=True))
    assert made["clips"] == 2 * len(dataset)
    assert made["false_alarms"] == 2 * sum(score >= 0.6 and not hot for score, hot in pairs)
    found = sum(score >= 0.6 and hot for score, hot in pairs)
    assert made["recall"] == pytest.approx(found / dataset.label.sum())
    assert "recall_unseen" not in made


def test_hotspots_of_known_pictures_are_not_unseen(labelled: Path, small_scan: SmallScan) -> None:
    made = evaluate_model(str(small_scan.model), [labelled], trained_on=[labelled])
    assert made["hotspots"] > 0
    assert (made["hotspots_unseen"], made["recall_unseen"]) == (0, None)
    assert made["threshold"] == checkpoint.load(small_scan.model).threshold


def test_a_dataset_of_another_raster_is_refused(
    labelled: Path, small_scan: SmallScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(labelled)
    other = replace(dataset, spec=replace(dataset.spec, pixel_nm=20.0))
    monkeypatch.setattr(evaluation, "load_dataset", lambda path: other)
    with pytest.raises(ModelMismatchError, match=r"pixel_nm=20\.0.* but the model's is .*=40\.0"):
        evaluate_model(str(small_scan.model), [labelled])
