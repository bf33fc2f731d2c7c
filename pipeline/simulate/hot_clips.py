"""The clips to simulate: those over the threshold, of the hotspots that are to be confirmed.

in       hotspots, and the clips over the threshold
out      a table in the run directory: centre of each clip, and the id of its owner
promise  its rows are in the order of their places, whatever order they are given in
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.engine.storage.run_directory import Run, write_table
from stages.contracts import Clips, Hotspot, Int64s
from stages.hotspots import assign_hotspots
from stages.rows import read_field

HOT_CLIPS = "hot_clips.parquet"
CLIPS = pa.schema([("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("hotspot", pa.int64())])


def select_to_simulate(hotspots: Sequence[Hotspot], confident: bool) -> list[int]:
    """Return the ids of the hotspots to simulate: all, or only those for review."""
    ids = read_field(hotspots, "id")
    asked: list[int] = ids[confident | (read_field(hotspots, "answer") == "review")].tolist()
    return asked


def write_hot_clips(
    run: Run, hotspots: Sequence[Hotspot], asked: Sequence[int], clips: Clips, core_dbu: int
) -> None:
    """Write the clips over the threshold of the hotspots to simulate, with their ids."""
    x, y = clips.x_dbu, clips.y_dbu
    owner = assign_hotspots(hotspots, x, y, core_dbu) if len(clips) else x
    kept = np.isin(owner, asked)
    write_clips_to_simulate(run, x[kept], y[kept], owner[kept])


def write_clips_to_simulate(
    run: Run, x_dbu: Int64s, y_dbu: Int64s, owner: Int64s, clips: str = HOT_CLIPS
) -> None:
    """Write the clips to simulate, (n,), with the id of the owner of each."""
    order = np.lexsort((x_dbu, y_dbu))
    table = pa.table([x_dbu[order], y_dbu[order], owner[order]], schema=CLIPS)
    write_table(run.path / clips, table)
