"""``hotscan label``: clips labelled by simulating a layout, made a dataset.

in       a layout, a process, a region
out      a dataset: pictures of the distinct clips, and place and label of every clip
promise  each label comes from a full simulation of the region; a stopped labelling goes on
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Resources, load_config
from pipeline.datasets.store import write_dataset
from pipeline.engine.events import Listener
from pipeline.engine.integrity import list_files
from pipeline.engine.run_directory import Run, open_run_directory
from pipeline.engine.run_record import LayoutFile, RunRecord, all_inputs
from pipeline.engine.session import Written, open_session
from pipeline.layout import ingest
from pipeline.passes.arrays import read_clips
from pipeline.passes.job import Cut, require_opc, scan_area
from pipeline.passes.units import clip_tile, open_layout
from pipeline.simulate.tiles import (
    Simulation,
    count_kinds,
    name_tile,
    read_defects,
    run_simulation,
)
from stages.contracts import Box, Layer, RasterSpec
from stages.errors import IncompleteError, UsageError
from stages.lithography.measure.defects import label_clips
from stages.lithography.process import Process, load_process
from stages.patterns import find_distinct

TILE_UM = 100.0
"""Side of what is simulated as one unit of work."""


def label_layout(
    layout_path: Path,
    out: Path,
    process: str,
    layers: Sequence[str],
    cell: str | None,
    roi_um: Sequence[float] | None,
    spec: RasterSpec,
    stride_nm: float | None,
    resources: Resources,
    listen: Listener,
    *,
    opc: str = "none",
    mask: str | None = None,
) -> dict[str, Any]:
    """Simulate a region and write its labelled clips to `out`; return what was made.

    Parameters
    ----------
    layers
        What shall print; the first is simulated, all are drawn.
    opc
        ``model`` to correct the mask before it is printed, ``none`` to print what is drawn.
    mask
        Layer of the mask, where the layout holds one.

    Raises
    ------
    UsageError
        When `out` exists, no layer is given, or a stopped labelling there was of another kind.
    """
    if out.exists():
        raise UsageError(f"dataset {out} exists; choose another --out, or remove it")
    config = load_config(
        None, {"layout": {"layers": list(layers) or None, "cell": cell, "roi_um": roi_um}}
    )
    if not config.layout.layers:
        raise UsageError("no layer to label; give --layer LAYER/DATATYPE")
    spec = replace(spec, layers=len(config.layout.layers))
    model = load_process(process)  # once: no edit of its file may reach into the labels
    require_opc(model, opc, mask)
    ingest.require_layout(layout_path)
    run = open_run_directory(out.with_name(out.name + ".work"))
    file = LayoutFile(str(layout_path.resolve()), ingest.sha256_of(layout_path))
    wanted = RunRecord(task="label", layout=file, settings={
        "process": model.name, "process_settings": model.as_dict(), "opc": opc, "mask": mask,
        "layers": list(config.layout.layers), "cell": cell,
        "roi_um": roi_um and list(roi_um), "raster": asdict(spec),
        "stride_nm": stride_nm or spec.core_nm,
    })  # fmt: skip
    with open_session(run, wanted, all_inputs, resources, listen) as session:
        record, ledger = session.record, session.ledger

        def pack() -> Written:
            wanted = [Layer.parse(name) for name in (*config.layout.layers, *filter(None, [mask]))]
            ingest.pack_into(layout_path, run.layout, wanted, cell)
            return Written(list_files(run.path, "layout"))

        session.run_once("layout", pack)
        layout = open_layout(run.path)
        drawn = replace(layout, layers=layout.layers[: spec.layers],
                        packed=layout.packed[: spec.layers])  # fmt: skip
        job = _cut(run, record, spec, model, scan_area(config, drawn))
        session.run_units("clips", "tiles", job.tiles, partial(clip_tile, job=job), name_tile)
        # Cores reach past the area where they hang over its border.
        area = job.area.grow(job.core_dbu)
        simulated = Simulation(run.path, area, job.tile_dbu, model, opc, mask is not None)
        failed = run_simulation(session, simulated, contours=False) + ledger.totals("clips").failed
        if failed:
            raise IncompleteError(f"{failed} tiles failed; run the same command to try them again")
        made = _write_dataset(out, run, job, simulated, record)
    shutil.rmtree(run.path)
    return made


def _cut(run: Run, record: RunRecord, spec: RasterSpec, process: Process, area: Box) -> Cut:
    dbu = open_layout(run.path).dbu_nm
    pixel = spec.pixel_dbu(dbu)
    core = spec.core_px * pixel
    return Cut(
        run=run.path, spec=spec, pixel_dbu=pixel, core_dbu=core, symmetries=process.symmetries,
        tile_dbu=max(1, round(TILE_UM * 1000 / dbu / core)) * core,
        stride_dbu=round(record.settings["stride_nm"] / dbu), limits=None, area=area, excluded=0,
    )  # fmt: skip


def _write_dataset(
    out: Path, run: Run, job: Cut, simulated: Simulation, record: RunRecord
) -> dict[str, Any]:
    clips, keys = read_clips(run, [tile.name for tile in job.tiles])
    found = find_distinct(keys, clips.x_dbu, clips.y_dbu)
    defects = read_defects(simulated, [tile.name for tile in simulated.tiles])
    label = label_clips(clips.x_dbu, clips.y_dbu, job.core_dbu, defects)
    places = clips.x_dbu[found.first], clips.y_dbu[found.first]
    made = {
        "clips": len(clips), "hotspots": int(label.sum()), "patterns": len(found.first),
        "defects": len(defects),
        **{f"defects_{kind}": n for kind, n in count_kinds(defects).items()},
    }  # fmt: skip
    names = sorted({defect.kind for defect in defects})
    corners = [corner["name"] for corner in record.settings["process_settings"]["corners"]]
    attributes = {
        "process": record.settings["process"], "layers": record.settings["layers"], "kinds": names,
        "corners": corners, "provenance": {**provenance_of(record), **made},
    }  # fmt: skip
    columns: dict[str, npt.NDArray[Any]] = {
        "key": keys[found.first], "pattern": found.pattern, "label": label,
        "x_dbu": clips.x_dbu, "y_dbu": clips.y_dbu,
        **{
            f"defect_{name}": np.array([getattr(defect, name) for defect in defects], kind)
            for name, kind in (("x_dbu", np.int64), ("y_dbu", np.int64), ("severity", np.float64))
        },
        "defect_kind": np.array([names.index(d.kind) for d in defects], np.uint8),
        "defect_corner": np.array([corners.index(d.corner) for d in defects], np.uint8),
    }  # fmt: skip
    write_dataset(out, attributes, columns, places, job)
    return made


def provenance_of(record: RunRecord) -> dict[str, Any]:
    """Return what was labelled, without the places of files on this machine."""
    layout = {"name": record.layout.name, "sha256": record.layout.sha256}
    return {**record.settings, "layout": layout}
