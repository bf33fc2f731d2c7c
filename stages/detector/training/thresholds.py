"""Thresholds: choosing them, and measuring recall and false alarms with them.

in: scores and labels of clips; out: a threshold, its recall and false alarms, PR AUC.
promise: clips with equal scores are treated alike, so the order of the clips does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from stages.contracts import Float32s, Floats, Int64s
from stages.errors import UsageError

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, and recall and false alarms on the clips that it was measured on."""

    threshold: float
    """A clip of at least this score is flagged."""
    recall: float
    """Flagged hotspots / hotspots."""
    false_alarms: int
    """Flagged clips that are not hotspots."""
    false_alarm_rate: float
    """False alarms / clips that are not hotspots."""
    hotspots: int
    clips: int
    confident: float | None = None
    """Score from which a flagged clip needs no review; None where every flagged clip is for
    review."""


def choose_threshold(scores: Float32s, labels: Bools, recall: float) -> OperatingPoint:
    """Return the highest threshold with a recall of at least `recall`.

    Parameters
    ----------
    scores
        (n,); a clip is flagged when its score is at least the threshold.
    labels
        (n,) True for a hotspot.
    recall
        More than 0, at most 1.

    Raises
    ------
    UsageError
        When `recall` is out of range, or there is no hotspot to measure it on.
    """
    positives = np.sort(scores[labels])[::-1]
    if not 0 < recall <= 1 or not len(positives):
        raise UsageError(
            f"recall is {recall} and hotspots are {len(positives)}; a threshold needs a recall "
            "over 0 and up to 1, and at least one hotspot to measure it on"
        )
    needed = math.ceil(recall * len(positives) - 1e-9)  # 0.07 * 100 is 7.000000000000001
    return measure_threshold(scores, labels, float(positives[needed - 1]))


def choose_threshold_for_rate(scores: Float32s, labels: Bools, rate: float) -> OperatingPoint:
    """Return the lowest threshold with a false-alarm rate of at most `rate`.

    For few hotspots: a false-alarm rate can be estimated where a recall cannot.
    Arguments and errors as `choose_threshold`.
    """
    negatives = np.sort(scores[~labels])[::-1]
    if not 0 <= rate < 1 or not len(negatives):
        raise UsageError(
            f"the false-alarm rate is {rate} and non-hotspots are {len(negatives)}; it must "
            "be at least 0 and under 1, and at least one non-hotspot is needed to measure it on"
        )
    last = negatives[min(math.floor(rate * len(negatives) + 1e-9), len(negatives) - 1)]
    return measure_threshold(scores, labels, float(np.nextafter(last, np.float32(np.inf))))


def measure_threshold(scores: Float32s, labels: Bools, threshold: float) -> OperatingPoint:
    """Return recall and false alarms of a threshold."""
    flagged = scores >= threshold
    false_alarms = int((flagged & ~labels).sum())
    return OperatingPoint(
        threshold=float(threshold),
        recall=float(flagged[labels].sum()) / max(1, int(labels.sum())),
        false_alarms=false_alarms,
        false_alarm_rate=false_alarms / max(1, int((~labels).sum())),
        hotspots=int(labels.sum()),
        clips=len(labels),
    )


def fit_calibration(logits: Floats, hotspots: Int64s, clips: Int64s) -> tuple[float, float]:
    """Return scale (over 0) and shift that calibrate log odds for clips of natural frequency.

    Parameters
    ----------
    logits, hotspots, clips : (n,)
        Log odds of pictures, and the number of hotspots and of clips with each picture.

    Notes
    -----
    J. Platt, "Probabilistic outputs for support vector machines", 1999: least cross entropy, with
    smoothed targets, so that it converges where the classes do not overlap.
    """
    negatives = clips - hotspots
    positive_target = (hotspots.sum() + 1) / (hotspots.sum() + 2)
    negative_target = 1 / (negatives.sum() + 2)
    wanted = hotspots * positive_target + negatives * negative_target

    def cost(line: Floats) -> tuple[float, Floats]:
        z = math.exp(line[0]) * logits + line[1]
        p = scipy.special.expit(z)
        loss = (clips * np.logaddexp(0, z) - wanted * z).sum() / clips.sum()
        error = (clips * p - wanted) / clips.sum()
        return float(loss), np.array([(error * logits).sum() * math.exp(line[0]), error.sum()])

    found = scipy.optimize.minimize(cost, np.zeros(2), jac=True, method="BFGS").x
    return float(math.exp(found[0])), float(found[1])


def choose_confident_threshold(scores: Float32s, labels: Bools, precision: float) -> float | None:
    """Return the lowest threshold with a precision of at least `precision`.

    None where there is none. Arguments as `choose_threshold`.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    share = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero((share >= precision) & last_of_equals)
    return float(scores[order[enough[-1]]]) if len(enough) else None


def round_share(share: float, to_whole: Callable[[float], int]) -> float:
    """Round a share to six significant digits, up or down by `to_whole`.

    Examples
    --------
    >>> round_share(0.01234567, math.floor), round_share(0.01234567, math.ceil)
    (0.0123456, 0.0123457)
    """
    if share <= 0:
        return share
    places = 5 - math.floor(math.log10(share))
    return float(round(to_whole(share * 10.0**places) / 10.0**places, places))


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
