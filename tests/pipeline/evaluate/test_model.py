"""The figures of a model, against counting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.store import load_dataset
from pipeline.engine.storage.checksums import seal_folder
from pipeline.evaluate import model as evaluation
from pipeline.evaluate.model import (
    NORMAL_95,
    EvaluateRequest,
    compute_figures,
    compute_interval,
    compute_margin_figures,
    evaluate_model,
)
from stages.detector.models import checkpoint
from stages.detector.networks.committee import Committee
from stages.detector.networks.detector import Detector
from stages.detector.networks.shapes import Rules
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import ModelMismatchError
from stages.lithography.measure.margins import MARGINAL
from stages.lithography.measure.sections import KINDS
from stages.scores import Scores
from tests.support.detectors import SMALL
from tests.support.small_scan import SmallScan

CLIP = st.tuples(st.integers(1, 9).map(lambda tenth: tenth / 10), st.booleans(), st.booleans())


def best_recall(hot: list[float], others: list[float], most: float) -> float:
    """Return the highest recall of all thresholds that flag at most `most` of the others."""
    limits = [0.0, *hot, *others]
    return max(
        sum(score > limit for score in hot) / len(hot)
        for limit in limits
        if sum(score > limit for score in others) <= most + 1e-9
    )


def test_recall_counts_what_surely_fails_and_false_alarms_what_surely_passes() -> None:
    worst = np.array([0.5, 0.02, -0.02, -0.3, 0.4, -0.4], np.float32)
    scores = np.array([0.9, 0.1, 0.9, 0.9, 0.2, 0.1], np.float32)
    made = compute_figures(scores, worst > 0, None, 0.5, worst)
    assert (made["hotspots"], made["non_hotspots"], made["marginal"]) == (2, 2, 2)
    assert made["marginal_share"] == pytest.approx(1 / 3)
    assert (made["recall"], made["recall_with_marginal"]) == (0.5, pytest.approx(1 / 3))
    assert (made["false_alarms"], made["false_alarms_with_marginal"]) == (1, 2)
    assert made["flagged_share"] == 0.5
    assert made["recall_at_0.05"] == 0  # a sure non-hotspot scores as high as the best hotspot
    higher = compute_figures(scores + (worst == 0.5), worst > 0, None, 0.5, worst)
    assert higher["recall_at_0.05"] == 0.5


def test_kinds_and_margins_are_compared_where_they_matter() -> None:
    margin = np.full((3, len(KINDS)), -1, np.float32)
    pinch, space = KINDS.index("pinch"), KINDS.index("space")
    margin[0, pinch], margin[1, space], margin[2, pinch] = 0.5, 0.1, -0.6
    predicted = np.full((3, len(KINDS)), -0.5, np.float32)
    predicted[0, pinch], predicted[1, pinch], predicted[2, space] = 0.4, 0.3, 0.9
    made = compute_margin_figures(margin, predicted, KINDS)
    assert made["kind_named_rightly"] == 0.5
    assert made["margin_error_failing"] == pytest.approx((0.1 + 0.2) / 2)
    assert made["margin_error_near"] == pytest.approx(0.2)


@given(st.lists(CLIP, min_size=1, max_size=200), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_measures_are_counts(clips: list[tuple[float, bool, bool]], threshold: float) -> None:
    scores, labels, unseen = (np.array(column) for column in zip(*clips, strict=True))
    made = compute_figures(scores, labels, unseen, threshold)
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
        return Scores(made_up, np.zeros((len(rasters), 1), np.float16), np.zeros((len(rasters), 0)))

    monkeypatch.setattr(evaluation, "score_rasters", scored)
    made = evaluate_model(EvaluateRequest(
        model=str(small_scan.model), datasets=(labelled, labelled), threshold=0.6
    ))  # fmt: skip
    pairs = list(zip(made_up[dataset.pattern], dataset.worst_margin(), strict=True))
    assert made["clips"] == 2 * len(dataset)
    assert made["false_alarms"] == 2 * sum(s >= 0.6 and worst < -MARGINAL for s, worst in pairs)
    found = sum(s >= 0.6 and worst > MARGINAL for s, worst in pairs)
    assert made["recall"] == pytest.approx(found / sum(worst > MARGINAL for _, worst in pairs))
    assert made["marginal"] == 2 * dataset.provenance["marginal"] > 0
    assert "recall_unseen" not in made


def test_hotspots_of_known_pictures_are_not_unseen(labelled: Path, small_scan: SmallScan) -> None:
    made = evaluate_model(EvaluateRequest(
        model=str(small_scan.model), datasets=(labelled,), trained_on=(labelled,)
    ))  # fmt: skip
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
        evaluate_model(EvaluateRequest(model=str(small_scan.model), datasets=(labelled,)))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_ends_where_a_share_would_be_too_far(sample: tuple[int, int]) -> None:
    """Wilson's interval is all p for which the sample lies within z standard deviations of p."""
    part, whole = sample
    low, high = compute_interval(part, whole)
    share = part / whole
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    for end, extreme in ((low, 0.0), (high, 1.0)):
        if end != pytest.approx(extreme, abs=1e-12):
            spread = NORMAL_95 * np.sqrt(end * (1 - end) / whole)
            assert abs(share - end) == pytest.approx(spread, rel=1e-9)


def divided(labelled: Path, out: Path) -> Path:
    """Return a copy whose clips are for training or test, cores or neighbours, at random."""
    source = zarr.open_group(labelled, mode="r")
    copy = zarr.create_group(out, attributes=dict(source.attrs))
    rng = np.random.default_rng(5)
    arrays = {name: np.asarray(source[name]) for name in ("raster", "key", "pattern", "label")}
    for name in ("split", "role"):
        arrays[name] = rng.integers(0, 2, len(arrays["label"])).astype(np.uint8)
    for name, values in arrays.items():
        copy.create_array(name, data=values)
    seal_folder(out)
    return out


@pytest.mark.parametrize("protocol", ["core", "scan"])
def test_test_clips_count_and_training_clips_are_seen(
    protocol: str, labelled: Path, small_scan: SmallScan, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Made-up scores by key, so that they do not depend on which part is scored."""
    dataset = load_dataset(divided(labelled, tmp_path / "d"))

    def scored(rasters: npt.NDArray[np.uint8], scorer: Any) -> Scores:
        made_up = np.array([hash(picture.tobytes()) % 100 / 100 for picture in rasters], "f4")
        return Scores(made_up, np.zeros((len(rasters), 1), np.float16), np.zeros((len(rasters), 0)))

    monkeypatch.setattr(evaluation, "score_rasters", scored)
    made = evaluate_model(EvaluateRequest(
        model=str(small_scan.model), datasets=(tmp_path / "d",), threshold=0.5,
        protocol=protocol, simulation_s=2.0,
    ))  # fmt: skip
    assert dataset.split is not None
    assert dataset.role is not None
    core = dataset.role == 0
    test = (dataset.split == 1) & (core | (protocol == "scan"))
    seen = set(dataset.pattern[(dataset.split == 0) & core].tolist())
    hot = dataset.pattern[test & dataset.label]
    score = scored(dataset.raster, None).score
    fresh = [pattern for pattern in hot.tolist() if pattern not in seen]
    assert (made["protocol"], made["clips"], made["hotspots"]) == (protocol, test.sum(), len(hot))
    assert made["hotspots_unseen"] == len(fresh)
    assert made["recall_unseen"] == pytest.approx(np.mean([score[p] >= 0.5 for p in fresh]))
    flagged = int((score[dataset.pattern[test]] >= 0.5).sum())
    assert made["simulated_share"] == pytest.approx(flagged / test.sum())
    assert made["simulation_s_per_clip"] == 2.0
    assert made["odst_s"] == pytest.approx(2.0 * flagged + made["detection_s"])
    assert 0 < made["detection_s"] < 10
    known = evaluate_model(EvaluateRequest(
        model=str(small_scan.model), datasets=(tmp_path / "d",), trained_on=(labelled,),
        protocol=protocol,
    ))  # fmt: skip
    assert known["hotspots_unseen"] == 0


def test_one_look_is_a_single_pass_of_the_first_of_several(labelled: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = load_dataset(labelled).spec
    members = [Detector(SMALL).eval() for _ in range(2)]
    rules = Rules(2, ensemble_from=-50.0)
    point = OperatingPoint(0.5, 0.9, 1, 0.1, 10, 20)
    four = checkpoint.Checkpoint(
        Committee(members, rules).get_arrays(), SMALL, spec, ("met1",), "krf130", point, {},
        rules=rules,
    )  # fmt: skip
    first = replace(four, weights=members[0].get_arrays(), rules=None)
    for name, model in (("four", four), ("first", first)):
        checkpoint.save(tmp_path / f"{name}.pt", model)

    def area(name: str, **chosen: Any) -> float:
        made = evaluate_model(
            EvaluateRequest(model=str(tmp_path / f"{name}.pt"), datasets=(labelled,), **chosen)
        )
        return float(made["pr_auc"])

    assert area("four", one_look=True) == area("first") != area("four")
