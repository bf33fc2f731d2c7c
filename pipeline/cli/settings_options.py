"""The options that say what is scanned, and how.

in       the command line
out      the config of a scan
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.errors import UsageError

if TYPE_CHECKING:
    from pipeline.config import ScanConfig
from pipeline.cli.options import (
    AllMetals,
    AreaMatch,
    AuditSize,
    Budget,
    Cell,
    Certify,
    Config,
    Confirm,
    Device,
    EdgeTolerance,
    Exclude,
    Fix,
    LayerModels,
    Layers,
    Mode,
    Model,
    NameOptions,
    NumberFormat,
    Opc,
    Prefilter,
    Roi,
    StartProcess,
    Strict,
    Threshold,
    Waivers,
    Within,
)


@dataclass(frozen=True, kw_only=True)
class SettingsOptions(NameOptions):
    """What is scanned, and how; laid over a config file."""

    layer: Layers = None
    all_metals: AllMetals = False
    cell: Cell = None
    exclude: Exclude = None
    roi: Roi = None
    model: Model = None
    layer_model: LayerModels = None
    config: Config = None
    mode: Mode = None
    strict: Strict = False
    device: Device = None
    threshold: Threshold = None
    prefilter: Prefilter = None
    arithmetic: NumberFormat = None
    confirm: Confirm = None
    opc: Opc = None
    audit: AuditSize = None
    fix: Fix = None
    certify: Certify = None
    within: Within = None
    budget: Budget = None
    process: StartProcess = None
    edge_tolerance: EdgeTolerance = None
    area_match: AreaMatch = None
    waivers: Waivers = None

    def settings(self) -> ScanConfig:
        """Return the settings of a scan.

        Raises
        ------
        UsageError
            When one is unknown, out of range, or cannot apply.
        """
        from pipeline.config import load_config

        config = load_config(self.config, self.tables())
        certified = config.certify.recall is not None
        if self.opc is not None and not config.simulates:
            raise UsageError(
                f"--opc {self.opc} does not apply without --confirm, --audit or --certify; add one"
            )
        for name in ("within", "budget", "process"):
            if getattr(self, name) is not None and not certified:
                raise UsageError(f"--{name} does not apply without --certify; add it")
        return config

    def tables(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what was given, as config tables; a None stands for "not given".

        Raises
        ------
        UsageError
            When both a model and a process are given.
        """
        if self.process is not None and self.model is not None:
            raise UsageError(
                "--process does not apply to --model, which has its own; leave out one"
            )
        started = None if self.process is None else f"process:{self.process}"
        return {
            "layout": {
                "layers": self.layer or None, "cell": self.cell, "exclude": self.exclude or None,
                "roi_um": parse_region(self.roi), "strict": self.strict or None,
                "all_metals": self.all_metals or None, **self.name_table(),
            },
            "reader": self.reader_table(),
            "clips": {"mode": self.mode},
            "scores": {
                "model": started or self.model, "models": parse_models(self.layer_model),
                "device": self.device, "threshold": self.threshold, "prefilter": self.prefilter,
                "arithmetic": self.arithmetic,
            },
            "confirm": {"enabled": self.confirm, "opc": self.opc},
            "audit": {"size": self.audit},
            "fix": {"enabled": self.fix},
            "certify": {
                "recall": self.certify, "within": self.within, "budget": self.budget,
            },
            "classes": {
                "edge_tolerance_nm": self.edge_tolerance, "area_match": self.area_match,
            },
            "report": {"waivers": self.waivers and str(self.waivers)},
        }  # fmt: skip


def parse_models(given: Sequence[str] | None) -> dict[str, str] | None:
    """Return the models of ``--layer-model``, by layer.

    Raises
    ------
    UsageError
        When one is not LAYER=MODEL.
    """
    models = {}
    for each in given or ():
        layer, equals, model = each.partition("=")
        if not (layer and equals and model):
            raise UsageError(f"--layer-model {each!r} is not LAYER=MODEL, like met2=mine.pt")
        models[layer] = model
    return models or None


def parse_region(roi: str | None) -> tuple[float, ...] | None:
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
