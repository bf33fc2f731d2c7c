"""The stages of certifying, after the scores of a scan: features, rounds, audit, certify.

in       a session of a scan on a grid of cores whose scores are there
out      the result, see `pipeline.audit.rounds`; the clips that fail are the scan's hotspots
promise  run, resumed or repeated with the same seed, it simulates the same clips and says the same;
         with a larger budget it simulates only the clips that it adds

Pictures are read once, for their features. A round fits the model to all verdicts so far, gives
every clip a chance to fail, and simulates what `stages.audit.policy` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.audit import simulate
from pipeline.audit.features import (
    measure_arithmetic_of,
    measure_shard,
    rank_features,
    read_features,
)
from pipeline.audit.rounds import (
    RESULT,
    Certified,
    name_round,
    read_result,
    read_round,
    write_result,
    write_round,
)
from pipeline.config import CertifyConfig, ScanConfig
from pipeline.engine.agreement import Agreement
from pipeline.engine.events import RoundEnded
from pipeline.engine.session import Session, Written
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run, write_whole
from pipeline.passes.arrays import count_shards, read_pattern_clips
from pipeline.passes.job import Job
from pipeline.passes.model_file import load_model
from pipeline.passes.print_model import PrintModel, write_print_model
from pipeline.simulate.tiles import measure
from stages.audit.certify import Frame, Progress, Round, choose_round, fit_progress, record_round
from stages.audit.looks import Aim, estimate_price
from stages.audit.refit import Head
from stages.detector.models import checkpoint
from stages.detector.models.scan_model import USER_FILE
from stages.errors import IncompleteError
from stages.lithography.process import Process

MODEL = "certify/model.json"
"""The model that was fitted, relative to the run directory."""
STAGES = ("features", "rounds", "audit", "certify")
"""In the order in which they run; `rounds` and `audit` take turns."""


@dataclass(frozen=True, slots=True)
class Certification:
    """The stages of one certification."""

    session: Session
    job: Job
    config: ScanConfig
    process: Process
    tiles: Sequence[str]
    """Tiles that have clips, in scan order."""

    @property
    def asked(self) -> CertifyConfig:
        """What to certify."""
        return self.config.certify

    @property
    def aim(self) -> Aim:
        """The recall to reach and how near its bound must be."""
        assert self.asked.recall is not None  # the stages run where it is given
        return Aim(self.asked.recall, self.asked.within)

    def run_stages(self, patterns: int) -> None:
        """Run every stage that is not finished, as far as its inputs are complete."""
        session, job = self.session, self.job
        shards = count_shards(job.shard_patterns, patterns)
        session.run_units(
            "features", "shards", range(shards),
            partial(measure_shard, job=job, patterns=patterns),
            lambda number: f"{number:05d}",
            Agreement(partial(measure_arithmetic_of, job), dependents=("rounds", "certify")),
        )  # fmt: skip
        failed = [session.ledger.totals(stage).failed for stage in ("clips", "scores", "features")]
        if any(failed):
            return
        frame = self._read_frame(shards, patterns)
        progress = Progress.of(frame)
        while not progress.meets(self.aim):
            chosen = self._choose(frame, progress)
            if chosen is None:
                break
            verdicts = self._simulate(frame, chosen)
            if verdicts is None:
                return
            progress = record_round(progress, chosen, verdicts)
            self._tell(frame, progress, chosen, fit_progress(frame, progress))

        def write() -> Written:
            write_result(self.job.run, frame, progress, self.aim)
            files = [RESULT]
            model = self._make_model(progress, frame, fit_progress(frame, progress))
            if model is not None:
                write_print_model(self.job.run / MODEL, model)
                files.append(MODEL)
            return Written(tuple(files), {"rounds": progress.rounds})

        session.run_once("certify", write)

    def _read_frame(self, shards: int, patterns: int) -> Frame:
        run = Run(self.job.run)
        clips, pattern, _ = read_pattern_clips(run, list(self.tiles), np.ones(patterns, bool))
        features = read_features(run.path, shards)
        start = rank_features(features, load_model(self.job.model))
        return Frame(clips.x_dbu, clips.y_dbu, pattern, features, start)

    def _choose(self, frame: Frame, progress: Progress) -> Round | None:
        """Return the next round, chosen now or before."""
        number = progress.rounds
        budget = int(self.asked.budget * len(frame))

        def choose() -> Written:
            chosen = choose_round(frame, progress, self.aim, budget, self.asked.seed)
            write_round(self.job.run, number, chosen)
            return Written((name_round(number),), {"clips": len(chosen.clips) if chosen else 0})

        self.session.run_once("rounds", choose, unit=f"{number:03d}")
        return read_round(self.job.run, number, len(frame))

    def _simulate(self, frame: Frame, chosen: Round) -> np.ndarray | None:
        """Return whether each clip of a round fails; None where one could not be simulated."""
        asked = self.config.confirm
        assert asked.opc is not None  # resolve_config put the model's in
        work = simulate.AuditJob(
            self.job.run, self.job.core_dbu, self.process, asked.opc, asked.batch_windows
        )
        x, y = frame.x_dbu[chosen.clips], frame.y_dbu[chosen.clips]
        simulate.add_round(work, x, y)
        batches = simulate.list_batches(work)
        alike = Agreement(partial(measure, work.run, work.process))
        self.session.run_units(
            "audit", "batches", batches, partial(simulate.simulate_batch, job=work),
            simulate.name_unit, alike,
        )  # fmt: skip
        ledger = self.session.ledger
        if ledger.failed("audit").keys() & {batch.name for batch in batches}:
            return None
        said = simulate.read_verdicts(work, ledger)
        places = zip(x.tolist(), y.tolist(), strict=True)
        return np.array([said[place].confirmed for place in places], bool)

    def _tell(self, frame: Frame, progress: Progress, chosen: Round, head: Head) -> None:
        """Tell how far the loop is."""
        is_open = ~progress.simulated
        chance = head.compute_chance(frame.features)[frame.pattern[is_open]]
        every = progress.hotspots + min(progress.trust, 1.0) * float(chance.sum())
        recall = progress.hotspots / max(every, 1.0)
        look = chosen.drawn is not None
        if look and progress.stated is not None:
            recall = progress.stated.recall
        price = estimate_price(len(chance), every, self.aim)
        self.session.listen(RoundEnded(
            progress.rounds, look, progress.hotspots, recall, progress.low, progress.share,
            price / len(frame),
        ))  # fmt: skip

    def _make_model(self, progress: Progress, frame: Frame, head: Head) -> PrintModel | None:
        """Return the model that was fitted; None where it builds on a user's own module."""
        began = load_model(self.job.model)
        if began.file_name == USER_FILE:
            return None
        base, digest = self.config.scores.model, began.digest
        if isinstance(began, PrintModel):
            base_name, digest, packed = began.base, began.base_digest, began.packed
        else:
            base_name = base if base in checkpoint.shipped() else str(Path(base).resolve())
            packed = self.job.model.path.read_bytes()
        asked = self.config.confirm
        assert asked.opc is not None  # resolve_config put the model's in
        chance = head.compute_chance(frame.features)[frame.pattern[progress.failing]]
        threshold = float(np.quantile(chance, 1 - self.aim.recall)) if len(chance) else 0.5
        return PrintModel(
            raster=self.job.spec, layers=began.layers, process=self.process.name,
            process_settings=self.process.as_dict(), opc=asked.opc, head=head,
            threshold=threshold, base=base_name, base_digest=digest, packed=packed,
            provenance={"trained_on_layers": list(self.config.layout.layers),
                        "clips": int(progress.simulated.sum()), "hotspots": progress.hotspots},
        )  # fmt: skip


def read_certified(run: Run, config: ScanConfig, ledger: Ledger) -> Certified | None:
    """Return the result of certifying; None where it was not asked for, or is unfinished."""
    asked = config.certify.recall is not None
    return read_result(run.path) if asked and ledger.finished("certify") else None


def keep_model(run: Run, out: Path) -> None:
    """Copy the model that a run was certified with.

    Raises
    ------
    IncompleteError
        When there is none: certifying did not end, or began from a user's own module.
    """
    file = run.path / MODEL
    if not file.is_file():
        raise IncompleteError(
            f"{run.path} has fitted no model to keep in {out}; resume it with: hotscan resume "
            f"{run.path}, and begin it from a checkpoint or a process"
        )
    write_whole(out, file.read_bytes())
