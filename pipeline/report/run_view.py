"""A run with all that describes it, as outputs are made of it.

in       a run directory, and what its session knows
out      `RunView`: hotspots, verdicts, and what prints around them
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from shapely import Polygon

from pipeline.config import ScanConfig
from pipeline.engine.run_directory import Run
from pipeline.engine.run_record import RunRecord
from pipeline.passes.job import Job, process_behind
from pipeline.simulate import confirm
from pipeline.simulate.tiles import print_window
from stages.contracts import Box, Defect, Hotspot, PackedLayout, Verdict
from stages.detector.checkpoint import Checkpoint
from stages.detector.network import Network
from stages.exports.markers import Printed
from stages.hotspots import worst_first

MOST_REGIONS = 10_000
"""Regions without a verdict that are named one by one; their number is always told in full."""


@dataclass(frozen=True)
class RunView:
    """A run, with all that describes it."""

    run: Run
    job: Job
    config: ScanConfig
    layout: PackedLayout
    model: Checkpoint
    hotspots: tuple[Hotspot, ...]
    record: RunRecord
    simulated: confirm.Confirmed | None = None
    """What simulation says of the hotspots; None when none was to be simulated."""

    @cached_property
    def detector(self) -> Network:
        """The model's network, made once."""
        return self.model.detector()

    @property
    def verdicts(self) -> Mapping[int, Verdict] | None:
        """What simulation says of each hotspot, by id."""
        return None if self.simulated is None else self.simulated.verdicts

    @cached_property
    def order(self) -> tuple[Hotspot, ...]:
        """The hotspots in the order of the report."""
        return worst_first(self.hotspots, self.verdicts) if self.verdicts else self.hotspots

    @cached_property
    def printed(self) -> list[Printed]:
        """What prints around the worst defects of the worst hotspots."""
        failing = [(spot, defect) for spot in self.order if (defect := self.worst(spot))]
        return [
            self.draw_print(defect, Box(*(defect.x_dbu, defect.y_dbu) * 2).grown(self.job.core_dbu))
            for _, defect in failing[: self.config.report.contours]
        ]

    @cached_property
    def contours(self) -> dict[int, Sequence[Polygon]]:
        """Id of each hotspot that the report shows to what prints of its clip."""
        return {
            spot.id: self.draw_print(defect, spot.core(self.job.clip_dbu)).contours
            for spot in self.order[: self.config.report.top]
            if (defect := self.worst(spot))
        }

    def worst(self, spot: Hotspot) -> Defect | None:
        """Return the worst defect of a hotspot that was simulated."""
        verdict = (self.verdicts or {}).get(spot.id)
        return verdict.worst if verdict else None

    def draw_print(self, defect: Defect, window: Box) -> Printed:
        """Return what prints of a window at the corner of a defect."""
        opc = self.config.confirm.opc or "none"
        layer, dbu_nm = self.layout.packed[0], self.layout.dbu_nm
        process = process_behind(self.model)
        target, prints = print_window(layer, window, dbu_nm, process, opc, defect.corner)
        return Printed(window, target, prints)

    @property
    def unconfirmed(self) -> int:
        """How many hotspots were to be simulated and are not."""
        return 0 if self.verdicts is None else len(self.to_simulate) - len(self.verdicts)

    @property
    def to_simulate(self) -> list[int]:
        """Ids of the hotspots that simulation is asked about, where it is asked."""
        return confirm.to_simulate(self.hotspots, self.config.confirm.confident)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader noticed, and how the layers differ from those the model knows."""
        trained = tuple(self.model.provenance.get("trained_on_layers", ()))
        if not trained or trained == self.config.layout.layers:
            return self.layout.warnings
        return (
            *self.layout.warnings,
            f"model {self.config.scores.model} was trained on {', '.join(trained)} "
            f"({', '.join(self.model.layers)} of {self.model.process}); "
            f"{', '.join(self.config.layout.layers)} is judged as if it were that",
        )
