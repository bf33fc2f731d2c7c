"""The report of a scan of several layers, from the reports of its layers.

in       the run directory of each layer's scan
out      ``report`` of the run: page, tables with a ``layer`` column, markers, metrics
promise  tables and markers hold every hotspot of every layer; each layer says which model judged
         it, and how well that is known there
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run, write_pieces, write_table, write_whole
from pipeline.report.export import mark_layer
from pipeline.report.metrics import list_unscanned_regions, write_metrics
from pipeline.report.run_view import RunView, describe_measurement, open_view
from stages.exports.lyrdb import MarkedLayer, compress_lyrdb, format_lyrdb
from stages.exports.pages.layers import MOST_LISTED, LayersPage, render_layers
from stages.exports.tables import format_header, format_lines, hotspots_to_table, list_columns
from stages.review.levels import LEVELS

TABLE, COLUMNS, PAGE = "hotspots.csv", "hotspots.parquet", "index.html"
MARKERS = "hotspots.lyrdb.gz"
ADDED = ("layer", "layer_name")
"""Columns of the tables before those of the table of one layer."""


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One layer of the run."""

    layer: str
    """As layer/datatype."""
    shown: str
    """The same with its name."""
    path: Path
    """Run directory of its scan."""


def write_layers_report(
    run: Run, layout: str, layers: Sequence[LayerResult], absent: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Write the report; return the names of its files in the run, and the metrics."""
    run.report.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    tables: list[pa.Table] = []
    lines: list[list[dict[str, str]]] = []
    marked: dict[str, MarkedLayer] = {}
    views = [open_view(Run(each.path)) for each in layers]
    for each, view in zip(layers, views, strict=True):
        marked[f"{_name(each, view) or 'layer'}_{each.layer}"] = _mark(each, view)
        rows.append(_describe(each, view, run))
        tables.append(_make_table(each, view))
        first = "".join(_format_csv([(each, view)], MOST_LISTED))
        lines.append(list(csv.DictReader(io.StringIO(first))))
    write_table(run.report / COLUMNS, pa.concat_tables(tables, promote_options="default"))
    write_pieces(run.report / TABLE, _format_csv(list(zip(layers, views, strict=True))))
    metrics = _sum(rows) | {"layers": rows, "layers_absent": list(absent)}
    worst = [line for rank in zip_longest(*lines) for line in rank if line is not None]
    page = LayersPage(layout, rows, absent, worst, bool(metrics["complete"]))
    write_whole(run.report / PAGE, render_layers(page).encode())
    text = format_lyrdb(marked, top=view.layout.top, layout=layout)
    write_whole(run.report / MARKERS, compress_lyrdb(text))
    names = tuple(run.name_of(run.report / name) for name in (PAGE, TABLE, COLUMNS, MARKERS))
    return (*names, write_metrics(run, metrics)), metrics


_COUNTS = (
    "hotspots", *(f"hotspots_level{level}" for level in LEVELS), "hotspots_waived", "classes",
    "clips", "units_failed",
)  # fmt: skip
"""Metrics of a layer that are added up."""


def _describe(each: LayerResult, view: RunView, run: Run) -> dict[str, Any]:
    """Return the row of a layer."""
    found = json.loads((Run(each.path).report / "metrics.json").read_text())
    return {
        "layer": each.layer, "name": _name(each, view), "shown": each.shown,
        "model": view.config.scores.model, "process": view.model.process,
        "known": describe_knowledge(view), "run": run.name_of(each.path),
        "hotspots_confirmed": None, "hotspots_not_asked": 0,
        **{name: found[name] for name in (
            *_COUNTS, "complete", "hotspots_confirmed", "hotspots_not_asked",
            "coverage_fraction", "audit_recall", "audit_recall_low",
            "audit_recall_high",
        ) if name in found},
    }  # fmt: skip


def describe_knowledge(view: RunView) -> str:
    """Say how well the model of a run is known on the layer that it judged."""
    show, channels = view.config.layout.layer_names.show, view.config.layout.channels
    trained = tuple(view.model.provenance.get("trained_on_layers", ()))
    audited = view.audited.estimate if view.audited is not None else None
    if audited is not None and audited.recall is not None:
        low, high = (100 * (end or 0.0) for end in (audited.recall_low, audited.recall_high))
        return f"recall {100 * audited.recall:.1f} % ({low:.1f} to {high:.1f} %) here, audited"
    if not trained:
        return "not known: the model does not say which layers it was trained on"
    if trained != channels:
        return (
            f"not known: it was trained on {', '.join(map(show, trained))} of "
            f"{view.model.process}, and {', '.join(map(show, channels))} is scored as if it were "
            "that"
        )
    point, said = view.model.operating_point, "its recall at this threshold was not measured"
    if point.clips and view.config.scores.threshold == view.model.threshold:
        said = f"recall {100 * point.recall:.1f} % on {describe_measurement(view.model)}"
    return f"trained on {', '.join(map(show, trained))}; {said}"


def _name(each: LayerResult, view: RunView) -> str:
    """Return the name of a layer; of channels, of each; empty where there is none."""
    names = view.config.layout.layer_names.name_of
    return "+".join(names.get(channel, "") for channel in view.config.layout.channels).strip("+")


def _mark(each: LayerResult, view: RunView) -> MarkedLayer:
    with Ledger(view.run.ledger, read_only=True) as ledger:
        regions = [region.box for region in list_unscanned_regions(view, ledger)]
    return mark_layer(view, regions, each.shown)


def _make_table(each: LayerResult, view: RunView) -> pa.Table:
    table = hotspots_to_table(*_list_hotspots(view))
    for at, (name, value) in enumerate(zip(ADDED, (each.layer, _name(each, view)), strict=True)):
        table = table.add_column(at, name, pa.array([value] * table.num_rows, pa.string()))
    return table


def _list_hotspots(view: RunView, most: int | None = None) -> tuple[Any, ...]:
    """Return what the tables of hotspots, or of the first of them, are made of."""
    hotspots = view.hotspots[:most]
    return hotspots, view.layout.dbu_nm, view.verdicts, view.findings, view.reviews


def _format_csv(
    layers: Sequence[tuple[LayerResult, RunView]], most: int | None = None
) -> Iterator[str]:
    """Yield the table of all layers, piece by piece; columns that a layer lacks are empty."""
    names = dict.fromkeys(ADDED)
    for _, view in layers:
        names |= list_columns(view.hotspots, view.verdicts, view.findings, view.reviews)
    yield format_header(names)
    for each, view in layers:
        added = dict(zip(ADDED, (each.layer, _name(each, view)), strict=True))
        yield from format_lines(list(names), added, *_list_hotspots(view, most))


def _sum(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts of all layers."""
    simulated = [row for row in rows if row["hotspots_confirmed"] is not None]
    counts = {name: sum(row[name] for row in rows) for name in _COUNTS}
    confirmed = {
        name: sum(row[name] for row in simulated)
        for name in ("hotspots_confirmed", "hotspots_not_asked")
    }
    return {"complete": all(row["complete"] for row in rows), **counts,
            **(confirmed if simulated else {})}  # fmt: skip
