"""The stages of a scan, from layout file to report, in their order.

in       a session of a run directory, resolved settings, a model
out      `ScanResult`, and the run directory filled
promise  a stage whose inputs did not change does not run again; an incomplete scan says so
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from pipeline.audit.audit import Audit, read_audit
from pipeline.audit.certify import (
    Certification,
    read_certified,
)
from pipeline.audit.rounds import find_failing
from pipeline.config import ScanConfig
from pipeline.engine.agreement import Agreement
from pipeline.engine.events import ScoresNotReused
from pipeline.engine.executors import SerialExecutor
from pipeline.engine.session import Session, Written
from pipeline.engine.storage.checksums import list_files
from pipeline.engine.storage.ledger import Status
from pipeline.engine.storage.run_directory import Run, write_table
from pipeline.engine.storage.run_record import (
    State,
)
from pipeline.fix import fix
from pipeline.layout import ingest
from pipeline.passes.arrays import (
    count_shards,
    create_patterns,
    list_pattern_files,
    read_clips_in_parts,
    read_pattern_clips,
    read_patterns,
)
from pipeline.passes.aside import compile_aside
from pipeline.passes.distinct_on_disk import tally_on_disk
from pipeline.passes.job import (
    Job,
    make_job,
    pack_layout,
    parse_layers,
)
from pipeline.passes.model_file import ModelFile
from pipeline.passes.reuse import open_reusable
from pipeline.passes.scan_settings import (
    ScanSettings,
)
from pipeline.passes.shard import Shard
from pipeline.passes.units import (
    clip_tile,
    list_looks,
    look_at_pictures,
    measure_scoring,
    predict_margins,
    score_shard,
)
from pipeline.report import run_results, run_view
from pipeline.report.classify import group_hotspots, make_rules
from pipeline.report.export import write_report
from pipeline.report.fix_table import read_fixes
from pipeline.report.metrics import gather_metrics, list_unscanned_regions, write_metrics
from pipeline.report.run_view import RunView
from pipeline.scan.request import ScanRequest, ScanResult
from pipeline.simulate import confirm, hot_clips
from stages.clips import RULES
from stages.compiled import interpreting_brief
from stages.contracts import Hotspot, PackedLayout
from stages.detector.models.scan_model import ScanModel
from stages.errors import IncompleteError
from stages.exports.markers import find_free_layer
from stages.exports.tables import hotspots_to_table
from stages.geometry.owners import count_flat
from stages.hotspots import find_hotspots
from stages.lithography.process import Process
from stages.rows import Rows

SMALL_TILES = 16
SMALL_BYTES = 1 << 18
SMALL_SHAPES = 3000
"""Rectangles and corners of polygons, arrays written out."""

AFTER_SCORES = (
    "features", "rounds", "certify", "hotspots", "confirm", "frame", "draw", "estimate", "classes",
    *fix.STAGES, "report",
)  # fmt: skip
AFTER_HOTSPOTS = AFTER_SCORES[3:]
RECOMPUTED = ("scores", "audit", *AFTER_SCORES)
"""Stages that are run again when their inputs change; all others refuse to be continued."""


@dataclass(frozen=True, slots=True)
class ScanStages:
    """The stages of one scan."""

    session: Session
    settings: ScanSettings
    model: ScanModel
    model_file: ModelFile
    process: Process

    @property
    def run(self) -> Run:
        """The run directory."""
        return self.session.run

    @property
    def config(self) -> ScanConfig:
        """The resolved settings."""
        return self.settings.config

    def run_stages(self, request: ScanRequest) -> ScanResult:
        """Run every stage that is not finished."""
        here = isinstance(self.session.executor, SerialExecutor)
        is_compiled = here and self.config.scores.arithmetic == "int8"
        with compile_aside(self.model_file, is_compiled):
            layout = self.pack_layout(request)
            job = self.make_job(layout)
            with interpreting_brief(self._is_small(layout, job)):
                return self._run_stages(request, layout, job)

    def _is_small(self, layout: PackedLayout, job: Job) -> bool:
        """Return whether cutting and grouping take less time than loading what compiles them."""
        if (
            self.config.simulates
            or len(job.tiles) > SMALL_TILES
            or sum(part.nbytes for part in layout.packed) > SMALL_BYTES
        ):
            return False
        return sum(map(count_flat, layout.packed)) <= SMALL_SHAPES

    def _run_stages(self, request: ScanRequest, layout: PackedLayout, job: Job) -> ScanResult:
        shard = self.settings.shard
        # Refused here, before the long work.
        rules = make_rules(self.config.classes, self.process, job, layout.dbu_nm)
        run_view.make_levels(self.config.levels, self.process)
        run_view.load_waivers(self.config)
        find_free_layer(layout.file_layers, self.config.markers.layer)
        tiles = shard.choose(job.tiles) if shard else job.tiles
        self.session.run_units(
            "clips", "tiles", tiles, partial(clip_tile, job=job), lambda tile: tile.name,
            reads=("layout",), others=self.settings.since,
        )  # fmt: skip
        patterns = self.find_patterns(job)
        self.score_patterns(job, patterns)
        if shard:
            return self.end_shard(shard)
        if self.config.certify.recall is not None:
            done = self.finished_tiles(job)
            Certification(self.session, job, self.config, self.process, done).run_stages(patterns)
        hotspots = self.find_hotspots(job, layout, patterns)
        if self.config.confirm.enabled:
            work = run_results.make_confirmation(job, self.config, self.process)
            confirm.run_batches(self.session, work)
        said = run_results.read_confirmed(job, self.config, self.process, self.session.ledger)
        if self.config.audit.size is not None:
            Audit(self.session, job, self.config, self.process, said).run_stages()
        group_hotspots(self.session, job, layout, rules, hotspots, said)
        view = RunView(
            self.run, job, self.config, layout, self.model, hotspots, self.session.record, said,
            read_audit(self.run, self.config, self.session.ledger),
            certified=read_certified(self.run, self.config, self.session.ledger),
            waivers=run_view.load_waivers(self.config),
            unfamiliar=run_view.read_unfamiliar(self.session.ledger),
        )  # fmt: skip
        if self.config.fix.enabled:
            fix.run_stages(self.session, view, request.layout)
            view = replace(view, fixes=read_fixes(self.run, self.config, self.session.ledger))
        return self.report(view)

    def pack_layout(self, request: ScanRequest) -> PackedLayout:
        """Pack the layout, once."""
        path = request.layout

        def pack() -> Written:
            if request.packed is None:
                packed = pack_layout(path, self.run.layout, self.config)
            else:
                scanned, excluded = parse_layers(self.config)
                packed = ingest.select_packed(
                    request.packed, self.run.layout, (*scanned, *excluded)
                )
            counts = {"packed_bytes": sum(layer.nbytes for layer in packed.packed)}
            return Written(list_files(self.run.path, "layout"), counts)

        self.session.run_once("layout", pack)
        ingest.require_source(self.run.layout, path, self.session.record.layout.sha256)
        return ingest.open_packed(self.run.layout)

    def make_job(self, layout: PackedLayout) -> Job:
        """Return what the tasks need; the results of earlier runs are found here."""
        count = self.model.raster.layers
        channels = replace(layout, layers=layout.layers[:count], packed=layout.packed[:count])
        job = make_job(
            self.run.path, self.config, channels, self.model, self.model_file, self.process
        )
        record, dbu_nm = self.session.record, layout.dbu_nm
        reused = tuple(open_reusable(path, record, dbu_nm) for path in self.settings.since)
        return replace(job, reused=reused)

    def find_patterns(self, job: Job) -> int:
        """Find the distinct pictures of all clips; return how many there are."""
        ledger = self.session.ledger
        clips = int(ledger.totals("clips").counts.get("clips", 0))

        def find() -> Written:
            parts = read_clips_in_parts(self.run, self.finished_tiles(job))
            rows = ((keys, clips.x_dbu, clips.y_dbu) for clips, keys in parts)
            with ingest.create_scratch(self.run.patterns) as scratch:
                found = tally_on_disk(rows, clips, scratch)
                widths = {"embedding": self.model.embedding, "margin": len(self.model.kinds)}
                create_patterns(
                    self.run, job.spec, widths, job.shard_patterns,
                    len(found), found.read_strips(),
                )  # fmt: skip
            return Written(list_pattern_files(self.run), {"patterns": len(found), "clips": clips})

        # Tiles that failed before may have succeeded since: then there are more patterns.
        self._forget_if_grown("patterns", "clips", clips, ("patterns", "scores", *AFTER_SCORES))
        self.session.run_once("patterns", find)
        return int(ledger.totals("patterns").counts["patterns"])

    def score_patterns(self, job: Job, patterns: int) -> None:
        """Score the patterns, all by one arithmetic: that of earlier scores where a worker has it.

        Scores of an earlier run that are of another are not reused.
        """
        alike = Agreement(
            partial(measure_scoring, job.model, job.device, job.prefiltered, job.arithmetic),
            dependents=AFTER_SCORES,
            preferred=tuple(run.arithmetic for run in job.reused if run.arithmetic is not None),
        )
        self.session.run_units(
            "scores", "shards", range(count_shards(job.shard_patterns, patterns)),
            partial(score_shard, job=job, patterns=patterns), lambda number: f"{number:05d}", alike,
            reads=("layout", "patterns"), others=self.settings.since,
        )  # fmt: skip
        for now in self.session.ledger.count_arithmetics("scores"):
            for run in job.reused:
                if run.has_scores and run.arithmetic != now:
                    self.session.listen(ScoresNotReused(str(run.path), run.arithmetic, now))

    def find_hotspots(self, job: Job, layout: PackedLayout, patterns: int) -> Rows[Hotspot]:
        """Merge and rank the clips over threshold, or those that certifying found to fail."""
        threshold, ledger = self.config.scores.threshold, self.session.ledger
        assert threshold is not None  # resolve_config put the model's in
        certified = self.config.certify.recall is not None and bool(ledger.finished("certify"))
        inputs = {
            "scored": ledger.totals("scores").counts.get("patterns", 0),
            "rounds": ledger.totals("certify").counts.get("rounds", 0),
        }

        def find() -> Written:
            (scores,) = read_patterns(self.run, "score")
            limits = threshold, self.model.operating_point.confident
            over, pattern, keys = read_pattern_clips(
                self.run, self.finished_tiles(job), scores >= (0.0 if certified else threshold)
            )
            if certified:
                fails = find_failing(self.run, over)
                over, pattern, keys = over.select(fails), pattern[fails], keys[fails]
                limits = 0.0, 0.0
            spots = find_hotspots(
                over, pattern, rules=RULES, scores=scores, keys=keys, core_dbu=job.core_dbu,
                threshold=limits[0], confident=limits[1],
            )  # fmt: skip
            if self.model.kinds:
                spots = predict_margins(self.run, job, self.model.kinds, spots)
            chosen = hot_clips.select_to_simulate(spots, self.config.confirm.confident)
            hot_clips.write_hot_clips(self.run, spots, chosen, over, job.core_dbu)
            write_table(self.run.hotspots, hotspots_to_table(spots, layout.dbu_nm))
            counts = {
                **self._sum_up_looks(),
                "hotspots": len(spots),
                "hotspots_unique": len(np.unique(spots.get_column("pattern"))),
                "hot_clips": len(over),
                **inputs,
            }
            return Written((self.run.name_of(self.run.hotspots), hot_clips.HOT_CLIPS), counts)

        # Shards that failed before may have succeeded since: then there may be more hotspots.
        for name, now in inputs.items():
            self._forget_if_grown("hotspots", name, now, AFTER_HOTSPOTS)
        if looks := list_looks(self.model, patterns):
            self.session.run_units(
                "hotspots", "looks", looks, partial(look_at_pictures, job=job, patterns=patterns),
                lambda look: f"{look:05d}", reads=("layout", "patterns"),
            )  # fmt: skip
        self.session.run_once("hotspots", find)
        return run_results.read_hotspots(self.run)

    def _sum_up_looks(self) -> dict[str, float]:
        """Return the share of the pictures that are unlike what the model was trained on, if known.

        Raises
        ------
        IncompleteError
            When some could not be looked at.
        """
        for outcome in self.session.ledger.failed("hotspots").values():
            raise IncompleteError(
                f"{self.run.path}: pictures could not be compared with those of the model's "
                f"training ({outcome.error}); try again with: hotscan resume {self.run.path}"
            )
        if self.model.familiar is None:
            return {}
        counts = self.session.ledger.totals("hotspots").counts
        share = counts.get("unfamiliar", 0) / counts.get("looked_at", 1)
        return {"unfamiliar_share": round(share, 3)}

    def end_shard(self, shard: Shard) -> ScanResult:
        """End the scan of a shard."""
        clips = self.session.ledger.totals("clips")
        scores = self.session.ledger.totals("scores")
        failed = clips.failed + scores.failed
        self.session.end(State.INCOMPLETE if failed else State.PART_DONE)
        metrics = {
            "complete": False, "units_failed": failed,
            "clips": int(clips.counts.get("clips", 0)),
            "patterns": int(scores.counts.get("patterns", 0)),
        }  # fmt: skip
        return ScanResult(self.run, metrics, shard)

    def report(self, view: RunView) -> ScanResult:
        """Write what people and tools read, in every session: it shows the state of the run."""
        session = self.session
        metrics: dict[str, Any] = {}
        state = State.INCOMPLETE

        def write() -> Written:
            nonlocal metrics, state
            started = time.monotonic()
            regions = list_unscanned_regions(view, session.ledger)
            metrics = gather_metrics(view, session.ledger, regions)
            state = State.COMPLETE if metrics["complete"] else State.INCOMPLETE
            ended = replace(view, record=session.record.end(state))
            files = write_report(ended, metrics, regions)
            spent = session.record.add_time("report", time.monotonic() - started).seconds
            metrics |= {"seconds_report": spent["report"]}
            return Written((*files, write_metrics(self.run, metrics)))

        session.run_once("report", write, always=True)
        session.end(state)
        return ScanResult(self.run, metrics)

    def finished_tiles(self, job: Job) -> list[str]:
        """Return the tiles that have clips, in scan order."""
        done = self.session.ledger.finished("clips")
        return [
            tile.name
            for tile in job.tiles
            if tile.name in done and done[tile.name].status == Status.DONE
        ]

    def _forget_if_grown(
        self, stage: str, count: str, now: float, forgotten: tuple[str, ...]
    ) -> None:
        """Forget stages when `stage` was computed from another count of inputs than there is."""
        ledger = self.session.ledger
        if ledger.totals(stage).counts.get(count, now) != now:
            for name in forgotten:
                ledger.forget(name)
