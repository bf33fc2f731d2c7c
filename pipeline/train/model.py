"""Training a detector on labelled datasets, from files to a checkpoint.

in       datasets, a recipe
out      a checkpoint that says what it was trained on and what it reaches on validation clips
promise  a stopped training goes on where it was; on a CPU, the same seed gives the same weights
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from pipeline.datasets.store import Dataset, load_dataset
from pipeline.engine.memory import keep_freed_memory
from pipeline.train.network_jobs import (
    ALONE,
    Lesson,
    Machine,
    Say,
    Source,
    begun_with,
    forget,
    learnt,
    learnt_side_by_side,
)
from pipeline.train.plot import draw_curves
from pipeline.train.prefilter import fit_prefilter
from pipeline.train.resume_state import identity
from pipeline.train.training_set import (
    Patterns,
    alike,
    judged,
    labels_of,
    parts_of,
    patterns_of,
    split,
)
from stages.contracts import Bytes, Float32s, Floats, RasterSpec
from stages.detector import checkpoint
from stages.detector.active_learning import choose
from stages.detector.catalogue import Kind, kind_of
from stages.detector.committee import Committee, Rules
from stages.detector.model import SCALE
from stages.detector.network import Network
from stages.detector.thresholds import (
    OperatingPoint,
    calibration,
    choose_threshold,
    confident_threshold,
    operating_point,
    rounded,
    threshold_for_rate,
)
from stages.detector.training import LabelledClips, TrainingConfig, likeness, score
from stages.errors import UsageError
from stages.lithography.process import load_process, process_of
from stages.scores import NetworkScorer, score_rasters

FEW_HOTSPOTS = 2000
"""With fewer patterns of hotspots none is spared for validation: see `_folded`."""

FEW_TRAINING = {"epochs": 8, "batch": 64}
"""How long, then: each network is one of several."""

PARTS, JUDGED = 5, 2
"""Where hotspots are few: into how many parts clips are divided, and how many of these are judged,
each by what learnt from all others."""

WHOLE = 2
"""Networks that learn from all parts, then."""

CONFIDENT_PRECISION = 0.95
"""Share of hotspots among the clips that are called hot without review."""

DOUBTFUL_SHARE = 0.03
"""Share of the non-hotspots that a quick look leaves for a careful one."""

PREFILTER_EPOCHS = 2
"""As many epochs for each of the detector: they are short, and it goes on getting better."""

SEED_STEP = 1000
"""From the seed of one network to that of the next."""

EXAMPLES = 32
"""Hotspots whose pictures are kept, so that a finding can be shown beside the nearest."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, and how."""

    detector: str = "attention"
    """One of `stages.detector.catalogue.DETECTORS`."""
    shape: dict[str, Any] = field(default_factory=dict)
    """Where its config is not the usual one."""
    training: dict[str, Any] = field(default_factory=dict)
    """Where the training is not the usual one of the detector; see `TrainingConfig`."""
    start: str | None = None
    """A model whose weights are begun with: of another process, or of simulated labels."""
    protocol: str = "scan"
    """Of marked datasets, learn from the cores, or from their neighbours too."""
    false_alarm_rate: float = 0.0015
    """Of clips not learnt from, that the threshold is set for where hotspots are few."""


@dataclass(frozen=True, slots=True)
class _Judges:
    """Networks that judge together, and what they say of clips that they did not learn from."""

    networks: list[Network]
    rules: Rules
    checked: Patterns
    scores: Float32s
    """Of each of the patterns."""


def train_model(
    datasets: Sequence[Path],
    out: Path,
    recipe: Recipe,
    *,
    validation: Sequence[Path] = (),
    say: Say = lambda text: None,
    machine: Machine = ALONE,
) -> dict[str, Any]:
    """Train on `datasets`, write the checkpoint to `out`, return its figures.

    Beside it a picture of the losses, epoch by epoch, is drawn. Of datasets that are divided, the
    training clips are used, for validation too; the test clips never are.

    Raises
    ------
    UsageError
        When a dataset cannot be read, or holds no hotspot.
    ModelMismatchError
        When the datasets differ in raster or process.
    RunMismatchError
        When a stopped training of `out` had other data or settings.
    """
    if not out.parent.is_dir():
        raise UsageError(
            f"checkpoint {out} cannot be written: {out.parent} is no directory; make it, or "
            "choose another --out"
        )
    loaded = [load_dataset(path).part("train", recipe.protocol) for path in datasets]
    held = [load_dataset(path).part("train", recipe.protocol) for path in validation]
    first = alike(loaded + held)
    settings = first.provenance.get("process_settings", {})
    process = process_of(settings) if settings else load_process(first.process)
    patterns = patterns_of(loaded)
    few = not held and int((patterns.hot > 0).sum()) < FEW_HOTSPOTS
    keep_freed_memory()
    source = Source(tuple(datasets), recipe.protocol, PARTS)
    work = _Training(
        out, recipe, first.spec, process.symmetries, few, loaded + held, source, machine, say
    )
    prefilter = None
    if few:
        made = _folded(work, patterns)
        point = _point(work, made, few, recipe.false_alarm_rate)
    else:
        training, checked = (patterns, patterns_of(held)) if held else split(patterns)
        made = _validated(work, training, checked)
        point = _point(work, made, few, recipe.false_alarm_rate)
        if work.kind.together:
            detector = NetworkScorer(
                Committee(made.networks, made.rules), work.spec, machine.device
            )
            learnt_from = training, score_rasters(training.raster, detector).score
            prefilter = fit_prefilter(
                work.prefilter, learnt_from, (made.checked, made.scores), point.threshold
            )
    first_shape, *other_shapes = (network.config for network in made.networks)
    model = checkpoint.Checkpoint(
        weights=Committee(made.networks, made.rules).cpu().state_dict(),
        config=first_shape,
        others=tuple(other_shapes) if any(one != first_shape for one in other_shapes) else (),
        raster=first.spec,
        layers=tuple(f"metal {name}" for name in first.layers),
        process=first.process,
        operating_point=point,
        provenance={
            "trained_on": [dataset.provenance for dataset in loaded],
            "validated_on": [dataset.provenance for dataset in held] or "patterns set apart",
            "trained_on_layers": list(first.layers),
            "measured_on": f"{int(made.checked.clips.sum()):,} validation clips",
            "training": asdict(work.config),
            "epochs": work.history,
        },
        process_settings=settings,
        opc=first.provenance.get("opc", "none"),
        name=recipe.detector,
        rules=made.rules,
        examples=_examples(made.networks[0], patterns.raster[patterns.hot > 0]),
        prefilter=prefilter,
    )
    checkpoint.save(out, model)
    draw_curves(work.history, out.with_suffix(".png"))
    forget(work.folder)
    return {"model": str(out), "digest": model.digest, **asdict(point)}


class _Training:
    """The networks of one checkpoint; a stopped training goes on."""

    def __init__(
        self, out: Path, recipe: Recipe, spec: RasterSpec, symmetries: int, few: bool,
        datasets: Sequence[Dataset], source: Source, given: Machine, say: Say,
    ) -> None:  # fmt: skip
        self.kind, self.name = kind_of(recipe.detector), recipe.detector
        self.shape = self.kind.shape(spec, **recipe.shape)
        self._apart = self.shape
        if few and self.kind.together and not recipe.start:
            self._apart = self.kind.shape(spec, **(few_shape(spec) | recipe.shape))
        usual: dict[str, Any] = {"quarter_turns": symmetries == 8}
        if few:
            usual |= FEW_TRAINING | {"rim_px": spec.clip_px // 20 if self.kind.together else 0}
        self._usual, self._asked = usual, recipe.training
        self.config = self._settings(self.kind)
        self.spec, self.symmetries, self.source = spec, symmetries, source
        self.machine, self.say = given, say
        self.folder = out.with_name(out.name + ".training")
        self.history: list[list[dict[str, Any]]] = []
        start = begun_with(recipe.start, self.name, self.shape, spec) if recipe.start else None
        self._start = start.weights if start else None
        begun = start.digest if start else ""
        settings = [self.name, asdict(self.config), str(self._apart), begun, given.threads]
        self._digest = identity(datasets, settings)
        self._number = 0

    def _settings(self, kind: Kind) -> TrainingConfig:
        return TrainingConfig(**(self._usual | kind.training | self._asked))

    def _lesson(self, what: str, *, left_out: int | None = None, prefilter: bool = False) -> Lesson:
        """Return the lesson of the next network, or of a prefilter; each begins otherwise."""
        name = "prefilter" if prefilter else self.name
        kind = kind_of(name)
        settings, number = self._settings(kind), self._number
        self._number += 1
        # From every second network the rims of half of its pictures are hidden, and every second
        # pools the middle of the core apart: four have all combinations (decision 9).
        shape = self._apart if (number + number // 2) % 2 == 0 else self.shape
        config = replace(
            settings, seed=settings.seed + SEED_STEP * number,
            epochs=settings.epochs * (PREFILTER_EPOCHS if prefilter else 1),
            rim_px=settings.rim_px * (number % 2),
        )  # fmt: skip
        return Lesson(
            what, name, kind.shape(self.spec) if prefilter else shape, config,
            self.folder / str(number), self._digest, self.machine,
            None if prefilter else self._start, left_out,
        )  # fmt: skip

    def learn(
        self,
        what: str,
        clips: LabelledClips,
        validation: LabelledClips | None = None,
        *,
        prefilter: bool = False,
    ) -> Network:
        """Return the next network, or a prefilter, learnt from `clips`."""
        made = learnt(self._lesson(what, prefilter=prefilter), clips, validation, self.say)
        self.history.append(made.history)
        return made.network

    def learn_all(self, patterns: Patterns, left_out: Sequence[int | None]) -> list[Network]:
        """Return the next networks, each learnt from all parts of the patterns but one, or all."""
        number = itertools.count(1)
        lessons = [
            self._lesson(f"all, network {next(number)}  ")
            if part is None
            else self._lesson(f"all but part {part + 1}  ", left_out=part)
            for part in left_out
        ]
        # What keeps a library, not weights, learns in less time than a process takes to start.
        workers = self.machine.workers if self.kind.together else 1
        made = learnt_side_by_side(lessons, patterns, self.source, workers, self.say)
        self.history += [one.history for one in made]
        return [one.network for one in made]

    def prefilter(self, clips: LabelledClips) -> Network:
        """Return a prefilter, learnt from `clips`."""
        return self.learn("prefilter  ", clips, prefilter=True)

    def judge(self, network: Network, patterns: Patterns) -> tuple[Float32s, Rules]:
        """Return what a network says of patterns, and the rules that it does so by."""
        rules = Rules(1, self.symmetries)
        if self.kind.together:
            quick = score(network, patterns.raster)
            cold = quick[patterns.hot == 0]
            cut = np.quantile(cold, [1 - DOUBTFUL_SHARE]) if len(cold) else np.zeros(1)
            rules = replace(rules, ensemble_from=float(_logit(cut)[0]))
        scorer = NetworkScorer(Committee([network], rules), self.spec, self.machine.device)
        return score_rasters(patterns.raster, scorer).score, rules


def few_shape(spec: RasterSpec) -> dict[str, Any]:
    """Return what the shape of a network is, where hotspots are few.

    They were marked by hand or by a tool, in the middle of their clips, and few cannot teach that.
    """
    return {"centres_px": (spec.core_px // 2, SCALE)}


def _validated(work: _Training, training: Patterns, checked: Patterns) -> _Judges:
    """Learn from some patterns, judge others.

    One look is all that a clip gets: eight orientations of the doubtful take as long as all else,
    and with many hotspots to learn from they spare few false alarms (docs/decisions/0011).
    """
    network = work.learn("", training.labelled(), judged(checked).labelled())
    rules = Rules(1, work.symmetries)
    return _calibrated(_Judges([network], rules, checked, score(network, checked.raster)))


def _calibrated(made: _Judges) -> _Judges:
    """Make the scores probabilities of clips as they come in validation."""
    logits = _logit(made.scores)
    scale, shift = calibration(logits, made.checked.hot, made.checked.clips)
    scores = expit(scale * logits + shift).astype(np.float32)
    return replace(made, rules=replace(made.rules, scale=scale, shift=shift), scores=scores)


def _folded(work: _Training, patterns: Patterns) -> _Judges:
    """Judge some parts of the patterns by what learnt from the others; then learn from all.

    With few hotspots none can be spared, and a threshold that is set on a handful is chance. All
    that learnt judge together in the end (L. Breiman: "Bagging predictors", 1996).
    """
    part, together = parts_of(patterns, PARTS), work.kind.together
    whole = [None] * (WHOLE if together else 1)
    made = work.learn_all(patterns, [*range(JUDGED), *whole])
    parts, whole_made = made[:JUDGED], made[JUDGED:]
    scores = np.empty(len(patterns), np.float32)
    cuts = []
    for number, network in enumerate(parts):
        mine = part == number
        scores[mine], rules = work.judge(network, patterns.some(mine))
        cuts.append(rules.ensemble_from)
    # The first has the quick look: one that sees the whole core alike.
    networks = [*whole_made, *(parts if together else ())]
    rules = Rules(len(networks), work.symmetries, min(cuts))
    checked = part < JUDGED
    return _calibrated(_Judges(networks, rules, patterns.some(checked), scores[checked]))


def _point(work: _Training, made: _Judges, few: bool, rate: float) -> OperatingPoint:
    """Return the operating point on the clips that were not learnt from."""
    scores, labels = np.repeat(made.scores, made.checked.clips), labels_of(made.checked)
    # Rounded, so that the last digit of a score, which hangs on how it is summed, decides nothing.
    if few:
        threshold = rounded(threshold_for_rate(scores, labels, rate).threshold, math.ceil)
    else:
        point = choose_threshold(scores, labels, work.config.recall)
        threshold = rounded(point.threshold, math.floor)
    point = operating_point(scores, labels, threshold)
    confident = confident_threshold(scores, labels, CONFIDENT_PRECISION)
    return replace(point, confident=None if confident is None else max(confident, point.threshold))


def _examples(network: Network, hotspots: Bytes) -> torch.Tensor:
    """Return hotspots that lie far apart in the eyes of a network, (at most `EXAMPLES`, ...)."""
    place = likeness(network, hotspots)
    alike_in_doubt = np.full(len(hotspots), 0.5, np.float32)
    chosen = choose(alike_in_doubt, place, 0.5, min(EXAMPLES, len(hotspots)))
    return torch.from_numpy(np.ascontiguousarray(hotspots[np.sort(chosen)]))


def _logit(scores: npt.NDArray[Any]) -> Floats:
    share = np.clip(np.asarray(scores, np.float64), 1e-12, 1 - 1e-7)
    logits: Floats = np.log(share / (1 - share))
    return logits
