"""Scans: start, open, put together, estimate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from hotscan.inputs import Layoutlike, layout_file
from hotscan.runs import Run
from hotscan.settings import (
    PathLike,
    ScanSettings,
    SessionSettings,
    progress_of,
    refuse_unknown,
    resources,
    scan_config,
)

if TYPE_CHECKING:
    from hotscan.detectors import Model
    from hotscan.layer_runs import LayerRuns


class ScanArguments(SessionSettings, ScanSettings, total=False):
    """Keyword arguments of `scan`."""


def scan(
    layout: Layoutlike,
    *,
    out: PathLike,
    model: PathLike | Model = "krf130-met1",
    since: PathLike | None = None,
    shard: str | None = None,
    **settings: Unpack[ScanArguments],
) -> Run | LayerRuns:
    """Scan a layout for hotspots; a scan that was stopped in `out` is resumed.

    Parameters
    ----------
    layout
        GDSII or OASIS file, plain or gzip; or a layout object, which is written to `out` first.
    out
        Run directory, created when absent.
    model
        Name of a shipped model, a checkpoint, or a `Model` of your own.
    since
        An earlier run of the same settings, whose results are reused where nothing changed.
    shard
        ``"i/n"``: only part i of n, to be put together by `merge`.
    **settings
        See `ScanSettings` (``layers``, ``roi``, ``threshold``, ``confirm``, ...) and
        `SessionSettings` (``workers``, ``progress``, ...).

    Returns
    -------
    Run or LayerRuns
        Also of a scan that is incomplete: look at `complete`. `LayerRuns` where several layers are
        given, each to be judged by itself, or ``all_metals``.

    Raises
    ------
    UsageError
        When the request cannot be met, or `out` is of another layout, model or config.
    LayoutError
        When the layout cannot be read, or is refused.
    """
    from pipeline.engine.storage.replica import locate_run
    from pipeline.engine.storage.run_directory import open_run_directory
    from pipeline.passes.shard import Shard
    from pipeline.scan.layers import scan_any
    from pipeline.scan.request import ScanRequest
    from stages.detector.models.user_model import UserModel

    refuse_unknown("scan", settings, ScanSettings, SessionSettings)
    own = model if isinstance(model, UserModel) else None
    folder = locate_run(out)
    request = ScanRequest(
        layout=layout_file(layout, open_run_directory(folder).input), out=folder,
        config=scan_config(settings, None if own else str(model)), model=own,
        since=(locate_run(since),) if since is not None else (),
        shard=Shard.parse(shard) if shard else None,
    )  # fmt: skip
    with progress_of(settings) as listen:
        scan_any(request, resources(settings), listen)
    return open(folder, model=own) if request.config.layout.several else Run(folder, own)


def merge(parts: Sequence[PathLike], out: PathLike, **session: Unpack[SessionSettings]) -> Run:
    """Put the shards of a scan together; whatever is missing in them is scanned."""
    from pipeline.engine.storage.replica import locate_run
    from pipeline.scan.scan import merge as merge_parts

    refuse_unknown("merge", session, SessionSettings)
    with progress_of(session) as listen:
        merge_parts(
            [locate_run(part) for part in parts], locate_run(out), resources(session), listen
        )
    return Run(out)


def open(path: PathLike, *, model: Model | None = None) -> Run | LayerRuns:
    """Open the run directory of a scan.

    Parameters
    ----------
    path
        Run directory.
    model
        The `Model` that it was scanned with, if it was one of your own.

    Raises
    ------
    UsageError
        When it holds no run.
    """
    from hotscan.layer_runs import LayerRuns
    from pipeline.engine.storage.replica import locate_run
    from pipeline.scan.layers import is_of_layers

    folder = locate_run(path)
    return LayerRuns(folder) if is_of_layers(folder) else Run(folder, model)


class PlanArguments(ScanSettings, total=False):
    """Keyword arguments of `plan`."""

    workers: int
    """Worker processes to plan for; 1 by default."""


def plan(
    layout: PathLike, *, model: PathLike = "krf130-met1", **settings: Unpack[PlanArguments]
) -> dict[str, Any]:
    """Estimate time, memory and disk of a scan, from a sample of its tiles."""
    from pipeline.config import load_resources
    from pipeline.scan.layers import estimate_any

    refuse_unknown("plan", settings, PlanArguments, ScanSettings)
    given = load_resources({"workers": settings.get("workers")})
    return estimate_any(Path(layout), scan_config(settings, str(model)), given)
