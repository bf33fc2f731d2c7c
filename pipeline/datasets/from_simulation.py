"""``hotscan label``: a dataset of clips that are labelled by lithography simulation.

in       a layout, a process, a region
out      a dataset: pictures of the distinct clips, and position, label and margins of every clip
promise  every label comes from a full simulation of the region; a stopped run can be resumed
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Resources, load_config
from pipeline.datasets.store import write_dataset
from pipeline.engine.events import Listener
from pipeline.engine.session import Session, Written, open_session
from pipeline.engine.storage.checksums import list_files
from pipeline.engine.storage.run_directory import Run, open_run_directory
from pipeline.engine.storage.run_record import LayoutFile, RunRecord, all_inputs
from pipeline.layout import ingest
from pipeline.passes.arrays import read_clips
from pipeline.passes.job import CutSettings, compute_scan_area, require_opc
from pipeline.passes.units import clip_tile, open_layout
from pipeline.simulate.region import TILE_UM
from pipeline.simulate.tiles import (
    Simulation,
    count_kinds,
    name_tile,
    read_defects,
    read_margins,
    run_simulation,
)
from stages.contracts import Box, Layer, RasterSpec
from stages.errors import IncompleteError, UsageError
from stages.layout.layer_names import NO_NAMES, LayerNames
from stages.lithography.measure.margins import MARGINAL, find_worst_margin, take_clip_margins
from stages.lithography.measure.sections import KINDS
from stages.lithography.process import Process, load_process
from stages.patterns import find_distinct

SPEC = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32)
"""The picture that clips get by default."""


LABELS = 2
"""Version of the labels: a clip of 1 was a hotspot if the worst place of a defect lay in its core,
of 2 if any place in its core fails; margins begin with 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequest:
    """A region whose clips are labelled by simulation."""

    layout: Path
    out: Path
    """The dataset to write."""
    layers: tuple[str, ...]
    """The target layer, as layer/datatype or by name; of channels, as 67/20+68/20, the first is
    simulated and all are drawn."""
    names: LayerNames = NO_NAMES
    """Names that `layers` may use."""
    process: str = "krf130"
    """Name of a shipped process, or a TOML file."""
    opc: str = "none"
    """``model`` corrects the mask before simulation, ``none`` simulates what is drawn."""
    mask: str | None = None
    """Layer of the mask, where the layout contains one."""
    cell: str | None = None
    """Top cell; None takes the only one."""
    roi_um: tuple[float, ...] | None = None
    """Region x0, y0, x1, y1 in um; None for the whole layout."""
    spec: RasterSpec = SPEC
    stride_nm: float | None = None
    """Step of the grid; one core by default."""
    limits: ingest.Limits = ingest.DEFAULT_LIMITS
    """Limits on reading the layout."""


def label_layout(request: LabelRequest, resources: Resources, listen: Listener) -> dict[str, Any]:
    """Simulate a region and write a dataset of its labelled clips; return the dataset's counts.

    Raises
    ------
    UsageError
        When the dataset exists, no layer is given, or the request cannot be met.
    RunMismatchError
        When a stopped run with this `out` had other settings.
    IncompleteError
        When a tile failed.
    """
    out, mask = request.out, request.mask
    require_new(out)
    config = load_config(None, {"layout": {
        "layers": list(request.layers) or None, "cell": request.cell, "roi_um": request.roi_um,
        "names": request.names.layer_of,
    }})  # fmt: skip
    layers = config.layout.channels
    if not layers:
        raise UsageError("no layer to label; give --layer LAYER/DATATYPE")
    spec = replace(request.spec, layers=len(layers))
    process = load_process(request.process)  # read once: a later edit must not reach the labels
    require_opc(process, request.opc, mask)
    ingest.require_layout(request.layout)
    file = LayoutFile(str(request.layout.resolve()), ingest.compute_sha256(request.layout))
    wanted = RunRecord(task="label", layout=file, settings={
        "process": process.name, "process_settings": process.as_dict(), "opc": request.opc,
        "mask": mask, "layers": list(layers), "cell": request.cell,
        "roi_um": request.roi_um and list(request.roi_um), "raster": asdict(spec),
        "stride_nm": request.stride_nm or spec.core_nm, "labels": LABELS,
    })  # fmt: skip
    run = open_run_directory(work_directory(out))
    with open_session(run, wanted, all_inputs, resources, listen) as session:

        def pack() -> Written:
            read = [Layer.parse(name) for name in (*layers, *filter(None, [mask]))]
            ingest.pack_into(
                request.layout, run.layout, read, request.cell,
                limits=request.limits,
            )  # fmt: skip
            return Written(list_files(run.path, "layout"))

        session.run_once("layout", pack)
        layout = open_layout(run.path)
        drawn = replace(layout, layers=layout.layers[: spec.layers],
                        packed=layout.packed[: spec.layers])  # fmt: skip
        job = _make_cut(session, spec, process, compute_scan_area(config, drawn))
        counts = _simulate_and_write(session, job, process, out)
    shutil.rmtree(run.path)
    return counts


def require_new(out: Path) -> None:
    """Refuse to overwrite a dataset.

    Raises
    ------
    UsageError
        When `out` exists.
    """
    if out.exists():
        raise UsageError(f"dataset {out} exists; choose another --out, or remove it")


def work_directory(out: Path) -> Path:
    """Return where the run behind a dataset keeps its files until the dataset is written."""
    return out.with_name(out.name + ".work")


def _make_cut(session: Session, spec: RasterSpec, process: Process, area: Box) -> CutSettings:
    dbu = open_layout(session.run.path).dbu_nm
    pixel = spec.pixel_dbu(dbu)
    core = spec.core_px * pixel
    return CutSettings(
        run=session.run.path, spec=spec, pixel_dbu=pixel, core_dbu=core,
        symmetries=process.symmetries,
        tile_dbu=max(1, round(TILE_UM * 1000 / dbu / core)) * core,
        stride_dbu=round(session.record.settings["stride_nm"] / dbu), limits=None, area=area,
        excluded=0,
    )  # fmt: skip


def _simulate_and_write(
    session: Session, job: CutSettings, process: Process, out: Path
) -> dict[str, Any]:
    """Cut the clips, simulate the area, and write the dataset."""
    session.run_units("clips", "tiles", job.tiles, partial(clip_tile, job=job), name_tile)
    settings = session.record.settings
    # Cores extend past the area where they cross its border.
    area = job.area.grow(job.core_dbu)
    has_mask = settings["mask"] is not None
    simulated = Simulation(
        session.run.path, area, job.tile_dbu, process, settings["opc"],
        math.gcd(job.stride_dbu, job.core_dbu), has_mask,
    )  # fmt: skip
    failed = run_simulation(session, simulated, contours=False)
    failed += session.ledger.totals("clips").failed
    if failed:
        raise IncompleteError(f"{failed} tiles failed; run the same command to retry them")
    return _write_dataset(out, session.run, job, simulated, session.record)


def _write_dataset(
    out: Path, run: Run, job: CutSettings, simulated: Simulation, record: RunRecord
) -> dict[str, Any]:
    clips, keys = read_clips(run, [tile.name for tile in job.tiles])
    found = find_distinct(keys, clips.x_dbu, clips.y_dbu)
    tiles = [tile.name for tile in simulated.tiles]
    defects, cells = read_defects(simulated, tiles), read_margins(simulated, tiles)
    margin = take_clip_margins(cells, simulated.cell_dbu, clips.x_dbu, clips.y_dbu, job.core_dbu)
    worst = find_worst_margin(margin)
    label = worst > 0
    places = clips.x_dbu[found.first], clips.y_dbu[found.first]
    counts = {
        "clips": len(clips), "hotspots": int(label.sum()),
        "marginal": int((np.abs(worst) <= MARGINAL).sum()), "patterns": len(found.first),
        "defects": len(defects),
        **{f"defects_{kind}": n for kind, n in count_kinds(defects).items()},
    }  # fmt: skip
    names = sorted({defect.kind for defect in defects})
    corners = [corner["name"] for corner in record.settings["process_settings"]["corners"]]
    attributes = {
        "process": record.settings["process"], "layers": record.settings["layers"],
        "kinds": names, "corners": corners, "margin_kinds": list(KINDS),
        "provenance": {**make_provenance(record), **counts},
    }  # fmt: skip
    columns: dict[str, npt.NDArray[Any]] = {
        "key": keys[found.first], "pattern": found.pattern, "label": label,
        "margin": margin, "x_dbu": clips.x_dbu, "y_dbu": clips.y_dbu,
        **{
            f"defect_{name}": np.array([getattr(defect, name) for defect in defects], kind)
            for name, kind in (("x_dbu", np.int64), ("y_dbu", np.int64), ("severity", np.float64))
        },
        "defect_kind": np.array([names.index(d.kind) for d in defects], np.uint8),
        "defect_corner": np.array([corners.index(d.corner) for d in defects], np.uint8),
    }  # fmt: skip
    write_dataset(out, attributes, columns, places, job)
    return counts


def make_provenance(record: RunRecord) -> dict[str, Any]:
    """Return the settings of a run without its progress or local paths."""
    layout = {"name": record.layout.name, "sha256": record.layout.sha256}
    return {**record.settings, "layout": layout}
