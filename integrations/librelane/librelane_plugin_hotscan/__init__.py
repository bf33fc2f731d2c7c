"""Lithography hotspots as steps of LibreLane.

LibreLane finds packages whose names begin with ``librelane_plugin_``. hotscan itself need not be in
its environment: the command does the work.
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

from librelane.config import Variable
from librelane.state import DesignFormat, State
from librelane.steps import Step, StepError
from librelane.steps.checker import MetricChecker

COUNT = "hotscan__hotspot__count"
"""The metric that says how many hotspots there are."""


@Step.factory.register()
class Scan(Step):
    """Scan the layout for lithography hotspots."""

    id = "Hotscan.Scan"
    name = "Lithography hotspots"
    long_name = "Lithography hotspots by hotscan"
    inputs = [DesignFormat.GDS]
    outputs = []
    config_vars = [
        Variable("HOTSCAN_LAYERS", list[str], "Layers to scan, each as layer/datatype."),
        Variable(
            "HOTSCAN_CONFIRM", bool, "Simulate the hotspots; only those that fail count.",
            default=True,
        ),
        Variable("HOTSCAN_WORKERS", int, "Worker processes.", default=1),
        Variable("HOTSCAN_CONFIG", Path | None, "TOML file of hotscan's settings."),
        Variable("HOTSCAN_PROGRAM", str, "The command of hotscan.", default="hotscan"),
    ]  # fmt: skip

    def run(self, state_in: State, **kwargs: Any) -> tuple[dict[Any, Any], dict[str, Any]]:
        """Scan into the step's folder, which a repeated run resumes; return the metrics.

        Raises
        ------
        StepError
            When the scan ends without a verdict on the whole layout.
        """
        kwargs, environment = self.extract_env(kwargs)
        run = os.path.join(self.step_dir, "run")
        command = make_command(dict(self.config), str(state_in[DesignFormat.GDS]), run)
        done = self.run_subprocess(command, env=environment, check=False, **kwargs)
        if done["returncode"] != 0:
            raise StepError(
                f"hotscan ended with {done['returncode']}, and without a verdict on the whole "
                f"layout; see {self.get_log_path()}"
            )
        return {}, read_metrics(Path(run) / "report" / "metrics.json")


def make_command(config: dict[str, Any], layout: str, run: str) -> list[str]:
    """Return the command line of a scan."""
    command = [
        config["HOTSCAN_PROGRAM"], "scan", layout, "--out", run, "--cell", config["DESIGN_NAME"],
        "--workers", str(config["HOTSCAN_WORKERS"]),
    ]  # fmt: skip
    for layer in config["HOTSCAN_LAYERS"]:
        command += ["--layer", layer]
    if config["HOTSCAN_CONFIG"] is not None:
        command += ["--config", str(config["HOTSCAN_CONFIG"])]
    return [*command, "--confirm"] if config["HOTSCAN_CONFIRM"] else command


def read_metrics(path: Path) -> dict[str, Any]:
    """Return the metrics of a run as LibreLane names them."""
    said = json.loads(path.read_text())
    found = said["hotspots"]
    if "hotspots_confirmed" in said:  # what the model is confident of may be left to it
        found = said["hotspots_confirmed"] + said["hotspots_not_asked"]
    levels = {
        f"{COUNT}__level:{name[-1]}": value
        for name, value in said.items()
        if name.startswith("hotspots_level")
    }
    waived = said.get("hotspots_waived", 0)
    return {
        COUNT: found - waived, **levels, f"{COUNT}__waived": waived,
        "hotscan__coverage": said.get("coverage_fraction", 1.0),
    }  # fmt: skip


@Step.factory.register()
class Hotscan(MetricChecker):
    """Fail the flow at its end when there are too many hotspots."""

    id = "Checker.Hotscan"
    name = "Lithography hotspot checker"
    long_name = "Lithography hotspot checker"
    metric_name = COUNT
    metric_description = "lithography hotspots"
    deferred = True
    config_vars = [
        Variable("HOTSCAN_MAX_HOTSPOTS", int, "Most hotspots that may be left.", default=0)
    ]

    def get_threshold(self) -> Decimal | None:
        """Return how many hotspots may be left."""
        return None if self is None else Decimal(self.config["HOTSCAN_MAX_HOTSPOTS"])

    def get_threshold_description(self) -> str | None:
        """Return where the number comes from."""
        return "HOTSCAN_MAX_HOTSPOTS"
