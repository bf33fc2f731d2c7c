"""How well a process is found again from measured widths and spaces.

python -m benchmarks.lithography.calibration [inside] [outside] [iccad13] [trials] [--trials N]

The gauges are the patterns of ``hotscan gauges``, measured along x. What is "measured" comes from
an Abbe sum over 4,000 source points on a spiral, in double precision and apart from the fit's own
tables and from the simulator's kernels, with noise of 0.5 nm. A fifth of the patterns is held out.

``inside``: a hidden process of the family that is fitted: other sigma, focus, threshold, diffusion,
with and without a tail. ``outside``: a source without edges, whose brightness falls off as a
Gaussian on both sides of a ring, 0.03 waves of coma and 2 % of flare, all at once; and a quadrupole
where an annulus is fitted. ``iccad13``: the contest's kernels as somebody else's fab: nobody states
their optics, but how much light of each direction they pass shows four poles on the axes and an NA
near 0.82, so quadrupoles are fitted. ``trials``: how often each fitted parameter lies in its
interval of 95 %.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import torch
from scipy.stats import norm

from benchmarks.lithography.iccad13 import DEFOCUS_NM, contest_process, data_folder
from benchmarks.machine import machine
from pipeline.calibrate.calibrate import hold_out
from stages.contracts import Floats
from stages.lithography.calibration.fit import Fit, fit_process
from stages.lithography.calibration.gauges import (
    Gauges,
    compute_masks,
    cut_images,
    gather_gauges,
    make_gauge_field,
    simulate_gauges,
)
from stages.lithography.calibration.model import shine
from stages.lithography.calibration.parameters import (
    NAMES,
    Values,
    make_process,
    make_ranges,
    start_from,
)
from stages.lithography.calibration.patterns import (
    Pattern,
    choose_patterns,
    draw_pattern,
    parse_pattern,
)
from stages.lithography.calibration.sections import find_section
from stages.lithography.optics.imaging import compute_image
from stages.lithography.optics.kernels import Field, Kernels
from stages.lithography.optics.resist import diffuse
from stages.lithography.process import Process, Source, load_process

NOISE_NM = 0.5
HELD_OUT = 0.2
POINTS = 4000
GOLDEN_DEG = 137.50776405
COMA_WAVES, FLARE = 0.03, 0.02
QUASAR_DEG = 60.0
LEAST = 0.4
"""Gauges that print less than this share of their drawn size are not measured."""


@dataclass(frozen=True, slots=True)
class Lens:
    """What no process file has."""

    coma_waves: float = 0.0
    flare: float = 0.0
    quasar: bool = False
    """Whether only four poles of the annulus are lit."""
    soft: bool = False
    """Whether the source has no edges."""


def make_gauges(process: Process, patterns: Sequence[Pattern], field: Field,
                window: Sequence[tuple[float, float]], every: int) -> Gauges:  # fmt: skip
    """Measure all patterns at nominal, and one of `every` through the window of dose and focus."""
    half = field.side_nm / 2
    sections = [find_section(draw_pattern(p, half) + half, field.side_nm, "x") for p in patterns]
    rows = [(index, 1.0, 0.0) for index in range(len(patterns))]
    rows += [(index, *at) for index in range(0, len(patterns), every) for at in window]
    section, dose, focus_nm = (np.array(column) for column in zip(*rows, strict=True))
    return gather_gauges(process, field, sections, section, dose, focus_nm)


def sample_spiral(process: Process, lens: Lens) -> Floats:
    """Return source points, (s, 2) in shares of the pupil's radius, of equal weight."""
    source, steps = process.source, (np.arange(POINTS) + 0.5) / POINTS
    radius = np.sqrt(source.sigma_in**2 + steps * (source.sigma_out**2 - source.sigma_in**2))
    if lens.soft:
        middle, spread = (
            (source.sigma_in + source.sigma_out) / 2,
            source.sigma_out - source.sigma_in,
        )
        radius = np.clip(middle + spread / 3 * norm.ppf(steps), 0, 1)
    angle = np.arange(POINTS) * GOLDEN_DEG
    if lens.quasar:
        lit = np.abs((angle - 45 + 45) % 90 - 45) <= QUASAR_DEG / 2
        radius, angle = radius[lit], angle[lit]
    turns = np.radians(angle)
    points: Floats = radius[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return points


def shift_aberrated(process: Process, focus_nm: float, field: Field, lens: Lens) -> torch.Tensor:
    """Return the pupil that each source point sees, (s, 2 band + 1, 2 band + 1)."""
    points = sample_spiral(process, lens)
    cutoff = process.na / process.wavelength_nm
    order = np.arange(-field.band, field.band + 1) / field.side_nm / cutoff
    x = points[:, None, None, 0] + order
    y = points[:, None, None, 1] + order[:, None]
    squared = x**2 + y**2
    medium = process.refractive_index / process.na
    path = np.sqrt(np.maximum(medium**2 - squared, 0)) - medium
    waves = focus_nm * cutoff * path + lens.coma_waves * (3 * squared - 2) * x
    rows = (squared <= 1) * np.exp(2j * np.pi * waves) / np.sqrt(len(points))
    return torch.from_numpy(rows.astype(np.complex64))


def measure_truth(process: Process, gauges: Gauges, focus_nm: float, lens: Lens) -> Floats:
    """Return the widths of gauges, (g,), by the Abbe sum."""
    widths, masks = np.empty(len(gauges.dose)), compute_masks(gauges, process)
    field, side = gauges.field, 2 * gauges.field.band + 1
    for focus in np.unique(gauges.focus_nm):
        rows = shift_aberrated(process, float(focus) + focus_nm, field, lens)
        # Flare is light of no direction: as much everywhere, in proportion to what is open.
        kernels = Kernels((1 - lens.flare) ** 0.5 * rows, torch.full((side, side), lens.flare))
        images = diffuse(compute_image(masks, kernels, field), field, process)
        widths[gauges.focus_nm == focus] = gauges.measure(
            cut_images(images, gauges), float(focus), process.resist.threshold
        )
    return widths


@dataclass(frozen=True, slots=True, eq=False)
class Fab:
    """Gauges with what truly prints."""

    base: Process
    names: tuple[str, ...]
    gauges: Gauges
    truth: Floats
    hidden: Values | None

    def measure(self, seed: int) -> Floats:
        """Return measurements with noise."""
        noise = np.random.default_rng(seed).normal(0, NOISE_NM, len(self.truth))
        return self.truth + noise


def build_fab(base: Process, hidden: Values, lens: Lens, every: int = 3,
              patterns: Sequence[Pattern] | None = None) -> Fab:  # fmt: skip
    """Measure the gauges of a hidden process; those that hardly print are left out."""
    chosen = patterns or choose_patterns(base.min_width_nm, base.min_space_nm)
    chosen = [p for p in chosen if p.drawn_nm <= 5 * base.min_width_nm]
    field = make_gauge_field(base, max(pattern.drawn_nm for pattern in chosen))
    deepest = max(corner.defocus_nm for corner in base.corners)
    window = [(0.94, 0.0), (1.06, 0.0), (1.0, -deepest), (1.0, deepest)]
    gauges = make_gauges(base, chosen, field, window, every)
    truth = measure_truth(make_process(base, hidden), gauges, hidden.focus_nm, lens)
    return keep_printing(base, chosen, gauges, truth, hidden)


def keep_printing(base: Process, patterns: Sequence[Pattern], gauges: Gauges, truth: Floats,
                  hidden: Values | None) -> Fab:  # fmt: skip
    """Return the gauges that a fab could measure."""
    drawn = np.array([patterns[index].drawn_nm for index in gauges.section])
    good = truth > LEAST * drawn
    names = tuple(str(patterns[index]) for index in gauges.section[good])
    return Fab(base, names, gauges.choose(good), truth[good], hidden)


def fit_fab(fab: Fab, seed: int) -> Fit:
    """Fit a process to a fab's measurements."""
    sigma = np.full(len(fab.truth), NOISE_NM)
    return fit_process(
        fab.base, fab.gauges, fab.measure(seed), sigma, hold_out(fab.names, HELD_OUT)
    )


def rms(values: Floats) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def print_fit(title: str, fab: Fab) -> None:
    """Fit, and print the errors against what truly prints, without noise."""
    started = time.process_time()
    fit = fit_fab(fab, seed=1)
    spent = time.process_time() - started
    held = fit.held_out
    printed = simulate_gauges(fit.process, fab.gauges, fit.focus_nm)
    print(f"\n**{title}**: {(~held).sum()} gauges fitted, {held.sum()} held out; {spent:.0f} s")
    print(f"chi2 {fit.chi2:.0f} of {fit.freedom}: {'explained' if fit.explained else 'MISFIT'}\n")
    print("| RMS, nm | fitted | held out | worst held out |\n|---|--:|--:|--:|")
    for name, widths in (("fitted model", fit.predicted_nm), ("simulator", printed)):
        off = widths - fab.truth
        errors = (rms(off[~held]), rms(off[held]), abs(off[held]).max())
        print(f"| {name} |", " | ".join(f"{value:.2f}" for value in errors), "|")
    print("\n| parameter | hidden | fitted | 95 % | |\n|---|--:|--:|--:|---|")
    hidden = astuple(fab.hidden) if fab.hidden else [None] * len(NAMES)
    for each, true in zip(fit.parameters, hidden, strict=True):
        known = "" if true is None else f"{true:.4g}"
        span = "" if each.fixed else f"{each.low:.4g} to {each.high:.4g}"
        print(f"| {each.name} | {known} | {each.value:.4g} | {span} | {each.fixed} |")


def hide(base: Process, tail_share: float) -> Values:
    """Return the values of a hidden process."""
    unit_nm, at = base.wavelength_nm / base.na, start_from(base)
    return Values(
        at.sigma_in + 0.04, at.sigma_out - 0.05, 0.07 * unit_nm, 1.05 * at.threshold,
        0.05 * unit_nm, tail_share, 0.6 * unit_nm,
    )  # fmt: skip


def run_trials(base: Process, count: int) -> None:
    """Count how often each parameter lies in its interval."""
    patterns = choose_patterns(base.min_width_nm, base.min_space_nm)[::2]
    fab = build_fab(base, hide(base, 0.05), Lens(), 2, patterns)
    light = shine(base, fab.gauges, make_ranges(base))
    everything = np.zeros(len(fab.truth), bool)
    inside: dict[str, list[bool]] = {name: [] for name in NAMES}
    assert fab.hidden is not None
    for seed in range(count):
        sigma = np.full(len(fab.truth), NOISE_NM)
        fit = fit_process(base, fab.gauges, fab.measure(seed), sigma, everything, light)
        for each, true in zip(fit.parameters, astuple(fab.hidden), strict=True):
            if not each.fixed:
                inside[each.name].append(each.low <= true <= each.high)
    print(f"\n**{count} trials**, `{base.name}`, {len(fab.truth)} gauges\n")
    print("| parameter | fitted in | of these within 95 % |\n|---|--:|--:|")
    for name, hits in inside.items():
        print(f"| {name} | {len(hits)} | {sum(hits)} |")


CONTEST = tuple(
    [f"line:{w}:{p}" for w in (80, 100, 130) for p in (180, 220, 260, 320, 400, 520) if p > 1.6 * w]
    + [f"space:{w}:{p}" for w in (90, 120) for p in (220, 280, 360)]
    + ["line:80", "line:100", "line:130", "line:180", "space:100", "space:130", "space:180"]
    + ["tips:100:120", "tips:100:160", "tips:100:220", "tips:100:160:240", "end:100:400"]
    + ["square:120", "square:160", "square:120:260", "square:160:320"]
)


def run_contest() -> None:
    """Fit quadrupoles to the contest's kernels, at several NA and openings; chi2 chooses."""
    hidden = contest_process((data_folder() / "iccad13_socs_kernels.npz").resolve())
    arfi = load_process("arfi45")
    patterns = [parse_pattern(text) for text in CONTEST]
    window = [(0.96, 0.0), (1.04, 0.0), (1.0, DEFOCUS_NM)]
    theirs = make_gauges(hidden, patterns, make_gauge_field(hidden, 0), window, 2)
    truth = simulate_gauges(hidden, theirs)
    found = []
    for na, opening_deg in ((0.79, 45), (0.83, 30), (0.83, 45), (0.83, 60), (0.87, 45)):
        source = Source("quasar", 0.8, 0.5, opening_deg=opening_deg)
        base = replace(arfi, na=na, source=source, anchor=None, resist=hidden.resist)
        field = make_gauge_field(base, max(pattern.drawn_nm for pattern in patterns))
        ours = make_gauges(base, patterns, field, window, 2)
        fab = keep_printing(base, patterns, ours, truth, None)
        fit = fit_fab(fab, seed=1)
        found.append((fit.chi2, f"NA {na}, poles of {opening_deg} degrees", fab))
        print(f"{found[-1][1]}: chi2 {fit.chi2:.0f} of {fit.freedom}", flush=True)
    _, optics, fab = min(found, key=lambda each: each[0])
    print_fit(f"the contest's kernels, {optics}", fab)


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = ("inside", "outside", "iccad13", "trials")
    parser.add_argument("cases", nargs="*", default=list(every), help=f"of {', '.join(every)}")
    parser.add_argument("--process", default="krf130")
    parser.add_argument("--trials", type=int, default=100)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    base = load_process(asked.process)
    if "inside" in asked.cases:
        print_fit("inside the family", build_fab(base, hide(base, 0.0), Lens()))
        print_fit("inside, with a tail", build_fab(base, hide(base, 0.05), Lens()))
    if "outside" in asked.cases:
        lens = Lens(COMA_WAVES, FLARE, soft=True)
        print_fit("outside the family", build_fab(base, hide(base, 0.0), lens))
        quasar = build_fab(base, hide(base, 0.0), Lens(quasar=True))
        print_fit("a quadrupole, fitted with an annulus", quasar)
    if "iccad13" in asked.cases:
        run_contest()
    if "trials" in asked.cases:
        run_trials(base, asked.trials)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
