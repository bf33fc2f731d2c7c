"""``hotscan dataset``: datasets from layouts that come with labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.option_fields import takes
from pipeline.cli.options import Cell, LayoutFile, ReaderOptions

if TYPE_CHECKING:
    from stages.contracts import RasterSpec

Dataset = Annotated[Path, typer.Option("--out", "-o", help="Dataset to write, a Zarr group.")]
Process = Annotated[
    str,
    typer.Option(help="Shipped process, or a TOML file: for symmetries and sampling, not labels."),
]
Pixel = Annotated[float, typer.Option(help="Side of a pixel.")]
ClipPx = Annotated[int, typer.Option(help="Side of a clip, in pixels.")]
CorePx = Annotated[int, typer.Option(help="Side of a core, in pixels.")]


@dataclass(frozen=True, kw_only=True)
class ImportOptions(ReaderOptions):
    """What all commands that import a layout take."""

    layout: LayoutFile
    out: Dataset
    process: Process = "arfi45"
    pixel_nm: Pixel = 30.0
    clip_px: ClipPx = 88
    core_px: CorePx = 40

    @property
    def spec(self) -> RasterSpec:
        """The picture of a clip."""
        from stages.contracts import RasterSpec

        return RasterSpec(self.pixel_nm, self.clip_px, self.core_px)


@dataclass(frozen=True, kw_only=True)
class MarkedOptions(ImportOptions):
    """Options of ``hotscan dataset labelled``."""

    metal: Annotated[
        list[str], typer.Option(metavar="L/D", help="Layer to draw, like 68/20; repeatable.")
    ]
    hotspot: Annotated[
        list[str], typer.Option(metavar="L/D", help="Layer of the hotspots' cores; repeatable.")
    ]
    non_hotspot: Annotated[
        list[str], typer.Option(metavar="L/D", help="Layer of the others' cores; repeatable.")
    ]
    train_window: Annotated[
        list[str] | None,
        typer.Option(metavar="L/D", help="Layer of the windows for training; repeatable."),
    ] = None
    cell: Cell = None


@dataclass(frozen=True, kw_only=True)
class DefectListOptions(ImportOptions):
    """Options of ``hotscan dataset iccad2016``."""

    defects: Annotated[Path, typer.Argument(help="CSV file of defects, columns x and y in dbu.")]
    metal: Annotated[
        list[str] | None, typer.Option(metavar="L/D", help="Layer to draw; 1000/0 by default.")
    ] = None
    pixel_nm: Pixel = 8.0
    clip_px: ClipPx = 64
    core_px: CorePx = 32
    stride_nm: Annotated[
        float | None, typer.Option(help="Step of the grid; half a core by default.")
    ] = None


dataset = typer.Typer(no_args_is_help=True, help="Make a dataset of a layout with known hotspots.")


@dataset.command()
@takes(MarkedOptions)
def labelled(options: MarkedOptions) -> None:
    """Take the clips that a layout marks.

    A core whose centre lies in a window is for training, any other for test. Around each, the
    eight clips one core away are kept for the 3x3 scan. The cell * places all top cells side by
    side.
    """
    from pipeline.cli.text import facts
    from pipeline.datasets.from_marker_layers import MarkedRequest, Marking, import_marked

    marking = Marking(
        tuple(options.metal), tuple(options.hotspot), tuple(options.non_hotspot),
        tuple(options.train_window or ()),
    )  # fmt: skip
    counts = import_marked(MarkedRequest(
        layout=options.layout, out=options.out, marking=marking, spec=options.spec,
        process=options.process, cell=options.cell, limits=options.limits(),
    ))  # fmt: skip
    typer.echo(facts({"dataset": options.out, **counts}))


@dataset.command()
@takes(ImportOptions)
def iccad2012(options: ImportOptions) -> None:
    """Take the clips of a design of the ICCAD-2012 contest."""
    _import_benchmark("iccad2012", options)


@dataset.command()
@takes(ImportOptions)
def iccad2019(options: ImportOptions) -> None:
    """Take the clips of a file of the ICCAD-2019 benchmark.

    A file is for training or for test as a whole.
    """
    _import_benchmark("iccad2019", options)


def _import_benchmark(name: str, options: ImportOptions) -> None:
    from pipeline.cli.text import facts
    from pipeline.datasets.from_marker_layers import import_benchmark

    counts = import_benchmark(
        name, options.layout, options.out, options.spec, process=options.process,
        limits=options.limits(),
    )  # fmt: skip
    typer.echo(facts({"dataset": options.out, **counts}))


@dataset.command()
@takes(DefectListOptions)
def iccad2016(options: DefectListOptions) -> None:
    """Take the clips of a layout with a list of defects, such as ICCAD-2016 N7 EUV.

    The left half is for training, the right half for test.
    """
    from pipeline.cli.text import facts
    from pipeline.datasets.from_defect_list import DefectListRequest, import_defects

    counts = import_defects(DefectListRequest(
        layout=options.layout, defects=options.defects, out=options.out,
        metal=tuple(options.metal or ["1000/0"]), spec=options.spec, process=options.process,
        stride_nm=options.stride_nm, limits=options.limits(),
    ))  # fmt: skip
    typer.echo(facts({"dataset": options.out, **counts}))
