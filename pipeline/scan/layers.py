"""A scan of several layers: each judged by its own model and process, in one run and one report.

in       a `ScanRequest` of several layers
out      a run directory with a whole scan of each layer below ``layers``, and the report of all
promise  the scan of a layer is the one that it would be alone, byte for byte; the layout is read
         once; no layer is left out without saying so
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import Resources, ScanConfig, as_dict, load_config
from pipeline.engine.events import Event, LayerStarted, Listener
from pipeline.engine.session import Written, open_session, record_written
from pipeline.engine.storage.checksums import list_files
from pipeline.engine.storage.ledger import Ledger, running_driver
from pipeline.engine.storage.run_directory import INNER, Run, open_run_directory
from pipeline.engine.storage.run_record import (
    Inputs,
    LayoutFile,
    RunRecord,
    State,
    has_record,
    read_record,
)
from pipeline.layout import ingest
from pipeline.passes.job import load_model_process, parse_layers, resolve_config
from pipeline.passes.model_file import find_model
from pipeline.passes.scan_settings import LAYERS, change_reader
from pipeline.report.layers import LayerResult, write_layers_report
from pipeline.scan.forecast import estimate
from pipeline.scan.inspect_run import next_step, report_again, run_status
from pipeline.scan.request import ScanRequest, ScanResult
from pipeline.scan.scan import resume, scan
from stages.contracts import Layer, PackedLayout
from stages.errors import ConfigError, LayoutError, UsageError


@dataclass(frozen=True, slots=True)
class LayersResult:
    """The result of a scan of several layers."""

    run: Run
    metrics: Mapping[str, Any]
    """What ``metrics.json`` holds: counts of all layers, and a row for each."""

    @property
    def complete(self) -> bool:
        """Whether every place of every layer has a verdict."""
        return bool(self.metrics["complete"])


def scan_any(
    request: ScanRequest, resources: Resources, listen: Listener
) -> ScanResult | LayersResult:
    """Scan one layer, or several; arguments and errors as of `scan`."""
    if request.config.layout.several:
        return scan_layers(request, resources, listen)
    return scan(request, resources, listen)


def scan_layers(request: ScanRequest, resources: Resources, listen: Listener) -> LayersResult:
    """Scan several layers into a run directory, continuing from what is finished there.

    Raises
    ------
    UsageError, LayoutError
        As `scan`, and when something is asked for that only a scan of one layer has.
    """
    for name, given in (("--since", request.since), ("--shard", request.shard),
                        ("a model of your own", request.model)):  # fmt: skip
        if given:
            raise UsageError(f"{name} is for a scan of one layer; scan each with it by itself")
    ingest.require_layout(request.layout)
    layers, absent = _list_layers(request.layout, request.config)
    scans = {layer: choose_layer(request.config, layer) for layer in layers}
    for config in scans.values():  # refused before anything is written
        model = find_model(config.scores.model)
        parse_layers(resolve_config(config, model, load_model_process(model)))
    run = open_run_directory(request.out)
    file = LayoutFile(str(request.layout.resolve()), ingest.compute_sha256(request.layout))
    wanted = RunRecord(task=LAYERS, layout=file, settings={
        "scans": {layer: as_dict(config) for layer, config in scans.items()}, "absent": absent,
    })  # fmt: skip
    with open_session(run, wanted, _collect_inputs, Resources(workers=0), listen) as session:
        session.run_once("layout", lambda: _pack(request, run, scans))

        def listen_to_scan(event: Event) -> None:
            session.stay()
            listen(event)

        for number, (layer, config) in enumerate(scans.items(), 1):
            listen(LayerStarted(config.layout.layer_names.show(layer), number, len(scans)))
            one = replace(request, config=config, out=locate_scan(run, layer), packed=run.layout)
            scan(one, resources, listen_to_scan)
        metrics: dict[str, Any] = {}

        def write() -> Written:
            files, found = report_layers(run)
            metrics.update(found)
            return Written(files)

        session.run_once("report", write, always=True)
        session.end(State.COMPLETE if metrics["complete"] else State.INCOMPLETE)
    return LayersResult(run, metrics)


def resume_layers(
    path: Path,
    resources: Resources,
    listen: Listener,
    reader: Mapping[str, float | None] | None = None,
) -> LayersResult:
    """Resume the scan of several layers, with the settings that it began with."""
    record = read_record(Run(path))
    scans = read_scans(record)
    first = change_reader(next(iter(scans.values())), reader)
    layout = first.layout.model_copy(update={"layers": tuple(scans)})
    models = {layer: config.scores.model for layer, config in scans.items()}
    scores = first.scores.model_copy(update={"models": models})
    config = first.model_copy(update={"layout": layout, "scores": scores})
    return scan_layers(
        ScanRequest(layout=Path(record.layout.path), out=path, config=config), resources, listen
    )


def read_scans(record: RunRecord) -> dict[str, ScanConfig]:
    """Return the settings of each layer's scan.

    Raises
    ------
    UsageError
        When the record has settings that no scan of several layers writes.
    """
    try:
        tables = record.settings["scans"]
        scans = {layer: load_config(None, each) for layer, each in tables.items()}
        for layer, config in scans.items():
            if config.layout.layers != (layer,):  # their folders are named by them
                raise ValueError(f"{layer!r} is not the layer of its scan")
        next(iter(scans))
        return scans
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        raise UsageError(
            f"run.json has settings that no scan of several layers writes ({error!r}); scan into "
            "a new run directory"
        ) from error


def is_of_layers(path: Path) -> bool:
    """Return whether a run is of several layers."""
    return read_record(Run(path)).task == LAYERS


def resume_any(
    path: Path,
    resources: Resources,
    listen: Listener,
    reader: Mapping[str, float | None] | None = None,
) -> ScanResult | LayersResult:
    """Resume the scan of one layer, or of several."""
    go_on = resume_layers if is_of_layers(path) else resume
    return go_on(path, resources, listen, reader=reader)


def list_begun(path: Path) -> dict[str, Path]:
    """Return the run directory of each layer whose scan has begun."""
    run = Run(path)
    places = {layer: locate_scan(run, layer) for layer in read_scans(read_record(run))}
    return {layer: place for layer, place in places.items() if has_record(Run(place))}


def status_any(path: Path) -> dict[str, Any]:
    """Return the progress of a scan; of several layers, that of each that has begun."""
    if not is_of_layers(path):
        return run_status(path)
    run, record = Run(path), read_record(Run(path))
    state = record.state
    if state == State.RUNNING and running_driver(run.ledger) is None:
        state = State.INTERRUPTED
    begun = {layer: run_status(each) for layer, each in list_begun(path).items()}
    return {"run": str(path), "state": state, "layout": record.layout.path, "layers": begun,
            "next": next_step(path, state)}  # fmt: skip


def estimate_any(layout: Path, config: ScanConfig, resources: Resources) -> dict[str, Any]:
    """Return what a scan would cost; of several layers, each and all."""
    if not config.layout.several:
        return estimate(layout, config, resources)
    layers, absent = _list_layers(layout, config)
    scans = [estimate(layout, choose_layer(config, layer), resources) for layer in layers]
    return {
        "scans": scans, "layers_absent": absent,
        **{name: round(sum(one[name] for one in scans), 1) for name in ("seconds", "disk_mb")},
    }  # fmt: skip


def report_layers_again(path: Path) -> dict[str, Any]:
    """Write the reports of all layers again, and that of the run; return its metrics."""
    run = Run(path)
    for layer in read_scans(read_record(run)):
        report_again(locate_scan(run, layer))
    files, metrics = report_layers(run)
    with Ledger(run.ledger) as ledger:
        record_written(run, ledger, "report", Written(files))
    return metrics


def report_layers(run: Run) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Write the report of all layers; return the names of its files, and the metrics."""
    record = read_record(run)
    found = [
        LayerResult(layer, config.layout.layer_names.show(layer), locate_scan(run, layer))
        for layer, config in read_scans(record).items()
    ]
    absent = [str(layer) for layer in record.settings.get("absent", ())]
    return write_layers_report(run, record.layout.name, found, absent)


def locate_scan(run: Run, layer: str) -> Path:
    """Return the run directory of one layer."""
    return run.path / INNER / layer.replace("/", "_")


def choose_layer(config: ScanConfig, layer: str) -> ScanConfig:
    """Return the settings of a scan of one layer."""
    layout = config.layout.model_copy(update={"layers": (layer,), "all_metals": False})
    model = config.scores.models.get(layer, config.scores.model)
    scores = config.scores.model_copy(update={"model": model, "models": {}})
    return config.model_copy(update={"layout": layout, "scores": scores})


def _list_layers(path: Path, config: ScanConfig) -> tuple[list[str], list[str]]:
    """Return the layers to scan, and the metals that the file does not have."""
    layers, absent = list(config.layout.layers), list[str]()
    if config.layout.all_metals:
        metals, names = config.layout.layer_names.metals, config.layout.layer_names
        if not metals:
            raise ConfigError("--all-metals needs names of metals; give --tech, or --lyp FILE")
        info, _ = ingest.read_info(path, limits=ingest.Limits.of(config.reader))
        absent = [names.show(metal) for metal in metals if metal not in info.layers]
        given = {channel for layer in layers for channel in layer.split("+")}
        layers += [metal for metal in metals if metal in info.layers and metal not in given]
    unknown = [layer for layer in config.scores.models if layer not in layers]
    if unknown or not layers:
        raise ConfigError(
            f"a model is given for layer {unknown[0]}, which is not scanned; scanned are "
            f"{', '.join(layers)}" if unknown else
            f"{path} has none of the metals {', '.join(absent)}; give --layer"
        )  # fmt: skip
    return layers, absent


def _collect_inputs(record: RunRecord) -> Inputs:
    """Return what the run is bound to: the layout and its layers. Each scan is bound by itself."""
    scans = read_scans(record)
    first = next(iter(scans.values())).layout
    read = {"cell": first.cell, "exclude": list(first.exclude), "strict": first.strict}
    return {"layout": {"layout": record.layout.sha256, "layers": list(scans), **read}}


def _pack(request: ScanRequest, run: Run, scans: Mapping[str, ScanConfig]) -> Written:
    """Read all layers at once; refuse those without a shape under the top cell."""
    layout = request.config.layout
    names = [name for layer in scans for name in layer.split("+")]
    layers = [Layer.parse(name) for name in dict.fromkeys((*names, *layout.exclude))]
    try:
        packed = ingest.pack_into(
            request.layout, run.layout, layers, layout.cell,
            limits=ingest.Limits.of(request.config.reader), strict=layout.strict,
        )  # fmt: skip
        _require_shapes(packed, list(scans))
    except (LayoutError, ConfigError) as error:
        raise type(error)(layout.layer_names.show(str(error))) from None
    return Written(list_files(run.path, "layout"))


def _require_shapes(packed: PackedLayout, scans: Sequence[str]) -> None:
    for layer in scans:
        chosen = [packed.layers.index(Layer.parse(name)) for name in layer.split("+")]
        part = replace(
            packed, layers=tuple(packed.layers[n] for n in chosen),
            packed=tuple(packed.packed[n] for n in chosen),
        )  # fmt: skip
        _ = part.extent  # which refuses layers without a shape
