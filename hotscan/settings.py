"""Keyword arguments that several functions share, and the values that they stand for.

in       what a caller passed
out      config and resources, the same that the command line builds
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from pipeline.config import Resources, ScanConfig
    from pipeline.engine.events import Listener

PathLike = str | os.PathLike[str]


class SessionSettings(TypedDict, total=False):
    """How work is run; never changes the answer."""

    workers: int
    """Worker processes; 0, the default here, runs everything in this process."""
    scheduler_address: str | None
    """Address of a running Dask scheduler, instead of own workers."""
    worker_memory: str | None
    """Memory of each worker, like ``"2GB"``."""
    progress: bool
    """Whether progress is shown on standard error; True by default."""


Technology = Literal["sky130A", "gf180mcu", "ihp-sg13g2", "nangate45", "asap7"]


class NameSettings(TypedDict, total=False):
    """Where names of layers are from."""

    tech: Technology | None
    """Technology whose names of layers may be used."""
    lyp: PathLike | None
    """Layer properties file of KLayout, whose names may be used."""


class ScanSettings(NameSettings, total=False):
    """What is scanned, and how; as the options of ``hotscan scan``."""

    layers: str | Sequence[str]
    """Layers, each judged by itself, as ``"layer/datatype"`` or by name; channels of one picture
    as ``"67/20+68/20"``, in the order of the model."""
    all_metals: bool
    """Whether every metal that `tech` or `lyp` names is scanned, too."""
    layer_models: Mapping[str, str] | None
    """Models of layers that have another than `model`."""
    cell: str | None
    """Top cell; needed when the layout has several."""
    exclude: Sequence[str]
    """Layers whose shapes exclude the clips that they cover."""
    roi: Sequence[float] | None
    """Region x0, y0, x1, y1 in um."""
    mode: Literal["grid", "sites"]
    """Every clip of a grid, or only places that rule checks find."""
    threshold: float | None
    """Score from which a clip is a hotspot; the model's by default."""
    prefilter: bool | None
    """Whether a smaller network rejects confident negatives first; where it may, by default."""
    arithmetic: Literal["int8", "float32"] | None
    """What scores are computed in; int8 by default where the model has it."""
    confirm: bool
    """Whether the hotspots are simulated."""
    opc: Literal["none", "model", "curvy"] | None
    """Whether they are simulated with a corrected mask; as the model's labels by default."""
    audit: str | None
    """A random sample of clips to simulate, to estimate what the scan missed: ``"3%"``,
    ``"1200"`` or ``"600s"``; none by default."""
    edge_tolerance: float
    """Furthest that edges may differ within a class of hotspots, in nm."""
    area_match: float | None
    """Least share of equal area within a class, in place of `edge_tolerance`."""
    waivers: PathLike | None
    """File of waivers, as `Run.waive` writes it: hotspots that were accepted."""
    device: str
    """``cpu``, ``cuda`` or ``cuda:N``."""
    strict: bool
    """Whether layout warnings are errors."""
    config: PathLike | Mapping[str, Mapping[str, Any]] | None
    """TOML file, or its tables; what is given beside it goes first."""


def scan_config(given: ScanSettings, model: str | None) -> ScanConfig:
    """Return the settings of a scan.

    Raises
    ------
    ConfigError
        When one is unknown or out of range.
    """
    from pipeline.config import load_config

    layers = given.get("layers", ())
    tables: dict[str, dict[str, Any]] = {
        "layout": {
            "layers": [layers] if isinstance(layers, str) else list(layers) or None,
            "cell": given.get("cell"), "exclude": list(given.get("exclude", ())) or None,
            "roi_um": _plain(given.get("roi")), "strict": given.get("strict"), **names_of(given),
            "all_metals": given.get("all_metals"),
        },
        "clips": {"mode": given.get("mode")},
        "scores": {
            "model": model, "models": _models(given), "device": given.get("device"),
            "threshold": given.get("threshold"), "prefilter": given.get("prefilter"),
            "arithmetic": given.get("arithmetic"),
        },
        "confirm": {"enabled": given.get("confirm"), "opc": given.get("opc")},
        "audit": {"size": given.get("audit")},
        "classes": {
            "edge_tolerance_nm": given.get("edge_tolerance"),
            "area_match": given.get("area_match"),
        },
        "report": {"waivers": _text(given.get("waivers"))},
    }  # fmt: skip
    config = given.get("config")
    if isinstance(config, Mapping):
        return load_config(None, _overlaid(config, tables))
    return load_config(Path(config) if config is not None else None, tables)


def _models(given: ScanSettings) -> dict[str, str] | None:
    models = given.get("layer_models")
    return None if models is None else {layer: str(model) for layer, model in models.items()}


def names_of(given: NameSettings) -> dict[str, str | None]:
    """Return where names of layers are from, as part of the table ``[layout]``."""
    lyp = given.get("lyp")
    return {"tech": given.get("tech"), "lyp": None if lyp is None else str(lyp)}


def _overlaid(
    config: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    merged = {name: dict(table) for name, table in config.items()}
    for name, table in tables.items():
        given = {key: value for key, value in table.items() if value is not None}
        merged.setdefault(name, {}).update(given)
    return merged


def _plain(roi: Sequence[float] | None) -> list[float] | None:
    return None if roi is None else [float(value) for value in roi]


def _text(path: PathLike | None) -> str | None:
    return None if path is None else os.fspath(path)


def resources(given: SessionSettings) -> Resources:
    """Return what the work may use."""
    from pipeline.config import load_resources

    workers = given.get("workers", 0)
    return load_resources(
        {
            "workers": workers,
            "scheduler_address": given.get("scheduler_address"),
            "worker_memory": given.get("worker_memory"),
        }
    )


def progress_of(given: SessionSettings) -> AbstractContextManager[Listener]:
    """Return a context that shows progress: a bar in a terminal, lines elsewhere."""
    if not given.get("progress", True):
        return nullcontext(lambda event: None)
    from pipeline.cli.progress import Progress

    return Progress()


def refuse_unknown(function: str, given: Iterable[str], *known: type) -> None:
    """Refuse keyword arguments that a function does not have.

    Raises
    ------
    TypeError
        It names the nearest that it has.
    """
    names = {name for kind in known for name in kind.__annotations__}
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{function}() has no argument {name!r}{hint}")
