"""From scores to verdicts: thresholds, and what they come to.

in: scores and labels of clips; out: a threshold, its recall and false alarms, areas under curves.
promise: equal scores are one threshold, so the order of the clips does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from stages.contracts import Float32s, Floats, Int64s
from stages.errors import UsageError

Bools = npt.NDArray[np.bool_]


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
    confident: float | None = None
    """A clip of at least this score is hot, and from `threshold` on it is for review; None where
    every flagged clip is for review."""


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
    return operating_point(scores, labels, float(hot[needed - 1]))


def threshold_for_rate(scores: Float32s, labels: Bools, rate: float) -> OperatingPoint:
    """Return the lowest threshold that flags at most a share `rate` of the non-hotspots.

    For few hotspots: a share of the others is estimated well where a recall cannot be.
    Arguments and errors as `choose_threshold`.
    """
    cold = np.sort(scores[~labels])[::-1]
    if not 0 <= rate < 1 or not len(cold):
        raise UsageError(
            f"the false-alarm rate is {rate} and non-hotspots are {len(cold)}; it must be at least "
            "0 and under 1, and there must be one non-hotspot at least to measure it on"
        )
    last = cold[min(math.floor(rate * len(cold) + 1e-9), len(cold) - 1)]
    return operating_point(scores, labels, float(np.nextafter(last, np.float32(np.inf))))


def operating_point(scores: Float32s, labels: Bools, threshold: float) -> OperatingPoint:
    """Return what a threshold does on clips."""
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


def calibration(logits: Floats, hot: Int64s, clips: Int64s) -> tuple[float, float]:
    """Return scale, over 0, and shift that make log odds those of the clips as they come.

    Parameters
    ----------
    logits, hot, clips : (n,)
        Log odds of pictures, how many clips of each are hotspots, and how many there are.

    Notes
    -----
    J. Platt, "Probabilistic outputs for support vector machines", 1999: least cross entropy, with
    targets that a few clips more of the other class would give, so that it ends where the classes
    do not overlap.
    """
    from scipy.optimize import minimize  # a third of a second, that only training should wait for

    cold = clips - hot
    of_hot = (hot.sum() + 1) / (hot.sum() + 2)
    of_cold = 1 / (cold.sum() + 2)
    wanted = hot * of_hot + cold * of_cold

    def cost(line: Floats) -> tuple[float, Floats]:
        z = math.exp(line[0]) * logits + line[1]
        p = expit(z)
        loss = (clips * np.logaddexp(0, z) - wanted * z).sum() / clips.sum()
        off = (clips * p - wanted) / clips.sum()
        return float(loss), np.array([(off * logits).sum() * math.exp(line[0]), off.sum()])

    found = minimize(cost, np.zeros(2), jac=True, method="BFGS").x
    return float(math.exp(found[0])), float(found[1])


def confident_threshold(scores: Float32s, labels: Bools, precision: float) -> float | None:
    """Return the lowest threshold over which a share `precision` of the clips are hotspots.

    None where there is none. Arguments as `choose_threshold`.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.diff(scores[order]) != 0, True)
    share = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero((share >= precision) & last_of_equals)
    return float(scores[order[enough[-1]]]) if len(enough) else None


def rounded(share: float, to_whole: Callable[[float], int]) -> float:
    """Return a share with six significant digits, up or down as `to_whole` goes.

    Examples
    --------
    >>> rounded(0.01234567, math.floor), rounded(0.01234567, math.ceil)
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
