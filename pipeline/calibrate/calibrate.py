"""Calibrating: from a file of gauges to a process file and a page that says how good it is.

in       a `CalibrateRequest`: gauges, a base process, where to write
out      ``MINE.toml``, ``MINE.html`` and ``MINE.gauges.csv``
promise  what the gauges do not determine is named, in all of them; whole patterns are held out
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.calibrate.gauge_file import Gauge, check_sizes, find_sections, read_gauges
from pipeline.calibrate.process_file import format_process
from pipeline.engine.storage.run_directory import write_whole
from pipeline.layout import ingest
from stages.contracts import Floats, Layer, PackedLayout
from stages.errors import UsageError
from stages.exports.pages.calibration import PageData, Residual, render_page
from stages.lithography.calibration.fit import Fit, fit_process
from stages.lithography.calibration.gauges import (
    gather_gauges,
    make_gauge_field,
    simulate_gauges,
)
from stages.lithography.process import load_process
from stages.text import escape_text

HELD_OUT = 0.2
"""Share of the patterns that are held out by default."""


@dataclass(frozen=True, slots=True)
class CalibrateRequest:
    """What to fit, to what, and where to write it."""

    gauges: Path
    """CSV file of measurements."""
    out: Path
    """Process file to write, ``.toml``."""
    process: str = "krf130"
    """The base: name of a shipped process, or path of a TOML file."""
    held_out: float = HELD_OUT
    """Share of the patterns that are not fitted, but predicted."""
    layout: Path | None = None
    """Layout of the gauges that are places."""
    layer: str | None = None
    """Its layer, as layer/datatype."""
    cell: str | None = None
    """Its top cell; needed when the file has several."""
    limits: ingest.Limits = ingest.DEFAULT_LIMITS
    """Limits on reading the layout."""


def calibrate_process(request: CalibrateRequest) -> dict[str, Any]:
    """Fit a process, write it with its page and residuals, and return the figures.

    Raises
    ------
    UsageError
        When gauges, process or paths cannot be used.
    LayoutError
        When the layout cannot be read, or is refused.
    """
    _check_request(request)
    base = load_process(request.process)
    gauges, blank = read_gauges(request.gauges)
    check_sizes(gauges, base)
    field = make_gauge_field(base, max(gauge.drawn_nm for gauge in gauges))
    try:
        sections, which = find_sections(gauges, field.side_nm, base, _read_layout(request))
    except UsageError as error:
        raise UsageError(f"{request.gauges}, {error}") from None
    measured, sigma, dose, focus_nm = (
        np.array([getattr(gauge, name) for gauge in gauges])
        for name in ("measured_nm", "sigma_nm", "dose", "focus_nm")
    )
    model = gather_gauges(base, field, sections, np.array(which), dose, focus_nm)
    held_out = hold_out([gauge.name for gauge in gauges], request.held_out)
    fit = fit_process(base, model, measured, sigma, held_out)
    fit = replace(fit, process=replace(fit.process, name=escape_text(request.out.stem)))
    printed = simulate_gauges(fit.process, model, fit.focus_nm)
    figures = _gather_figures(fit, printed - measured, blank)
    _write(request, gauges, fit, printed, figures)
    return figures


def hold_out(names: Sequence[str], share: float) -> npt.NDArray[np.bool_]:
    """Choose gauges to hold out: whole patterns, by their names alone; at least one."""
    order = sorted(set(names), key=lambda name: hashlib.blake2b(name.encode()).digest())
    chosen = set(order[: round(share * len(order)) or int(share > 0)])
    return np.array([name in chosen for name in names])


def _check_request(request: CalibrateRequest) -> None:
    if request.out.suffix != ".toml":
        raise UsageError(f"--out is {request.out}; the name of a process file ends in .toml")
    if not 0 <= request.held_out < 1:
        raise UsageError(f"--held-out is {request.held_out:g}; allowed: from 0 to less than 1")
    if (request.layout is None) != (request.layer is None):
        raise UsageError("--layout and --layer belong together; give both, or neither")


def _read_layout(request: CalibrateRequest) -> PackedLayout | None:
    if request.layout is None or request.layer is None:
        return None
    ingest.require_layout(request.layout)
    return ingest.read_layout(
        request.layout, [Layer.parse(request.layer)], request.cell, limits=request.limits
    )


def _gather_figures(fit: Fit, residual: Floats, blank: int) -> dict[str, Any]:
    """Return what the command prints and the page leads with."""
    held = fit.held_out
    return {
        "process": fit.process.name, "gauges": len(residual), "not_measured": blank,
        "held_out": int(held.sum()), "rms_nm": _compute_rms(residual[~held]),
        "rms_held_out_nm": _compute_rms(residual[held]) if held.any() else None,
        "chi2": round(fit.chi2, 2), "freedom": fit.freedom, "explained": fit.explained,
        "parameters": {
            each.name: {
                "value": each.value, "low": each.low, "high": each.high, "base": each.base,
                "fixed": each.fixed or None, "alike": list(each.alike),
            }
            for each in fit.parameters
        },
    }  # fmt: skip


def _compute_rms(residual: Floats) -> float:
    return round(float(np.sqrt(np.mean(residual**2))), 4)


def _write(
    request: CalibrateRequest,
    gauges: Sequence[Gauge],
    fit: Fit,
    printed: Floats,
    figures: dict[str, Any],
) -> None:
    residuals = tuple(
        Residual(
            gauge.name, gauge.direction, gauge.dose, gauge.focus_nm, gauge.drawn_nm,
            gauge.measured_nm, gauge.sigma_nm, float(predicted), bool(held),
        )
        for gauge, predicted, held in zip(gauges, printed, fit.held_out, strict=True)
    )  # fmt: skip
    page = PageData(request.gauges.name, request.process, figures, residuals)
    write_whole(request.out, format_process(fit.process, _comment(request, fit)).encode())
    write_whole(request.out.with_suffix(".html"), render_page(page).encode())
    write_whole(request.out.with_suffix(".gauges.csv"), _format_csv(residuals).encode())


def _comment(request: CalibrateRequest, fit: Fit) -> list[str]:
    lines = [f"Fitted to {request.gauges.name} from {request.process} by hotscan calibrate."]
    for each in fit.parameters:
        note = each.fixed or f"95 %: {each.low:.5g} to {each.high:.5g}"
        lines.append(f"{each.name} = {each.value:.6g}; {note}")
    return lines


def _format_csv(residuals: Sequence[Residual]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("pattern", "direction", "dose", "focus_nm", "drawn_nm", "measured_nm", "sigma_nm",
             "predicted_nm", "residual_nm", "held_out")  # fmt: skip
    writer.writerow(names)
    for each in residuals:
        writer.writerow((
            each.pattern, each.direction, each.dose, each.focus_nm, each.drawn_nm,
            each.measured_nm, each.sigma_nm, round(each.predicted_nm, 4),
            round(each.residual_nm, 4), int(each.held_out),
        ))  # fmt: skip
    return text.getvalue()
