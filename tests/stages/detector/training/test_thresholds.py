import math

import numpy as np
import pytest

from stages.detector.training.thresholds import (
    choose_confident_threshold,
    choose_threshold,
    choose_threshold_for_rate,
    fit_calibration,
    measure_threshold,
    pr_auc,
    round_share,
)
from stages.errors import UsageError


@pytest.mark.parametrize(
    ("recall", "threshold", "found", "false_alarms"),
    [
        (1.0, 0.2, 4, 3),  # the lowest hotspot decides
        (0.8, 0.2, 4, 3),  # 3.2 hotspots are 4
        (0.75, 0.5, 3, 2),  # a tie is flagged whole
        (0.5, 0.8, 2, 0),
        (0.01, 0.9, 1, 0),
    ],
)
def test_threshold_is_the_highest_that_finds_enough(recall, threshold, found, false_alarms):
    scores = np.array([0.9, 0.8, 0.5, 0.2, 0.5, 0.6, 0.2, 0.1], np.float32)
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    point = choose_threshold(scores, labels, recall)
    assert point.threshold == np.float32(threshold)
    assert point.recall == found / 4
    assert point.false_alarms == false_alarms
    assert point.false_alarm_rate == false_alarms / 4
    assert (point.hotspots, point.clips) == (4, 8)


@pytest.mark.parametrize("share", [0.07, 0.29, 0.57, 0.58])
def test_threshold_does_not_ask_for_one_more_because_of_rounding(share):
    scores = np.linspace(0, 1, 100, dtype=np.float32)
    point = choose_threshold(scores, np.ones(100, bool), share)
    assert point.recall == pytest.approx(share)


@pytest.mark.parametrize(("recall", "hot"), [(0.0, 1), (1.1, 1), (0.9, 0)])
def test_threshold_needs_a_recall_and_a_hotspot(recall, hot):
    with pytest.raises(UsageError, match=f"recall is {recall} and hotspots are {hot}"):
        choose_threshold(np.zeros(3, np.float32), np.arange(3) < hot, recall)


def brute_force_pr_auc(scores, labels):
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        flagged = scores >= threshold
        recall = (flagged & labels).sum() / labels.sum()
        area += (recall - recall_before) * (flagged & labels).sum() / flagged.sum()
        recall_before = recall
    return area


@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_pr_auc_is_that_of_every_threshold_in_turn(levels):
    rng = np.random.default_rng(levels)
    labels = rng.random(300) < 0.1
    scores = (rng.integers(0, levels, 300) / levels).astype(np.float32)
    assert pr_auc(scores, labels) == pytest.approx(brute_force_pr_auc(scores, labels))
    assert pr_auc(labels.astype(np.float32), labels) == 1


@pytest.mark.parametrize("levels", [2, 5, 10_000])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.07, 0.3, 0.99])
def test_threshold_for_a_rate_is_the_lowest_that_flags_few_enough(rate, levels):
    rng = np.random.default_rng(levels)
    labels = rng.random(200) < 0.1
    scores = (rng.integers(0, levels, 200) / levels).astype(np.float32)
    point = choose_threshold_for_rate(scores, labels, rate)
    assert point.false_alarm_rate <= rate
    lower = np.nextafter(np.float32(point.threshold), np.float32(-1))
    assert measure_threshold(scores, labels, float(lower)).false_alarm_rate > rate


@pytest.mark.parametrize(
    ("rate", "flagged"), [(0.07, 7), (0.29, 29), (0.57, 57), (0.58, 58), (0.0699, 6)]
)
def test_rate_is_met_exactly_where_it_can_be(rate, flagged):
    scores = np.linspace(0, 1, 101, dtype=np.float32)
    point = choose_threshold_for_rate(scores, np.arange(101) == 100, rate)
    assert point.false_alarms == flagged
    assert point.recall == 1


@pytest.mark.parametrize(("rate", "cold"), [(-0.1, 1), (1.0, 1), (0.5, 0)])
def test_rate_needs_a_share_and_a_non_hotspot(rate, cold):
    with pytest.raises(UsageError, match=f"rate is {rate} and non-hotspots are {cold}"):
        choose_threshold_for_rate(np.zeros(3, np.float32), np.arange(3) >= cold, rate)


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0, 1.5])
def test_operating_point_counts_clips_one_by_one(threshold):
    rng = np.random.default_rng(0)
    scores = (rng.integers(0, 9, 100) / 8).astype(np.float32)
    labels = rng.random(100) < 0.3
    found = alarms = hot = 0
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        hot += label
        found += label and score >= threshold
        alarms += not label and score >= threshold
    point = measure_threshold(scores, labels, threshold)
    assert point.threshold == threshold
    assert point.recall == pytest.approx(found / hot)
    assert point.false_alarms == alarms
    assert point.false_alarm_rate == pytest.approx(alarms / (100 - hot))
    assert (point.hotspots, point.clips) == (hot, 100)


def test_operating_point_without_non_hotspots_has_no_false_alarms():
    point = measure_threshold(np.ones(3, np.float32), np.ones(3, bool), 0.5)
    assert (point.false_alarms, point.false_alarm_rate) == (0, 0.0)


def test_operating_point_of_one_hotspot_and_one_other():
    point = measure_threshold(np.array([0.9, 0.8], np.float32), np.array([True, False]), 0.5)
    assert (point.recall, point.false_alarm_rate, point.hotspots) == (1.0, 1.0, 1)


@pytest.mark.parametrize("rate", [0.9, 1 - 1e-12])
def test_a_rate_of_nearly_all_flags_all_but_the_least(rate):
    point = choose_threshold_for_rate(
        np.array([0.2, 0.4, 0.9], np.float32), np.arange(3) == 2, rate
    )
    assert (point.false_alarms, point.recall) == (1, 1)


@pytest.mark.parametrize("levels", [2, 5, 10_000])
@pytest.mark.parametrize("precision", [0.1, 0.3, 0.5, 1.0])
def test_confident_threshold_is_the_lowest_that_is_precise_enough(precision, levels):
    rng = np.random.default_rng(levels)
    scores = (rng.integers(0, levels, 200) / levels).astype(np.float32)
    labels = rng.random(200) < scores**2
    precise = [t for t in np.unique(scores) if labels[scores >= t].mean() >= precision]
    assert choose_confident_threshold(scores, labels, precision) == (
        min(precise) if precise else None
    )


def test_a_precision_that_is_met_exactly_is_enough():
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert choose_confident_threshold(scores, np.array([1, 0, 1, 0], bool), 0.5) == np.float32(0.6)
    assert choose_confident_threshold(scores, np.zeros(4, bool), 0.5) is None


def test_calibration_finds_the_line_that_the_clips_follow():
    rng = np.random.default_rng(0)
    logits, clips = rng.normal(0, 2, 4000), rng.integers(1, 50, 4000)
    hot = rng.binomial(clips, 1 / (1 + np.exp(-(0.6 * logits - 1.5))))
    scale, shift = fit_calibration(logits, hot, clips)
    assert scale == pytest.approx(0.6, abs=0.01)
    assert shift == pytest.approx(-1.5, abs=0.02)


def test_calibration_of_classes_apart_ends_at_platt_s_targets():
    """Two pictures fit exactly: 3 of 3 hotspots count as 4/5, 0 of 8 as 1/10."""
    scale, shift = fit_calibration(np.array([-1.0, 1.0]), np.array([0, 3]), np.array([8, 3]))
    assert scale + shift == pytest.approx(math.log(4), abs=1e-3)
    assert shift - scale == pytest.approx(-math.log(9), abs=1e-3)


@pytest.mark.parametrize(
    ("share", "down", "up"),
    [(0.0, 0.0, 0.0), (-1.5, -1.5, -1.5), (1.0, 1.0, 1.0), (0.123456789, 0.123456, 0.123457)],
)
def test_six_digits_of_a_share_are_kept(share, down, up):
    assert (round_share(share, math.floor), round_share(share, math.ceil)) == (down, up)
