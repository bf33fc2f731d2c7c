"""Distilling a model into one network, which then looks once at each clip.

in       a teacher of any number of networks, the patterns of a training
out      a `FittedDetector` of one network, with held-out scores
promise  the scores that measure it are of patterns that it, or its double, was not fitted to

The targets are the teacher's scores, which say more of a pattern than a label does (Hinton,
Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015), and not of the training
patterns alone: a teacher that was fitted to these knows their labels. Most are of pictures near
them, on which teacher and network are to agree as functions (Beyer et al.: "Knowledge distillation:
A good teacher is patient and consistent", CVPR 2022). Test clips are never among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.train.committee_plan import (
    PARTS,
    SCORED_PARTS,
    FittedDetector,
    NetworkRow,
    Plan,
    calibrate,
)
from pipeline.train.network_jobs import Log, run_job
from pipeline.train.prefilter_fit import NEAR, soften
from pipeline.train.training_set import Patterns, assign_parts, subsample
from stages.detector.catalogue import fit_network
from stages.detector.networks.shapes import Rules
from stages.detector.training.loop import LabelledClips, score
from stages.detector.training.perturb import perturb
from stages.errors import UsageError
from stages.scores import ModelScorer, build_scorer, score_rasters

COPIES = 16
"""New pictures near each pattern that the teacher takes for a hotspot, or nearly."""

MOST_COPIES = 40_000
"""New pictures in all, at most: the teacher scores each."""

DOUBLE = NetworkRow("distilled, without the validation parts", 0, centre=True, rim=True)
DISTILLED = NetworkRow("distilled", 1000, centre=True, rim=True)


@dataclass(frozen=True, slots=True)
class Teacher:
    """What is asked about pictures."""

    scorer: ModelScorer
    threshold: float
    """Score from which it flags a clip."""
    seed: int
    """Of the pictures that it is asked about."""


def distil_few(plan: Plan, patterns: Patterns, log: Log) -> FittedDetector:
    """Train one network where hotspots are few, and a double that scores what it was not taught.

    The double is taught without `SCORED_PARTS` of the patterns and what is near them.

    Raises
    ------
    UsageError
        When the detector cannot be taught, or its teacher flags nothing, or everything.
    """
    teacher = _find_teacher(plan)
    apart = assign_parts(patterns, PARTS) < SCORED_PARTS
    held_out = patterns.select(apart)
    lessons = [write_lesson(part, teacher) for part in (patterns.select(~apart), held_out)]
    double = run_job(plan.job_of(DOUBLE), lessons[0], None, log)
    fitted = run_job(plan.job_of(DISTILLED), join_lessons(lessons), None, log)
    scores = score(double.network, held_out.raster)
    history = [double.history, fitted.history]
    rules = Rules(1, plan.symmetries)
    return calibrate(FittedDetector([fitted.network], rules, held_out, scores, history))


def distil_many(plan: Plan, training: Patterns, validation: Patterns, log: Log) -> FittedDetector:
    """Train one network, and score the validation patterns with it; errors as `distil_few`."""
    lesson, checked = write_lesson(training, _find_teacher(plan)), subsample(validation).to_clips()
    fitted = run_job(plan.job_of(DISTILLED), lesson, checked, log)
    rules, scores = Rules(1, plan.symmetries), score(fitted.network, validation.raster)
    return calibrate(FittedDetector([fitted.network], rules, validation, scores, [fitted.history]))


def _find_teacher(plan: Plan) -> Teacher:
    if plan.kind.fit is not fit_network:
        raise UsageError(
            f"detector {plan.detector!r} cannot be taught; leave --distil out, or choose "
            "--detector attention"
        )
    assert plan.teacher is not None  # the callers are for plans that have one
    scorer = build_scorer(plan.teacher, plan.machine.device, prefiltered=False)
    return Teacher(scorer, plan.teacher.threshold, plan.settings_of(plan.kind).seed)


def write_lesson(patterns: Patterns, teacher: Teacher) -> LabelledClips:
    """Return patterns, and new pictures near those that are hotspots to it, or nearly.

    What it flags counts as hotspots, of which half of each batch are, beside those that are known.
    """
    scorer, known = teacher.scorer, patterns.hotspots > 0
    scores = score_rasters(patterns.raster, scorer).score
    near = np.flatnonzero((scores >= NEAR * teacher.threshold) | known)
    copies = min(COPIES, MOST_COPIES // max(len(near), 1)) if len(near) else 0
    rng = np.random.default_rng((teacher.seed, len(patterns)))
    made = [perturb(patterns.raster[near], rng) for _ in range(copies)]
    new = np.concatenate([patterns.raster[:0], *made])
    scores = np.concatenate([scores, score_rasters(new, scorer).score])
    margins = None
    if patterns.margins is not None and scorer.kinds == patterns.kinds:
        margins = np.concatenate([patterns.margins, scorer.predict_margins(new)])
    labels = scores >= teacher.threshold
    labels[: len(known)] |= known
    if labels.all():
        raise UsageError(
            f"the model to distil flags all {len(labels)} pictures at its threshold "
            f"{teacher.threshold:g}; distil one that tells hotspots from others"
        )
    return LabelledClips(
        np.concatenate([patterns.raster, new]), labels,
        soft_targets=soften(scores, teacher.threshold), margins=margins,
    )  # fmt: skip


def join_lessons(lessons: Sequence[LabelledClips]) -> LabelledClips:
    """Return several lessons of one teacher as one."""
    joined: dict[str, Any] = {}
    for name in ("rasters", "labels", "soft_targets", "margins"):
        parts = [getattr(one, name) for one in lessons]
        joined[name] = None if parts[0] is None else np.concatenate(parts)
    return LabelledClips(**joined)
