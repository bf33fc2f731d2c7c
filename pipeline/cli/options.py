"""The arguments and options that several commands share.

in       the command line
out      the types that `pipeline.cli.app` annotates its parameters with, and tables of settings
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stages.errors import UsageError

LayoutFile = Annotated[Path, typer.Argument(help="GDSII or OASIS file, plain or gzip.")]
RunFolder = Annotated[Path, typer.Argument(help="Run directory of a scan.")]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", "-l", metavar="L/D", help="Layer to scan, like 68/20; repeatable."),
]
Cell = Annotated[str | None, typer.Option(help="Top cell; needed when the file has several.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="L/D", help="Layer whose shapes exclude the clips that they cover."),
]
Roi = Annotated[
    str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Region to scan, in um; all by default.")
]
Model = Annotated[str | None, typer.Option(help="Name of a shipped model, or a checkpoint.")]
Config = Annotated[Path | None, typer.Option(help="TOML file of settings.")]
Mode = Annotated[
    str | None, typer.Option(metavar="grid|sites", help="Every clip, or rule-checked places.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a layout that gives a warning.")]
Workers = Annotated[
    int | None, typer.Option(help="Worker processes; 0 runs in this process. Default 1.")
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler-address", help="A running Dask scheduler to use.")
]
WorkerMemory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory limit of each worker, like 2GB.")
]
Device = Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Where the model runs.")]
Threshold = Annotated[
    float | None, typer.Option(help="Probability that makes a hotspot; the model's by default.")
]
Prefilter = Annotated[
    bool | None,
    typer.Option(
        "--prefilter/--no-prefilter", help="Let a smaller network reject confident negatives first."
    ),
]
Since = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Take over what did not change since an earlier scan."),
]
ShardOf = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Only part I of N, to be merged later.")
]
FailOn = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Exit 1 when there are more than N hotspots.")
]
Confirm = Annotated[
    bool | None,
    typer.Option("--confirm/--no-confirm", help="Simulate the hotspots, and tell which fail."),
]
Opc = Annotated[
    str | None,
    typer.Option(metavar="none|model", help="Print what is drawn, or correct the mask first."),
]
Mask = Annotated[
    str | None, typer.Option(metavar="L/D", help="Layer of the mask, when it is not what is drawn.")
]
Process = Annotated[str, typer.Option(help="Shipped process, or a TOML file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def overrides(
    layer: list[str] | None,
    cell: str | None,
    exclude: list[str] | None,
    roi: str | None,
    model: str | None,
    mode: str | None,
    strict: bool,
    device: str | None,
    threshold: float | None,
    confirm: bool | None = None,
    opc: str | None = None,
    prefilter: bool | None = None,
) -> dict[str, dict[str, Any]]:
    """Lay what the command line gave out as config tables."""
    return {
        "layout": {
            "layers": layer or None,
            "cell": cell,
            "exclude": exclude or None,
            "roi_um": region(roi),
            "strict": strict or None,
        },
        "clips": {"mode": mode},
        "scores": {
            "model": model,
            "device": device,
            "threshold": threshold,
            "prefilter": prefilter,
        },
        "confirm": {"enabled": confirm, "opc": opc},
    }


def region(roi: str | None) -> tuple[float, ...] | None:
    """Return the four numbers of ``--roi``.

    Raises
    ------
    UsageError
        When they are not four numbers.
    """
    if roi is None:
        return None
    try:
        x0, y0, x1, y1 = (float(part) for part in roi.split(","))
    except ValueError:
        raise UsageError(f"--roi {roi!r} is not x0,y0,x1,y1, four numbers in um") from None
    return x0, y0, x1, y1
