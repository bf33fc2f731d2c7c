"""The commands behind a detector: label, select, train, evaluate, compare, models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline.cli.option_fields import takes
from pipeline.cli.options import (
    AsJson,
    Cell,
    Layers,
    LayoutFile,
    Mask,
    NameOptions,
    NumberFormat,
    Opc,
    Prefilter,
    Process,
    Quiet,
    Roi,
    RunFolder,
    Threshold,
    Workers,
    list_models,
)
from pipeline.cli.settings_options import parse_region
from pipeline.cli.terminal import interruptible, show

DatasetOut = Annotated[Path, typer.Option("--out", "-o", help="Dataset to write, a Zarr group.")]
AnyModel = Annotated[
    str,
    typer.Argument(help="Name of a shipped model, or a checkpoint.", autocompletion=list_models),
]


@dataclass(frozen=True, kw_only=True)
class LabelOptions(NameOptions):
    """Options of ``hotscan label``."""

    layout: LayoutFile
    out: DatasetOut
    process: Process = "krf130"
    layer: Layers = None
    mask: Mask = None
    opc: Opc = "none"
    cell: Cell = None
    roi: Roi = None
    pixel_nm: Annotated[float, typer.Option(help="Side of a pixel.")] = 40.0
    clip_px: Annotated[int, typer.Option(help="Side of a clip, in pixels.")] = 64
    core_px: Annotated[int, typer.Option(help="Side of a core, in pixels.")] = 32
    stride_nm: Annotated[
        float | None, typer.Option(help="Step of the grid; one core by default.")
    ] = None
    workers: Workers = None
    quiet: Quiet = False


@takes(LabelOptions)
def label(options: LabelOptions) -> None:
    """Label clips by lithography simulation.

    Writes a dataset for training and evaluation. Run the same command to resume.
    """
    from pipeline.cli.progress import Progress
    from pipeline.cli.text import facts
    from pipeline.config import load_resources
    from pipeline.datasets.from_simulation import LabelRequest, label_layout
    from stages.contracts import RasterSpec

    names = options.names()
    request = LabelRequest(
        layout=options.layout, out=options.out, layers=tuple(options.layer or ()), names=names,
        process=options.process, opc=options.opc or "none",
        mask=options.mask and names.find(options.mask), cell=options.cell,
        roi_um=parse_region(options.roi), stride_nm=options.stride_nm,
        spec=RasterSpec(options.pixel_nm, options.clip_px, options.core_px),
        limits=options.limits(),
    )  # fmt: skip
    with interruptible("the same command"), Progress(quiet=options.quiet) as progress:
        counts = label_layout(request, load_resources({"workers": options.workers}), progress)
    typer.echo(facts({"dataset": options.out, **counts}))


def select(
    run: RunFolder,
    out: DatasetOut,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Number of distinct clips.")],
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Label the clips of a scan that would improve its model most.

    Simulates uncertain clips that differ from each other, with the process and OPC of the scan, and
    writes a dataset. Run the same command to resume.
    """
    from pipeline.cli.progress import Progress
    from pipeline.cli.text import facts
    from pipeline.config import load_resources
    from pipeline.datasets.from_scan import SelectRequest, select_clips

    request = SelectRequest(run=run, out=out, count=count)
    with interruptible("the same command"), Progress(quiet=quiet) as progress:
        counts = select_clips(request, load_resources({"workers": workers}), progress)
    typer.echo(facts({"dataset": out, **counts}))


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of ``hotscan train``."""

    dataset: Annotated[list[Path], typer.Argument(help="Labelled datasets.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")]
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="Dataset to validate on; an eighth of the patterns by default."),
    ] = None
    detector: Annotated[
        str, typer.Option(metavar="NAME", help="Kind of detector; the docs list them.")
    ] = "attention"
    attention: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kind of attention of our detector.")
    ] = None
    inception: Annotated[
        bool | None,
        typer.Option("--inception/--no-inception", help="Blocks with several branches."),
    ] = None
    start: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Initialise the weights from this model.")
    ] = None
    distil: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Train one network on the scores of this model."),
    ] = None
    prediction: Annotated[
        str | None,
        typer.Option(
            metavar="cross_entropy|focal|improved_cross_entropy", help="Loss of the prediction."
        ),
    ] = None
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="batch_hard|batch_mean|batch_all|semi_hard|none", help="Loss of the embedding."
        ),
    ] = None
    alike: Annotated[
        str | None,
        typer.Option(metavar="label|margin", help="Which clips the embedding draws together."),
    ] = None
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of 250 steps; 30, or 8 with few hotspots.")
    ] = None
    recall: Annotated[
        float | None,
        typer.Option(help="Recall on validation clips that sets the threshold; 0.99."),
    ] = None
    false_alarm_rate: Annotated[
        float, typer.Option(help="False-alarm rate that sets the threshold with few hotspots.")
    ] = 0.0015
    seed: Annotated[int, typer.Option(help="The same seed gives the same weights on a CPU.")] = 0
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Networks trained in parallel with few hotspots; one per core by default."
        ),
    ] = None
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of each network; the weights depend on it.")
    ] = 1
    device: Annotated[
        str, typer.Option(metavar="cpu|cuda", help="Where to train; cuda is not reproducible.")
    ] = "cpu"
    protocol: Annotated[
        Literal["core", "scan"], typer.Option(help="Train on marked cores, or on neighbours too.")
    ] = "scan"
    quiet: Quiet = False

    def given(self, *names: str) -> dict[str, Any]:
        """Return the options of these names that were given."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


@takes(TrainOptions)
def train(options: TrainOptions) -> None:
    """Train a detector on labelled datasets.

    Run the same command to resume a training that was stopped.
    """
    from pipeline.cli.text import facts
    from pipeline.train.model import TrainRequest, train_model
    from pipeline.train.network_jobs import Machine
    from stages.scores import check_device

    request = TrainRequest(
        datasets=tuple(options.dataset), out=options.out,
        validation=tuple(options.validation or ()), detector=options.detector,
        start=options.start, distil=options.distil, protocol=options.protocol,
        shape=options.given("attention", "inception"),
        training=options.given("prediction", "metric", "alike", "epochs", "recall", "seed"),
        false_alarm_rate=options.false_alarm_rate,
    )  # fmt: skip
    check_device(options.device)
    cores = (os.cpu_count() or 1) if options.device == "cpu" else 1
    machine = Machine(options.workers or cores, options.threads, options.device)
    log = (lambda text: None) if options.quiet else (lambda text: typer.echo(text, err=True))
    with interruptible("the same command"):
        figures = train_model(request, machine, log)
    typer.echo(facts(figures))


def evaluate(
    model: AnyModel,
    dataset: Annotated[list[Path], typer.Argument(help="Labelled datasets.")],
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(help="Dataset it was trained on, to report unseen hotspots separately."),
    ] = None,
    protocol: Annotated[
        Literal["core", "scan"], typer.Option(help="Marked cores, or the 3x3 scan around them.")
    ] = "core",
    simulation_s: Annotated[
        float, typer.Option(help="Seconds to simulate a clip; 10 in the literature.")
    ] = 10.0,
    threshold: Threshold = None,
    prefilter: Prefilter = None,
    one_look: Annotated[
        bool, typer.Option("--one-look", help="One network, one pass, of a model of several.")
    ] = False,
    arithmetic: NumberFormat = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on labelled clips.

    Prints recall, false alarms, and the simulation that they cause.
    """
    from pipeline.cli.text import facts
    from pipeline.evaluate.model import EvaluateRequest, evaluate_model

    figures = evaluate_model(EvaluateRequest(
        model=model, datasets=tuple(dataset), trained_on=tuple(trained_on or ()),
        threshold=threshold, protocol=protocol, simulation_s=simulation_s,
        prefiltered=prefilter is not False, one_look=one_look, arithmetic=arithmetic,
    ))  # fmt: skip
    show(figures, as_json, facts)


def compare(
    run: RunFolder,
    dataset: Annotated[Path, typer.Argument(help="Dataset that lists defects.")],
    as_json: AsJson = False,
) -> None:
    """Evaluate a scan against the known defects of its layout."""
    from pipeline.cli.text import facts
    from pipeline.evaluate.scan import evaluate_scan

    show(evaluate_scan(run, dataset), as_json, facts)


models = typer.Typer(help="List the models that come with hotscan, or export one.")


@models.callback(invoke_without_command=True)
def show_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that come with hotscan, or export one.

    The list gives their measured recall and false alarms.
    """
    from pipeline.cli.text import models_text
    from pipeline.scan.inspect_run import shipped_models

    if context.invoked_subcommand is None:
        show(shipped_models(), as_json, models_text)


@models.command()
def export(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a checkpoint.")],
    onnx: Annotated[Path, typer.Option("--onnx", metavar="FILE", help="ONNX file to write.")],
    pictures: Annotated[
        str, typer.Option(metavar="float|uint8", help="Input in [0, 1], or up to 255.")
    ] = "float",
) -> None:
    """Export a model to ONNX.

    The file gives calibrated probability and embedding, and is checked before it is written.
    """
    from pipeline.cli.text import facts
    from pipeline.train.export_model import ExportRequest, export_model

    typer.echo(facts(export_model(ExportRequest(model=model, onnx=onnx, pictures=pictures))))


@models.command()
def quantise(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a checkpoint.")],
    dataset: Annotated[list[Path], typer.Argument(help="Labelled datasets to calibrate with.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")],
) -> None:
    """Add weights in integers to a model.

    Scans then score several times as fast, and alike on every machine. Training adds them itself.
    """
    from pipeline.cli.text import facts
    from pipeline.train.quantise_model import QuantiseRequest, quantise_model

    request = QuantiseRequest(model=model, datasets=tuple(dataset), out=out)
    typer.echo(facts(quantise_model(request)))
