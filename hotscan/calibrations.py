"""Fitting a process to measured widths and spaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from hotscan.inputs import Layoutlike, layout_file
from hotscan.settings import PathLike, refuse_unknown


class GaugeLayout(TypedDict, total=False):
    """Keyword arguments of `calibrate` for gauges that are places in a layout."""

    layout: Layoutlike
    """GDSII or OASIS file; or a layout object, which is written beside `out` first."""
    layer: str
    """Its layer, as ``"layer/datatype"``."""
    cell: str | None
    """Top cell; needed when the layout has several."""
    reader: Mapping[str, float]
    """Other limits on reading the layout, see `read_layout`."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted process."""

    process: Path
    """The process file, to give as ``process=``."""
    page: Path
    """The page of residuals."""
    figures: Mapping[str, Any]
    """``rms_nm``, ``rms_held_out_nm``, ``chi2``, ``freedom``, ``explained``, and by name in
    ``parameters`` each value with its interval, or why it is fixed."""


def gauges(out: PathLike, process: PathLike = "krf130", layer: str = "1/0") -> tuple[Path, Path]:
    """Draw a layout of patterns to measure, and a CSV file to fill in; return their paths.

    Parameters
    ----------
    out
        Directory, created when absent.
    process
        Shipped process or TOML file, whose scale the patterns have.
    layer
        Layer to draw on.

    Raises
    ------
    UsageError
        When files of these names are there already.
    """
    from pipeline.calibrate.draw_gauges import draw_gauges
    from stages.contracts import Layer

    drawn = draw_gauges(str(process), Path(out), Layer.parse(layer))
    return Path(str(drawn["layout"])), Path(str(drawn["table"]))


def calibrate(
    gauges: PathLike,
    *,
    out: PathLike,
    process: PathLike = "krf130",
    held_out: float = 0.2,
    **layout: Unpack[GaugeLayout],
) -> Calibration:
    """Fit source, focus, threshold and blur of a process to measured widths and spaces.

    Parameters
    ----------
    gauges
        CSV file of measurements.
    out
        Process file to write, ending in ``.toml``; a page and a table are written beside it.
    process
        Shipped process or TOML file to start from.
    held_out
        Share of the patterns that are not fitted, but predicted.
    **layout
        See `GaugeLayout`.

    Raises
    ------
    UsageError
        When gauges, process or paths cannot be used.
    LayoutError
        When the layout cannot be read, or is refused.
    """
    from pipeline.calibrate.calibrate import CalibrateRequest, calibrate_process
    from pipeline.layout.ingest import load_limits

    refuse_unknown("calibrate", layout, GaugeLayout)
    path, given = Path(out), layout.get("layout")
    request = CalibrateRequest(
        Path(gauges), path, str(process), held_out,
        None if given is None else layout_file(given, path.with_suffix(".gds")),
        layout.get("layer"), layout.get("cell"), load_limits(layout.get("reader", {})),
    )  # fmt: skip
    return Calibration(path, path.with_suffix(".html"), calibrate_process(request))
