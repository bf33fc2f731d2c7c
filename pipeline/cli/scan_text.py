"""What commands about scans print: results, recall, plans, comparisons.

in       metrics, plans, differences, as plain values
out      text for a terminal
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.cli.text import MOST_NAMES, clock_text, columns, counted, failures, share_text
from stages.detector.models.familiarity import MANY


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
        f"{share_text(metrics['coverage_fraction'])} of the requested area, in {clock_text(spent)}",
    ]
    if metrics.get("unfamiliar_share", 0) >= MANY:
        lines.append(
            f"unfamiliar {metrics['unfamiliar_share']:.0%} of the patterns are unlike what the "
            "model was trained on: it may miss many hotspots here"
        )
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
        f"markers    {run}/report/hotspots.lyrdb.gz, for KLayout, with a category for each layer",
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
            f"clips     {plan['clips']:,}, of which {plan['patterns']:,} distinct; some "
            f"{plan['hotspots']:,} hotspots",
            f"time      {clock_text(plan['seconds'])} with {counted(plan['workers'], 'worker')}: "
            f"layout {clock_text(plan['seconds_layout'])}, "
            f"clips {clock_text(plan['seconds_clips'])}, "
            f"scores {clock_text(plan['seconds_scores'])}, "
            f"hotspots {clock_text(plan['seconds_hotspots'] + plan['seconds_classes'])}",
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
