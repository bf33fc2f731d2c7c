"""The job of a scan, settled before any work is done.

in       config, model, layout
out      `Job`: numbers and names only, small enough to send with every task
promise  impossible settings are refused here, before a polygon is drawn
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import ScanConfig, load_config
from pipeline.layout import ingest
from pipeline.passes.model_file import ModelFile
from stages.arithmetic import Arithmetic
from stages.clips import SamplingLimits
from stages.contracts import Box, Layer, PackedLayout, RasterSpec
from stages.detector.models.scan_model import ScanModel
from stages.errors import ConfigError, LayoutError, ModelMismatchError, UsageError
from stages.layout.layer_names import CHANNELS
from stages.lithography.process import Process, load_process, process_of
from stages.scores import choose_arithmetic
from stages.tiles import Tile, cut_tiles

OPC = ("none", "model", "curvy")
"""Mask corrections: none (the mask is as drawn), or model-based, of edges or with curves."""


@dataclass(frozen=True, slots=True)
class DrawSettings:
    """Settings for drawing clips."""

    run: Path
    """The directory that holds the packed layout."""
    spec: RasterSpec
    pixel_dbu: int
    core_dbu: int
    symmetries: int
    """Number of symmetries of the square that the process allows."""

    @property
    def clip_dbu(self) -> int:
        """Side of a clip."""
        return self.spec.clip_px * self.pixel_dbu


@dataclass(frozen=True, slots=True)
class ReusableRun:
    """An earlier run whose results may be reused."""

    path: Path
    area: Box
    """The scanned area, in dbu."""
    written_ns: int
    """When its ledger was last written: distinguishes it from an older run at the same path."""
    has_clips: bool = True
    """Whether its layout is intact, so that unchanged tiles can be found."""
    has_scores: bool = True
    """Whether its pictures and scores are intact."""
    arithmetic: Arithmetic | None = None
    """What computed its scores; None where there are none, or they are of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSettings(DrawSettings):
    """Settings for cutting an area into clips."""

    tile_dbu: int
    stride_dbu: int
    """Step of the grid; 0 if clips are placed at sites."""
    limits: SamplingLimits | None
    """Limits of the site rules; None on a grid."""
    area: Box
    """The area to scan, in dbu."""
    excluded: int
    """Number of layers, after those of the picture, that exclude clips."""
    shared: bool = True
    """Whether clips with the same region are drawn only once."""
    reused: tuple[ReusableRun, ...] = ()
    """Runs whose tiles and scores are reused if unchanged."""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """Tiles that own every clip whose core reaches into the area."""
        core = self.core_dbu
        if 0 < self.stride_dbu < core:  # a core reaches in from a centre half a core outside
            return cut_tiles(self.area.grow(core // 2), self.tile_dbu)
        reach = Box(
            self.area.x_min // core * core,
            self.area.y_min // core * core,
            -(-self.area.x_max // core) * core,
            -(-self.area.y_max // core) * core,
        )
        return cut_tiles(reach, self.tile_dbu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(CutSettings):
    """Everything a task of a scan needs besides its unit."""

    model: ModelFile
    device: str
    prefiltered: bool
    """Whether to use the model's prefilter, if it has one."""
    arithmetic: str
    """What scores are computed in, ``int8`` or ``float32``."""
    shard_patterns: int


def load_model_process(model: ScanModel) -> Process:
    """Return the process that a model was trained for, with its settings at training time.

    Raises
    ------
    ConfigError
        The model does not contain the settings, and no built-in process has that name.
    """
    return (
        process_of(model.process_settings)
        if model.process_settings
        else load_process(model.process)
    )


def require_opc(process: Process, opc: str, mask: str | None) -> None:
    """Refuse an impossible combination of correction and mask.

    Raises
    ------
    UsageError
        There is no such correction, a given mask would be corrected, or the process has no
        correction rules.
    """
    if opc not in OPC:
        raise UsageError(f"--opc {opc} is unknown; choose one of {', '.join(OPC)}")
    if opc != "none" and mask is not None:
        raise UsageError(f"--mask {mask} is a mask already; leave out --opc {opc}, or --mask")
    if opc != "none" and process.opc is None:
        raise UsageError(f"process {process.name} has no table [opc]; add it, or leave out --opc")


def resolve_config(config: ScanConfig, model: ScanModel, process: Process) -> ScanConfig:
    """Fill in the values that the config leaves to the model and the process.

    Raises
    ------
    ModelMismatchError
        The config asks for another raster, or number of layers, than the model's.
    """
    spec = model.raster
    _check_raster(config, spec)
    _check_layers(config, model)
    clips = _resolve_clips(config, spec, process)
    if config.certify.recall is not None:
        _check_certifiable(config, clips, spec)
    opc = config.confirm.opc or model.opc
    require_opc(process, opc, None)
    threshold = config.scores.threshold
    threshold = model.threshold if threshold is None else threshold
    overrides = {
        **config.model_dump(mode="json"),
        "clips": clips,
        "raster": {"pixel_nm": spec.pixel_nm, "clip_nm": spec.clip_nm, "core_nm": spec.core_nm},
        "confirm": {
            **config.confirm.model_dump(),
            "opc": opc,
            # What certifying finds is simulated: its verdicts are shown.
            "enabled": config.confirm.enabled or config.certify.recall is not None,
        },
        "scores": {
            **config.scores.model_dump(mode="json"),
            "threshold": threshold,
            "prefilter": _uses_prefilter(config, model, threshold),
            "arithmetic": choose_arithmetic(model, config.scores.device, config.scores.arithmetic),
        },
    }
    if config.report.waivers:  # to be found again from another folder
        overrides["report"]["waivers"] = str(Path(config.report.waivers).resolve())
    return load_config(None, overrides)


def _check_raster(config: ScanConfig, spec: RasterSpec) -> None:
    for name, value in (
        ("pixel_nm", spec.pixel_nm), ("clip_nm", spec.clip_nm), ("core_nm", spec.core_nm),
    ):  # fmt: skip
        wanted = getattr(config.raster, name)
        if wanted is not None and abs(wanted - value) > 1e-9 * value:
            raise ModelMismatchError(
                f"[raster] {name} is {wanted:g} but model {config.scores.model} was trained at "
                f"{value:g}; leave it out, or choose a model trained at {wanted:g}"
            )


def _check_layers(config: ScanConfig, model: ScanModel) -> None:
    spec = model.raster
    if not config.layout.layers:
        raise ConfigError("no layer to scan; give --layer LAYER/DATATYPE, hotscan info lists them")
    channels, shown = config.layout.channels, config.layout.layer_names.show
    if len(channels) != spec.layers:
        raise ModelMismatchError(
            f"--layer {shown(CHANNELS.join(channels))} is {len(channels)} of a picture, and model "
            f"{config.scores.model} takes {spec.layers} ({', '.join(model.layers)}); give one for "
            "each, in that order, as --layer A+B"
        )


def _resolve_clips(config: ScanConfig, spec: RasterSpec, process: Process) -> dict[str, Any]:
    """Return the table [clips], filled in from the model's core or the process's rules."""
    clips = config.clips.model_dump()
    if config.clips.mode == "sites":
        for name in ("space_nm", "width_nm", "tip_to_tip_nm", "line_end_to_side_nm", "line_end_nm"):
            clips[name] = getattr(config.clips, name) or getattr(process.sampling, name)
    elif config.clips.stride_nm is None:
        clips["stride_nm"] = spec.core_nm
    elif config.clips.stride_nm > spec.core_nm:
        raise ConfigError(
            f"[clips] stride_nm is {config.clips.stride_nm:g} but a core is {spec.core_nm:g} nm; "
            "a larger stride would leave places that no clip answers for"
        )
    return clips


def _check_certifiable(config: ScanConfig, clips: dict[str, Any], spec: RasterSpec) -> None:
    if clips["mode"] != "grid" or abs(clips["stride_nm"] - spec.core_nm) > 1e-6:
        raise ConfigError(
            "--certify needs one clip for each core, but the clips are those of "
            + ("sites" if clips["mode"] != "grid" else f"a stride of {clips['stride_nm']:g} nm")
            + f"; take mode grid, and a stride of {spec.core_nm:g} nm or none"
        )
    if config.audit.size is not None:
        raise ConfigError(
            "an audit does not apply to a certified scan, which looks at random clips itself; "
            "leave out --audit"
        )


def _uses_prefilter(config: ScanConfig, model: ScanModel, threshold: float) -> bool:
    """Return whether to use the prefilter."""
    holds = model.may_prefilter(threshold)
    if config.scores.prefilter and model.prefilter is not None and not holds:
        raise ConfigError(
            f"[scores] threshold is {threshold:g} but the prefilter of model {config.scores.model} "
            f"is for {model.threshold:g} or more; scan with --no-prefilter into another --out"
        )
    return holds and config.scores.prefilter is not False


def make_job(
    run: Path,
    config: ScanConfig,
    layout: PackedLayout,
    model: ScanModel,
    model_file: ModelFile,
    process: Process,
) -> Job:
    """Convert a resolved config to the database units of a layout.

    Raises
    ------
    UsageError
        A length is no whole number of database units, or the region of interest is outside the
        layout.
    """
    dbu = layout.dbu_nm
    pixel = model.raster.pixel_dbu(dbu)
    core = model.raster.core_px * pixel
    tile = max(1, round(config.tiles.size_um * 1000 / dbu / core)) * core
    grid = config.clips.mode == "grid"
    return Job(
        run=run,
        spec=model.raster,
        pixel_dbu=pixel,
        core_dbu=core,
        tile_dbu=tile,
        stride_dbu=_convert_to_dbu("stride_nm", config.clips.stride_nm, dbu) if grid else 0,
        limits=None if grid else make_sampling_limits(config, dbu),
        area=compute_scan_area(config, layout),
        excluded=len(config.layout.exclude),
        shared=config.tiles.shared,
        symmetries=process.symmetries,
        model=model_file,
        device=config.scores.device,
        prefiltered=bool(config.scores.prefilter),
        arithmetic=config.scores.arithmetic or "float32",
        shard_patterns=config.scores.shard_patterns,
    )


def make_sampling_limits(config: ScanConfig, dbu_nm: float) -> SamplingLimits:
    """Return the limits of a resolved config in dbu, rounded down."""
    clips = config.clips
    return SamplingLimits(
        *(
            int((getattr(clips, name) or 0) / dbu_nm + 1e-6)
            for name in (
                "space_nm", "width_nm", "tip_to_tip_nm", "line_end_to_side_nm", "line_end_nm",
            )
        )
    )  # fmt: skip


def compute_scan_area(config: ScanConfig, layout: PackedLayout) -> Box:
    """Return the extent of the scanned layers, cut to the region of interest."""
    extent = layout.extent
    if config.layout.roi_um is None:
        return extent
    x0, y0, x1, y1 = (round(v * 1000 / layout.dbu_nm) for v in config.layout.roi_um)
    area = extent.intersect(Box(x0, y0, x1, y1))
    if area is None:
        um = layout.dbu_nm / 1000
        raise UsageError(
            f"--roi {','.join(f'{v:g}' for v in config.layout.roi_um)} um holds nothing of the "
            "layout, whose layers extend over "
            f"{','.join(f'{v * um:g}' for v in extent.as_tuple())} um"
        )
    return area


def _convert_to_dbu(name: str, value_nm: float | None, dbu_nm: float) -> int:
    value_nm = value_nm or 0.0
    value = round(value_nm / dbu_nm)
    if value < 1 or abs(value * dbu_nm - value_nm) > 1e-6:
        raise ConfigError(
            f"[clips] {name} is {value_nm:g} but the database unit is {dbu_nm:g} nm; "
            "give a whole number of database units"
        )
    return value


def pack_layout(path: Path, directory: Path, config: ScanConfig) -> PackedLayout:
    """Read the layers that are scanned, and those that exclude, into a directory.

    Raises
    ------
    LayoutError, ConfigError
        As `ingest.pack_into`, with the names of layers beside their numbers.
    """
    scanned, excluded = parse_layers(config)
    try:
        return ingest.pack_into(
            path, directory, (*scanned, *excluded), config.layout.cell,
            limits=ingest.Limits.of(config.reader), strict=config.layout.strict,
        )  # fmt: skip
    except (LayoutError, ConfigError) as error:
        raise type(error)(config.layout.layer_names.show(str(error))) from None


def parse_layers(config: ScanConfig) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Return the layers to scan and the layers that exclude, parsed."""
    scanned = tuple(Layer.parse(name) for name in config.layout.channels)
    excluded = tuple(Layer.parse(name) for name in config.layout.exclude)
    both = set(scanned) & set(excluded)
    if both:
        layer = config.layout.layer_names.show(str(min(both)))
        raise ConfigError(f"layer {layer} is both scanned and excluded; name it once")
    return scanned, excluded
