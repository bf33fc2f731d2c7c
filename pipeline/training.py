"""Training a detector on labelled datasets, from files to a checkpoint.

in       datasets, a recipe
out      a checkpoint that says what it was trained on and what it reaches on validation clips
promise  a stopped training goes on where it was; on a CPU, the same seed gives the same weights
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from pipeline.curves import draw_curves
from pipeline.dataset_file import Dataset, load_dataset
from pipeline.learning import Patterns, alike, judged, labels_of, parts_of, patterns_of, split
from pipeline.memory import keep_freed_memory
from pipeline.screening import screening_of
from pipeline.unfinished import identity, read_state, write_state
from stages.contracts import Bytes, Float32s, Floats, RasterSpec
from stages.detector import checkpoint
from stages.detector.committee import Committee, Rules
from stages.detector.detectors import Kind, kind_of, learn
from stages.detector.network import Network, Shape
from stages.detector.operating import (
    OperatingPoint,
    calibration,
    choose_threshold,
    operating_point,
    rounded,
    sure_threshold,
    threshold_for_rate,
)
from stages.detector.selection import choose
from stages.detector.training import (
    EpochReport,
    LabelledClips,
    State,
    TrainingConfig,
    likeness,
    score,
)
from stages.errors import ModelMismatchError, UsageError
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

SURE_PRECISION = 0.95
"""Share of hotspots among the clips that are called hot without review."""

DOUBTFUL_SHARE = 0.03
"""Share of the non-hotspots that a quick look leaves for a careful one."""

SCREEN_EPOCHS = 2
"""As many epochs for each of the detector: they are short, and it goes on getting better."""

SEED_STEP = 1000
"""From the seed of one network to that of the next."""

EXAMPLES = 32
"""Hotspots whose pictures are kept, so that a finding can be shown beside the nearest."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, and how."""

    detector: str = "attention"
    """One of `stages.detector.detectors.DETECTORS`."""
    shape: dict[str, Any] = field(default_factory=dict)
    """Where its config is not the usual one."""
    training: dict[str, Any] = field(default_factory=dict)
    """Where the training is not the usual one of the detector; see `TrainingConfig`."""
    start: str | None = None
    """A model whose weights are begun with: of another process, or of simulated labels."""
    protocol: str = "scan"
    """Of marked datasets, learn from the cores, or from their neighbours too."""
    false_alarm_rate: float = 0.001
    """Of validation clips, that sets the threshold where hotspots are few."""


@dataclass(frozen=True, slots=True)
class _Learnt:
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
    threads: int = 1,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train on `datasets`, write the checkpoint to `out`, return its figures.

    Beside it a picture of the losses, epoch by epoch, is drawn. Of datasets that are divided, the
    training clips are used, for validation too; the test clips never are. The weights depend on
    `threads`, as the order of sums does, but not on the load.

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
    learnt = [load_dataset(path).part("train", recipe.protocol) for path in datasets]
    held = [load_dataset(path).part("train", recipe.protocol) for path in validation]
    first = alike(learnt + held)
    settings = first.provenance.get("process_settings", {})
    process = process_of(settings) if settings else load_process(first.process)
    patterns = patterns_of(learnt)
    few = not held and int((patterns.hot > 0).sum()) < FEW_HOTSPOTS
    keep_freed_memory()
    work = _Training(
        out, recipe, first.spec, process.symmetries, few, learnt + held, threads, device, say
    )
    screening = None
    if few:
        made = _folded(work, patterns)
        point = _point(work, made, few, recipe.false_alarm_rate)
    else:
        training, checked = (patterns, patterns_of(held)) if held else split(patterns)
        made = _validated(work, training, checked)
        point = _point(work, made, few, recipe.false_alarm_rate)
        if work.kind.together:
            detector = NetworkScorer(Committee(made.networks, made.rules), work.spec, device)
            learnt_from = training, score_rasters(training.raster, detector).score
            screening = screening_of(
                work.screen, learnt_from, (made.checked, made.scores), point.threshold
            )
    model = checkpoint.Checkpoint(
        weights=Committee(made.networks, made.rules).cpu().state_dict(),
        config=made.networks[0].config,
        raster=first.spec,
        layers=tuple(f"metal {name}" for name in first.layers),
        process=first.process,
        operating_point=point,
        provenance={
            "trained_on": [dataset.provenance for dataset in learnt],
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
        screening=screening,
    )
    checkpoint.save(out, model)
    draw_curves(work.history, out.with_suffix(".png"))
    work.unfinished.unlink(missing_ok=True)
    return {"model": str(out), "digest": model.digest, **asdict(point)}


class _Training:
    """The networks of one checkpoint, learnt one after the other; a stopped one goes on."""

    def __init__(
        self,
        out: Path,
        recipe: Recipe,
        spec: RasterSpec,
        symmetries: int,
        few: bool,
        datasets: Sequence[Dataset],
        threads: int,
        device: str,
        say: Say,
    ) -> None:
        self.kind, self.name = kind_of(recipe.detector), recipe.detector
        self.shape = self.kind.shape(spec, **recipe.shape)
        usual: dict[str, Any] = {"quarter_turns": symmetries == 8}
        if few:
            usual |= FEW_TRAINING | {"rim_px": spec.clip_px // 20 if self.kind.together else 0}
        self._usual, self._asked = usual, recipe.training
        self.config = self._settings(self.kind)
        self.spec, self.symmetries, self.threads, self.say = spec, symmetries, threads, say
        self.device = device
        self.unfinished = out.with_name(out.name + ".training")
        self.history: list[list[dict[str, Any]]] = []
        start = _start(recipe.start, self.name, self.shape, spec) if recipe.start else None
        self._start = start.weights if start else None
        begun = start.digest if start else ""
        digest = identity(datasets, [self.name, asdict(self.config), str(self.shape), begun])
        self._kept = read_state(self.unfinished, f"{digest} threads {threads}")
        self._number = 0

    def _settings(self, kind: Kind) -> TrainingConfig:
        return TrainingConfig(**(self._usual | kind.training | self._asked))

    def learn(
        self,
        what: str,
        clips: LabelledClips,
        validation: LabelledClips | None = None,
        *,
        screen: bool = False,
    ) -> Network:
        """Return the next network, or a screen, learnt from `clips`; each begins otherwise."""
        torch.set_num_threads(self.threads)
        name = "screen" if screen else self.name
        kind, begin = kind_of(name), None if screen else self._start
        shape = kind.shape(self.spec) if screen else self.shape
        settings = self._settings(kind)
        number, done = self._number, self._kept["done"]
        self._number += 1
        # From every second network the rims of half of its pictures are hidden (decision 9).
        config = replace(
            settings, seed=settings.seed + SEED_STEP * number,
            epochs=settings.epochs * (SCREEN_EPOCHS if screen else 1),
            rim_px=settings.rim_px * (number % 2),
        )  # fmt: skip

        def on_epoch(report: EpochReport, state: State) -> None:
            self.say(_words(what, report, config))
            self._kept["state"] = state
            write_state(self.unfinished, self._kept)

        if number < len(done):
            network = kind.network(shape)
            network.load_state_dict(done[number]["weights"])
            self.history.append(done[number]["history"])
            return network.eval().to(self.device)
        trained = learn(
            name, shape, clips, validation, config, on_epoch, self._kept["state"], begin,
            self.device,
        )  # fmt: skip
        history = [asdict(report) for report in trained.history]
        self.history.append(history)
        if history:  # what learns in no time is not kept
            weights = trained.detector.state_dict()
            self._kept |= {"done": [*done, {"weights": weights, "history": history}], "state": None}
            write_state(self.unfinished, self._kept)
        return trained.detector

    def screen(self, clips: LabelledClips) -> Network:
        """Return a screen, learnt from `clips`."""
        return self.learn("screen  ", clips, screen=True)

    def judge(self, network: Network, patterns: Patterns) -> tuple[Float32s, Rules]:
        """Return what a network says of patterns, and the rules that it does so by."""
        rules = Rules(1, self.symmetries)
        if self.kind.together:
            quick = score(network, patterns.raster)
            cold = quick[patterns.hot == 0]
            cut = np.quantile(cold, [1 - DOUBTFUL_SHARE]) if len(cold) else np.zeros(1)
            rules = replace(rules, careful_from=float(_logit(cut)[0]))
        scorer = NetworkScorer(Committee([network], rules), self.spec, self.device)
        return score_rasters(patterns.raster, scorer).score, rules


def _start(name: str, detector: str, shape: Shape, spec: RasterSpec) -> checkpoint.Checkpoint:
    """Return a model to begin with, of one network.

    Raises
    ------
    ModelMismatchError
        When it is another detector, or of another picture.
    """
    model = checkpoint.load(checkpoint.find(name))
    for what, theirs, ours in (
        ("detector", (model.name, model.config), (detector, shape)),
        ("raster", model.raster, spec),
    ):
        if theirs != ours:
            raise ModelMismatchError(
                f"model {name} has {what} {theirs} but this training {ours}; start with another, "
                "or with none"
            )
    weights = model.weights
    if model.rules:
        first = "members.0."
        weights = {
            key.removeprefix(first): value
            for key, value in weights.items()
            if key.startswith(first)
        }
    return replace(model, weights=weights, rules=None)


def _validated(work: _Training, training: Patterns, checked: Patterns) -> _Learnt:
    """Learn from some patterns, judge others.

    One look is all that a clip gets: eight orientations of the doubtful take as long as all else,
    and with many hotspots to learn from they spare few false alarms (docs/decisions/0011).
    """
    network = work.learn("", training.labelled(), judged(checked).labelled())
    rules = Rules(1, work.symmetries)
    return _calibrated(_Learnt([network], rules, checked, score(network, checked.raster)))


def _calibrated(made: _Learnt) -> _Learnt:
    """Make the scores probabilities of clips as they come in validation."""
    logits = _logit(made.scores)
    scale, shift = calibration(logits, made.checked.hot, made.checked.clips)
    scores = expit(scale * logits + shift).astype(np.float32)
    return replace(made, rules=replace(made.rules, scale=scale, shift=shift), scores=scores)


def _folded(work: _Training, patterns: Patterns) -> _Learnt:
    """Judge some parts of the patterns by what learnt from the others; then learn from all.

    With few hotspots none can be spared, and a threshold that is set on a handful is chance. All
    that learnt judge together in the end (L. Breiman: "Bagging predictors", 1996).
    """
    part = parts_of(patterns, PARTS)
    scores = np.empty(len(patterns), np.float32)
    parts, cuts = [], []
    for number in range(JUDGED):
        mine = part == number
        parts.append(work.learn(f"all but part {number + 1}  ", patterns.some(~mine).labelled()))
        scores[mine], rules = work.judge(parts[-1], patterns.some(mine))
        cuts.append(rules.careful_from)
    together = work.kind.together
    whole = [
        work.learn(f"all, network {number + 1}  ", patterns.labelled())
        for number in range(WHOLE if together else 1)
    ]
    networks = [*reversed(whole), *(parts if together else ())]  # the first has the quick look
    rules = Rules(len(networks), work.symmetries, min(cuts))
    checked = part < JUDGED
    return _calibrated(_Learnt(networks, rules, patterns.some(checked), scores[checked]))


def _point(work: _Training, made: _Learnt, few: bool, rate: float) -> OperatingPoint:
    """Return the operating point on the clips that were not learnt from."""
    scores, labels = np.repeat(made.scores, made.checked.clips), labels_of(made.checked)
    # Rounded, so that the last digit of a score, which hangs on how it is summed, decides nothing.
    if few:
        threshold = rounded(threshold_for_rate(scores, labels, rate).threshold, math.ceil)
    else:
        point = choose_threshold(scores, labels, work.config.recall)
        threshold = rounded(point.threshold, math.floor)
    point = operating_point(scores, labels, threshold)
    sure = sure_threshold(scores, labels, SURE_PRECISION)
    return replace(point, sure=None if sure is None else max(sure, point.threshold))


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


def _words(what: str, report: EpochReport, config: TrainingConfig) -> str:
    words = f"{what}epoch {report.epoch}/{config.epochs}  loss {report.loss:.4f}"
    if report.pr_auc is None:
        return words
    return (
        f"{words}  validation: PR AUC {report.pr_auc:.4f}, {report.false_alarms} false alarms at "
        f"recall {report.recall:.4f}"
    )
