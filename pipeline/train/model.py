"""Training a detector on labelled datasets, from files to a checkpoint.

in       datasets, the settings of a training
out      a checkpoint that records what it was trained on and its figures on held-out clips
promise  a stopped training can be resumed; on a CPU, the same seed gives the same weights
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.datasets.store import Dataset, load_dataset
from pipeline.engine.memory import keep_freed_memory
from pipeline.engine.storage.checksums import sync
from pipeline.train.committee_plan import (
    PARTS,
    FittedDetector,
    Plan,
    few_shape,
    fit_committee,
    fit_prefilter_network,
    fit_single,
)
from pipeline.train.distil import distil_few, distil_many
from pipeline.train.network_jobs import ONE_CORE, Log, Machine, Source
from pipeline.train.plot import draw_curves
from pipeline.train.prefilter_fit import fit_prefilter
from pipeline.train.quantise_model import choose_pictures
from pipeline.train.resume_state import compute_identity, discard_state
from pipeline.train.training_set import (
    Patterns,
    merge_datasets,
    require_same_kind,
    split_patterns,
)
from stages.contracts import Bytes, Float32s, RasterSpec
from stages.detector.catalogue import find_kind
from stages.detector.models import checkpoint
from stages.detector.models.familiarity import KEPT, LOOKED_AT, spread, summarize
from stages.detector.networks.network import Network
from stages.detector.networks.prefilter import Prefilter
from stages.detector.networks.shapes import Shape
from stages.detector.quantisation.quantise import can_be_quantised, quantise
from stages.detector.training.active_learning import choose
from stages.detector.training.loop import LabelledClips, likeness
from stages.detector.training.thresholds import (
    Bools,
    OperatingPoint,
    choose_confident_threshold,
    choose_threshold,
    choose_threshold_for_rate,
    measure_threshold,
    round_share,
)
from stages.errors import ModelMismatchError, UsageError
from stages.lithography.process import Process, load_process, process_of
from stages.scores import NetworkScorer, build_scorer, score_rasters

FEW_HOTSPOTS = 2000
"""With fewer distinct hotspots none is reserved for validation: see `fit_committee`."""

FEW_TRAINING = {"epochs": 8, "batch": 64}
"""Length of a training with few hotspots: each network is one of several."""

CONFIDENT_PRECISION = 0.95
"""Share of hotspots among the clips that are reported as hotspots without review."""

EXAMPLES = 32
"""Hotspots whose pictures a checkpoint keeps, for a report to show the nearest to a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """A detector to train."""

    datasets: tuple[Path, ...]
    """Datasets to train on. Of those that are divided, the test clips are never used."""
    out: Path
    """The checkpoint to write; a picture of the losses is drawn beside it."""
    validation: tuple[Path, ...] = ()
    """Datasets to validate on; without any, a part of the training patterns is held out."""
    detector: str = "attention"
    """One of `stages.detector.catalogue.DETECTORS`."""
    shape: dict[str, Any] = field(default_factory=dict)
    """Where the shape of the network differs from the default of the detector."""
    training: dict[str, Any] = field(default_factory=dict)
    """Where the training differs from the default of the detector; see `TrainingConfig`."""
    start: str | None = None
    """Model to initialise the weights from: of another process, or trained on simulated labels."""
    distil: str | None = None
    """Model whose scores are the targets of one network: see `pipeline.train.distil`."""
    protocol: str = "scan"
    """Of marked datasets, train on the cores (``core``), or on their neighbours too."""
    false_alarm_rate: float = 0.0015
    """On held-out clips; sets the threshold where hotspots are few."""
    prefilter: bool = True
    """Whether to fit one; a model that is only to be measured does without."""


@dataclass(frozen=True, slots=True)
class _TrainingData:
    """The datasets of a training in memory."""

    training: list[Dataset]
    validation: list[Dataset]
    first: Dataset
    process: Process

    @property
    def process_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = self.first.provenance.get("process_settings", {})
        return settings


def train_model(
    request: TrainRequest, machine: Machine = ONE_CORE, log: Log = lambda text: None
) -> dict[str, Any]:
    """Train a detector, write its checkpoint, and return its figures.

    Raises
    ------
    UsageError
        When a dataset cannot be read, or contains no hotspot.
    ModelMismatchError
        When the datasets differ in raster, process or OPC.
    RunMismatchError
        When a stopped training of this checkpoint had other data or settings.
    """
    folder = request.out.parent
    if not folder.is_dir():
        raise UsageError(
            f"checkpoint {request.out} cannot be written: {folder} is not a directory; create it, "
            "or choose another --out"
        )
    data = _load(request)
    patterns = merge_datasets(data.training)
    few = not data.validation and int((patterns.hotspots > 0).sum()) < FEW_HOTSPOTS
    keep_freed_memory()
    plan = _make_plan(request, data, machine, patterns.kinds, few=few)
    prefilter = None
    if few:
        fitted = (distil_few if plan.teacher else fit_committee)(plan, patterns, log)
        point = _choose_point(fitted, partial(_by_rate, request.false_alarm_rate))
    else:
        training, checked = (
            (patterns, merge_datasets(data.validation))
            if data.validation
            else split_patterns(patterns)
        )
        fitted = (distil_many if plan.teacher else fit_single)(plan, training, checked, log)
        by_recall = partial(_by_recall, plan.settings_of(plan.kind).recall)
        point = _choose_point(fitted, by_recall)
        if plan.kind.together and request.prefilter:
            fitted, prefilter = _add_prefilter(plan, fitted, training, point.threshold, log)
    model = _assemble(request, data, plan, fitted, point, prefilter,
                      _choose_examples(fitted.networks[0], patterns))  # fmt: skip
    if not few:  # else no pictures were held out of all networks
        model = add_familiar(model, training, checked)
    if can_be_quantised(model):
        model = quantise(model, choose_pictures(patterns))
    if model.integers is not None and not few:
        model = replace(model, operating_point=_choose_point_in_integers(model, fitted, by_recall))
    checkpoint.save(request.out, model)
    sync(request.out, request.out.parent)  # before the states that it came from are removed
    draw_curves(fitted.history, request.out.with_suffix(".png"))
    discard_state(plan.folder)
    return {"model": str(request.out), "digest": model.digest, **asdict(model.operating_point)}


def _load(request: TrainRequest) -> _TrainingData:
    training, validation = (
        [load_dataset(path).subset("train", request.protocol) for path in paths]
        for paths in (request.datasets, request.validation)
    )
    first = require_same_kind(training + validation)
    settings = first.provenance.get("process_settings", {})
    process = process_of(settings) if settings else load_process(first.process)
    return _TrainingData(training, validation, first, process)


def _make_plan(
    request: TrainRequest, data: _TrainingData, machine: Machine, kinds: tuple[str, ...],
    *, few: bool,
) -> Plan:  # fmt: skip
    """Return how the networks are trained; the margins of `kinds` are known of every clip."""
    kind, spec = find_kind(request.detector), data.first.spec
    teacher = _load_teacher(request.distil, data.first) if request.distil else None
    if teacher and getattr(teacher.config, "kinds", ()) != kinds:
        kinds = ()  # it says nothing of them
    if request.training.get("margin_weight") == 0:
        kinds = ()  # a head that learns nothing of them would say wrong margins
    shape = request.shape
    if kinds and kind.together and not request.start:
        shape = {"kinds": kinds} | shape
    centre_shape = shape
    if few and kind.together and not request.start:
        centre_shape = few_shape(spec) | shape
    usual: dict[str, Any] = {"quarter_turns": data.process.symmetries == 8}
    if few:
        usual |= FEW_TRAINING | {"rim_px": spec.clip_px // 20 if kind.together else 0}
    start = None
    if request.start:
        start = _load_start(request.start, request.detector, kind.shape(spec, **shape), spec)
    plan = Plan(
        detector=request.detector, spec=spec, symmetries=data.process.symmetries,
        shape=shape, centre_shape=centre_shape, usual=usual, requested=request.training,
        folder=request.out.with_name(request.out.name + ".training"), identity="",
        machine=machine, source=Source(request.datasets, request.protocol, PARTS),
        start=None if start is None else
        {name: torch.from_numpy(value) for name, value in start.weights.items()},
        teacher=teacher,
    )  # fmt: skip
    settings = [
        request.detector, asdict(plan.settings_of(kind)), str(kind.shape(spec, **centre_shape)),
        start.digest if start else "", machine.threads, teacher.digest if teacher else "",
    ]  # fmt: skip
    return replace(plan, identity=compute_identity(data.training, data.validation, settings))


def _load_teacher(name: str, dataset: Dataset) -> checkpoint.Checkpoint:
    """Return a model to learn from.

    Raises
    ------
    ModelMismatchError
        When it takes other pictures, or its labels came from another process.
    """
    model = checkpoint.load(checkpoint.find(name))
    for what in ("raster", "process", "opc"):
        ours = dataset.spec if what == "raster" else getattr(dataset, what)
        if getattr(model, what) != ours:
            raise ModelMismatchError(
                f"model {name} has {what} {getattr(model, what)} but the datasets have {ours}; "
                "distil a model that was trained on such datasets, or leave out --distil"
            )
    return model


def _load_start(name: str, detector: str, shape: Shape, spec: RasterSpec) -> checkpoint.Checkpoint:
    """Return a model to initialise from, as a single network.

    Raises
    ------
    ModelMismatchError
        When its detector or raster is another.
    """
    model = checkpoint.load(checkpoint.find(name))
    for what, theirs, ours in (
        ("detector", (model.name, model.config), (detector, shape)),
        ("raster", model.raster, spec),
    ):
        if theirs != ours:
            raise ModelMismatchError(
                f"model {name} has {what} {theirs} but this training has {ours}; start from "
                "another model, or leave out --start"
            )
    if not model.rules:
        return model
    first = "members.0."
    weights = {
        key.removeprefix(first): value
        for key, value in model.weights.items()
        if key.startswith(first)
    }
    return replace(model, weights=weights, rules=None)


def _add_prefilter(
    plan: Plan, fitted: FittedDetector, training: Patterns, threshold: float, log: Log
) -> tuple[FittedDetector, Prefilter | None]:
    """Fit a prefilter to the scores of a detector, and add its training to the history."""
    scorer = NetworkScorer(fitted.committee(), plan.spec, plan.machine.device)
    scores = score_rasters(training.raster, scorer).score
    history = list(fitted.history)

    def fit(clips: LabelledClips) -> Network:
        one = fit_prefilter_network(plan, clips, log)
        history.append(one.history)
        return one.network

    prefilter = fit_prefilter(fit, (training, scores), (fitted.held_out, fitted.scores), threshold)
    return replace(fitted, history=history), prefilter


def _assemble(
    request: TrainRequest,
    data: _TrainingData,
    plan: Plan,
    fitted: FittedDetector,
    point: OperatingPoint,
    prefilter: Prefilter | None,
    examples: Bytes,
) -> checkpoint.Checkpoint:
    first_shape, *other_shapes = (network.config for network in fitted.networks)
    provenance = {
        "trained_on": [dataset.provenance for dataset in data.training],
        "validated_on": [dataset.provenance for dataset in data.validation] or "patterns set apart",
        "trained_on_layers": list(data.first.layers),
        "measured_on": f"{int(fitted.held_out.clips.sum()):,} validation clips",
        "training": asdict(plan.settings_of(plan.kind)),
        "epochs": fitted.history,
    }
    if plan.teacher:
        provenance["distilled_from"] = plan.teacher.digest
    return checkpoint.Checkpoint(
        weights=fitted.committee().get_arrays(),
        config=first_shape,
        others=tuple(other_shapes) if any(one != first_shape for one in other_shapes) else (),
        raster=data.first.spec,
        layers=tuple(f"metal {name}" for name in data.first.layers),
        process=data.first.process,
        operating_point=point,
        provenance=provenance,
        process_settings=data.process_settings,
        opc=data.first.opc,
        name=request.detector,
        rules=fitted.rules,
        examples=examples,
        prefilter=prefilter,
    )


def add_familiar(
    model: checkpoint.Checkpoint, training: Patterns, held_out: Patterns
) -> checkpoint.Checkpoint:
    """Return a model that knows what it was trained on."""
    network = model.detector()
    known, apart = (
        likeness(network, part.raster[spread(len(part), count)])
        for part, count in ((training, KEPT), (held_out, LOOKED_AT))
    )
    return replace(model, familiar=summarize(known, apart))


def _choose_point(
    fitted: FittedDetector, choose_limit: Callable[[Float32s, Bools], float]
) -> OperatingPoint:
    """Return the operating point on the held-out clips that surely fail or surely pass."""
    held_out, sure = fitted.held_out, fitted.held_out.find_sure()
    scores = np.repeat(fitted.scores[sure], held_out.clips[sure])
    labels = held_out.select(sure).expand_labels()
    point = measure_threshold(scores, labels, choose_limit(scores, labels))
    confident = choose_confident_threshold(scores, labels, CONFIDENT_PRECISION)
    return replace(point, confident=None if confident is None else max(confident, point.threshold))


def _choose_point_in_integers(
    model: checkpoint.Checkpoint,
    fitted: FittedDetector,
    choose_limit: Callable[[Float32s, Bools], float],
) -> OperatingPoint:
    """Return the operating point of the scores that a scan computes."""
    scorer = build_scorer(model, prefiltered=False, arithmetic="int8")
    scores = score_rasters(fitted.held_out.raster, scorer).score
    return _choose_point(replace(fitted, scores=scores), choose_limit)


# Both are rounded, so that the last digit of a score, which depends on the order of a sum, decides
# nothing.
def _by_rate(rate: float, scores: Float32s, labels: Bools) -> float:
    return round_share(choose_threshold_for_rate(scores, labels, rate).threshold, math.ceil)


def _by_recall(recall: float, scores: Float32s, labels: Bools) -> float:
    return round_share(choose_threshold(scores, labels, recall).threshold, math.floor)


def _choose_examples(network: Network, patterns: Patterns) -> Bytes:
    """Return pictures of hotspots that differ most to a network, (at most `EXAMPLES`, ...)."""
    hotspots: Bytes = patterns.raster[patterns.hotspots > 0]
    features = likeness(network, hotspots)
    equally_uncertain = np.full(len(hotspots), 0.5, np.float32)
    chosen = choose(equally_uncertain, features, 0.5, min(EXAMPLES, len(hotspots)))
    examples: Bytes = hotspots[np.sort(chosen)]
    return examples
