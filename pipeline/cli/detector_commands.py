"""The commands behind a detector: label, train, evaluate, compare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    AsJson,
    Cell,
    Layers,
    Mask,
    Opc,
    Prefilter,
    Process,
    Quiet,
    Roi,
    RunFolder,
    Threshold,
    Workers,
    parse_region,
)
from pipeline.cli.terminal import interruptible, show
from stages.errors import UsageError


def label(
    layout: Annotated[
        Path, typer.Argument(help="GDSII or OASIS file; with --select, the run of a scan.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Dataset, a Zarr group to make.")],
    process: Process = "krf130",
    layer: Layers = None,
    mask: Mask = None,
    opc: Opc = "none",
    cell: Cell = None,
    roi: Roi = None,
    pixel_nm: Annotated[float, typer.Option(help="Side of a pixel.")] = 40.0,
    clip_px: Annotated[int, typer.Option(help="Side of a clip, in pixels.")] = 64,
    core_px: Annotated[int, typer.Option(help="Side of a core, in pixels.")] = 32,
    stride_nm: Annotated[float | None, typer.Option(help="Step of the grid; one core.")] = None,
    select: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only N patterns of a scan, those that teach the most."),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Label clips by simulating the lithography.

    Makes a dataset for training and measuring; a stopped labelling goes on where it was.
    """
    from pipeline.cli.progress import Progress
    from pipeline.cli.text import facts
    from pipeline.config import load_resources
    from pipeline.datasets.from_scan import label_selected
    from pipeline.datasets.from_simulation import label_layout
    from stages.contracts import RasterSpec

    resources = load_resources({"workers": workers})
    with interruptible("the same command"), Progress(quiet=quiet) as progress:
        if select is not None:
            if given := [name for name, value in (
                ("--layer", layer), ("--mask", mask), ("--cell", cell), ("--roi", roi),
                ("--stride-nm", stride_nm),
            ) if value is not None]:  # fmt: skip
                raise UsageError(f"{given[0]} is the scan's with --select; leave it out")
            made = label_selected(layout, out, select, resources, progress, opc=opc)
        else:
            made = label_layout(
                layout, out, process, layer or [], cell, parse_region(roi),
                RasterSpec(pixel_nm, clip_px, core_px), stride_nm, resources, progress,
                opc=opc or "none", mask=mask,
            )  # fmt: skip
    typer.echo(facts({"dataset": out, **made}))


def train(
    dataset: Annotated[list[Path], typer.Argument(help="Labelled datasets.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")],
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="Dataset to validate on; an eighth of the patterns by default."),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What to train; docs/explanation/detectors.md has the names."
        ),
    ] = "attention",
    attention: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kind of attention, of our detector.")
    ] = None,
    inception: Annotated[
        bool | None, typer.Option("--inception/--no-inception", help="Blocks of several views.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Begin with its weights, not by chance.")
    ] = None,
    prediction: Annotated[
        str | None, typer.Option(metavar="cross_entropy|focal", help="Loss of the verdict.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="batch_hard|batch_all|semi_hard|none", help="Loss of the embedding."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of 250 steps; 30, or 8 where hotspots are few.")
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(help="Recall on validation clips that sets the threshold; 0.99."),
    ] = None,
    false_alarm_rate: Annotated[
        float,
        typer.Option(help="Share of other clips that it is set for, where hotspots are few."),
    ] = 0.0015,
    seed: Annotated[int, typer.Option(help="Same seed on a CPU, same weights.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Networks that learn side by side where hotspots are few; one a core."
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Of each network; the weights depend on it.")
    ] = 1,
    device: Annotated[
        str,
        typer.Option(metavar="cpu|cuda", help="Where it learns; cuda does not repeat."),
    ] = "cpu",
    protocol: Annotated[
        str,
        typer.Option(metavar="core|scan", help="Learn from marked cores, or neighbours too."),
    ] = "scan",
    quiet: Quiet = False,
) -> None:
    """Train a detector on labelled datasets.

    The same command goes on where an earlier training of the same file stopped.
    """
    from pipeline.cli.text import facts
    from pipeline.train.model import Recipe, train_model
    from pipeline.train.network_jobs import Machine
    from stages.scores import check_device

    shape = {"attention": attention, "inception": inception}
    training = {
        "prediction": prediction, "metric": metric, "epochs": epochs, "recall": recall,
        "seed": seed,
    }  # fmt: skip
    recipe = Recipe(
        detector,
        {name: value for name, value in shape.items() if value is not None},
        {name: value for name, value in training.items() if value is not None},
        start,
        protocol,
        false_alarm_rate,
    )
    check_device(device)
    beside = (os.cpu_count() or 1) if device == "cpu" else 1
    say = (lambda text: None) if quiet else (lambda text: typer.echo(text, err=True))
    with interruptible("the same command"):
        made = train_model(
            dataset, out, recipe, validation=validation or [], say=say,
            machine=Machine(workers or beside, threads, device),
        )  # fmt: skip
    typer.echo(facts(made))


def evaluate(
    model: Annotated[str, typer.Argument(help="Shipped model, or a checkpoint.")],
    dataset: Annotated[list[Path], typer.Argument(help="Labelled datasets.")],
    trained_on: Annotated[
        list[Path] | None, typer.Option(help="Dataset it was trained on, to tell unseen hotspots.")
    ] = None,
    protocol: Annotated[
        str, typer.Option(metavar="core|scan", help="Marked cores, or the 3x3 scan around them.")
    ] = "core",
    simulation_s: Annotated[
        float, typer.Option(help="Seconds to simulate a clip; 10 in the papers.")
    ] = 10.0,
    threshold: Threshold = None,
    prefilter: Prefilter = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on labelled clips.

    Recall and false alarms, and what they mean for simulation.
    """
    from pipeline.cli.text import facts
    from pipeline.evaluate.model import evaluate_model

    measured = evaluate_model(
        model, dataset, trained_on=trained_on or [], threshold=threshold, protocol=protocol,
        simulation_s=simulation_s, prefiltered=prefilter is not False,
    )  # fmt: skip
    show(measured, as_json, facts)


def compare(
    run: RunFolder,
    dataset: Annotated[Path, typer.Argument(help="Dataset that lists defects.")],
    as_json: AsJson = False,
) -> None:
    """Measure a scan against the known defects of its layout."""
    from pipeline.cli.text import facts
    from pipeline.evaluate.scan import evaluate_scan

    show(evaluate_scan(run, dataset), as_json, facts)
