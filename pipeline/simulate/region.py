"""Simulating a region: from layout file to defects, contours, drawing and page.

in       a `SimulateRequest`: a layout file, a process, a region
out      a directory with ``defects.csv``, ``defects.parquet``, ``margins.parquet``,
         ``simulation.gds``, ``index.html`` and ``metrics.json``
promise  a stopped simulation resumes; one that misses a tile says so
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from pipeline.config import Resources, load_config
from pipeline.engine.events import Listener
from pipeline.engine.session import Written, open_session
from pipeline.engine.storage.checksums import list_files
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import (
    Run,
    open_run_directory,
    write_library,
    write_table,
    write_whole,
)
from pipeline.engine.storage.run_record import Inputs, LayoutFile, RunRecord, State
from pipeline.engine.storage.tables import explain_damage, read_table
from pipeline.layout import ingest
from pipeline.passes.job import compute_scan_area, require_opc
from pipeline.passes.units import open_layout
from pipeline.simulate.image import plan_image, write_image
from pipeline.simulate.picture import draw_region, require_drawable
from pipeline.simulate.tiles import (
    BAND,
    CONTOURS,
    DEFECTS,
    Simulation,
    count_kinds,
    make_margin_table,
    read_defects,
    read_geometry,
    read_margins,
    read_outlines,
    run_simulation,
)
from stages.contracts import Box, Defect, Layer, PackedLayout
from stages.errors import UsageError
from stages.exports.figure import FORMS
from stages.exports.markers import Drawing, build_drawing, find_free_layer
from stages.exports.pages.simulation import PageData, Scene, render_page
from stages.lithography.measure.margins import MARGINAL, find_worst_margin
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.optics.fields import make_disjoint
from stages.lithography.process import Process, load_process
from stages.review.levels import count_defects
from stages.text import escape_text
from stages.tiles import Tile

TILE_UM = 100.0
"""Side of a tile, the unit of work."""
SCENES = 24
"""Number of defects that the page draws."""
SCENE_NM = 2000.0
"""Side of each of these drawings."""
IMAGES = (*FORMS, "zarr")
"""What an image may be written as: a picture, or an array."""
OUTPUTS = (
    "defects.parquet", "defects.csv", "margins.parquet", "simulation.gds", "index.html",
    "metrics.json",
)  # fmt: skip
"""The files that people read; a run directory has them beside its own."""


@dataclass(frozen=True, slots=True)
class SimulateRequest:
    """What to simulate, how, and where to."""

    layout: Path
    """Layout file."""
    out: Path
    """Directory to write; it is created when absent."""
    layer: str
    """Target layer, as layer/datatype."""
    process: str = "krf130"
    """Name of a shipped process, or path of a TOML file."""
    mask: str | None = None
    """Layer of the mask, as layer/datatype; None where the mask is the target, or OPC of it."""
    opc: str = "none"
    """``none``, or how the mask is corrected first: ``model`` by its edges, ``curvy``."""
    cell: str | None = None
    """Top cell; needed when the file has several."""
    roi_um: Sequence[float] | None = None
    """Region to simulate, x0, y0, x1, y1 in um; the whole extent when not given."""
    contours: bool = True
    """Whether the printed contours are written, too."""
    image: Sequence[str] = ()
    """What is drawn of light, mask and contours: ``png``, ``svg``, or ``zarr``, an array."""
    image_step_nm: float | None = None
    """Distance of the array's samples; by default a 36th of wavelength / NA."""
    limits: ingest.Limits = ingest.DEFAULT_LIMITS
    """Limits on reading the layout."""
    core_nm: float = 1280.0
    """Side of the cores, from the layout's origin, whose margins are written."""


def simulate_region(
    request: SimulateRequest, resources: Resources, listen: Listener
) -> dict[str, Any]:
    """Simulate a region into a directory; return its metrics.

    The same request resumes a simulation that was stopped.

    Raises
    ------
    UsageError
        When the request cannot be met, or the directory belongs to another one.
    LayoutError
        When the layout cannot be read, or is refused.
    """
    process = load_process(request.process)  # once: later edits of its file must not get in
    require_opc(process, request.opc, request.mask)
    if unknown := sorted(set(request.image) - set(IMAGES)):
        raise UsageError(f"--image {unknown[0]!r} is unknown; it may be {', '.join(IMAGES)}")
    config = load_config(None, {
        "layout": {"layers": [request.layer], "cell": request.cell, "roi_um": request.roi_um},
    })  # fmt: skip
    ingest.require_layout(request.layout)
    run = open_run_directory(request.out)
    wanted = _make_record(request, process)
    with open_session(
        run, wanted, _collect_inputs, resources, listen, recomputed=("image_array", "image")
    ) as session:
        session.run_once("layout", partial(_pack, request, run))
        layout = open_layout(run.path)
        job = _make_job(request, run, process, compute_scan_area(config, layout), layout.dbu_nm)
        forms = tuple(form for form in FORMS if form in request.image)
        if forms:
            require_drawable(job.area, layout.dbu_nm)
        grid = plan_image(job, request.image_step_nm) if "zarr" in request.image else None
        failed = run_simulation(session, job, contours=request.contours)
        if grid is not None:
            failed += write_image(session, job, grid)
        metrics: dict[str, Any] = {}

        def write() -> Written:
            metrics.update(_gather_metrics(job, layout, session.record, session.ledger, failed))
            written = _write_outputs(job, layout, session.record, session.ledger, metrics)
            if not forms or not metrics["complete"]:
                return Written(written)
            defects = read_defects(job, [tile.name for tile in job.tiles])
            return Written((*written, *draw_region(job, wanted.layout.name, defects, forms)))

        session.run_once("report", write, always=True)
        session.end(State.COMPLETE if metrics["complete"] else State.INCOMPLETE)
    return metrics


def _pack(request: SimulateRequest, run: Run) -> Written:
    """Read the target, and the mask if it is drawn, into the run directory."""
    layers = [Layer.parse(name) for name in (request.layer, request.mask) if name]
    ingest.pack_into(request.layout, run.layout, layers, request.cell, limits=request.limits)
    return Written(list_files(run.path, "layout"))


def _make_job(
    request: SimulateRequest, run: Run, process: Process, area: Box, dbu_nm: float
) -> Simulation:
    """Return what the tiles of an area are simulated with."""
    return Simulation(
        run.path, area, round(TILE_UM * 1000 / dbu_nm), process, request.opc,
        max(1, round(request.core_nm / dbu_nm)), request.mask is not None,
    )  # fmt: skip


def _make_record(request: SimulateRequest, process: Process) -> RunRecord:
    """Return the record of a new run: everything that changes its answer."""
    file = LayoutFile(str(request.layout.resolve()), ingest.compute_sha256(request.layout))
    return RunRecord(task="simulate", layout=file, settings={
        "process": process.name, "process_settings": process.as_dict(), "opc": request.opc,
        "layer": request.layer, "mask": request.mask, "cell": request.cell,
        "roi_um": request.roi_um and list(request.roi_um), "contours": request.contours,
        "core_nm": request.core_nm,
        "image": sorted(request.image), "image_step_nm": request.image_step_nm,
    })  # fmt: skip


def _collect_inputs(record: RunRecord) -> Inputs:
    """Return what changes the answer of each stage: an image may be added to what is finished."""
    rest = dict(record.settings)
    forms, step = rest.pop("image", ()), rest.pop("image_step_nm", None)
    layers = {name: rest.pop(name) for name in ("layer", "mask", "cell")}
    array = {"image_array": {"image_step_nm": step or "by process"}, "image": {}}
    return {
        "layout": {"layout": record.layout.sha256, **layers},
        "mask": rest, "defects": {}, "contours": {}, **(array if "zarr" in forms else {}),
    }  # fmt: skip


def _gather_metrics(
    job: Simulation, layout: PackedLayout, record: RunRecord, ledger: Ledger, failed: int
) -> dict[str, Any]:
    """Return the content of ``metrics.json``."""
    done = _list_finished(job, ledger)
    names = [tile.name for tile in done]
    defects, worst = read_defects(job, names), find_worst_margin(read_margins(job, names).margin)
    um2 = (layout.dbu_nm / 1000) ** 2
    return {
        "complete": not failed, "units_failed": failed, "area_um2": job.area.area * um2,
        "tiles": len(job.tiles), "tiles_simulated": len(done), "process": job.process.name,
        "opc": job.opc, "corners": len(job.process.corners), "defects": len(defects),
        "cores": len(worst), "cores_failing": int((worst > 0).sum()),
        "cores_marginal": int((np.abs(worst) <= MARGINAL).sum()),
        **{f"defects_{kind}": count for kind, count in count_kinds(defects).items()},
        **{
            f"level{level}_defects": count
            for level, count in count_defects(defects, job.process.levels).items()
        },
        **{
            name: round(value, 4)
            for name, value in ledger.totals("contours").counts.items()
            if name.endswith("um2") or "_um2_" in name
        },
        **{f"seconds_{stage}": spent for stage, spent in record.seconds.items()},
    }  # fmt: skip


def _list_finished(job: Simulation, ledger: Ledger) -> list[Tile]:
    finished = ledger.finished("defects")
    return [tile for tile in job.tiles if tile.name in finished]


def _write_outputs(
    job: Simulation,
    layout: PackedLayout,
    record: RunRecord,
    ledger: Ledger,
    metrics: Mapping[str, Any],
) -> tuple[str, ...]:
    """Write tables, drawing, page and metrics."""
    done = _list_finished(job, ledger)
    missed = [tile.box for tile in job.tiles if tile not in done]
    defects = read_defects(job, [tile.name for tile in done])
    folder = job.run
    write_table(folder / "defects.parquet",
                pa.Table.from_pylist([asdict(d) for d in defects], schema=DEFECTS))  # fmt: skip
    margins = read_margins(job, [tile.name for tile in done])
    write_table(folder / "margins.parquet", make_margin_table(margins))
    write_whole(folder / "defects.csv", _format_csv(defects, layout.dbu_nm).encode())
    _draw(folder / "simulation.gds", job, layout, record, ledger, defects, missed)
    page = PageData(
        layout=record.layout.name, dbu_nm=layout.dbu_nm, area=job.area,
        not_simulated=tuple(missed), defects=defects, metrics=metrics, process=job.process.name,
        scenes=tuple(_make_scenes(job, layout, defects)),
    )  # fmt: skip
    write_whole(folder / "index.html", render_page(page).encode())
    write_whole(folder / "metrics.json", json.dumps(metrics, indent=1).encode() + b"\n")
    return OUTPUTS


def _format_csv(defects: Sequence[Defect], dbu_nm: float) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("x_um", "y_um", "kind", "corner", "severity"))
    for d in defects:
        um = (round(v * dbu_nm / 1000, 9) for v in (d.x_dbu, d.y_dbu))
        writer.writerow((*um, d.kind, escape_text(d.corner), d.severity))
    return text.getvalue()


def _draw(
    path: Path,
    job: Simulation,
    layout: PackedLayout,
    record: RunRecord,
    ledger: Ledger,
    defects: Sequence[Defect],
    missed: Sequence[Box],
) -> None:
    """Write target, mask, contours, band and defects as a layout of their own."""
    number = find_free_layer(layout.file_layers)
    names = [corner.name for corner in job.process.corners] + [BAND]
    datatype = {name: 10 + index for index, name in enumerate(names)}
    half = round(job.process.min_width_nm / layout.dbu_nm)

    def drawings() -> Iterator[Drawing]:
        for defect in defects:
            box = Box(defect.x_dbu, defect.y_dbu, defect.x_dbu, defect.y_dbu).grow(half)
            yield Drawing(Layer(number, 0), (box,), f"{defect.kind} {defect.severity:.2f}")
        yield Drawing(Layer(number, 2), tuple(missed))
        if not record.settings["contours"]:
            return
        if job.opc == "curvy":
            outlines = tuple(read_outlines(job, ledger.finished("mask")))
            yield Drawing(Layer(number, 3), outlines)
        finished = ledger.finished("contours")
        for tile in job.tiles:
            window = tile.box.intersect(job.area)
            if tile.name not in finished or window is None:
                continue
            target, mask = read_geometry(job, window)
            yield Drawing(layout.layers[0], target, within=window)
            if mask is not None and job.opc != "curvy":
                yield Drawing(Layer(number, 3), make_disjoint(mask), within=window)
            file = job.run / "contours" / f"{tile.name}.parquet"
            table = read_table(file, CONTOURS)
            with explain_damage(file, advice="simulate into a new directory"):
                polygons = shapely.from_wkb(table["polygon"].to_numpy(zero_copy_only=False))
            corner = np.array(table["corner"].to_pylist(), object)
            for name in names:
                yield Drawing(Layer(number, datatype[name]), tuple(polygons[corner == name]))

    write_library(path, build_drawing(layout.top, layout.dbu_nm, drawings()))


def _make_scenes(
    job: Simulation, layout: PackedLayout, defects: Sequence[Defect]
) -> Iterator[Scene]:
    """Yield pictures of the worst defects."""
    half = round(SCENE_NM / layout.dbu_nm / 2)
    worst = sorted(defects, key=lambda d: (-d.severity, d.y_dbu, d.x_dbu))[:SCENES]
    for defect in worst:
        window = Box(defect.x_dbu, defect.y_dbu, defect.x_dbu, defect.y_dbu).grow(half)
        target, mask = read_geometry(job, window)
        prints = simulate_prints(
            target if mask is None else mask, window, layout.dbu_nm, job.process
        )
        yield Scene(window, target, mask, prints, defect)
