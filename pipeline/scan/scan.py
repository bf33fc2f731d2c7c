"""A scan, from layout file to report: what is finished is kept, what is not is run.

in       layout file, run directory, config, resources
out      `ScanResult`, and the run directory filled
promise  a stage whose inputs did not change is not run again; a scan that misses anything says so
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config import (
    STAGE_SETTINGS,
    Resources,
    ScanConfig,
    as_dict,
    digest_for,
    load_config,
)
from pipeline.engine.events import Listener
from pipeline.engine.executors import executor_for
from pipeline.engine.ledger import Ledger, Status
from pipeline.engine.run_directory import Run, open_run_directory, write_table
from pipeline.engine.session import Session
from pipeline.layout import ingest
from pipeline.passes.arrays import (
    clips_of,
    create_patterns,
    read_clips_in_parts,
    read_patterns,
    shard_count,
)
from pipeline.passes.distinct_on_disk import tallied
from pipeline.passes.job import (
    Job,
    layers_of,
    make_job,
    process_behind,
    reader_limits,
    resolve_config,
)
from pipeline.passes.reuse import earlier_run
from pipeline.passes.shard import Shard
from pipeline.passes.units import clip_tile, score_shard
from pipeline.report import outputs
from pipeline.report.run_view import RunView
from pipeline.simulate import confirm
from stages.clips import RULES
from stages.contracts import Hotspot, PackedLayout
from stages.detector import checkpoint
from stages.errors import RunMismatchError
from stages.exports.markers import free_layer
from stages.exports.tables import hotspots_to_table
from stages.hotspots import find_hotspots
from stages.lithography.process import Process
from stages.scores import check_device

BINDING = ("layout", "clips", "patterns", "scores")
"""Stages whose settings a run is bound to."""
REMADE = ("hotspots", "confirm", "report")
"""Stages that are run again when their settings change."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan came to."""

    run: Run
    metrics: Mapping[str, Any]
    """What ``metrics.json`` holds."""

    @property
    def complete(self) -> bool:
        """Whether every place of the area has a verdict."""
        return bool(self.metrics["complete"])


def scan(
    layout_path: Path,
    out: Path,
    config: ScanConfig,
    resources: Resources,
    listen: Listener,
    *,
    since: Sequence[Path] = (),
    shard: Shard | None = None,
) -> ScanResult:
    """Scan a layout into a run directory, going on from what is finished there.

    Parameters
    ----------
    since
        Runs of the same settings: what did not change is taken over from them.
    shard
        Do only this part of the tiles, up to the scores; `merged` puts the parts together.

    Raises
    ------
    UsageError
        When the request cannot be met, or the run directory is of another layout, model or config.
    LayoutError
        When the layout cannot be read, or is refused.
    """
    model_path = checkpoint.find(config.scores.model)
    model = checkpoint.load(model_path)
    process = process_behind(model)
    config = resolve_config(config, model, process)
    layers_of(config)  # refused before anything is written
    if resources.scheduler_address is None:
        check_device(config.scores.device)
    ingest.require_layout(layout_path)
    for earlier in since:
        Run(earlier).read_about()  # refused before the long work
    run = open_run_directory(out)
    digest = ingest.sha256_of(layout_path)
    with Ledger(run.ledger) as ledger:
        ledger.start_session()
        about, config = _bind(run, ledger, layout_path, digest, config, model.digest)
        about |= {
            "since": [str(path.resolve()) for path in since],
            "shard": str(shard) if shard else None,
        }
        run.write_about(about)
        with executor_for(resources, ["pipeline.passes.preload"]) as executor:
            session = _Scan(run, ledger, executor, listen, about)
            return session.scan(layout_path, config, model, model_path)


def resume(path: Path, resources: Resources, listen: Listener) -> ScanResult:
    """Go on with the scan of a run directory, with the settings that it began with."""
    about = Run(path).read_about()
    layout, shard = Path(about["layout"]["path"]), about.get("shard")
    config = load_config(None, about["config"])
    part = Shard.parse(shard) if shard else None
    earlier = [Path(run) for run in about.get("since", []) if Path(run, "run.json").exists()]
    return scan(layout, path, config, resources, listen, since=earlier, shard=part)


def merged(parts: Sequence[Path], out: Path, resources: Resources, listen: Listener) -> ScanResult:
    """Put the parts of a scan together, and finish what is missing in them.

    Raises
    ------
    UsageError, LayoutError
        As `scan`, and when the parts do not go together.
    """
    about = Run(parts[0]).read_about()
    layout, config = Path(about["layout"]["path"]), load_config(None, about["config"])
    return scan(layout, out, config, resources, listen, since=parts)


def _bind(
    run: Run, ledger: Ledger, layout: Path, digest: str, config: ScanConfig, model_digest: str
) -> tuple[dict[str, Any], ScanConfig]:
    """Begin ``run.json``, or check that the run there is of the same layout, model and config."""
    about: dict[str, Any] = {
        "hotscan": importlib.metadata.version("hotscan"),
        "python": platform.python_version(),
        "state": "running",
        "layout": {"path": str(layout.resolve()), "sha256": digest},
        "model_digest": model_digest,
        "config": as_dict(config),
        "digests": {stage: digest_for(config, stage) for stage in (*BINDING, *REMADE)},
        "seconds": {},
    }
    if not (run.path / "run.json").exists():
        run.write_about(about)
        return about, config
    before = run.read_about()
    # What failed before it made anything binds nobody: the corrected command runs in its place.
    bound = [stage for stage in BINDING if ledger.has(stage)]
    if "layout" in bound:
        _refuse_other(run, "layout", before["layout"]["sha256"], digest)
    if "clips" in bound:
        _refuse_other(run, "model", before["model_digest"], model_digest)
    for stage in bound:
        if before["digests"][stage] != about["digests"][stage]:
            _refuse_other_settings(run, before["config"], about["config"])
    for stage in REMADE:
        if before["digests"][stage] != about["digests"][stage]:
            ledger.forget(stage)
    # Sizes never change the answer, but the units of a run are named by them.
    tables = about["config"] | {"tiles": before["config"]["tiles"]}
    tables["scores"] |= {"shard_patterns": before["config"]["scores"]["shard_patterns"]}
    tables["confirm"] |= {"batch_fields": before["config"]["confirm"]["batch_fields"]}
    about |= {"config": tables, "seconds": before["seconds"]}
    run.write_about(about)
    return about, load_config(None, tables)


def _refuse_other(run: Run, what: str, before: str, now: str) -> None:
    if before != now:
        raise RunMismatchError(
            f"run directory {run.path} is of another {what}: it began with {before}, this is "
            f"{now}; choose another --out"
        )


def _refuse_other_settings(run: Run, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    binding = {name for stage in BINDING for name in STAGE_SETTINGS[stage]}
    changed = [
        f"[{table}] {key} was {before[table][key]!r}, is {value!r}"
        for table, settings in now.items()
        for key, value in settings.items()
        if {table, f"{table}.{key}"} & binding and before[table].get(key) != value
    ]
    raise RunMismatchError(
        f"run directory {run.path} began with other settings: {'; '.join(changed)}; "
        "choose another --out"
    )


class _Scan(Session):
    """The stages of a scan."""

    def scan(
        self, layout_path: Path, config: ScanConfig, model: checkpoint.Checkpoint, model_path: Path
    ) -> ScanResult:
        """Run every stage that is not finished."""
        try:
            layout = self.ingested(layout_path, config)
            process = process_behind(model)
            channels = replace(
                layout,
                layers=layout.layers[: model.raster.layers],
                packed=layout.packed[: model.raster.layers],
            )
            job = make_job(self.run.path, config, channels, model, model_path, process)
            earlier = [Path(path) for path in self.about["since"]]
            job = replace(
                job, earlier=tuple(earlier_run(p, self.about, layout.dbu_nm) for p in earlier)
            )
            part = Shard.parse(self.about["shard"]) if self.about["shard"] else Shard(1, 1)
            free_layer(layout.file_layers, config.markers.layer)  # refused before the long work
            tiles = part.some(job.tiles)
            self.units("clips", "tiles", tiles, partial(clip_tile, job=job), _tile_name)
            patterns = self.found_patterns(job, model)
            shards = range(shard_count(job.shard_patterns, patterns))
            task = partial(score_shard, job=job, patterns=patterns)
            self.units("scores", "shards", shards, task, _shard_name)
            if self.about["shard"]:
                return self.part_done()
            hotspots = self.found_hotspots(job, config, layout, model.operating_point.confident)
            if config.confirm.enabled:
                self.confirmed(job, config, process)
            return self.reported(job, config, layout, model, hotspots)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            self.about["state"] = "interrupted" if interrupted else "failed"
            self.run.write_about(self.about)
            raise

    def ingested(self, path: Path, config: ScanConfig) -> PackedLayout:
        """Pack the layout, once."""

        def pack() -> dict[str, float]:
            scanned, excluded = layers_of(config)
            packed = ingest.pack_into(
                path, self.run.layout, (*scanned, *excluded), config.layout.cell,
                limits=reader_limits(config), strict=config.layout.strict,
            )  # fmt: skip
            return {"packed_bytes": sum(layer.nbytes for layer in packed.packed)}

        self.once("layout", pack)
        return ingest.open_packed(self.run.layout)

    def found_patterns(self, job: Job, model: checkpoint.Checkpoint) -> int:
        """Find the distinct pictures of all clips; return how many there are."""

        def find() -> dict[str, float]:
            parts = read_clips_in_parts(self.run, self.finished_tiles(job))
            rows = ((keys, clips.x_dbu, clips.y_dbu) for clips, keys in parts)
            with ingest.scratch_beside(self.run.patterns) as scratch:
                found = tallied(rows, clips, scratch)
                create_patterns(
                    self.run, job.spec, model.config.embedding, job.shard_patterns, len(found),
                    found.strips(),
                )  # fmt: skip
            return {"patterns": len(found), "clips": clips}

        # More tiles may have succeeded since the patterns were found: then they are found anew.
        clips = int(self.ledger.totals("clips").counts.get("clips", 0))
        before = self.ledger.totals("patterns").counts.get("clips", clips)
        if before != clips:
            for stage in ("patterns", "scores", *REMADE):
                self.ledger.forget(stage)
        self.once("patterns", find)
        return int(self.ledger.totals("patterns").counts["patterns"])

    def found_hotspots(
        self, job: Job, config: ScanConfig, layout: PackedLayout, confident: float | None
    ) -> tuple[Hotspot, ...]:
        """Merge and rank the clips over threshold."""
        assert config.scores.threshold is not None  # resolve_config put the model's in
        threshold = config.scores.threshold
        # More shards may have been scored since the hotspots were found: then they are found anew.
        scored = self.ledger.totals("scores").counts.get("patterns", 0)
        if self.ledger.totals("hotspots").counts.get("scored", scored) != scored:
            for stage in REMADE:
                self.ledger.forget(stage)

        def find() -> dict[str, float]:
            (scores,) = read_patterns(self.run, "score")
            over, pattern, keys = clips_of(self.run, self.finished_tiles(job), scores >= threshold)
            spots = find_hotspots(
                over, pattern, rules=RULES, scores=scores, keys=keys,
                core_dbu=job.core_dbu, threshold=threshold, confident=confident,
            )  # fmt: skip
            asked = confirm.to_simulate(spots, config.confirm.confident)
            confirm.write_hot_clips(self.run, spots, asked, over, job.core_dbu)
            write_table(self.run.hotspots, hotspots_to_table(spots, layout.dbu_nm))
            return {
                "hotspots": len(spots),
                "hotspots_unique": len({spot.pattern for spot in spots}),
                "hot_clips": len(over),
                "scored": scored,
            }

        self.once("hotspots", find)
        return outputs.read_hotspots(self.run)

    def part_done(self) -> ScanResult:
        """End the scan of a part."""
        clips, scores = self.ledger.totals("clips"), self.ledger.totals("scores")
        failed = clips.failed + scores.failed
        self.about["state"] = "incomplete" if failed else "part done"
        self.run.write_about(self.about)
        metrics = {
            "complete": False, "shard": self.about["shard"], "units_failed": failed,
            "clips": int(clips.counts.get("clips", 0)),
            "patterns": int(scores.counts.get("patterns", 0)),
        }  # fmt: skip
        return ScanResult(self.run, metrics)

    def confirmed(self, job: Job, config: ScanConfig, process: Process) -> None:
        """Simulate the clips over threshold."""
        work = outputs.confirmation(job, config, process)
        task = partial(confirm.confirm_batch, job=work)
        self.units("confirm", "batches", work.batches, task, confirm.batch_name)

    def reported(
        self,
        job: Job,
        config: ScanConfig,
        layout: PackedLayout,
        model: checkpoint.Checkpoint,
        hotspots: tuple[Hotspot, ...],
    ) -> ScanResult:
        """Write what people and tools read, always: it holds the state of the whole run."""
        started = time.monotonic()
        process = process_behind(model)
        simulated = outputs.read_confirmed(job, config, process, self.ledger)
        view = RunView(self.run, job, config, layout, model, hotspots, self.about, simulated)
        regions = outputs.not_scanned(view, self.ledger)
        metrics = outputs.gather_metrics(view, self.ledger, regions)
        self.about["state"] = "complete" if metrics["complete"] else "incomplete"
        self.about["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        outputs.write_report(view, metrics, regions)
        self.timed("report", time.monotonic() - started)
        metrics |= {"seconds_report": self.about["seconds"]["report"]}
        outputs.write_metrics(self.run, metrics)
        self.run.write_about(self.about)
        return ScanResult(self.run, metrics)

    def finished_tiles(self, job: Job) -> list[str]:
        """Return the tiles that have clips, in scan order."""
        done = self.ledger.finished("clips")
        return [
            tile.name
            for tile in job.tiles
            if tile.name in done and done[tile.name].status == Status.DONE
        ]


def _tile_name(tile: Any) -> str:
    return str(tile.name)


def _shard_name(shard: int) -> str:
    return f"{shard:05d}"
