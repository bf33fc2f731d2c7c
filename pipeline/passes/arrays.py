"""Read and write clips and patterns on disk.

Each task owns what it writes: a tile its table of clips, a shard its rows of every array.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zarr
from zarr.codecs import ZstdCodec

from pipeline.engine.storage.checksums import list_files
from pipeline.engine.storage.run_directory import Run, write_table
from pipeline.engine.storage.tables import ANY, explain_damage, open_arrays, read_array, read_table
from stages.clips import RULES
from stages.contracts import Bytes, Clips, Int64s, RasterSpec
from stages.errors import IncompleteError
from stages.patterns import KEY_BYTES, KeyIndex, Tally
from stages.scores import Scores

CHUNK_PATTERNS = 256
"""Pictures per chunk; with one, every clip would be a file."""

PART_CLIPS = 1 << 17
"""Clips that a driver holds at once: bounds its memory on any chip."""

FARTHEST_DBU = 1 << 48
"""Farthest that a clip may be: sums of places stay far within 64 bits."""

KNOWN: dict[str, tuple[tuple[int, ...], str]] = {
    "key": ((KEY_BYTES,), "u1"), "count": ((), "i8"), "x_dbu": ((), "i8"), "y_dbu": ((), "i8"),
}  # fmt: skip
"""Columns of a pattern that are set before it is scored: width and type."""

SCORED: dict[str, tuple[tuple[int, ...], str]] = {
    "raster": ((ANY, ANY, ANY), "u1"), "score": ((), "f4"), "embedding": ((ANY,), "f2"),
    "margin": ((ANY,), "f4"),
}  # fmt: skip
"""Columns that scoring fills; margins only where the model predicts them."""

CLIPS_SCHEMA = pa.schema(
    [
        ("x_dbu", pa.int64()),
        ("y_dbu", pa.int64()),
        ("rule", pa.uint8()),
        ("key", pa.binary(KEY_BYTES)),
    ]
)


def write_clips(path: Path, clips: Clips, keys: Bytes) -> None:
    """Write the clips of a tile with the keys of their pictures."""
    key_column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(np.ascontiguousarray(keys))]
    )
    columns = [clips.x_dbu, clips.y_dbu, clips.rule, key_column]
    write_table(path, pa.table(columns, schema=CLIPS_SCHEMA))


def read_clips(run: Run, tiles: list[str]) -> tuple[Clips, Bytes]:
    """Return the clips of `tiles` and the (n, 16) keys of their pictures."""
    tables = [read_table(run.clips(tile), CLIPS_SCHEMA) for tile in tiles]
    table = pa.concat_tables(tables) if tables else CLIPS_SCHEMA.empty_table()
    x, y, rule = (table[name].to_numpy() for name in ("x_dbu", "y_dbu", "rule"))
    far = (values.min() < -FARTHEST_DBU or values.max() > FARTHEST_DBU for values in (x, y))
    if len(table) and (any(far) or rule.max() >= len(RULES)):
        raise IncompleteError(
            f"{run.path}: the clips of {', '.join(tiles[:3])} are damaged: a place is over "
            f"{FARTHEST_DBU} dbu away, or a rule is unknown; scan into a new run directory"
        )
    packed = [np.frombuffer(chunk.buffers()[1], np.uint8).reshape(-1, KEY_BYTES)[
        chunk.offset : chunk.offset + len(chunk)] for chunk in table["key"].chunks]  # fmt: skip
    keys = np.concatenate(packed) if packed else np.empty((0, KEY_BYTES), np.uint8)
    return Clips(x, y, rule), keys


def read_clips_in_parts(run: Run, tiles: list[str]) -> Iterator[tuple[Clips, Bytes]]:
    """Yield the clips of `tiles` with their keys, about `PART_CLIPS` at a time."""
    part: list[tuple[Clips, Bytes]] = []
    held = 0
    for number, tile in enumerate(tiles, 1):
        part.append(read_clips(run, [tile]))
        held += len(part[-1][0])
        if held >= PART_CLIPS or number == len(tiles):
            clips, keys = zip(*part, strict=True)
            yield Clips.concatenate(clips), np.concatenate(keys)
            part, held = [], 0


def read_pattern_clips(
    run: Run, tiles: list[str], chosen: npt.NDArray[np.bool_]
) -> tuple[Clips, Int64s, Bytes]:
    """Return the clips of chosen patterns, with the pattern and key of each clip.

    Parameters
    ----------
    chosen
        (patterns,) mask.
    """
    numbers = np.flatnonzero(chosen)
    (wanted,) = read_pattern_rows(run, numbers, "key")
    index = KeyIndex(wanted)
    found = [(Clips.concatenate([]), numbers[:0], wanted[:0])]
    for clips, keys in read_clips_in_parts(run, tiles) if len(numbers) else ():
        place = index.locate(keys)
        among = place >= 0
        found.append((clips.select(among), numbers[place[among]], keys[among]))
    parts, pattern, key = zip(*found, strict=True)
    return Clips.concatenate(parts), np.concatenate(pattern), np.concatenate(key)


def create_patterns(
    run: Run,
    spec: RasterSpec,
    widths: Mapping[str, int],
    shard_patterns: int,
    n: int,
    found: Iterable[Tally],
) -> None:
    """Create ``patterns.zarr`` with the keys and places of `n` patterns, to be scored.

    Parameters
    ----------
    widths
        How many values the model gives of each, by column; one without a width is left out.
    """
    unfinished = run.patterns.with_name(".patterns.zarr.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    group = zarr.create_group(unfinished, attributes={"clip_px": spec.clip_px, "patterns": n})
    shard = count_shard_rows(shard_patterns)
    # A worker reads the rows of its shard, not those of the chip.
    known = {
        name: group.create_array(
            name,
            shape=(n, *width),
            dtype=dtype,
            chunks=(shard, *width),
            fill_value=np.iinfo(dtype).max,  # never mistaken for a place or a count
        )
        for name, (width, dtype) in KNOWN.items()
    }
    row = 0
    for part in found:
        for name, array in known.items():
            array[row : row + len(part)] = getattr(part, name)
        row += len(part)
    picture = (spec.layers, spec.clip_px, spec.clip_px)
    group.create_array(
        "raster", shape=(n, *picture), dtype="u1", chunks=(min(CHUNK_PATTERNS, shard), *picture),
        shards=(shard, *picture), compressors=ZstdCodec(level=1),
    )  # fmt: skip
    outputs = {"score": ()} | {name: (width,) for name, width in widths.items() if width}
    for name, shape in outputs.items():
        # NaN is "not scored": a lost chunk must never read as a score.
        group.create_array(
            name, shape=(n, *shape), dtype=SCORED[name][1], chunks=(shard, *shape),
            fill_value=float("nan"),
        )  # fmt: skip
    shutil.rmtree(run.patterns, ignore_errors=True)
    os.replace(unfinished, run.patterns)


def count_shard_rows(shard_patterns: int) -> int:
    """Return the rows of a shard: whole chunks, so that no two tasks write to one."""
    chunk = min(CHUNK_PATTERNS, shard_patterns)
    return -(-shard_patterns // chunk) * chunk


def compute_shard_rows(shard: int, shard_patterns: int, patterns: int) -> slice:
    """Return the rows of a shard."""
    rows = count_shard_rows(shard_patterns)
    return slice(shard * rows, min((shard + 1) * rows, patterns))


def count_shards(shard_patterns: int, patterns: int) -> int:
    """Return the number of shards."""
    return -(-patterns // count_shard_rows(shard_patterns))


def count_patterns(run: Run) -> int:
    """Return the number of patterns of a run."""
    with _open_columns(run, ["count"]) as (column,):
        return int(column.shape[0])


def read_patterns(run: Run, *names: str) -> tuple[npt.NDArray[Any], ...]:
    """Return whole columns of ``patterns.zarr``."""
    with _open_columns(run, names) as columns:
        return tuple(read_array(column) for column in columns)


def list_scored(run: Run) -> tuple[str, ...]:
    """Return the columns that scoring fills in this run."""
    return tuple(name for name in SCORED if (run.patterns / name / "zarr.json").exists())


def list_shard_files(run: Run, shard: int) -> tuple[str, ...]:
    """Return the files of a shard's pictures and scores, relative to the run directory."""
    chunks = (f"{name}/c/{shard}" + "/0" * len(SCORED[name][0]) for name in list_scored(run))
    return tuple(f"patterns.zarr/{chunk}" for chunk in chunks)


def list_pattern_files(run: Run) -> tuple[str, ...]:
    """Return the files of ``patterns.zarr`` that exist before scoring."""
    known = [f"patterns.zarr/{name}" for name in KNOWN]
    scored = [f"patterns.zarr/{name}/zarr.json" for name in list_scored(run)]
    return list_files(run.path, "patterns.zarr/zarr.json", *known, *scored)


def write_shard(run: Run, rows: slice, pictures: Bytes, scores: Scores) -> None:
    """Write one shard's pictures and scores.

    Chunks that hold nothing but the fill value are written, too: to look for them takes three times
    as long as all the rest.
    """
    with zarr.config.set({"array.write_empty_chunks": True}):
        for name in list_scored(run):
            with _open_columns(run, [name], mode="r+") as (column,):
                column[rows] = pictures if name == "raster" else getattr(scores, name)


@contextmanager
def _open_columns(
    run: Run, names: Sequence[str], *, mode: str = "r"
) -> Iterator[list[zarr.Array[Any]]]:
    """Open columns of ``patterns.zarr``, all of one length.

    Raises
    ------
    IncompleteError
        When one is missing or damaged, while it is opened or used.
    """
    shapes = {name: ((ANY, *width), kind) for name, (width, kind) in (KNOWN | SCORED).items()}
    with explain_damage(run.patterns):
        columns = open_arrays(run.patterns, {name: shapes[name] for name in names}, mode=mode)
        if len({column.shape[0] for column in columns.values()}) > 1:
            raise ValueError(f"{', '.join(names)} differ in length")
        yield list(columns.values())


def read_pattern_rows(run: Run, rows: slice | Int64s, *names: str) -> tuple[npt.NDArray[Any], ...]:
    """Return columns of ``patterns.zarr`` for chosen rows."""
    with _open_columns(run, names) as columns:
        if isinstance(rows, slice):
            return tuple(np.asarray(column[rows]) for column in columns)
        each, back = np.unique(rows, return_inverse=True)  # a chunk is read once, in order
        return tuple(np.asarray(column.oindex[each])[back] for column in columns)
