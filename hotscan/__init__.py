"""hotscan: scan a full GDSII or OASIS layout for lithography hotspots.

The public Python interface. Each name is imported at its first use, so that ``import hotscan``
costs nothing; `pipeline` and `stages`, which do the work, are private.

Examples
--------
>>> import hotscan
>>> run = hotscan.scan("chip.gds", layers=["68/20"], out="run", workers=2)  # doctest: +SKIP
>>> run.hotspots.num_rows, run.complete  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotscan.calibrations import Calibration, calibrate, gauges
    from hotscan.datasets import Dataset, label, select
    from hotscan.detectors import Model, compare, evaluate, export_onnx, models, train
    from hotscan.layer_runs import LayerRuns
    from hotscan.layouts import Layout, info, read_layout, validate
    from hotscan.optics import AerialImage, aerial_image
    from hotscan.reviews import Diff, diff
    from hotscan.runs import Run
    from hotscan.scans import merge, open, plan, scan
    from hotscan.simulations import Simulation, simulate
    from stages.errors import (
        ConfigError,
        HotscanError,
        IncompleteError,
        LayoutError,
        ModelMismatchError,
        RunMismatchError,
        UsageError,
    )

_HOMES = {
    "hotscan.scans": ("merge", "open", "plan", "scan"),
    "hotscan.runs": ("Run",),
    "hotscan.calibrations": ("Calibration", "calibrate", "gauges"),
    "hotscan.reviews": ("Diff", "diff"),
    "hotscan.simulations": ("Simulation", "simulate"),
    "hotscan.layer_runs": ("LayerRuns",),
    "hotscan.layouts": ("Layout", "info", "read_layout", "validate"),
    "hotscan.optics": ("AerialImage", "aerial_image"),
    "hotscan.datasets": ("Dataset", "label", "select"),
    "hotscan.detectors": ("Model", "compare", "evaluate", "export_onnx", "models", "train"),
    "stages.errors": (
        "ConfigError", "HotscanError", "IncompleteError", "LayoutError", "ModelMismatchError",
        "RunMismatchError", "UsageError",
    ),
}  # fmt: skip
"""The module that each public name comes from."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AerialImage", "Calibration", "ConfigError", "Dataset", "Diff", "HotscanError",
    "IncompleteError", "LayerRuns", "Layout", "LayoutError", "Model", "ModelMismatchError", "Run",
    "RunMismatchError", "Simulation", "UsageError", "aerial_image", "calibrate", "compare", "diff",
    "evaluate", "export_onnx", "gauges", "info", "label", "merge", "models", "open", "plan",
    "read_layout", "scan", "select", "simulate", "train", "validate",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hotscan")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'hotscan' has no attribute {name!r}")
    found = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
