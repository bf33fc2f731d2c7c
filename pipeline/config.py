"""The settings of a scan, whose tables are named as the stages.

in       a TOML file, and what the command line gave
out      `ScanConfig`, checked, and per stage the settings that can change its answer
promise  an unknown key is always an error
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stages.errors import ConfigError
from stages.layout.layer_settings import Layers, LayoutConfig, number_layers, parse_layer_names
from stages.settings import Settings, validate_settings

Length = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
AUDIT_SIZE = r"^(0?\.\d+|\d+|\d+(\.\d+)?[%s])$"
"""A share, a number of clips, percent, or seconds."""


class ReaderConfig(Settings):
    """What reading the layout may cost; never changes the answer."""

    memory_gb: Length = 8.0
    """Most memory that the reader may take, in GB; rectangles need about four times their file."""
    seconds: Length = 1800.0
    """Longest time that the reader may take."""
    unpacked_gb: Length = 64.0
    """Largest size after decompression, in GB."""
    extent_mm: Length = 100.0
    """Longest side of a shape and of the scanned layers, in mm; a reticle field has 33."""
    shapes_per_um2: Length = 10_000.0
    """Most shapes per square um, arrays written out, where over 10 million are placed."""


class TilesConfig(Settings):
    """How the layout is divided into tiles; never changes the answer."""

    size_um: Length = 200.0
    """Side of a tile, in um."""
    shared: bool = True
    """Whether clips of a tile that hold the same region are drawn once."""


class ClipsConfig(Settings):
    """How clips are sampled."""

    mode: Literal["sites", "grid"] = "grid"
    """Every clip at a stride that has any geometry, or only places that a rule check names."""
    stride_nm: Length | None = None
    """Distance of neighbouring clips in grid mode, in nm, at most one core; one core by default."""
    space_nm: Length | None = None
    """A space under this limit is a site, in nm; of the model's process by default."""
    width_nm: Length | None = None
    """A width under this limit is a site, in nm; of the model's process by default."""
    tip_to_tip_nm: Length | None = None
    """Two line ends nearer than this are a site, in nm; of the model's process by default."""
    line_end_to_side_nm: Length | None = None
    """A line end nearer to a side than this is a site, in nm; of the model's process by default."""
    line_end_nm: Length | None = None
    """An edge between two corners is a line end up to this length, in nm; of the process."""

    @model_validator(mode="after")
    def _stride_is_of_the_grid(self) -> ClipsConfig:
        if self.stride_nm is not None and self.mode != "grid":
            raise ConfigError(
                f'stride_nm is {self.stride_nm:g} but mode is "{self.mode}"; '
                'only mode "grid" has a stride: set that mode, or leave stride_nm out'
            )
        return self


class RasterConfig(Settings):
    """The picture of a clip; the model's own by default, and no model takes another."""

    pixel_nm: Length | None = None
    """Side of a pixel, in nm."""
    clip_nm: Length | None = None
    """Side of the clip, what the detector sees, in nm."""
    core_nm: Length | None = None
    """Side of the core, what the clip answers for, in nm."""


class ScoresConfig(Settings):
    """Which model scores the patterns."""

    model: Annotated[str, Field(min_length=1)] = "krf130-met1"
    """Name of a shipped model, or path of a checkpoint."""
    models: dict[str, str] = Field(default_factory=dict)
    """Model of a layer, by its layer/datatype or name, where it is not `model`."""
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Probability from which a clip is a hotspot; the model's own by default."""
    prefilter: bool | None = None
    """Whether a smaller network rejects confident negatives first; where it is valid by default.
    It loses a stated share of the hotspots; some models have none."""
    shard_patterns: Annotated[int, Field(ge=1)] = 4096
    """Patterns drawn and scored by one task; never changes the answer."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """Where the model runs, cpu, cuda or cuda:N."""
    arithmetic: Literal["int8", "float32"] | None = None
    """What scores are computed in: int8 is several times as fast and the same on every machine,
    float32 differs between processors in the last digits; int8 where the model has it and runs on
    the CPU by default."""


class ConfirmConfig(Settings):
    """Whether hotspots are simulated."""

    enabled: bool = False
    """Whether the hotspots are simulated with the process of the model."""
    opc: Literal["none", "model", "curvy"] | None = None
    """Whether the mask is corrected first, by edges or curves; as the model's labels by default."""
    confident: bool = True
    """Whether confident hotspots are simulated too, or only those for review."""
    batch_windows: Annotated[int, Field(ge=1)] = 256
    """Windows of clips simulated by one task; never changes the answer."""


class AuditConfig(Settings):
    """Whether a random sample of clips is simulated, to estimate what the scan missed."""

    size: Annotated[str, Field(pattern=AUDIT_SIZE)] | None = None
    """How many clips: a share like 0.03 or 3%, a number, or what fits a time, like 600s; no audit
    when not given."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Which clips: another seed draws others."""


class CertifyConfig(Settings):
    """Whether to simulate, learn and look again until a recall is certified."""

    recall: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the hotspots that must be found; nothing is certified when not given."""
    within: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """How far the lower bound of recall, at 95 % confidence, may lie under it."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Largest share of the clips to simulate."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Which clips are drawn at random: another seed draws others."""

    @model_validator(mode="after")
    def _leaves_a_bound(self) -> CertifyConfig:
        if self.recall is not None and self.within >= self.recall:
            raise ConfigError(
                f"[certify] within is {self.within:g} but recall is {self.recall:g}; the lower "
                "bound must be over 0: give a smaller within"
            )
        return self


class ClassesConfig(Settings):
    """How hotspots are grouped."""

    edge_tolerance_nm: NotNegative = 10.0
    """Furthest that an edge may be from where the representative of the class has it, in nm."""
    area_match: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Least share of the window whose area agrees with the representative's; in place of
    edge_tolerance_nm."""
    shift_nm: NotNegative = 10.0
    """Furthest that a hotspot's surroundings may be shifted before they are compared, in nm."""
    radius_nm: Length | None = None
    """Half the side of the window that is compared, in nm; 0.6 wavelength / NA by default, and at
    least."""


class FixConfig(Settings):
    """Whether fixes are searched, and the rules that they keep."""

    enabled: bool = False
    """Whether a fix is searched for every class of hotspots that fails in simulation."""
    grid_nm: Length = 5.0
    """Edges move by multiples of this, in nm."""
    width_nm: Length | None = None
    """Least width, in nm; the process's by default."""
    space_nm: Length | None = None
    """Least space, in nm; the process's by default."""
    vias: Layers = ()
    """Layers of the vias on the layer, as layer/datatype, which must stay covered."""
    enclosure_nm: NotNegative = 0.0
    """Least distance from a via to the edge of the shape around it, in nm."""

    @field_validator("vias")
    @classmethod
    def _are_layers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return parse_layer_names(names)


class LevelsConfig(Settings):
    """How bad hotspots are; of the model's process by default. They change no verdict."""

    always_first: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Kinds of defects that are of level 1 at any severity."""
    first_severity: Share | None = None
    """Least severity of level 1, of hotspots that were simulated."""
    second_severity: Share | None = None
    """Least severity of level 2."""
    first_score: Share | None = None
    """Least score of level 1, of hotspots that were not simulated."""
    second_score: Share | None = None
    """Least score of level 2."""


class ReportConfig(Settings):
    """What the report shows."""

    top: Annotated[int, Field(ge=0)] = 30
    """Number of hotspots shown with a picture."""
    contours: Annotated[int, Field(ge=0)] = 300
    """Number of confirmed hotspots whose printed contours are drawn among the markers."""
    waivers: Annotated[str, Field(min_length=1)] | None = None
    """File of waivers, as hotscan waive writes it: hotspots that were accepted."""


class MarkersConfig(Settings):
    """What the marker files hold."""

    layer: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Layer of the markers; the first that the layout does not use by default."""


class ScanConfig(Settings):
    """All settings of a scan that may matter to its answer.

    Examples
    --------
    >>> config = load_config(None, {"clips": {"mode": "grid"}})
    >>> config.clips.mode, config.report.top
    ('grid', 30)
    """

    layout: LayoutConfig = LayoutConfig()
    reader: ReaderConfig = ReaderConfig()
    tiles: TilesConfig = TilesConfig()
    clips: ClipsConfig = ClipsConfig()
    raster: RasterConfig = RasterConfig()
    scores: ScoresConfig = ScoresConfig()
    confirm: ConfirmConfig = ConfirmConfig()
    audit: AuditConfig = AuditConfig()
    certify: CertifyConfig = CertifyConfig()
    classes: ClassesConfig = ClassesConfig()
    fix: FixConfig = FixConfig()
    levels: LevelsConfig = LevelsConfig()
    report: ReportConfig = ReportConfig()
    markers: MarkersConfig = MarkersConfig()

    @property
    def simulates(self) -> bool:
        """Whether any clip is simulated; a fix is asked for only beside `confirm`."""
        asked = self.audit.size is not None or self.certify.recall is not None
        return asked or self.confirm.enabled


SMALL_LAYOUT_BYTES = 1 << 20
"""Size of a layout that needs no worker of its own: the block of the demo has an eighth of it."""


class Resources(Settings):
    """Workers and their memory; never changes the answer."""

    workers: Annotated[int, Field(ge=0)] = 1
    """Worker processes to start; 0 runs every unit in this process, as a small layout does that was
    given no number."""
    scheduler_address: Annotated[str, Field(min_length=1)] | None = None
    """Address of a Dask scheduler to use in place of own workers."""
    worker_memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[kMGT]i?B$")] | None = None
    """Memory of each worker, like 2GB or 1500MiB; its share of the machine by default."""

    def fit_to(self, layout: Path) -> Resources:
        """Return the same, without the one default worker where the layout is small.

        It would do what this process can do, after seconds to start.
        """
        asked = {"workers", "scheduler_address", "worker_memory"} & self.model_fields_set
        if asked or not layout.exists() or layout.stat().st_size > SMALL_LAYOUT_BYTES:
            return self
        return self.model_copy(update={"workers": 0})


STAGE_SETTINGS: dict[str, tuple[str, ...]] = {
    "layout": ("layout.cell", "layout.layers", "layout.exclude", "layout.strict"),
    "clips": ("layout.roi_um", "clips", "raster"),
    "audit": (),
    "patterns": (),
    "scores": ("scores.prefilter", "scores.arithmetic"),
    "features": (),
    "rounds": ("certify", "confirm.opc"),
    "certify": (),
    "frame": (),
    "hotspots": ("scores.threshold", "confirm.confident"),
    "confirm": ("confirm.enabled",),
    "draw": ("audit.size", "audit.seed"),
    "estimate": (),
    "classes": ("classes",),
    "vias": ("fix",),
    "fix": (),
    "fixes": (),
    "report": ("levels", "report", "markers", "layout.names"),
}
"""Per stage, in order, the tables and keys that change its answer and were not named before.

What an audit simulates stands by place and OPC, whatever else it is drawn for.
"""


def load_config(
    path: Path | None, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> ScanConfig:
    """Return the settings of a TOML file with `overrides`, table by table, laid over it.

    Parameters
    ----------
    path
        The file; None for the defaults.
    overrides
        Such as ``{"scores": {"threshold": 0.5}}``; a None stands for "not given". What
        `as_dict` returned gives the same settings back.

    Raises
    ------
    ConfigError
        When the file cannot be read, or a key is unknown, of another type or out of range; the
        text names the key, its value, and what is allowed.
    """
    tables: dict[str, Any] = {} if path is None else _read_toml(path)
    for table, settings in (overrides or {}).items():
        given = {key: value for key, value in settings.items() if value is not None}
        before = tables.get(table, {})
        tables[table] = {**before, **given} if isinstance(before, dict) else before
    if isinstance(tables.get("layout"), dict):
        tables["layout"] = number_layers(tables["layout"])
    config = validate_settings(ScanConfig, tables)
    find = config.layout.layer_names.find_channels
    models = {find(layer): model for layer, model in config.scores.models.items()}
    return config.model_copy(update={"scores": config.scores.model_copy(update={"models": models})})


def load_fix_rules(path: Path | None) -> FixConfig:
    """Return the settings of a search for fixes: the defaults, or those of a TOML file.

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    given = {} if path is None else _read_toml(path)
    return load_config(None, {"fix": {**given, "enabled": True}}).fix


def load_resources(given: Mapping[str, Any]) -> Resources:
    """Return the resources that the command line gave; a None stands for "not given".

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    return validate_settings(
        Resources, {key: value for key, value in given.items() if value is not None}
    )


def as_dict(config: Settings) -> dict[str, Any]:
    """Return `config` as tables of plain values, as JSON and TOML hold them."""
    return config.model_dump(mode="json")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"config file {path} cannot be read ({error.strerror}); give a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} is not TOML: {error}") from error
