"""Fitting a process to measured widths and spaces.

in       gauges, what was measured of them, a base process
out      `Fit`: each parameter with its interval of 95 %, or why it is not fitted; residuals
unit     nm
promise  a parameter that the gauges do not determine keeps the base process's value, and is named

Least squares, weighted by the stated errors and bounded. A parameter is determined where its
interval, from the Jacobian's covariance, is less than `_DETERMINED` of its range to either side;
else the worst is fixed and the rest fitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.stats import chi2

from stages.contracts import Floats
from stages.errors import UsageError
from stages.lithography.calibration.gauges import Gauges
from stages.lithography.calibration.light import Light
from stages.lithography.calibration.model import predict, shine
from stages.lithography.calibration.parameters import (
    NAMES,
    Range,
    Values,
    make_process,
    make_ranges,
    start_from,
    values_of,
)
from stages.lithography.process import Process
from stages.threads import limit_threads

Bools = npt.NDArray[np.bool_]
_DETERMINED = 0.2
_Z = 1.959964
_STEP = 1e-3
"""Of a parameter's range, to derive by it."""
_ALIKE = 0.9
"""Correlation from which two parameters are said to act alike."""
_UNLIKELY = 1e-3
"""Probability of residuals this large below which the model does not explain the gauges."""
_TAIL = 0.03
"""Share of a tail to begin with."""
_SQUARED = NAMES.index("diffusion_nm")
"""Fitted as its square, in which widths are linear."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the fit."""

    name: str
    value: float
    base: float
    low: float
    high: float
    """Interval of 95 %; for a fixed parameter, its value."""
    fixed: str = ""
    """Why it keeps the base's value; empty where it was fitted."""
    alike: tuple[str, ...] = ()
    """Fitted parameters that act nearly as this one does."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted process."""

    process: Process
    parameters: tuple[Parameter, ...]
    predicted_nm: Floats
    """(g,) by the smooth model that was fitted."""
    focus_nm: float
    """Focus of the process where the gauges' focus is 0."""
    held_out: Bools
    """(g,) whether a gauge was not fitted."""
    chi2: float
    """Sum of the fitted gauges' squared residuals, each in its stated error."""
    freedom: int
    """Fitted gauges less fitted parameters."""

    @property
    def explained(self) -> bool:
        """Whether the residuals are as the stated errors let expect."""
        return bool(chi2.sf(self.chi2, self.freedom) > _UNLIKELY)


@dataclass(slots=True, eq=False)
class _Problem:
    """What is fitted: gauges, their measurements, and the model of them."""

    light: Light
    gauges: Gauges
    measured: Floats
    sigma: Floats
    ranges: Sequence[Range]
    row: Floats
    """Values of all parameters in the order of `NAMES`; those that are not free stay."""
    free: list[int]

    @property
    def values(self) -> Values:
        """The present values."""
        return self.values_at(self.row[self.free])

    def values_at(self, free: Floats) -> Values:
        row = self.row.copy()
        row[self.free] = free
        row[_SQUARED] = np.sqrt(row[_SQUARED])
        return values_of(row)

    def compute_residuals(self, free: Floats) -> Floats:
        predicted = predict(self.light, self.gauges, self.values_at(free))
        weighted: Floats = (predicted - self.measured) / self.sigma
        return weighted

    def compute_jacobian(self, free: Floats) -> Floats:
        here = self.compute_residuals(free)
        columns = []
        for k, (low, high) in enumerate(self.bounds.T):
            step = _STEP * (high - low)
            step = step if free[k] + step < high else -step
            moved = free.copy()
            moved[k] += step
            columns.append((self.compute_residuals(moved) - here) / step)
        return np.stack(columns, axis=1)

    @property
    def bounds(self) -> Floats:
        """Ranges of the free parameters, (2, free)."""
        limits = np.array([(each.low, each.high) for each in self.ranges])
        limits[_SQUARED] **= 2
        chosen: Floats = limits[self.free].T
        return chosen

    def solve(self) -> float:
        """Move the free parameters to the least sum of squares nearby; return the sum."""
        low, high = self.bounds
        inside = np.clip(self.row[self.free], low + 1e-6 * (high - low), high - 1e-6 * (high - low))
        found = least_squares(
            self.compute_residuals, inside, jac=self.compute_jacobian, bounds=(low, high),
            x_scale=high - low, xtol=1e-6, ftol=1e-6, max_nfev=60,
        )  # fmt: skip
        self.row[self.free] = found.x
        return float(2 * found.cost)


def fit_process(
    base: Process,
    gauges: Gauges,
    measured: Floats,
    sigma: Floats,
    held_out: Bools,
    light: Light | None = None,
) -> Fit:
    """Fit a process to its gauges.

    Parameters
    ----------
    measured, sigma : (g,)
        Widths or spaces and their standard errors, over 0.
    held_out : (g,)
        Gauges that are predicted only.
    light
        That of `shine` for these gauges, where several fits share it.

    Raises
    ------
    UsageError
        When there are too few gauges, or the base process cannot be fitted.
    """
    used = ~held_out
    ranges = make_ranges(base)
    free = [k for k, each in enumerate(ranges) if not each.fixed]
    if used.sum() <= len(free):
        raise UsageError(
            f"{used.sum()} gauges are fitted, fewer than one more than the {len(free)} parameters; "
            "measure more, or hold out fewer"
        )
    row = np.array(astuple(start_from(base)))
    row[_SQUARED] **= 2
    problem = _Problem(
        light or shine(base, gauges, ranges), gauges.choose(used), measured[used], sigma[used],
        ranges, row, free,
    )  # fmt: skip
    fixed = {k: each.fixed for k, each in enumerate(ranges) if each.fixed}
    with limit_threads(1):
        _start(problem)
        _fix_undetermined(problem, fixed)
        cost = problem.solve()
    values = problem.values
    process = make_process(base, values)
    return Fit(
        process, _describe(problem, fixed, cost), predict(problem.light, gauges, values),
        values.focus_nm, held_out, cost, len(problem.sigma) - len(problem.free),
    )  # fmt: skip


def _start(problem: _Problem) -> None:
    """Begin at the better of two fits: images of either side of focus differ little."""
    every, begun, found = problem.free, problem.row.copy(), []
    tail = [NAMES.index(name) for name in ("tail_share", "tail_nm")]
    problem.free = [k for k in every if k not in tail]
    k = NAMES.index("focus_nm")
    for end in (problem.ranges[k].low, problem.ranges[k].high):
        problem.row = begun.copy()
        problem.row[k] += 0.4 * (end - begun[k])
        problem.row[_SQUARED] += 0.02 * problem.ranges[_SQUARED].high ** 2
        found.append((problem.solve(), problem.row))
    problem.row = min(found, key=lambda each: each[0])[1]
    problem.row[tail[0]] = problem.row[tail[0]] or _TAIL  # of none, the width has no effect
    problem.free = every


def _fix_undetermined(problem: _Problem, fixed: dict[int, str]) -> None:
    """Fix parameters that the gauges do not determine, the worst first, and fit the others."""
    base = [each.base for each in problem.ranges]
    while True:
        cost = problem.solve()
        error, alike = _estimate_errors(problem, cost)
        low, high = problem.bounds
        share = error / (high - low)
        worst = int(np.argmax(share))
        k = problem.free[worst]
        if share[worst] > _DETERMINED:
            fixed[k] = _explain(problem, worst, alike)
        elif (j := _find_needless_tail(problem, error)) is not None:
            worst, k = j, problem.free[j]
            fixed[k] = "the gauges fit as well without it"
        else:
            return
        problem.free = [each for each in problem.free if each != k]
        problem.row[k] = base[k] ** 2 if k == _SQUARED else base[k]


def _find_needless_tail(problem: _Problem, error: Floats) -> int | None:
    """Return the place of the tail's share among the free ones where 0 is within its interval."""
    k = NAMES.index("tail_share")
    if k not in problem.free or problem.ranges[k].base != 0:
        return None
    place = problem.free.index(k)
    return place if abs(problem.row[k]) < error[place] else None


def _estimate_errors(problem: _Problem, cost: float) -> tuple[Floats, Floats]:
    """Return half the interval of each free parameter, and their correlations.

    Where the residuals are larger than stated, the errors are taken to be larger.
    """
    low, high = problem.bounds
    jacobian = problem.compute_jacobian(problem.row[problem.free]) * (high - low)
    values, vectors = np.linalg.eigh(jacobian.T @ jacobian)
    covariance = (vectors / np.maximum(values, 1e-8)) @ vectors.T
    spread = np.sqrt(np.diag(covariance))
    freedom = max(1, len(problem.sigma) - len(problem.free))
    error = _Z * spread * (high - low) * np.sqrt(max(1.0, cost / freedom))
    return error, covariance / np.outer(spread, spread)


def _explain(problem: _Problem, place: int, alike: Floats) -> str:
    """Say why a parameter is not determined."""
    row = np.abs(alike[place]) * (np.arange(len(alike)) != place)
    text = "the gauges do not determine it"
    if row.max() >= _ALIKE:
        return f"{text}: it acts as {NAMES[problem.free[int(np.argmax(row))]]} does"
    return text


def _describe(problem: _Problem, fixed: dict[int, str], cost: float) -> tuple[Parameter, ...]:
    """Return every parameter with its interval."""
    error, alike = _estimate_errors(problem, cost)
    values = astuple(problem.values)
    found = []
    for k, (name, each) in enumerate(zip(NAMES, problem.ranges, strict=True)):
        if k in fixed:
            found.append(Parameter(name, values[k], each.base, values[k], values[k], fixed[k]))
            continue
        place = problem.free.index(k)
        ends = problem.row[k] + error[place] * np.array([-1.0, 1.0])
        low, high = np.sqrt(np.maximum(ends, 0)) if k == _SQUARED else ends
        others = tuple(
            NAMES[other] for j, other in enumerate(problem.free)
            if j != place and abs(alike[place, j]) >= _ALIKE
        )  # fmt: skip
        found.append(Parameter(name, values[k], each.base, float(low), float(high), "", others))
    return tuple(found)
