"""What the command line prints for people; programs read ``--json``.

in       the plain values that `inspect_run`, `forecast` and a scan return
out      text
"""

from __future__ import annotations

import json
import shlex
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


def result_text(
    run: Path, layout: str, metrics: Mapping[str, Any], errors: Mapping[str, str]
) -> str:
    """Return the result of a scan, and where its files are."""
    spent = sum(value for name, value in metrics.items() if name.startswith("seconds_"))
    classes = metrics["classes"]
    lines = [
        f"{'complete' if metrics['complete'] else 'INCOMPLETE'}: "
        f"{counted(metrics['hotspots'], 'hotspot')} ({classes:,} class{'es' * (classes != 1)}) in "
        f"{counted(metrics['clips'], 'clip')} ({metrics['patterns']:,} distinct)",
        f"recall     {recall_text(metrics)}",
        f"scanned    {metrics['area_covered_um2']:,.0f} um2, "
        f"{_share(metrics['coverage_fraction'])} of the requested area, in {clock_text(spent)}",
    ]
    if "hotspots_confirmed" in metrics:
        line = (
            f"simulated  {counted(metrics['hotspots_confirmed'], 'hotspot')} fail, "
            f"{metrics['hotspots_not_simulated']:,} could not be simulated"
        )
        if metrics["hotspots_not_asked"]:
            line += f"; {metrics['hotspots_not_asked']:,} more were left to the confident model"
        lines.append(line)
    if "hotspots_fixed" in metrics:
        lines.append(
            f"fixed      {metrics['hotspots_fixed']:,} of {metrics['hotspots_confirmed']:,}; "
            f"{run}/report/fixes.csv says how, and why the others are not"
        )
    levels = ", ".join(f"{metrics[f'hotspots_level{level}']:,} of {level}" for level in (1, 2, 3))
    how = "simulation" if "hotspots_confirmed" in metrics else "prediction"
    lines.append(f"levels     {levels} (1 is the worst; by {how})")
    if metrics["waivers"]:
        line = f"waived     {counted(metrics['hotspots_waived'], 'hotspot')}, not counted in levels"
        if metrics["waivers_expired"]:
            line += f"; {counted(metrics['waivers_expired'], 'waiver')} expired, the report names"
        lines.append(line)
    if metrics["warnings"]:
        lines.append(f"warnings   {metrics['warnings']}; the report lists them")
    lines += [
        f"report     {run}/report/index.html (open it in a browser)",
        f"markers    {run}/report/markers.gds",
        "KLayout    "
        + shlex.join(["klayout", "-e", layout, "-m", f"{run}/report/hotspots.lyrdb.gz"]),
    ]
    if not metrics["complete"]:
        lines += [
            f"{counted(metrics['units_failed'], 'unit')} failed; regions without a verdict: "
            f"{metrics['regions_not_scanned']:,}",
            *failures(errors),
            f"try them again with: hotscan resume {run}",
        ]
        if metrics.get("certified") is False:
            lines[-1] = "to certify, run the same scan again with a larger --budget"
    return "\n".join(lines)


def layers_text(run: Path, metrics: Mapping[str, Any]) -> str:
    """Return the result of a scan of several layers, and where its files are."""
    rows = [("layer", "hotspots", "fail", "model", "how well the model is known here")]
    rows += [
        (
            row["shown"], f"{row['hotspots']:,}" + " INCOMPLETE" * (not row["complete"]),
            "-" if row["hotspots_confirmed"] is None else f"{row['hotspots_confirmed']:,}",
            row["model"], row["known"],
        )
        for row in metrics["layers"]
    ]  # fmt: skip
    lines = [
        f"{'complete' if metrics['complete'] else 'INCOMPLETE'}: "
        f"{counted(metrics['hotspots'], 'hotspot')} on {counted(len(metrics['layers']), 'layer')}",
        columns(rows, indent="  "),
    ]
    if metrics["layers_absent"]:
        lines.append(f"not in the file, not scanned: {', '.join(metrics['layers_absent'])}")
    lines += [
        f"report     {run}/report/index.html (open it in a browser)",
        f"table      {run}/report/hotspots.csv",
        f"markers    {run}/layers/*/report/hotspots.lyrdb.gz, a file for each layer",
    ]
    if not metrics["complete"]:
        lines.append(f"try what failed again with: hotscan resume {run}")
    return "\n".join(lines)


def recall_text(metrics: Mapping[str, Any]) -> str:
    """Return what a scan says of its own recall, from its metrics.

    Examples
    --------
    >>> said = {"audit_clips": 1200, "audit_recall": 0.979, "audit_recall_low": 0.961,
    ...         "audit_recall_high": 0.99, "audit_hotspots_missed": 21.4,
    ...         "audit_hotspots_missed_low": 10, "audit_hotspots_missed_high": 41}
    >>> recall_text(said)
    '97.9 % (96.1 to 99.0 %) on this layout, from 1,200 simulated clips; missed 21 (10 to 41)'
    >>> recall_text(said | {"audit_recall": None, "audit_hotspots_missed_high": 9})
    'no hotspot among 1,200 simulated clips of this layout; missed at most 9'
    >>> recall_text({})
    'not measured on this layout'
    """
    if "certified" in metrics:
        return certified_text(metrics)
    if "audit_clips" not in metrics:
        return "not measured on this layout"
    clips = counted(metrics["audit_clips"], "simulated clip")
    high = metrics["audit_hotspots_missed_high"]
    if metrics["audit_recall"] is None:
        return f"no hotspot among {clips} of this layout; missed at most {high:,}"
    shares = [metrics[f"audit_recall{end}"] for end in ("", "_low", "_high")]
    recall, low_share, high_share = (f"{100 * share:.1f}" for share in shares)
    missed, low = metrics["audit_hotspots_missed"], metrics["audit_hotspots_missed_low"]
    return (
        f"{recall} % ({low_share} to {high_share} %) on this layout, from {clips}; "
        f"missed {missed:,.0f} ({low:,} to {high:,})"
    )


def certified_text(metrics: Mapping[str, Any]) -> str:
    """Return what certifying says of the recall of a scan.

    Examples
    --------
    >>> said = {"certified": True, "certified_recall": 0.9981, "certified_recall_low": 0.9704,
    ...         "certify_recall": 0.99, "certify_within": 0.02, "certify_clips": 18_000,
    ...         "simulated_share": 0.0512}
    >>> certified_text(said)
    'certified: 99.8 %, at least 97.0 % at 95 % confidence; 18,000 clips simulated (5.1 %)'
    >>> certified_text(said | {"certified": False, "certified_recall": None})[:51]
    'NOT CERTIFIED: 99.0 % with a bound within 2.0 point'
    """
    spent = f"{metrics['certify_clips']:,} clips simulated ({metrics['simulated_share']:.1%})"
    spent = spent.replace("%", " %")
    low = f"at least {100 * metrics['certified_recall_low']:.1f} % at 95 % confidence"
    if metrics["certified"]:
        return f"certified: {100 * metrics['certified_recall']:.1f} %, {low}; {spent}"
    return (
        f"NOT CERTIFIED: {100 * metrics['certify_recall']:.1f} % with a bound within "
        f"{100 * metrics['certify_within']:.1f} points takes more than the budget; "
        f"{low if metrics['certified_recall_low'] else 'nothing is known of recall'}; {spent}"
    )


def part_text(
    run: Path, shard: object, metrics: Mapping[str, Any], errors: Mapping[str, str]
) -> str:
    """Return the result of a shard, and the next step."""
    lines = [
        f"part {shard}: {counted(metrics['clips'], 'clip')} "
        f"({metrics['patterns']:,} distinct) scored, no report yet"
    ]
    if metrics["units_failed"]:
        failed = f"{counted(metrics['units_failed'], 'unit')} failed"
        lines += [failed, *failures(errors), f"try them again with: hotscan resume {run}"]
    else:
        lines.append(f"when all parts are done: hotscan merge {run} PART... --out RUN")
    return "\n".join(lines)


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


def diff_text(found: Mapping[str, Any]) -> str:
    """Return the text of ``hotscan diff``."""
    counts, new = found["counts"], found["new"]
    lines = [
        "new     {new:,}".format(**counts)
        + (f", of which {counts['waived']:,} are waived" if counts["waived"] else ""),
        "fixed   {fixed:,}".format(**counts),
        "moved   {moved:,}".format(**counts),
        "same    {same:,}".format(**counts),
    ]
    if counts["worse"]:
        lines.append(
            f"worse   {counts['worse']:,} of those moved or the same fail worse than before"
        )
    if new:
        rows = [("new", "x, um", "y, um", "level", "class", "cell")]
        rows += [
            (f"H{row['id']}", row["x_um"], row["y_um"], row["level"], f"C{row['class']}",
             f"{row['cell']}{' (waived)' * row['waived']}")
            for row in new[:MOST_NAMES]
        ]  # fmt: skip
        lines += ["", columns(rows)]
        if len(new) > MOST_NAMES:
            lines.append(f"and {len(new) - MOST_NAMES:,} more; --table writes them all")
    if not counts["complete"]:
        lines += ["", "INCOMPLETE: one of the scans is; what is new or fixed may be wrong"]
    return "\n".join(lines)


def _share(fraction: float) -> str:
    """Return a share in percent; 100 % only when nothing is missing."""
    return "100 %" if fraction == 1 else f"{min(fraction, 0.9999):.2%}".replace("%", " %")


def plan_text(plan: Mapping[str, Any]) -> str:
    """Return the text of ``hotscan plan``."""
    if "scans" in plan:
        total = f"all       {clock_text(plan['seconds'])}, {plan['disk_mb']:,.1f} MB"
        return "\n\n".join((*map(plan_text, plan["scans"]), total))
    return "\n".join(
        (
            f"layer     {plan['layers']}",
            f"area      {plan['area_um2']:,.0f} um2 in {counted(plan['tiles'], 'tile')} "
            f"({plan['tiles_sampled']} of them sampled)",
            f"clips     {plan['clips']:,}, of which {plan['patterns']:,} distinct",
            f"time      {clock_text(plan['seconds'])} with {counted(plan['workers'], 'worker')}: "
            f"layout {clock_text(plan['seconds_layout'])}, "
            f"clips {clock_text(plan['seconds_clips'])}, "
            f"scores {clock_text(plan['seconds_scores'])}",
            *(
                [
                    f"simulate  {plan['clips_to_simulate']:,} clips, {plan['windows']:,} distinct: "
                    f"{clock_text(plan['seconds_confirm'])}"
                ]
                if "windows" in plan
                else []
            ),
            *(
                [
                    f"certify   if as many fail as are flagged, a look at "
                    f"{plan['clips_to_look_at']:,} other clips: "
                    f"{clock_text(plan['seconds_certify'])}"
                ]
                if "clips_to_look_at" in plan
                else []
            ),
            *(
                [f"audit     {plan['clips_to_audit']:,} clips: {clock_text(plan['seconds_audit'])}"]
                if "clips_to_audit" in plan
                else []
            ),
            f"memory    {plan['worker_mb']:,} MB each worker, plus the shared layout",
            f"disk      {plan['disk_mb']:,.1f} MB",
        )
    )


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
