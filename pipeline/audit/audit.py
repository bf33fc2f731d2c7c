"""The stages of an audit, after those of its scan: frame, draw, simulate, estimate.

in       a session of a scan whose scores are there
out      the result, see `pipeline.audit.result`
promise  run, resumed or repeated with the same number and seed, it says the same; with a larger
         number it simulates only the clips that it adds
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import scipy

from pipeline.audit import frame, simulate
from pipeline.audit.draw import DRAW, Draw, count_clips, draw_clips, read_draw, write_draw
from pipeline.audit.result import RESULT, Audited, read_result, write_result
from pipeline.config import ScanConfig
from pipeline.engine.agreement import Agreement
from pipeline.engine.session import Session, Written
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.arrays import read_pattern_clips, read_patterns
from pipeline.passes.job import Job
from pipeline.simulate.confirm import Confirmed
from pipeline.simulate.tiles import measure
from stages.contracts import Int64s, Verdict
from stages.lithography.process import Process

STAGES = ("frame", "draw", "audit", "estimate")
"""In the order in which they run."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The stages of one audit."""

    session: Session
    job: Job
    config: ScanConfig
    process: Process
    confirmed: Confirmed | None
    """Verdicts on the hotspots of the scan; None when simulation was not asked for."""

    def run_stages(self) -> None:
        """Run every stage that is not finished, as far as its inputs are complete."""
        ledger = self.session.ledger
        seals = [unit.checksum for unit in ledger.finished("scores").values()]
        scored = hashlib.blake2b(" ".join(seals).encode(), digest_size=16).hexdigest()
        task = partial(frame.frame_tile, job=self.job, scored=scored)
        units = frame.list_frame(self.job, ledger)
        self.session.run_units("frame", "tiles", units, task, frame.name_unit)
        if ledger.totals("frame").failed:
            return
        self._draw()
        work = self._make_work()
        drawn = read_draw(self.job.run)
        simulate.add_round(work, drawn.x_dbu, drawn.y_dbu)
        batches = simulate.list_batches(work)
        task = partial(simulate.simulate_batch, job=work)
        alike = Agreement(partial(measure, work.run, work.process))
        self.session.run_units("audit", "batches", batches, task, simulate.name_unit, alike)
        if not ledger.failed("audit").keys() & {batch.name for batch in batches}:
            self.session.run_once("estimate", partial(self._write_result, drawn, work))

    def _draw(self) -> None:
        """Draw the clips, once."""
        session, known = self.session, self._count_known()
        inputs = {
            "frame": session.ledger.totals("frame").counts.get("clips", 0),
            "known": -1 if known is None else known,
        }

        def draw() -> Written:
            drawn = self._draw_clips(self._count_clips, known)
            write_draw(self.job.run, drawn)
            return Written((DRAW,), {"clips": len(drawn), **inputs})

        before = session.ledger.totals("draw").counts
        if any(before.get(name, value) != value for name, value in inputs.items()):
            session.ledger.forget("draw")
            session.ledger.forget("estimate")
        session.run_once("draw", draw)

    def _draw_clips(self, count: Callable[[int], int], known: int | None) -> Draw:
        threshold = self.config.scores.threshold
        assert threshold is not None  # the resolved config holds the model's own
        return draw_clips(
            self.job, self.session.ledger, threshold, count, self.config.audit.seed, known
        )

    def _count_known(self) -> int | None:
        """Return how many hotspots the scan found; None unless every flagged clip is confirmed."""
        said, counts = self.confirmed, self.session.ledger.totals("hotspots").counts
        if said is None or not frame.is_lattice_of_cores(self.job):
            return None
        return said.clips_failing if said.clips_simulated == counts["hot_clips"] else None

    def _count_clips(self, clips: int) -> int:
        """Return how many of the clips of the frame to draw."""
        size = self.config.audit.size
        assert size is not None  # the stages run where it is given
        if not size.endswith("s"):
            return count_clips(size, clips)
        timed = self._draw_clips(lambda _: simulate.TIMED_CLIPS, None)
        if not len(timed):
            return 0
        spent_s = simulate.time_clip(self._make_work(), timed.x_dbu, timed.y_dbu)
        return min(int(float(size[:-1]) / spent_s), clips)

    def _make_work(self) -> simulate.AuditJob:
        asked = self.config.confirm
        assert asked.opc is not None  # resolve_config put the model's in
        return simulate.AuditJob(
            self.job.run, self.job.core_dbu, self.process, asked.opc, asked.batch_windows
        )

    def _write_result(self, drawn: Draw, work: simulate.AuditJob) -> Written:
        """Write the clips that were drawn with their verdicts."""
        said = simulate.read_verdicts(work, self.session.ledger)
        places = zip(drawn.x_dbu.tolist(), drawn.y_dbu.tolist(), strict=True)
        verdicts = [said[place] for place in places]
        found = self._find_found(drawn, verdicts)
        partly = not frame.is_lattice_of_cores(self.job)
        write_result(self.job.run, drawn, verdicts, found, partly=partly)
        return Written((RESULT,), {"hotspots": sum(each.confirmed for each in verdicts)})

    def _find_found(self, drawn: Draw, verdicts: Sequence[Verdict]) -> npt.NDArray[np.bool_]:
        """Return which clips fail at a place that the scan flags, (n,)."""
        threshold = self.config.scores.threshold
        assert threshold is not None  # the resolved config holds the model's own
        fails = np.array([each.confirmed for each in verdicts], bool)
        if frame.is_lattice_of_cores(self.job):  # every place of a core has one clip
            return fails & (drawn.score >= threshold)
        worst = [(each.worst.x_dbu, each.worst.y_dbu) for each in verdicts if each.worst]
        run, finished = Run(self.job.run), self.session.ledger.finished("clips")
        (scores,) = read_patterns(run, "score")
        tiles = [tile.name for tile in self.job.tiles if tile.name in finished]
        flagged, _, _ = read_pattern_clips(run, tiles, scores >= threshold)
        places = np.array(worst, np.int64).reshape(-1, 2)
        fails[fails] = find_covered(places, flagged.x_dbu, flagged.y_dbu, self.job.core_dbu)
        return fails


def find_covered(
    places: Int64s, x_dbu: Int64s, y_dbu: Int64s, core_dbu: int
) -> npt.NDArray[np.bool_]:
    """Return which places, (n, 2), lie in the half-open core of any of the clips, (n,) bool."""
    if not len(x_dbu):
        return np.zeros(len(places), bool)
    half = core_dbu // 2
    # Places are whole: a half-open core is all within (core - 1) / 2 of its middle place.
    middles = np.stack([x_dbu, y_dbu], axis=1) - half + (core_dbu - 1) / 2
    apart, _ = scipy.spatial.cKDTree(middles).query(
        places, p=np.inf, distance_upper_bound=core_dbu / 2
    )
    return np.asarray(np.isfinite(apart))


def read_audit(run: Run, config: ScanConfig, ledger: Ledger) -> Audited | None:
    """Return the result of the audit of a run; None where there is none, or it is unfinished."""
    asked = config.audit.size is not None
    return read_result(run.path) if asked and ledger.finished("estimate") else None
