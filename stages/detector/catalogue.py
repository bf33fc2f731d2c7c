"""The detectors by name: network, training settings, and how each is fitted.

in: a name; out: its row of `DETECTORS`, or a fitted detector.
`attention` is ours; the others are baselines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from stages.contracts import RasterSpec
from stages.detector.baselines.binary import BinaryConfig, BinaryNetwork
from stages.detector.baselines.dct import DctConfig, DctNetwork
from stages.detector.baselines.density import DensityConfig, DensityTrees, fit_trees
from stages.detector.baselines.matching import (
    ExactLibrary,
    FuzzyLibrary,
    LibraryConfig,
    build_library,
)
from stages.detector.baselines.multitask import MultiTaskConfig, MultiTaskNetwork, weigh_clips
from stages.detector.networks.detector import Detector
from stages.detector.networks.network import Network
from stages.detector.networks.prefilter_network import PrefilterNetwork
from stages.detector.networks.shapes import DetectorConfig, PrefilterConfig, Shape
from stages.detector.training.loop import (
    EpochReport,
    LabelledClips,
    State,
    Trained,
    TrainingConfig,
    embed,
    score,
    train,
)
from stages.errors import UsageError

OnEpoch = Callable[[EpochReport, State], None]

LABELLED_SHARE = 0.5
"""Share of the training clips of `multitask` that keep their label; the others get
pseudo-labels."""


def ignore_epoch(report: EpochReport, state: State) -> None:
    """Do nothing after an epoch."""


@dataclass(frozen=True, slots=True)
class FitRequest:
    """A detector to fit."""

    detector: str
    """One of `DETECTORS`."""
    shape: Shape
    config: TrainingConfig
    start: State | None = None
    """Weights to initialise from; random with the config's seed when not given."""
    device: str = "cpu"


class Fit(Protocol):
    """Fits a detector to labelled clips; arguments as `fit`."""

    def __call__(
        self,
        request: FitRequest,
        clips: LabelledClips,
        validation: LabelledClips | None,
        on_epoch: OnEpoch,
        state: State | None,
    ) -> Trained:
        """Return the fitted detector."""


def fit_network(
    request: FitRequest,
    clips: LabelledClips,
    validation: LabelledClips | None,
    on_epoch: OnEpoch,
    state: State | None,
    revise: Callable[[Network, int], LabelledClips] | None = None,
) -> Trained:
    """Train a network by gradient descent."""

    def make() -> Network:
        network = find_kind(request.detector).network(request.shape)
        if request.start is not None:
            network.load_state_dict(request.start)
        return network

    return train(
        clips, validation, network=make, config=request.config, on_epoch=on_epoch, state=state,
        device=request.device, revise=revise,
    )  # fmt: skip


def fit_in_rounds(
    request: FitRequest,
    clips: LabelledClips,
    validation: LabelledClips | None,
    on_epoch: OnEpoch,
    state: State | None,
) -> Trained:
    """Train on the labelled share for an epoch, then on all clips.

    Before each epoch the clips without a label get one from the classifier as it is, and a weight
    from the clusters as they are.
    """
    labelled = np.random.default_rng(request.config.seed).random(len(clips.labels)) < LABELLED_SHARE
    for label in (True, False):  # a random draw may miss a class
        labelled[np.flatnonzero(clips.labels == label)[0]] = True

    def revise(network: Network, epoch: int) -> LabelledClips:
        if epoch == 0:
            return replace(clips, labels=clips.labels & labelled,
                           weights=labelled.astype(np.float32))  # fmt: skip
        guess = score(network, clips.rasters) >= 0.5
        weights = np.where(labelled, 1, weigh_clips(embed(network, clips.rasters)))
        return replace(clips, labels=np.where(labelled, clips.labels, guess),
                       weights=weights.astype(np.float32))  # fmt: skip

    return fit_network(request, clips, validation, on_epoch, state, revise)


def fit_library(
    request: FitRequest,
    clips: LabelledClips,
    validation: LabelledClips | None,
    on_epoch: OnEpoch,
    state: State | None,
    *,
    library: type[ExactLibrary] | type[FuzzyLibrary],
) -> Trained:
    """Keep the pictures of all hotspots."""
    return Trained(build_library(clips.rasters[clips.labels], library), ())


def fit_density(
    request: FitRequest,
    clips: LabelledClips,
    validation: LabelledClips | None,
    on_epoch: OnEpoch,
    state: State | None,
) -> Trained:
    """Fit boosted trees."""
    return Trained(fit_trees(clips.rasters, clips.labels, request.config.seed), ())


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of `DETECTORS`: everything that differs between detectors."""

    config: type[Any]
    """A dataclass whose values are plain, as a checkpoint stores them as JSON."""
    network: Callable[[Any], Network]
    training: dict[str, Any] = field(default_factory=dict)
    """Training settings that differ from the default."""
    fit: Fit = fit_network
    together: bool = False
    """Whether several networks are combined, each in every orientation."""

    def shape(self, spec: RasterSpec, **chosen: Any) -> Shape:
        """Return the config for a picture.

        Raises
        ------
        UsageError
            When the detector has no such setting.
        """
        known = {
            "layers": spec.layers, "clip_px": spec.clip_px, "core_px": spec.core_px, **chosen,
        }  # fmt: skip
        names = self.config.__dataclass_fields__
        unknown = sorted(chosen.keys() - names.keys())
        if unknown:
            raise UsageError(
                f"this detector has no setting {unknown[0]}; leave it out, or choose --detector "
                "attention"
            )
        shape: Shape = self.config(**{key: known[key] for key in known.keys() & names.keys()})
        return shape


_PLAIN = {"metric": "none", "learning_rate": 1e-3}
DETECTORS: dict[str, Kind] = {
    "attention": Kind(DetectorConfig, Detector, together=True),
    "exact": Kind(LibraryConfig, ExactLibrary, fit=partial(fit_library, library=ExactLibrary)),
    "fuzzy": Kind(LibraryConfig, FuzzyLibrary, fit=partial(fit_library, library=FuzzyLibrary)),
    "dct": Kind(DctConfig, DctNetwork, {**_PLAIN, "bias": 0.3, "epochs": 20}),
    "binary": Kind(BinaryConfig, BinaryNetwork, {**_PLAIN, "learning_rate": 2e-3}),
    "multitask": Kind(
        MultiTaskConfig, MultiTaskNetwork,
        {**_PLAIN, "metric": "pairwise", "margin": 2.0, "metric_weight": 1.0, "epochs": 4},
        fit=fit_in_rounds,
    ),
    "prefilter": Kind(
        PrefilterConfig, PrefilterNetwork, {**_PLAIN, "learning_rate": 3e-3, "batch": 256}
    ),
    "density": Kind(DensityConfig, DensityTrees, fit=fit_density),
}  # fmt: skip
"""The detectors by name, as ``hotscan train --detector`` takes it."""


def find_kind(name: str) -> Kind:
    """Return the row of a detector.

    Raises
    ------
    UsageError
        When there is no such detector.
    """
    if name not in DETECTORS:
        raise UsageError(f"detector {name!r} is unknown; choose one of {', '.join(DETECTORS)}")
    return DETECTORS[name]


def fit(
    request: FitRequest,
    clips: LabelledClips,
    validation: LabelledClips | None,
    on_epoch: OnEpoch = ignore_epoch,
    state: State | None = None,
) -> Trained:
    """Fit a detector to labelled clips; arguments as `stages.detector.training.loop.train`."""
    return find_kind(request.detector).fit(request, clips, validation, on_epoch, state)
