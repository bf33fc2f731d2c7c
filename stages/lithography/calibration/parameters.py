"""The parameters of a process that are fitted, their ranges, and the process that they make.

in       a base process
out      ranges; `Values`; the process of some values
unit     nm; sigma in shares of the pupil's radius; threshold as a share of the clear field
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace

from stages.contracts import Floats
from stages.errors import UsageError
from stages.lithography.correction.placement import choose_nominal
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.process import Process


@dataclass(frozen=True, slots=True)
class Values:
    """One value of each parameter."""

    sigma_in: float
    sigma_out: float
    focus_nm: float
    """Focus of the lens where the gauges' focus is 0."""
    threshold: float
    diffusion_nm: float
    tail_share: float
    tail_nm: float
    dose: float = 1.0
    """Factor on the gauges' dose; what a print shows is threshold / dose alone."""


NAMES = tuple(field.name for field in fields(Values))


@dataclass(frozen=True, slots=True)
class Range:
    """What a parameter may be."""

    name: str
    base: float
    low: float
    high: float
    fixed: str = ""
    """Why it cannot be fitted whatever the gauges; empty where it can."""


def start_from(process: Process) -> Values:
    """Return the values of a base process."""
    source, resist = process.source, process.resist
    tail_nm = resist.tail_nm or 0.5 * process.wavelength_nm / process.na
    return Values(
        source.sigma_in, source.sigma_out, choose_nominal(process).defocus_nm,
        compute_threshold(process), resist.diffusion_nm, resist.tail_share, tail_nm,
    )  # fmt: skip


def make_ranges(process: Process) -> tuple[Range, ...]:
    """Return the range of each parameter, in the order of `NAMES`.

    Raises
    ------
    UsageError
        When the process has its kernels from a file, and so no source to fit.
    """
    if process.kernels is not None:
        raise UsageError(
            f"process {process.name} takes its kernels from a file, which has no source or focus "
            "to fit; give one with optics of its own"
        )
    base, unit_nm = start_from(process), process.wavelength_nm / process.na
    depth_nm = process.refractive_index * process.wavelength_nm / process.na**2
    shape = process.source.shape
    middle = (base.sigma_in + base.sigma_out) / 2
    mapped = "a source map has no radii to fit" if shape == "map" else ""
    round_ = "a circular source has no inner radius" if shape == "circular" else mapped
    low_out = base.sigma_out - 0.3 if round_ else max(middle + 0.02, base.sigma_out - 0.3)
    limits = (
        (max(0.0, base.sigma_in - 0.3), min(middle - 0.02, base.sigma_in + 0.3), round_),
        (max(0.05, low_out), min(1.0, base.sigma_out + 0.25), mapped),
        (base.focus_nm - 0.35 * depth_nm, base.focus_nm + 0.35 * depth_nm, ""),
        (base.threshold / 2, base.threshold * 2, ""),
        (0.0, max(0.2 * unit_nm, 2 * base.diffusion_nm), ""),
        (-0.3, 0.3, ""),
        (0.2 * unit_nm, unit_nm, ""),
        (0.5, 2.0, "a dose cannot be told from the threshold: only their ratio prints"),
    )
    return tuple(
        Range(name, at, low, high, why)
        for name, at, (low, high, why) in zip(NAMES, astuple(base), limits, strict=True)
    )


def make_process(base: Process, values: Values) -> Process:
    """Return the base process with fitted values; its corners move with the focus."""
    shift_nm = values.focus_nm - choose_nominal(base).defocus_nm
    tail = values.tail_share != 0
    source = base.source
    if source.shape != "map":
        source = replace(source, sigma_in=values.sigma_in, sigma_out=values.sigma_out)
    return replace(
        base,
        source=source,
        anchor=None,
        resist=replace(
            base.resist, diffusion_nm=values.diffusion_nm, threshold=values.threshold / values.dose,
            tail_share=values.tail_share, tail_nm=values.tail_nm if tail else 0.0,
        ),
        corners=tuple(
            replace(corner, defocus_nm=corner.defocus_nm + shift_nm) for corner in base.corners
        ),
    )  # fmt: skip


def values_of(row: Floats) -> Values:
    """Return values in the order of `NAMES`."""
    return Values(*(float(value) for value in row))
