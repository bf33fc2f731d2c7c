"""Run by LibreLane's Python: the steps of the plugin on a real layout. Prints a line of JSON.

python librelane_session.py LAYOUT CELL PROGRAM FOLDER
"""

import json
import sys
from pathlib import Path

from librelane.common import Path as LibrelanePath
from librelane.config import Config
from librelane.plugins import discovered_plugins
from librelane.state import DesignFormat, State
from librelane.steps import DeferredStepError, Step, StepError

layout, cell, program, folder = sys.argv[1:]
Scan, Check = Step.factory.get("Hotscan.Scan"), Step.factory.get("Checker.Hotscan")
state = State({DesignFormat.GDS: LibrelanePath(layout)}, metrics={})


def configure(**more):
    """The variables of both steps, as a flow would resolve them."""
    values = {
        "DESIGN_NAME": cell, "PDK": "sky130A", "DESIGN_DIR": folder, "HOTSCAN_LAYERS": ["68/20"],
        "HOTSCAN_CONFIRM": False, "HOTSCAN_WORKERS": 0, "HOTSCAN_CONFIG": None,
        "HOTSCAN_PROGRAM": program, "HOTSCAN_MAX_HOTSPOTS": 0,
    }  # fmt: skip
    return Config({**values, **more})


def start(step, config, state_in, name):
    """Run a step in a folder of its own; return its state, or the name of its error."""
    try:
        made = step(config=config, state_in=state_in, _no_filter_conf=True)
        return made.start(step_dir=str(Path(folder) / name))
    except (StepError, DeferredStepError) as error:
        print(error, file=sys.stderr)
        return type(error).__name__


scanned = start(Scan, configure(), state, "1-scan")
many = start(Check, configure(HOTSCAN_MAX_HOTSPOTS=10**6), scanned, "2-check")
print(json.dumps({
    "plugins": sorted(discovered_plugins),
    "metrics": {name: float(value) for name, value in scanned.metrics.items()},
    "few": start(Check, configure(), scanned, "3-check"),
    "many": "passes" if isinstance(many, State) else many,
    "no such layer": start(Scan, configure(HOTSCAN_LAYERS=["250/7"]), state, "4-scan"),
}))  # fmt: skip
