"""Labelled clips: made by simulating a layout, kept as a Zarr group, read for training.

in       a layout, a process, a region
out      a dataset: pictures of the distinct clips, and place and label of every clip
promise  each label comes from a full simulation of the region; a stopped labelling goes on

A dataset is a Zarr group with the arrays ``raster`` (p, layer, h, w) uint8 and ``key`` (p, 16) of
the distinct pictures; ``pattern``, ``x_dbu``, ``y_dbu``, ``label`` (n,) of every clip that shows
anything; ``defect_x_dbu``, ``defect_y_dbu``, ``defect_severity`` and, as indices into the
attributes ``kinds`` and ``corners``, ``defect_kind`` and ``defect_corner`` (d,); and in its other
attributes the raster, the process and where it comes from.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from zarr.codecs import BloscCodec

from pipeline import ingest
from pipeline.config import Resources, load_config
from pipeline.events import Listener
from pipeline.executors import executor_for
from pipeline.ledger import Ledger, Status, UnitOutcome
from pipeline.plan import Job, scan_area
from pipeline.session import Session
from pipeline.steps import clip_tile, draw_places, open_layout
from pipeline.store import Run, open_run_directory, read_clips, write_table
from stages.contracts import Box, Bytes, Defect, Int64s, Layer, RasterSpec
from stages.errors import LayoutError, RunMismatchError, UsageError
from stages.geometry.union import merge
from stages.geometry.walk import query
from stages.lithography.defects import find_defects, halo_nm, label_clips
from stages.lithography.process import Process, load_process
from stages.patterns import canonical, distinct
from stages.tiles import Tile

TILE_UM = 100.0
"""Side of what is simulated as one unit of work."""

DEFECTS = pa.schema(
    [
        ("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("kind", pa.string()),
        ("corner", pa.string()), ("severity", pa.float64()),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled clips in memory."""

    raster: Bytes
    """(p, layers, h, w) canonical pictures of the distinct clips."""
    key: Bytes
    """(p, 16)"""
    pattern: Int64s
    """(n,) each clip's picture."""
    label: npt.NDArray[np.bool_]
    """(n,) True where a defect lies in the clip's core."""
    spec: RasterSpec
    process: str
    layers: tuple[str, ...]
    """The layers of the layout that were drawn, as layer/datatype."""
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.label)

    def counts(self) -> tuple[Int64s, Int64s]:
        """Return how many clips of each picture are hotspots, and how many there are, (p,)."""
        every = np.bincount(self.pattern, minlength=len(self.raster))
        hot = np.bincount(self.pattern[self.label], minlength=len(self.raster))
        return hot, every


def load_dataset(path: Path) -> Dataset:
    """Read a dataset that `label_layout` made.

    Raises
    ------
    UsageError
        When there is none at `path`, or it is not finished.
    """
    try:
        group = zarr.open_group(path, mode="r")
        arrays = {name: np.asarray(group[name]) for name in ("raster", "key", "pattern", "label")}
        about: dict[str, Any] = dict(group.attrs)
    except (FileNotFoundError, KeyError) as error:
        raise UsageError(
            f"{path} holds no finished dataset ({error}); make one with: hotscan label"
        ) from error
    return Dataset(
        **arrays,
        spec=RasterSpec(**about["raster"]),
        process=about["process"],
        layers=tuple(about["layers"]),
        provenance=about["provenance"],
    )


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
) -> dict[str, Any]:
    """Simulate a region and write its labelled clips to `out`; return what was made.

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
    if not layout_path.is_file():
        raise LayoutError(
            f"layout {layout_path} is not there, or no file; give a GDSII or OASIS file"
        )
    run = open_run_directory(out.with_name(out.name + ".work"))
    about = {
        "state": "running",
        "layout": {"path": str(layout_path.resolve()), "sha256": ingest.sha256_of(layout_path)},
        "process": process, "process_settings": model.as_dict(),
        "layers": list(config.layout.layers), "cell": cell,
        "roi_um": roi_um and list(roi_um), "raster": asdict(spec),
        "stride_nm": stride_nm or spec.core_nm,
    }  # fmt: skip
    _bound(run, about)
    with Ledger(run.ledger) as ledger, executor_for(resources) as executor:
        ledger.start_session()
        session = Session(run, ledger, executor, listen, about | {"seconds": {}})

        def pack() -> dict[str, float]:
            wanted = [Layer.parse(name) for name in config.layout.layers]
            ingest.pack_into(layout_path, run.layout, wanted, cell)
            return {}

        session.once("layout", pack)
        job = _label_job(run, about, spec, model, scan_area(config, open_layout(run.path)))
        session.units("clips", "tiles", job.tiles, partial(clip_tile, job=job), _name)
        simulate = partial(simulate_tile, job=job, process=model)
        session.units("defects", "tiles", job.tiles, simulate, _name)
        failed = ledger.totals("clips").failed + ledger.totals("defects").failed
        if failed:
            raise UsageError(f"{failed} tiles failed; run the same command again to try them again")
        made = _write_dataset(out, run, job, about)
    shutil.rmtree(run.path)
    return made


def _bound(run: Run, about: dict[str, Any]) -> None:
    """Write what is being made, or check that it is what was begun here."""
    about = json.loads(json.dumps(about))  # tuples become lists, as in the file
    if (run.path / "run.json").exists() and run.read_about() != about:
        raise RunMismatchError(
            f"{run.path} was begun with {run.read_about()}, this is {about}; "
            "remove it to start anew"
        )
    run.write_about(about)


def _label_job(
    run: Run, about: dict[str, Any], spec: RasterSpec, process: Process, area: Box
) -> Job:
    dbu = open_layout(run.path).dbu_nm
    pixel = spec.pixel_dbu(dbu)
    core = spec.core_px * pixel
    return Job(
        run=run.path, spec=spec, pixel_dbu=pixel, core_dbu=core,
        tile_dbu=max(1, round(TILE_UM * 1000 / dbu / core)) * core,
        stride_dbu=round(about["stride_nm"] / dbu), limits=None, area=area,
        symmetries=process.symmetries, model=Path(), model_digest="", device="cpu",
        shard_patterns=1,
    )  # fmt: skip


def _name(tile: Tile) -> str:
    return tile.name


def simulate_tile(tile: Tile, *, job: Job, process: Process) -> UnitOutcome:
    """Simulate the cores of a tile's clips and keep the defects."""
    started = time.perf_counter()
    layout = open_layout(job.run)
    # Cores of clips centred in the tile reach past it by half a core where the stride is finer.
    window = tile.box.grown(job.core_dbu // 2).intersect(job.area.grown(job.core_dbu))
    assert window is not None  # tiles are those that the area's cores reach
    reach = int(halo_nm(process) / layout.dbu_nm) + 1
    shapes = query(layout.packed[0], window.grown(reach))
    defects = find_defects(merge(shapes.rects), window, layout.dbu_nm, process)
    table = pa.Table.from_pylist([asdict(defect) for defect in defects], schema=DEFECTS)
    digest = write_table(job.run / "defects" / f"{tile.name}.parquet", table)
    return UnitOutcome(
        "defects", tile.name, Status.DONE if defects else Status.EMPTY,
        counts={"defects": len(defects), "polygons_left_out": len(shapes.point_start) - 1},
        checksum=digest, seconds=time.perf_counter() - started,
    )  # fmt: skip


def _write_dataset(out: Path, run: Run, job: Job, about: dict[str, Any]) -> dict[str, Any]:
    names = [tile.name for tile in job.tiles]
    clips, keys = read_clips(run, names)
    found = distinct(keys, clips.x_dbu, clips.y_dbu)
    folder = run.path / "defects"
    rows = pa.concat_tables([pq.read_table(folder / f"{name}.parquet") for name in names])
    # Windows of neighbouring tiles overlap: a defect at a border stands in both.
    rows = (
        rows.group_by(rows.column_names)
        .aggregate([])
        .sort_by([(name, "ascending") for name in ("y_dbu", "x_dbu", "kind", "corner", "severity")])
    )
    defects = tuple(Defect(**row) for row in rows.to_pylist())
    label = label_clips(clips.x_dbu, clips.y_dbu, job.core_dbu, defects)
    places = clips.x_dbu[found.first], clips.y_dbu[found.first]
    made = {
        "clips": len(clips), "hotspots": int(label.sum()), "patterns": len(found.first),
        "defects": len(defects),
        **{f"defects_{kind}": n for kind, n in _tally(d.kind for d in defects).items()},
    }  # fmt: skip
    kinds = sorted({defect.kind for defect in defects})
    corners = [corner["name"] for corner in about["process_settings"]["corners"]]
    unfinished = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    group = zarr.create_group(
        unfinished,
        attributes={
            "raster": asdict(job.spec), "process": about["process"], "layers": about["layers"],
            "kinds": kinds, "corners": corners, "provenance": {**_provenance(about), **made},
        },
    )  # fmt: skip
    columns = {
        "key": keys[found.first], "pattern": found.pattern, "label": label,
        "x_dbu": clips.x_dbu, "y_dbu": clips.y_dbu,
        **{f"defect_{name}": rows[name].to_numpy() for name in ("x_dbu", "y_dbu", "severity")},
        "defect_kind": np.array([kinds.index(d.kind) for d in defects], np.uint8),
        "defect_corner": np.array([corners.index(d.corner) for d in defects], np.uint8),
    }  # fmt: skip
    for name, values in columns.items():
        group.create_array(name, data=values)
    _write_pictures(group, places, job)
    shutil.move(unfinished, out)
    return made


def _provenance(about: dict[str, Any]) -> dict[str, Any]:
    """Return what was labelled, without the places of files on this machine."""
    layout = {"name": Path(about["layout"]["path"]).name, "sha256": about["layout"]["sha256"]}
    return {key: value for key, value in about.items() if key != "state"} | {"layout": layout}


def _tally(names: Any) -> dict[str, int]:
    values, counts = np.unique(np.array(list(names), "U16"), return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True)}


def _write_pictures(group: zarr.Group, places: tuple[Int64s, Int64s], job: Job) -> None:
    n, picture = len(places[0]), (job.spec.layers, job.spec.clip_px, job.spec.clip_px)
    raster = group.create_array(
        "raster", shape=(n, *picture), dtype="u1", chunks=(256, *picture), shards=(8192, *picture),
        compressors=BloscCodec(cname="zstd", shuffle="bitshuffle"),
    )  # fmt: skip
    for first in range(0, n, 8192):
        part = slice(first, first + 8192)
        drawn = draw_places(places[0][part], places[1][part], job)
        raster[part] = canonical(drawn, job.symmetries)
