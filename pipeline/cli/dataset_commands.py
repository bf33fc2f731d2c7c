"""``hotscan dataset``: layouts that come with their labels, made datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Cell, LayoutFile

Dataset = Annotated[Path, typer.Option("--out", "-o", help="Dataset, a Zarr group to make.")]
Process = Annotated[
    str,
    typer.Option(help="Shipped process, or a TOML file: for symmetries and sampling, not labels."),
]
Pixel = Annotated[float, typer.Option(help="Side of a pixel.")]
ClipPx = Annotated[int, typer.Option(help="Side of a clip, in pixels.")]
CorePx = Annotated[int, typer.Option(help="Side of a core, in pixels.")]

dataset = typer.Typer(no_args_is_help=True, help="Make a dataset of a layout with known hotspots.")


@dataset.command()
def labelled(
    layout: LayoutFile,
    out: Dataset,
    metal: Annotated[
        list[str], typer.Option(metavar="L/D", help="Layer to draw, like 68/20; repeatable.")
    ],
    hotspot: Annotated[
        list[str], typer.Option(metavar="L/D", help="Layer of the hotspots' cores; repeatable.")
    ],
    non_hotspot: Annotated[
        list[str], typer.Option(metavar="L/D", help="Layer of the others' cores; repeatable.")
    ],
    train_window: Annotated[
        list[str] | None,
        typer.Option(metavar="L/D", help="Layer of the windows for training; repeatable."),
    ] = None,
    cell: Cell = None,
    process: Process = "arfi45",
    pixel_nm: Pixel = 30.0,
    clip_px: ClipPx = 88,
    core_px: CorePx = 40,
) -> None:
    """Take the clips that a layout marks.

    A core whose centre lies in a window is for training, any other for test. Around each, the
    eight clips one core away are kept for the 3x3 scan. The cell * lays all top cells side by side.
    """
    from pipeline.cli.text import facts
    from pipeline.datasets.from_marker_layers import Marking, import_marked
    from stages.contracts import RasterSpec

    marking = Marking(tuple(metal), tuple(hotspot), tuple(non_hotspot), tuple(train_window or ()))
    spec = RasterSpec(pixel_nm, clip_px, core_px)
    made = import_marked(layout, out, marking, spec, process=process, cell=cell)
    typer.echo(facts({"dataset": out, **made}))


@dataset.command()
def iccad2012(
    layout: LayoutFile,
    out: Dataset,
    process: Process = "arfi45",
    pixel_nm: Pixel = 30.0,
    clip_px: ClipPx = 88,
    core_px: CorePx = 40,
) -> None:
    """Take the clips of a design of the ICCAD-2012 contest."""
    _benchmark("iccad2012", layout, out, process, pixel_nm, clip_px, core_px)


@dataset.command()
def iccad2019(
    layout: LayoutFile,
    out: Dataset,
    process: Process = "arfi45",
    pixel_nm: Pixel = 30.0,
    clip_px: ClipPx = 88,
    core_px: CorePx = 40,
) -> None:
    """Take the clips of a file of the ICCAD-2019 benchmark.

    A file is for training or for test as a whole.
    """
    _benchmark("iccad2019", layout, out, process, pixel_nm, clip_px, core_px)


def _benchmark(
    name: str, layout: Path, out: Path, process: str, pixel_nm: float, clip_px: int, core_px: int
) -> None:
    from pipeline.cli.text import facts
    from pipeline.datasets.from_marker_layers import import_benchmark
    from stages.contracts import RasterSpec

    spec = RasterSpec(pixel_nm, clip_px, core_px)
    made = import_benchmark(name, layout, out, spec, process=process)
    typer.echo(facts({"dataset": out, **made}))


@dataset.command()
def iccad2016(
    layout: LayoutFile,
    defects: Annotated[Path, typer.Argument(help="CSV file of defects, columns x and y in dbu.")],
    out: Dataset,
    metal: Annotated[
        list[str] | None, typer.Option(metavar="L/D", help="Layer to draw; 1000/0 by default.")
    ] = None,
    process: Process = "arfi45",
    pixel_nm: Pixel = 8.0,
    clip_px: ClipPx = 64,
    core_px: CorePx = 32,
    stride_nm: Annotated[float | None, typer.Option(help="Step of the grid; half a core.")] = None,
) -> None:
    """Take the clips of a layout whose defects are listed, as those of ICCAD-2016 N7 EUV.

    The left half is for training, the right half for test.
    """
    from pipeline.cli.text import facts
    from pipeline.datasets.from_defect_list import import_defects
    from stages.contracts import RasterSpec

    made = import_defects(
        layout, defects, out, RasterSpec(pixel_nm, clip_px, core_px),
        metal=metal or ["1000/0"], process=process, stride_nm=stride_nm,
    )  # fmt: skip
    typer.echo(facts({"dataset": out, **made}))
