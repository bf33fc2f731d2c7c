"""The arguments and options that several commands share.

in       the command line
out      annotated types, options values, and the config and resources they stand for
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.option_fields import LAST
from stages.errors import UsageError

if TYPE_CHECKING:
    from pipeline.cli.gate import Gate
    from pipeline.config import Resources
    from pipeline.layout.reader_process import Limits
    from stages.layout.layer_names import LayerNames


def list_models() -> list[str]:
    """Return the shipped models, for completion."""
    from stages.detector.models import checkpoint

    return list(checkpoint.shipped())


def list_processes() -> list[str]:
    """Return the shipped processes, for completion."""
    from stages.lithography.process import SHIPPED

    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


LayoutFile = Annotated[Path, typer.Argument(help="GDSII or OASIS file, plain or gzip.")]


def locate(place: str) -> Path:
    """Return the folder of a run directory or address."""
    from pipeline.engine.storage.replica import locate_run

    return locate_run(place)


RunFolder = Annotated[
    Path,
    typer.Argument(
        parser=locate, metavar="RUN", help="Run directory of a scan, or its s3:// address."
    ),
]
OutFolder = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        parser=locate,
        metavar="FOLDER",
        help="Directory, created when absent; or a place in an object store, s3://bucket/run.",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        "-l",
        metavar="L/D|NAME",
        help="Layer, like 68/20; channels of one picture are 67/20+68/20. For scan and plan "
        "repeatable: each is judged by itself.",
    ),
]
Tech = Annotated[
    Literal["sky130A", "gf180mcu", "ihp-sg13g2", "nangate45", "asap7"] | None,
    typer.Option(help="Technology whose names of layers may be used, like met1."),
]
Lyp = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Layer properties of KLayout, whose names may be used."),
]
Cell = Annotated[str | None, typer.Option(help="Top cell; needed when the file has several.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="L/D", help="Layer whose shapes exclude the clips that they cover."),
]
Roi = Annotated[
    str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Region, in um; everything by default.")
]
Model = Annotated[
    str | None,
    typer.Option(help="Name of a shipped model, or a checkpoint.", autocompletion=list_models),
]
LayerModels = Annotated[
    list[str] | None,
    typer.Option("--layer-model", metavar="LAYER=MODEL", help="Another model for a layer."),
]
AllMetals = Annotated[
    bool, typer.Option("--all-metals", help="Scan every metal that --tech or --lyp names.")
]
Config = Annotated[Path | None, typer.Option(help="TOML file of settings.")]
Mode = Annotated[
    Literal["grid", "sites"] | None,
    typer.Option(help="Every clip of a grid, or only places that rule checks find."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Treat layout warnings as errors.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Worker processes; 0 runs in this process. Default 1.")
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler-address", help="A running Dask scheduler to use.")
]
WorkerMemory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory limit of each worker, like 2GB.")
]
Device = Annotated[
    str | None, typer.Option(metavar="cpu|cuda|cuda:N", help="Where the model runs.")
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Score from which a clip is a hotspot; the model's by default."),
]
Prefilter = Annotated[
    bool | None,
    typer.Option(
        "--prefilter/--no-prefilter", help="Let a smaller network reject confident negatives first."
    ),
]
NumberFormat = Annotated[
    Literal["int8", "float32"] | None,
    typer.Option(help="What scores are computed in; int8 by default where the model has it."),
]
FailOn = Annotated[
    str | None,
    typer.Option(
        metavar="N|LEVEL:N,...",
        help="Exit 1 when there are more than N hotspots, in all or of a level "
        "(level1:0,level2:50).",
    ),
]
Confirm = Annotated[
    bool | None,
    typer.Option("--confirm/--no-confirm", help="Simulate the hotspots, and report which fail."),
]
Opc = Annotated[
    Literal["none", "model", "curvy"] | None,
    typer.Option(help="Simulate the shapes as drawn, or with a mask corrected by edges or curves."),
]
AuditSize = Annotated[
    str | None,
    typer.Option(
        "--audit", metavar="SHARE|CLIPS|SECONDSs",
        help="Simulate a random sample of clips, and estimate what the scan missed: a share "
        "(0.03, 3%), a number of clips, or what one worker simulates in a time (600s).",
    ),
]  # fmt: skip
Fix = Annotated[
    bool | None,
    typer.Option(
        "--fix/--no-fix",
        help="Search for the smallest move of drawn edges that mends each class that fails.",
    ),
]
Certify = Annotated[
    float | None,
    typer.Option(
        metavar="RECALL",
        help="Simulate, learn and look at random clips until this share of the hotspots is found, "
        "like 0.99, and say so with a lower bound.",
    ),
]
Within = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="How far the lower bound may lie under --certify; 0.02 by default."
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Largest share of the clips that --certify simulates; 0.2 by default."
    ),
]
StartProcess = Annotated[
    str | None,
    typer.Option(
        "--process",
        help="Certify without a model: start from a shipped process, or a TOML file.",
        autocompletion=list_processes,
    ),
]
EdgeTolerance = Annotated[
    float | None,
    typer.Option(
        metavar="NM", min=0, help="Furthest that edges may differ within a class of hotspots."
    ),
]
AreaMatch = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Group by the share of equal area instead, like 0.95."),
]
Waivers = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Hotspots that were accepted, as hotscan waive wrote them; not counted.",
    ),
]
Mask = Annotated[
    str | None, typer.Option(metavar="L/D", help="Layer of the mask, if not the drawn layer.")
]
Process = Annotated[
    str, typer.Option(help="Shipped process, or a TOML file.", autocompletion=list_processes)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Write hotscan.log into the output directory.")
]
ReaderMemory = Annotated[
    float | None, typer.Option(help="Limit on the memory of reading, in GB; 8 by default.")
]
ReaderSeconds = Annotated[
    float | None, typer.Option(help="Limit on the time of reading; 1800 by default.")
]
ReaderUnpacked = Annotated[
    float | None, typer.Option(help="Limit on the unpacked size, in GB; 64 by default.")
]
ReaderExtent = Annotated[
    float | None, typer.Option(help="Limit on the side of shape and layout; 100 by default.")
]
ReaderDensity = Annotated[
    float | None, typer.Option(help="Limit on the density of shapes; 10000 by default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """How the work is run; never changes the answer."""

    workers: Workers = None
    scheduler_address: Scheduler = None
    worker_memory: WorkerMemory = None
    fail_on: FailOn = None
    quiet: Quiet = False
    verbose: Verbose = False

    def gate(self) -> Gate | None:
        """Return what ``--fail-on`` asks for, if anything.

        Raises
        ------
        UsageError
            When it cannot be read.
        """
        from pipeline.cli.gate import parse_gate

        return None if self.fail_on is None else parse_gate(self.fail_on)

    def resources(self) -> Resources:
        """Return what the work may use.

        Raises
        ------
        UsageError
            When options exclude each other.
        """
        from pipeline.config import load_resources

        names = ("workers", "scheduler_address", "worker_memory")
        given = load_resources({name: getattr(self, name) for name in names})
        if self.scheduler_address is not None and self.workers is not None:
            raise UsageError("--workers does not apply to --scheduler-address; leave out one")
        if self.worker_memory is not None and (self.scheduler_address or self.workers == 0):
            other = "--scheduler-address" if self.scheduler_address else "--workers 0"
            raise UsageError(f"--worker-memory does not apply to {other}; leave it out")
        return given


@dataclass(frozen=True, kw_only=True)
class ReaderOptions:
    """Limits on reading the layout; never change the answer."""

    reader_memory_gb: ReaderMemory = field(default=None, metadata=LAST)
    reader_seconds: ReaderSeconds = field(default=None, metadata=LAST)
    reader_unpacked_gb: ReaderUnpacked = field(default=None, metadata=LAST)
    reader_extent_mm: ReaderExtent = field(default=None, metadata=LAST)
    reader_shapes_per_um2: ReaderDensity = field(default=None, metadata=LAST)

    def reader_table(self) -> dict[str, float | None]:
        """Return what was given, as the table ``[reader]``; a None stands for "not given"."""
        return {
            each.name.removeprefix("reader_"): getattr(self, each.name)
            for each in fields(ReaderOptions)
        }

    def limits(self) -> Limits:
        """Return the limits.

        Raises
        ------
        ConfigError
            When one is not over 0.
        """
        from pipeline.layout.ingest import load_limits

        return load_limits(self.reader_table())


@dataclass(frozen=True, kw_only=True)
class NameOptions(ReaderOptions):
    """Where names of layers are from."""

    tech: Tech = None
    lyp: Lyp = None

    def names(self) -> LayerNames:
        """Return the names.

        Raises
        ------
        ConfigError
            When the file cannot be read.
        """
        from stages.layout.layer_settings import load_names

        return load_names(self.name_table())

    def name_table(self) -> dict[str, str | None]:
        """Return what was given, as part of the table ``[layout]``."""
        return {"tech": self.tech, "lyp": None if self.lyp is None else str(self.lyp)}
