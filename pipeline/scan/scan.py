"""Scans: begin one, resume one, put the shards of one together.

in       `ScanRequest`, resources
out      `ScanResult`, and the run directory filled
promise  what cannot be met is refused before the long work
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.audit.certify import (
    keep_model,
)
from pipeline.config import AuditConfig, FixConfig, Resources, ScanConfig
from pipeline.engine.events import Listener
from pipeline.engine.session import open_session
from pipeline.engine.storage.replica import Replica, locate_run, name_run
from pipeline.engine.storage.run_directory import Run, open_run_directory
from pipeline.engine.storage.run_record import (
    LayoutFile,
    RunRecord,
    has_record,
    read_record,
)
from pipeline.layout import ingest
from pipeline.passes.job import (
    load_model_process,
    parse_layers,
    resolve_config,
)
from pipeline.passes.model_file import USER_MODULE, find_model, recall_model, store_model
from pipeline.passes.scan_settings import (
    ScanSettings,
    change_reader,
    collect_inputs,
    keep_sizes,
    require_same_inputs,
)
from pipeline.scan.request import ScanRequest, ScanResult
from pipeline.scan.stages import RECOMPUTED, ScanStages
from stages.detector.models.scan_model import USER_FILE, ScanModel
from stages.errors import UsageError
from stages.scores import check_device


def scan(request: ScanRequest, resources: Resources, listen: Listener) -> ScanResult:
    """Scan a layout into a run directory, continuing from what is finished there.

    Raises
    ------
    UsageError
        When the request cannot be met, or the run directory is of another layout, model or config.
    LayoutError
        When the layout cannot be read, or is refused.
    """
    model = find_model(request.config.scores.model, request.model)
    process = load_model_process(model)
    config = resolve_config(_name_model(request), model, process)
    parse_layers(config)  # refused before anything is written
    if config.fix.enabled and not config.confirm.enabled:
        raise UsageError("fixes mend what fails in simulation; scan with --confirm")
    if resources.scheduler_address is not None:
        _require_alike(request)
    if resources.scheduler_address is None:
        check_device(config.scores.device)
    ingest.require_layout(request.layout)
    for earlier in request.since:
        read_record(Run(earlier))  # refused before the long work
    run = open_run_directory(request.out)
    settings = ScanSettings(keep_sizes(run, config), model.digest, request.since, request.shard)
    layout = LayoutFile(str(request.layout.resolve()), ingest.compute_sha256(request.layout))
    wanted = RunRecord(task="scan", layout=layout, settings=settings.as_dict())
    with open_session(
        run, wanted, collect_inputs, resources, listen,
        recomputed=RECOMPUTED, imports=_list_imports(config),
    ) as session:  # fmt: skip
        file = store_model(run, model, config.scores.model)
        result = ScanStages(session, settings, model, file, process).run_stages(request)
    if request.keep_model is not None and "certified" in result.metrics:
        keep_model(run, request.keep_model)
    return result


def _list_imports(config: ScanConfig) -> list[str]:
    """Return the modules that workers begin with: torch takes seconds, and few scans use it."""
    draws = "pipeline.passes.preload"
    if config.simulates or config.scores.arithmetic != "int8":
        return ["torch", "stages.detector.catalogue", draws]
    return ["pipeline.engine.without_torch", draws]


def _require_alike(request: ScanRequest) -> None:
    """Refuse earlier runs that workers of other machines cannot see."""
    stored = isinstance(request.out, Replica)
    for earlier in request.since:
        if isinstance(earlier, Replica) != stored:
            raise UsageError(
                f"workers of another machine do not see {name_run(earlier)} beside "
                f"{name_run(request.out)}; have both in an object store, or both on a disk that "
                "all machines share"
            )


def _name_model(request: ScanRequest) -> ScanConfig:
    """Return the config, with a name for a module that was given."""
    if request.model is None or request.model.file_name != USER_FILE:
        return request.config
    scores = request.config.scores.model_copy(update={"model": USER_MODULE})
    return request.config.model_copy(update={"scores": scores})


def resume(
    path: Path,
    resources: Resources,
    listen: Listener,
    model: ScanModel | None = None,
    reader: Mapping[str, float | None] | None = None,
    audit: AuditConfig | None = None,
    fixing: FixConfig | None = None,
) -> ScanResult:
    """Resume the scan of a run directory, with the settings that it began with.

    Parameters
    ----------
    model
        The module that it scored with, if it was one.
    reader
        Other limits on reading the layout, as `change_reader`.
    audit
        The audit to make, in place of the one that it has, if any.
    fixing
        How fixes are searched, in place of what it says, if anything.
    """
    record = read_record(Run(path))
    settings = ScanSettings.of(record)
    recalled = recall_model(Run(path), settings.config.scores.model, settings.model_digest, model)
    config = settings.config.model_copy(update={
        "audit": audit or settings.config.audit, "fix": fixing or settings.config.fix,
    })  # fmt: skip
    earlier = [locate_run(name_run(run)) for run in settings.since]
    still_there = tuple(run for run in earlier if has_record(Run(run)))
    request = ScanRequest(
        layout=Path(record.layout.path), out=path, config=change_reader(config, reader),
        since=still_there, shard=settings.shard, model=recalled,
    )  # fmt: skip
    return scan(request, resources, listen)


def merge(
    parts: Sequence[Path],
    out: Path,
    resources: Resources,
    listen: Listener,
    reader: Mapping[str, float | None] | None = None,
) -> ScanResult:
    """Put the shards of a scan together, and finish what is missing in them.

    Raises
    ------
    UsageError, LayoutError
        As `scan`, and when the parts do not go together.
    """
    first, *others = (read_record(Run(part)) for part in parts)
    for part, record in zip(parts[1:], others, strict=True):
        require_same_inputs(parts[0], first, part, record)
    settings = ScanSettings.of(first)
    name, digest = settings.config.scores.model, settings.model_digest
    request = ScanRequest(
        layout=Path(first.layout.path), out=out, since=tuple(parts),
        config=change_reader(settings.config, reader),
        model=recall_model(Run(parts[0]), name, digest),
    )  # fmt: skip
    return scan(request, resources, listen)
