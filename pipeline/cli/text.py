"""What the command line prints for people; programs read ``--json``.

in       the plain values that `inspect_run`, `forecast` and a scan return
out      text
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.text import escape_text

MOST_NAMES = 20
"""Names that are listed before the rest is only counted."""

Row = Sequence[object]


def columns(rows: Iterable[Row], *, indent: str = "") -> str:
    """Lay rows out in columns, numbers to the right.

    Examples
    --------
    >>> print(columns([("layer", "shapes"), ("68/20", 13107), ("67/44", 2)]))
    layer  shapes
    68/20  13,107
    67/44       2
    """
    table = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text, _ in column) for column in zip(*table, strict=True)]
    return "\n".join(
        indent
        + "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for (text, right), width in zip(row, widths, strict=True)
        ).rstrip()
        for row in table
    )


def _cell(value: object) -> tuple[str, bool]:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value], False
    if isinstance(value, int):
        return f"{value:,}", True
    if isinstance(value, float):
        return f"{value:.4g}", True
    return escape_text(str(value)), False


def facts(values: Mapping[str, object]) -> str:
    """Return one line for each name, lists and tables as JSON."""
    width = max((len(name) for name in values), default=0)
    return "\n".join(
        f"{escape_text(name):{width}}  "
        + (json.dumps(value) if isinstance(value, dict | list) else _cell(value)[0])
        for name, value in values.items()
    )


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "tile"), counted(1200, "tile")
    ('1 tile', '1,200 tiles')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def clock_text(seconds: float) -> str:
    """Return a length of time as people say it.

    Examples
    --------
    >>> clock_text(30.4), clock_text(125), clock_text(7380)
    ('30 s', '2 min 5 s', '2 h 3 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def info_text(info: Mapping[str, Any]) -> str:
    """Return the text of ``hotscan info``."""
    tops, extents = info["top_cells"], info["extents_um"]
    lines = [
        info["file"],
        f"database unit  {info['dbu_nm']:g} nm",
        f"cells          {len(info['cells']):,}, placed by {info['instances']:,} references",
        "",
        f"top cell{'s' * (len(tops) != 1)}, size and corners in um",
        columns((_extent(name, extents[name]) for name in tops[:MOST_NAMES]), indent="  "),
    ]
    if len(tops) > MOST_NAMES:
        lines.append(f"  and {len(tops) - MOST_NAMES:,} more; --json lists them")
    lines += ["", "layers, with the shapes drawn on each (every cell counted once)"]
    names = info["names"]
    named = (
        (layer, *[names.get(layer, "")] * bool(names), n) for layer, n in info["layers"].items()
    )
    lines.append(columns(named, indent="  ") or "  none")
    lines += [f"warning: {warning}" for warning in info["warnings"]]
    return "\n".join(lines)


def _extent(name: str, box: Sequence[float]) -> Row:
    x0, y0, x1, y1 = box
    return name, f"{x1 - x0:g} x {y1 - y0:g}", f"({x0:g}, {y0:g})", f"({x1:g}, {y1:g})"


def status_text(status: Mapping[str, Any]) -> str:
    """Return the text of ``hotscan status``."""
    if "layers" in status:
        parts = [f"layer {name}\n{status_text(each)}" for name, each in status["layers"].items()]
        return "\n\n".join((f"{status['run']}: {status['state']}", *parts))
    units = [("stage", "done", "empty", "failed")]
    units += [(stage, *counts.values()) for stage, counts in status["units"].items()]
    hotspots = counted(status["hotspots"], "hotspot")
    found = f"{hotspots} in " if status["units"]["hotspots"]["done"] else ""
    lines = [
        f"{status['run']}: {status['state']}"
        + (f", run by {status['driver']}" if status["driver"] else ""),
        f"layout  {status['layout']}",
        f"so far  {found}{counted(status['clips'], 'clip')} ({status['patterns']:,} distinct)",
        "",
        columns(units),
    ]
    if status["failed"]:
        lines += ["", *failures(status["failed"])]
    if status["next"]:
        lines += ["", f"next: {status['next']}"]
    return "\n".join(lines)


def failures(errors: Mapping[str, str], most: int = 5) -> list[str]:
    """Return a line for each different error, with the units that met it."""
    units: dict[str, list[str]] = {}
    for unit, error in errors.items():
        units.setdefault(error, []).append(unit)
    lines = [
        f"{names[0]}{f' and {len(names) - 1:,} more' * (len(names) > 1)} failed: {error}"
        for error, names in list(units.items())[:most]
    ]
    rest = len(units) - most
    return lines + [f"and {rest:,} other errors; hotscan status --json lists them"] * (rest > 0)


def calibration_text(out: Path, figures: Mapping[str, Any]) -> str:
    """Return the result of a calibration, and where its files are."""
    rows: list[Row] = [("parameter", "fitted", "from", "to", "base", "")]
    for name, each in figures["parameters"].items():
        if each["fixed"]:
            rows.append((name, each["value"], "", "", each["base"], f"fixed: {each['fixed']}"))
        else:
            alike = f"acts nearly as {', '.join(each['alike'])}" if each["alike"] else ""
            rows.append((name, *(each[k] for k in ("value", "low", "high", "base")), alike))
    held = figures["rms_held_out_nm"]
    fitted = figures["gauges"] - figures["held_out"]
    misfit = f"chi2 {figures['chi2']:.0f} for {figures['freedom']} degrees of freedom"
    lines = [
        columns(rows),
        f"fitted     {counted(fitted, 'gauge')}, {figures['rms_nm']:.2f} nm RMS, {misfit}",
        "held out   none" if held is None else
        f"held out   {counted(figures['held_out'], 'gauge')}, {held:.2f} nm RMS",
    ]  # fmt: skip
    if not figures["explained"]:
        lines.append("MISFIT     the model does not explain the gauges within their stated errors")
    if figures["not_measured"]:
        lines.append(f"left out   {counted(figures['not_measured'], 'row')} without a measurement")
    shown = escape_text(str(out))
    page = escape_text(str(out.with_suffix(".html")))
    return "\n".join([*lines, f"process    {shown}", f"page       {page}"])


def simulation_text(out: Path, metrics: Mapping[str, Any], images: Sequence[str]) -> str:
    """Return the result of a simulation, and where its files are."""
    kinds = [
        (name.removeprefix("defects_"), count)
        for name, count in metrics.items()
        if name.startswith("defects_")
    ]
    spent = sum(value for name, value in metrics.items() if name.startswith("seconds_"))
    lines = [
        f"{'complete' if metrics['complete'] else 'INCOMPLETE'}: "
        f"{counted(metrics['defects'], 'defect')} in {metrics['area_um2']:,.1f} um2, "
        f"process {metrics['process']}, opc {metrics['opc']}, in {clock_text(spent)}",
        *([columns(kinds, indent="  ")] if kinds else []),
    ]
    if "band_um2" in metrics:
        lines.append(f"band       {metrics['band_um2']:,.2f} um2 print at some corners only")
    lines += [
        f"page       {out}/index.html (open it in a browser)",
        f"layout     {out}/simulation.gds",
        f"table      {out}/defects.csv",
        *(f"image      {out}/image.{form}" for form in images),
    ]
    if not metrics["complete"]:
        lines.append(
            f"{counted(metrics['units_failed'], 'tile')} failed; run the same command again"
        )
    return "\n".join(lines)


def share_text(fraction: float) -> str:
    """Return a share in percent; 100 % only when nothing is missing."""
    return "100 %" if fraction == 1 else f"{min(fraction, 0.9999):.2%}".replace("%", " %")


def models_text(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of ``hotscan models``."""
    if not models:
        return "no model is installed; train one with: hotscan train"
    return "\n\n".join(
        f"{name}\n"
        f"  for        {model['layers']} of process {model['process']}\n"
        f"  picture    clip {model['clip_px'] * model['pixel_nm']:g} nm, "
        f"core {model['core_px'] * model['pixel_nm']:g} nm, pixel {model['pixel_nm']:g} nm\n"
        f"  measured   recall {model['recall']:.2%}, false-alarm rate "
        f"{model['false_alarm_rate']:.2%} at threshold {model['threshold']:.4g},\n"
        f"             on {model['measured_on']}\n"
        f"  digest     {model['digest']}"
        for name, model in models.items()
    )
