"""The detectors by name: what each is made of, how it is trained, and how it learns.

in: a name; out: config, network and training that it stands for, or a detector that has learnt.
`attention` is ours; the others are what it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from stages.contracts import RasterSpec
from stages.detector.baselines.binary import BinaryConfig, BinaryNetwork
from stages.detector.baselines.dct import DctConfig, DctNetwork
from stages.detector.baselines.density import DensityConfig, DensityTrees, trees_of
from stages.detector.baselines.matching import ExactLibrary, FuzzyLibrary, LibraryConfig, library_of
from stages.detector.baselines.multitask import MultiTaskConfig, MultiTaskNetwork, weights_of
from stages.detector.model import Detector, DetectorConfig
from stages.detector.network import Network, Shape
from stages.detector.prefilter import PrefilterConfig, PrefilterNetwork
from stages.detector.training import (
    EpochReport,
    LabelledClips,
    State,
    Trained,
    TrainingConfig,
    embeddings,
    score,
    train,
)
from stages.errors import UsageError

OnEpoch = Callable[[EpochReport, State], None]

LABELLED_SHARE = 0.5
"""Of the training clips of `multitask`: the others get pseudo-labels."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a name stands for."""

    config: type[Any]
    """A dataclass; JSON holds its values."""
    network: Callable[[Any], Network]
    training: dict[str, Any] = field(default_factory=dict)
    """Where it is trained otherwise than ours."""
    together: bool = False
    """Whether several judge together, in every orientation: ours."""

    def shape(self, spec: RasterSpec, **chosen: Any) -> Shape:
        """Return the config for a picture."""
        known = {
            "layers": spec.layers, "clip_px": spec.clip_px, "core_px": spec.core_px, **chosen,
        }  # fmt: skip
        names = self.config.__dataclass_fields__
        strange = sorted(chosen.keys() - names.keys())
        if strange:
            raise UsageError(
                f"this detector has no setting {strange[0]}; leave it out, or choose --detector "
                "attention"
            )
        shape: Shape = self.config(**{key: known[key] for key in known.keys() & names.keys()})
        return shape

    def config_of(self, values: dict[str, Any]) -> Shape:
        """Return the config of values that were JSON, whose lists were tuples."""
        tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        shape: Shape = self.config(**(values | tuples))
        return shape


_PLAIN = {"metric": "none", "learning_rate": 1e-3}
DETECTORS: dict[str, Kind] = {
    "attention": Kind(DetectorConfig, Detector, together=True),
    "exact": Kind(LibraryConfig, ExactLibrary),
    "fuzzy": Kind(LibraryConfig, FuzzyLibrary),
    "dct": Kind(DctConfig, DctNetwork, {**_PLAIN, "bias": 0.3, "epochs": 20}),
    "binary": Kind(BinaryConfig, BinaryNetwork, {**_PLAIN, "learning_rate": 2e-3}),
    "multitask": Kind(
        MultiTaskConfig, MultiTaskNetwork,
        {**_PLAIN, "metric": "pairwise", "margin": 2.0, "metric_weight": 1.0, "epochs": 4},
    ),
    "prefilter": Kind(
        PrefilterConfig, PrefilterNetwork, {**_PLAIN, "learning_rate": 3e-3, "batch": 256}
    ),
    "density": Kind(DensityConfig, DensityTrees),
}  # fmt: skip
"""Name of each detector, as ``hotscan train --detector`` takes it."""


def kind_of(name: str) -> Kind:
    """Return what a name stands for.

    Raises
    ------
    UsageError
        When it stands for nothing.
    """
    if name not in DETECTORS:
        raise UsageError(f"detector {name!r} is unknown; choose one of {', '.join(DETECTORS)}")
    return DETECTORS[name]


def learn(
    name: str,
    shape: Shape,
    clips: LabelledClips,
    validation: LabelledClips | None,
    config: TrainingConfig,
    on_epoch: OnEpoch = lambda report, state: None,
    state: State | None = None,
    start: State | None = None,
    device: str = "cpu",
) -> Trained:
    """Let a detector learn from labelled clips; arguments as `stages.detector.training.train`.

    Parameters
    ----------
    start
        Weights to begin with; drawn with the config's seed when not given.
    """
    if name in ("exact", "fuzzy"):
        return Trained(library_of(clips.rasters[clips.labels], fuzzy=name == "fuzzy"), ())
    if name == "density":
        return Trained(trees_of(clips.rasters, clips.labels, config.seed), ())

    def network() -> Network:
        made = kind_of(name).network(shape)
        if start is not None:
            made.load_state_dict(start)
        return made

    fit = partial(train, network=network, config=config, device=device)
    if name == "multitask":
        return _learn_twice(fit, clips, validation, config.seed, on_epoch, state)
    return fit(clips, validation, on_epoch=on_epoch, state=state)


def _learn_twice(
    fit: Callable[..., Trained],
    clips: LabelledClips,
    validation: LabelledClips | None,
    seed: int,
    on_epoch: OnEpoch,
    state: State | None,
) -> Trained:
    """Learn from the labelled share, give the others pseudo-labels, and learn from all."""
    labelled = np.random.default_rng(seed).random(len(clips.labels)) < LABELLED_SHARE
    for label in (True, False):  # a draw may not leave a class out
        labelled[np.flatnonzero(clips.labels == label)[0]] = True
    if state is None or "pseudo" not in state:
        part = LabelledClips(clips.rasters[labelled], clips.labels[labelled])
        first = fit(part, validation, on_epoch=on_epoch, state=state)
        guess = score(first.detector, clips.rasters)
        places = embeddings(first.detector, clips.rasters)
        weight = np.where(labelled, 1.0, weights_of(places))
        pseudo = np.where(labelled, clips.labels, guess >= 0.5)
        state = {"pseudo": torch.tensor(pseudo), "weight": torch.tensor(weight), "inner": None}
    pseudo, weight = state["pseudo"], state["weight"]

    def on_second(report: EpochReport, inner: State) -> None:
        on_epoch(report, {"pseudo": pseudo, "weight": weight, "inner": inner})

    whole = replace(clips, labels=pseudo.numpy(), weights=weight.numpy().astype(np.float32))
    return fit(whole, validation, on_epoch=on_second, state=state["inner"])
