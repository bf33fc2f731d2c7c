"""Detectors: shipped, trained, or your own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch

from hotscan.settings import PathLike, refuse_unknown
from stages.contracts import RasterSpec
from stages.detector.models.user_model import UserModel
from stages.lithography.process import load_process

Protocol = Literal["core", "scan"]


class Model(UserModel):
    """A torch module of your own that can scan.

    It maps (n, layers, h, w) float32 pictures, area coverage in [0, 1] with row 0 at the lowest y,
    to logits (n,), or to a tuple of logits and embeddings (n, e). It is known by its weights and
    source, and travels to workers by value.

    Parameters
    ----------
    module : torch.nn.Module
        The module, in any mode; it is copied and put into evaluation.
    raster : RasterSpec or Mapping
        The picture it was trained on: ``pixel_nm``, ``clip_px``, ``core_px``, ``layers``.
    process : str
        Shipped process that its labels come from, or a TOML file.
    threshold : float
        Probability from which a clip is a hotspot.
    opc : {"none", "model", "curvy"}
        Whether its labels come from corrected masks.

    Raises
    ------
    UsageError
        When the threshold is out of range, or a weight is not finite.
    ModelMismatchError
        When the module does not take such pictures, or returns something else.

    Examples
    --------
    >>> model = hotscan.Model(net, raster={"pixel_nm": 40, "clip_px": 64, "core_px": 32},
    ...                       process="krf130", threshold=0.5)  # doctest: +SKIP
    >>> hotscan.scan("chip.gds", layers="68/20", out="run", model=model)  # doctest: +SKIP
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        raster: RasterSpec | Mapping[str, Any],
        process: PathLike = "krf130",
        threshold: float = 0.5,
        opc: Literal["none", "model", "curvy"] = "none",
    ) -> None:
        spec = raster if isinstance(raster, RasterSpec) else RasterSpec(**raster)
        settings = load_process(str(process))
        super().__init__(
            module=module, raster=spec, process=settings.name, threshold=threshold,
            process_settings=settings.as_dict(), opc=opc,
        )  # fmt: skip


def models() -> dict[str, Any]:
    """Return the shipped models, with what each expects and was measured at."""
    from pipeline.scan.inspect_run import shipped_models

    return shipped_models()


class EvaluateSettings(TypedDict, total=False):
    """Keyword arguments of `evaluate`."""

    trained_on: Sequence[PathLike]
    """Datasets that the model was trained on, to tell hotspots it never saw."""
    protocol: Protocol
    """Marked cores, or the 3x3 scan around them; ``core`` by default."""
    threshold: float | None
    """Score from which a clip is a hotspot; the model's by default."""
    prefilter: bool
    """Whether the model's prefilter is used; True by default."""
    arithmetic: Literal["int8", "float32"] | None
    """What scores are computed in; int8 by default where the model has it."""
    simulation_s: float
    """Seconds to simulate a clip; 10 by default, as in the papers."""
    one_look: bool
    """Whether a model of several networks judges by one pass of one; False by default."""


def evaluate(
    model: PathLike, datasets: PathLike | Sequence[PathLike], **settings: Unpack[EvaluateSettings]
) -> dict[str, Any]:
    """Measure a model on labelled datasets: recall, false alarms, simulation saved."""
    from pipeline.evaluate.model import EvaluateRequest, evaluate_model

    refuse_unknown("evaluate", settings, EvaluateSettings)
    return evaluate_model(EvaluateRequest(
        model=str(model), datasets=_paths(datasets),
        trained_on=tuple(Path(path) for path in settings.get("trained_on", ())),
        threshold=settings.get("threshold"), protocol=settings.get("protocol", "core"),
        simulation_s=settings.get("simulation_s", 10.0),
        prefiltered=settings.get("prefilter", True), one_look=settings.get("one_look", False),
        arithmetic=settings.get("arithmetic"),
    ))  # fmt: skip


def compare(run: PathLike, dataset: PathLike) -> dict[str, Any]:
    """Measure a scan against the known defects of its layout."""
    from pipeline.evaluate.scan import evaluate_scan

    return evaluate_scan(Path(run), Path(dataset))


class TrainSettings(TypedDict, total=False):
    """Keyword arguments of `train`."""

    detector: str
    """Name of a detector; ``attention``, ours, by default."""
    shape: Mapping[str, Any]
    """Where its network is not the usual one."""
    training: Mapping[str, Any]
    """Where its training is not the usual one: ``epochs``, ``seed``, ``recall``, ..."""
    start: PathLike | None
    """Model whose weights are started from."""
    distil: PathLike | None
    """Model whose scores one network learns, for example one of several networks."""
    validation: Sequence[PathLike]
    """Datasets to validate on; an eighth of the patterns by default."""
    protocol: Protocol
    """Of marked datasets, the marked cores only, or the cores beside them too."""
    false_alarm_rate: float
    """What the threshold is set for where hotspots are few."""
    workers: int
    """Networks that are trained side by side where hotspots are few; 1 by default."""
    device: str
    """``cpu`` or ``cuda``."""
    progress: bool
    """Whether a line is shown for each epoch; True by default."""


def train(
    datasets: PathLike | Sequence[PathLike], *, out: PathLike, **settings: Unpack[TrainSettings]
) -> dict[str, Any]:
    """Train a detector on labelled datasets; a training that was stopped is resumed.

    Returns
    -------
    dict
        The checkpoint's path and digest, its threshold, and what it reaches on validation clips.
    """
    from pipeline.train.model import TrainRequest, train_model
    from pipeline.train.network_jobs import Machine

    refuse_unknown("train", settings, TrainSettings)
    start, teacher = settings.get("start"), settings.get("distil")
    request = TrainRequest(
        datasets=_paths(datasets), out=Path(out),
        validation=tuple(Path(path) for path in settings.get("validation", ())),
        detector=settings.get("detector", "attention"), shape=dict(settings.get("shape", {})),
        training=dict(settings.get("training", {})), start=None if start is None else str(start),
        distil=None if teacher is None else str(teacher),
        protocol=settings.get("protocol", "scan"),
        false_alarm_rate=settings.get("false_alarm_rate", 0.0015),
    )  # fmt: skip
    machine = Machine(settings.get("workers", 1), 1, settings.get("device", "cpu"))
    shown = settings.get("progress", True)
    log = (lambda text: print(text, file=sys.stderr)) if shown else (lambda text: None)
    return train_model(request, machine, log)


def export_onnx(
    model: PathLike, out: PathLike, *, pictures: Literal["float", "uint8"] = "float"
) -> Path:
    """Write a model as an ONNX file, checked against it to 1e-5; needs the extra ``onnx``.

    Parameters
    ----------
    model
        Name of a shipped model, or a checkpoint.
    pictures
        Type of the input: float32 in [0, 1], or uint8 up to 255.
    """
    from pipeline.train.export_model import ExportRequest, export_model

    export_model(ExportRequest(model=str(model), onnx=Path(out), pictures=pictures))
    return Path(out)


def _paths(paths: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    if isinstance(paths, str | os.PathLike):
        return (Path(paths),)
    return tuple(Path(path) for path in paths)
