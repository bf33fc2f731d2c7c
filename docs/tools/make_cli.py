"""Write docs/reference/cli.md: every command with its help, as the program prints it.

Run as ``python docs/tools/make_cli.py``; a test compares the page with the program.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "reference" / "cli.md"

HEADING = """\
# Command line

Written by `docs/tools/make_cli.py` from the program's own help; a test compares the two.

Lengths are in nm or um, as their names say. A layer is `layer/datatype`, like `68/20`. Every
setting that has no option stands in a TOML file, given with `--config`; see [config](config.md).
"""

ENDING = """\
## Exit codes

| code | meaning |
|---|---|
| 0 | complete |
| 1 | complete, and more hotspots than `--fail-on` allows (those that fail, with `--confirm`) |
| 2 | the request cannot be met: usage, config, model, or run directory of another scan |
| 3 | the layout cannot be read, or is refused |
| 4 | incomplete: some places have no verdict; the message says which command goes on |
| 130, 143 | interrupted by Ctrl-C or SIGTERM; `hotscan resume` goes on |

A message on standard error names the thing, its value, what is allowed and what to do. What cannot
be met is refused before the long work, and binds nobody: the corrected command may use the same
`--out`.

## The run directory

```
RUN/
  run.json           settings, digests of layout, model and settings, versions, state
  ledger.sqlite      one row per unit of work: the only truth of what is finished
  layout/            the layout, packed
  clips/*.parquet    one file per tile: place, rule, and key of the picture of each clip
  patterns.zarr      the distinct pictures with count, place, score and embedding
  hotspots.parquet   one row per hotspot
  hot_clips.parquet  one row per clip over threshold, with its hotspot
  confirm/*.parquet  with --confirm: what fails in each of them
  report/
    index.html         the report, one file, readable offline
    hotspots.csv       one row per hotspot
    metrics.json       the figures below
    hotspots.lyrdb.gz  for KLayout's marker browser
    markers.gds        markers as a layout, on a layer that yours does not use
```

The same `hotscan scan` into the same directory goes on where an earlier one stopped, and runs again
only what a changed threshold, confirmation, report or marker setting touches. Another layout, model
or other settings are refused.

## metrics.json

One flat object; names do not change between versions.

| field | meaning |
|---|---|
| `complete` | every place that was asked for has a verdict |
| `hotspots` | clips over threshold, merged where their cores touch |
| `hotspots_sure` | of them `hot` without review, see [detectors](../explanation/detectors.md) |
| `hotspots_unique` | different patterns among them |
| `clips` | clips that show any geometry |
| `patterns` | different pictures among the clips |
| `tiles_taken_over`, `patterns_taken_over` | of those, from earlier runs |
| `hot_clips` | clips over threshold |
| `hotspots_confirmed` | with `--confirm`: hotspots that fail in simulation |
| `hotspots_not_simulated` | with `--confirm`: hotspots whose simulation failed |
| `clips_simulated`, `clips_confirmed` | with `--confirm`: clips over threshold that were \
simulated, and those that fail |
| `units_failed` | tiles, shards and batches that failed |
| `regions_not_scanned` | regions without a verdict; the report and the markers show them |
| `area_um2` | area that was asked for, within the layout |
| `area_covered_um2` | area that has a verdict |
| `coverage_fraction` | the second as a share of the first; 1 when nothing is missing |
| `threshold` | score from which a clip is a hotspot |
| `warnings` | what the reader remarked, or a model made for other layers; the report lists them |
| `seconds_layout`, `seconds_clips`, `seconds_patterns`, `seconds_scores`, `seconds_hotspots`, \
`seconds_confirm`, `seconds_report` | wall time of each stage, over all sessions |
| `peak_rss_mb` | most memory of the driving process, in MiB; workers are not in it |
"""


def commands() -> list[str]:
    """Return the names of the commands, in the order of the help."""
    from pipeline.cli.app import app

    groups = [("", app)] + [
        (f"{group.name} ", group.typer_instance) for group in app.registered_groups
    ]
    return [
        prefix + (info.name or info.callback.__name__.replace("_", "-"))
        for prefix, commands in groups
        for info in commands.registered_commands
        if inspect.isfunction(info.callback)
    ]


def help_of(command: str) -> str:
    """Return what ``hotscan COMMAND --help`` prints on a terminal of 80 columns."""
    environment = os.environ | {"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"}
    environment |= {"TERM": "dumb", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.app", *command.split(), "--help"],
        cwd=PAGE.parents[2], env=environment, capture_output=True, text=True, check=True,
        encoding="utf-8",
    )  # fmt: skip
    text = done.stdout.replace("python -m pipeline.cli.app", "hotscan")
    return re.sub(r" +$", "", text, flags=re.MULTILINE).strip("\n")


def page() -> str:
    """Return the page."""
    sections = [f"## hotscan {name}\n\n```\n{help_of(name)}\n```\n" for name in commands()]
    return "\n".join([HEADING, *sections, ENDING])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
