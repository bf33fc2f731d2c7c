"""A finished run, opened for reading: what every report, export and comparison starts from.

in       a run directory
out      `RunView`: settings, layout, model, hotspots, verdicts, and what prints around them
promise  a run is only read, and only with the model that it was scanned with
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from pipeline.audit.audit import read_audit
from pipeline.audit.certify import read_certified
from pipeline.audit.result import Audited
from pipeline.audit.rounds import Certified
from pipeline.config import LevelsConfig, ScanConfig
from pipeline.engine.session import require_intact
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import read_record
from pipeline.layout.ingest import open_packed
from pipeline.passes.job import load_model_process, make_job
from pipeline.passes.model_file import locate_model, recall_model
from pipeline.passes.scan_settings import ScanSettings
from pipeline.report.classify import read_classes, read_findings
from pipeline.report.failures import find_failures, make_basis
from pipeline.report.fix_table import FixRow, read_fixes
from pipeline.report.run_results import (
    RunResults,
    make_confirmation,
    read_confirmed,
    read_hotspots,
)
from pipeline.report.waiver_file import read_waivers
from pipeline.simulate import confirm, hot_clips
from pipeline.simulate.tiles import read_target
from stages.contracts import Defect, Hotspot
from stages.detector.models.familiarity import EXPECTED, MANY
from stages.detector.models.scan_model import ScanModel
from stages.errors import ConfigError
from stages.exports.markers import PrintedArea
from stages.findings import ClassReview, Finding, HotspotClass, Review
from stages.hotspots import sort_worst_first
from stages.lithography.limits import Levels
from stages.lithography.measure.sections import KINDS
from stages.lithography.process import Process
from stages.review.levels import review_classes, review_hotspots
from stages.review.waivers import Waived, Waiver, apply_waivers
from stages.rows import ById
from stages.settings import describe_validation_error

READ = (
    "layout", "clips", "patterns", "scores", "certify", "hotspots", "confirm", "estimate",
    "classes", "fixes",
)  # fmt: skip
"""Stages whose files are read again when a run is opened."""

MOST_REGIONS = 10_000
"""Regions without a verdict that are listed one by one; their number is always given in full."""


@dataclass(frozen=True)
class RunView(RunResults):
    """A run and all that is said of it: findings, levels, waivers, recall, what to list."""

    audited: Audited | None = None
    """What a random sample says of recall; None without an audit, or when it is unfinished."""
    fixes: Mapping[int, FixRow] | None = None
    """The fix of each hotspot that fails, by id; None where none were searched."""
    certified: Certified | None = None
    """What certifying says of recall; None where it was not asked for, or is unfinished."""
    waivers: tuple[Waiver, ...] = ()
    """Hotspots that were accepted, here or elsewhere."""
    unfamiliar: float | None = None
    """Share of the patterns that are unlike what the model was trained on; None: not known."""
    today: date = field(default_factory=lambda: datetime.now(UTC).date())
    """The day on which waivers are in force or over."""
    chosen: frozenset[int] | None = None
    """Ids of the hotspots that exports list; all by default."""

    @cached_property
    def findings(self) -> ById[Finding]:
        """Class of each hotspot and the cell at fault, by id."""
        return read_findings(self.run, len(self.hotspots))

    @cached_property
    def classes(self) -> tuple[HotspotClass, ...]:
        """The classes of the hotspots, those of most hotspots first."""
        return read_classes(self.run, self.findings)

    @cached_property
    def reviews(self) -> Mapping[int, Review]:
        """Level and waiver of each hotspot, by id."""
        levels = make_levels(self.config.levels, load_model_process(self.model))
        return review_hotspots(self.hotspots, self.verdicts, levels, self.waived.by)

    @cached_property
    def waived(self) -> Waived:
        """Which hotspots are waived, and what the waivers are good for."""
        if not self.waivers:
            return Waived()
        return apply_waivers(self.waivers, find_failures(self), make_basis(self), self.today)

    @cached_property
    def class_reviews(self) -> Mapping[int, ClassReview]:
        """Worst level and waived hotspots of each class, by id."""
        return review_classes(self.findings, self.reviews)

    @cached_property
    def shown(self) -> Sequence[Hotspot]:
        """The hotspots that exports list, by rank."""
        if self.chosen is None:
            return self.hotspots
        return tuple(spot for spot in self.hotspots if spot.id in self.chosen)

    @cached_property
    def shown_classes(self) -> tuple[HotspotClass, ...]:
        """The classes of those."""
        if self.chosen is None:
            return self.classes
        ids = {self.findings[spot.id].class_id for spot in self.shown}
        return tuple(row for row in self.classes if row.id in ids)

    @cached_property
    def order(self) -> Sequence[Hotspot]:
        """Those shown, worst in simulation first; by rank without simulation."""
        return sort_worst_first(self.shown, self.verdicts) if self.verdicts else self.shown

    @cached_property
    def printed(self) -> list[PrintedArea]:
        """Target and contours around the worst defects of the worst hotspots."""
        if not self.verdicts:
            return []
        failing = [(spot, defect) for spot in self.order if (defect := self.worst(spot))]
        return [
            self.draw_print(spot, (defect.x_dbu, defect.y_dbu))
            for spot, defect in failing[: self.config.report.contours]
        ]

    def worst(self, spot: Hotspot) -> Defect | None:
        """Return the worst defect of a hotspot; None if it prints or was not simulated."""
        verdict = (self.verdicts or {}).get(spot.id)
        return verdict.worst if verdict else None

    def draw_print(self, spot: Hotspot, near: tuple[int, int]) -> PrintedArea:
        """Return target and contours of a failing clip of a hotspot, the one nearest to a place."""
        assert self.simulated is not None  # nothing fails without
        job = self.confirmation
        window, contours = confirm.draw_print(job, self.simulated.failing[spot.id], near)
        target = read_target(self.layout.packed[0], window, self.layout.dbu_nm, job.process)
        return PrintedArea(window, target, contours)

    @cached_property
    def confirmation(self) -> confirm.Confirmation:
        """The input of the batches that simulated the hotspots."""
        return make_confirmation(self.job, self.config, load_model_process(self.model))

    @property
    def unconfirmed(self) -> int:
        """How many hotspots should have been simulated and were not."""
        return 0 if self.verdicts is None else len(self.to_simulate) - len(self.verdicts)

    @property
    def to_simulate(self) -> list[int]:
        """Ids of the hotspots to simulate, where simulation is asked for."""
        return hot_clips.select_to_simulate(self.hotspots, self.config.confirm.confident)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of the reader, and of what the model was not trained on: layers, patterns."""
        shown = self.config.layout.layer_names.show
        trained = tuple(self.model.provenance.get("trained_on_layers", ()))
        warnings = list(self.layout.warnings)
        if trained and trained != self.config.layout.channels:
            warnings.append(
                f"model {self.config.scores.model} was trained on {', '.join(trained)} "
                f"({', '.join(self.model.layers)} of {self.model.process}); "
                f"{', '.join(map(shown, self.config.layout.channels))} is scored as if it were that"
            )
        if self.unfamiliar is not None and self.unfamiliar >= MANY:
            warnings.append(
                f"{self.unfamiliar:.0%} of the patterns are unlike those that model "
                f"{self.config.scores.model} was trained on (of its own kind {EXPECTED:.0%} are): "
                "it may miss many hotspots here; measure how many with hotscan audit, or let "
                "--certify train it on this layout"
            )
        return tuple(warnings)


def read_unfamiliar(ledger: Ledger) -> float | None:
    """Return the share of the patterns that the model does not know; None: not measured."""
    return ledger.totals("hotspots").counts.get("unfamiliar_share")


def open_view(run: Run, module: ScanModel | None = None, waivers: Path | None = None) -> RunView:
    """Open a run, with the hotspots, verdicts and settings of its last session.

    Parameters
    ----------
    module
        The user's module that it was scanned with, if it was one.
    waivers
        File of waivers, in place of that of the settings.

    Raises
    ------
    IncompleteError
        When the run has no hotspots yet, or is damaged on disk.
    RunMismatchError
        When the model that the run was scanned with is gone.
    UsageError
        When the waivers cannot be read.
    """
    record = read_record(run)
    settings = ScanSettings.of(record)
    with Ledger(run.ledger, read_only=True) as ledger:
        require_intact(run, ledger, *READ)
    hotspots = read_hotspots(run)
    config = settings.config
    model = recall_model(run, config.scores.model, settings.model_digest, module)
    layout = open_packed(run.layout)
    channels = model.raster.layers
    scanned = replace(layout, layers=layout.layers[:channels], packed=layout.packed[:channels])
    process = load_model_process(model)
    job = make_job(run.path, config, scanned, model, locate_model(run, model), process)
    with Ledger(run.ledger, read_only=True) as ledger:
        simulated = read_confirmed(job, config, process, ledger)
        audited, fixes = read_audit(run, config, ledger), read_fixes(run, config, ledger)
        certified, unfamiliar = read_certified(run, config, ledger), read_unfamiliar(ledger)
    return RunView(
        run, job, config, scanned, model, hotspots, record, simulated, audited, fixes,
        certified, load_waivers(config, waivers), unfamiliar,
    )  # fmt: skip


def load_waivers(config: ScanConfig, other: Path | None = None) -> tuple[Waiver, ...]:
    """Return the waivers of a file, by default that of the settings; none without one."""
    path = other or (config.report.waivers and Path(config.report.waivers))
    return read_waivers(path) if path else ()


def make_levels(config: LevelsConfig, process: Process) -> Levels:
    """Return the levels of a process, with those of the config in their place.

    Raises
    ------
    ConfigError
        When a kind of defect is unknown, or a second level is over the first.
    """
    given = {name: value for name, value in config.model_dump().items() if value is not None}
    try:
        levels = replace(process.levels, **given)
    except ValidationError as error:
        raise ConfigError(f"[levels] {describe_validation_error(Levels, error)}") from None
    if unknown := sorted(set(levels.always_first) - set(KINDS)):
        raise ConfigError(
            f"[levels] always_first has {', '.join(unknown)}; kinds are {', '.join(KINDS)}"
        )
    return levels


def describe_measurement(model: ScanModel) -> str:
    """Say on which clips the recall and false-alarm rate of a model were measured."""
    return str(model.provenance.get("measured_on", "its validation clips"))
