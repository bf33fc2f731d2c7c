"""The page of a calibration: fitted parameters, and residuals by pattern.

in       `PageData`
out      one HTML page that needs no network, as text
promise  a parameter that was not fitted says why; a capped list says so
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.exports.pages.environment import make_environment

_ROWS = 200
"""Rows of the list."""
_STRIPS = 400
"""Patterns that are drawn."""
_STEP = 18.0
_WIDE = 1000.0
_LABEL = 230.0


@dataclass(frozen=True, slots=True)
class Residual:
    """A gauge, and what is predicted for it; nm."""

    pattern: str
    direction: str
    dose: float
    focus_nm: float
    drawn_nm: float
    measured_nm: float
    sigma_nm: float
    predicted_nm: float
    held_out: bool

    @property
    def residual_nm(self) -> float:
        """Predicted less measured."""
        return self.predicted_nm - self.measured_nm

    @property
    def kind(self) -> str:
        """The kind of the pattern; places are one."""
        return self.pattern.partition(":")[0] if ":" in self.pattern else "place"


@dataclass(frozen=True, slots=True, eq=False)
class PageData:
    """The content of the page."""

    gauges: str
    """Name of the file."""
    base: str
    """The base process."""
    figures: Mapping[str, Any]
    residuals: Sequence[Residual]


def render_page(data: PageData) -> str:
    """Return the page as HTML."""
    worst = sorted(data.residuals, key=lambda each: -abs(each.residual_nm) / each.sigma_nm)
    environment = make_environment({"short": lambda value: f"{value:.5g}"})
    return environment.get_template("calibration.html").render(
        data=data, figures=data.figures, strips=_draw_strips(data.residuals),
        kinds=_sum_up_kinds(data.residuals), rows=worst[:_ROWS],
    )  # fmt: skip


def _sum_up_kinds(residuals: Sequence[Residual]) -> list[dict[str, Any]]:
    """Return count, RMS, mean and largest residual of each kind of pattern, fitted and held out."""
    kinds = sorted({(each.kind, each.held_out) for each in residuals})
    found = []
    for kind, held_out in kinds:
        errors = [
            each.residual_nm for each in residuals
            if (each.kind, each.held_out) == (kind, held_out)
        ]  # fmt: skip
        found.append({
            "kind": kind, "held_out": held_out, "count": len(errors),
            "rms": math.sqrt(sum(error**2 for error in errors) / len(errors)),
            "mean": sum(errors) / len(errors), "worst": max(errors, key=abs),
        })  # fmt: skip
    return found


def _draw_strips(residuals: Sequence[Residual]) -> dict[str, Any]:
    """Return a strip of dots for each pattern, residuals to the right; units of the drawing."""
    patterns = sorted({each.pattern for each in residuals}, key=_order)
    shown = patterns[:_STRIPS]
    widest = max(abs(each.residual_nm) for each in residuals)
    most = max(1.0, math.ceil(widest))
    scale = (_WIDE - _LABEL) / 2 / most
    middle = (_WIDE + _LABEL) / 2
    rows = {pattern: (index + 0.5) * _STEP for index, pattern in enumerate(shown)}
    return {
        "width": _WIDE, "height": len(shown) * _STEP, "middle": middle, "count": len(patterns),
        "labels": list(rows.items()),
        "ticks": [
            (round(middle + share * most * scale, 1), f"{share * most:+g}")
            for share in (-1, -0.5, 0.5, 1)
        ],
        "dots": [
            {
                "x": round(middle + each.residual_nm * scale, 1), "y": rows[each.pattern],
                "held_out": each.held_out, "gauge": each,
            }
            for each in residuals if each.pattern in rows
        ],
    }  # fmt: skip


def _order(pattern: str) -> tuple[str, list[float], str]:
    """Order patterns by kind, then size; places come last, as they are."""
    kind, *sizes = pattern.split(":")
    if not sizes:
        return "~", [], pattern
    return kind, [float(size) for size in sizes], pattern
