"""The windows of the clips to simulate: which are equal, and how each is turned.

in       the clips to simulate, the packed layout
out      ``windows.parquet``: the number of each clip's window, and the symmetry that turns it
promise  clips share a window exactly if the geometry in theirs is equal, to the dbu, up to the
         symmetries of the source
"""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.engine.storage.run_directory import format_table, write_table
from pipeline.engine.storage.tables import read_table
from pipeline.passes.units import group_by_block
from stages.contracts import Box, Int64s, PackedLayer
from stages.errors import IncompleteError
from stages.geometry.signature import sign_windows
from stages.geometry.window_query import query
from stages.lithography.optics.fields import Lattice
from stages.patterns import find_distinct

WINDOWS = "windows.parquet"
_SCHEMA = pa.schema([("window", pa.int64()), ("symmetry", pa.int8())])


def find_windows(
    path: Path,
    layer: PackedLayer,
    clips: tuple[Int64s, Int64s],
    lattice: Lattice,
    symmetries: int,
) -> tuple[Int64s, Int64s]:
    """Return the number of the window of each clip, by first place, and how it is turned.

    Parameters
    ----------
    path
        Where they are kept, so that workers read them.
    clips
        x and y of their centres, (n,).
    lattice
        Core and side of a window.
    symmetries : {8, 4, 1}
        How many symmetries the process allows.
    """
    about = {"side_dbu": lattice.side_dbu, "symmetries": symmetries}
    made_of = (json.dumps(about).encode(), *clips)
    try:
        table = read_table(path, _SCHEMA)
    except IncompleteError:
        table = _SCHEMA.empty_table()  # not there yet, or damaged
    window, symmetry = (table[name].to_numpy().astype(np.int64) for name in _SCHEMA.names)
    digest = (table.schema.metadata or {}).get(b"digest")
    # The bytes are compared, too: a flipped bit that changes no number would stay there.
    if digest == _digest(*made_of, window, symmetry) and path.read_bytes() == format_table(table):
        return window, symmetry
    keys, symmetry = _sign_clips(layer, *clips, lattice, symmetries)
    window = find_distinct(keys, *clips).pattern
    table = pa.table([window, symmetry.astype(np.int8)], schema=_SCHEMA)
    digest = _digest(*made_of, window, symmetry)
    try:
        write_table(path, table.replace_schema_metadata({"digest": digest}))
    except OSError as error:  # a run that can only be read has no use for it
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
    return window, symmetry


def _digest(about: bytes, *columns: Int64s) -> bytes:
    """Return a digest of what windows are made of, and of what was found."""
    digest = hashlib.sha256(about)
    for column in columns:
        digest.update(
            f" {len(column)} ".encode() + np.ascontiguousarray(column, np.int64).tobytes()
        )
    return digest.hexdigest().encode()


def _sign_clips(
    layer: PackedLayer, x_dbu: Int64s, y_dbu: Int64s, window: Lattice, symmetries: int
) -> tuple[npt.NDArray[np.uint8], Int64s]:
    """Return a key of the geometry in the window of each clip, (n, 16), and its symmetry (n,)."""
    keys, turns = np.zeros((len(x_dbu), 16), np.uint8), np.zeros(len(x_dbu), np.int64)
    half = window.core_dbu // 2 + window.guard_dbu
    for members, box in group_by_block(x_dbu, y_dbu, window.side_dbu):
        left, bottom = x_dbu[members] - half, y_dbu[members] - half
        shapes = query(layer, box)
        signed, turns[members] = sign_windows([shapes], left, bottom, window.side_dbu, symmetries)
        keys[members] = signed.view(np.uint8)
        if len(shapes.point_start) > 1:
            for member, place in zip(members, zip(left, bottom, strict=True), strict=True):
                _sign_polygons(layer, place, window.side_dbu, keys[member])
    return keys, turns


def _sign_polygons(
    layer: PackedLayer, place: tuple[int, int], side_dbu: int, key: npt.NDArray[np.uint8]
) -> None:
    """Add the whole polygons that reach into a window to its key: their steps depend on all."""
    x, y = place
    shapes = query(layer, Box(x, y, x + side_dbu, y + side_dbu))
    rings = np.split(shapes.points - place, shapes.point_start[1:-1])
    if len(shapes.point_start) > 1:
        digest = hashlib.blake2b(key.tobytes(), digest_size=16)
        for ring in sorted(ring.tobytes() for ring in rings):
            digest.update(len(ring).to_bytes(8, "little") + ring)
        key[:] = np.frombuffer(digest.digest(), np.uint8)
