"""Labelled clips as a file: written whole or not at all, read for training and measuring.

in       a dataset: pictures of the distinct clips, and the label of every clip
out      the same in memory, or the part of it that a training or a protocol is about

A dataset is a Zarr group with the arrays ``raster`` (p, layer, h, w) uint8 and ``key`` (p, 16) of
the distinct pictures, turned to the first of their symmetric twins, and ``pattern``, ``x_dbu``,
``y_dbu``, ``label`` (n,) of every clip: its picture, its centre, whether it is a hotspot. Marked
layouts add, for each clip, ``split`` and ``role``, indices into `SPLITS` and `ROLES`. Simulated
ones, and those from a list of defects, add ``defect_x_dbu``, ``defect_y_dbu`` (d,) and what is
known of each defect. The attributes are the raster, the process whose symmetries hold, the layers
and where it all comes from.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec

from pipeline.passes.job import Drawn
from pipeline.passes.units import draw_places
from stages.contracts import Bytes, Int64s, RasterSpec
from stages.errors import UsageError
from stages.patterns import canonicalize

SPLITS = ("train", "test")
"""What a clip is for; without the array, whatever is asked for."""

ROLES = ("core", "neighbour")
"""Centred on what was labelled, or one core beside it; without the array, every clip is a core."""

PROTOCOLS = ("core", "scan")
"""Which clips count: those centred on labelled cores, or their eight neighbours too."""

SHARD_PATTERNS = 8192


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
    """(n,) True for a hotspot."""
    spec: RasterSpec
    process: str
    layers: tuple[str, ...]
    """The layers of the layout that were drawn, as layer/datatype."""
    provenance: dict[str, Any]
    split: Bytes | None = None
    """(n,) index into `SPLITS`."""
    role: Bytes | None = None
    """(n,) index into `ROLES`."""

    def __len__(self) -> int:
        return len(self.label)

    def counts(self) -> tuple[Int64s, Int64s]:
        """Return how many clips of each picture are hotspots, and how many there are, (p,)."""
        every = np.bincount(self.pattern, minlength=len(self.raster))
        hot = np.bincount(self.pattern[self.label], minlength=len(self.raster))
        return hot, every

    def part(self, split: str, protocol: str = "scan") -> Dataset:
        """Return the clips of one of `SPLITS` that count in one of `PROTOCOLS`.

        Raises
        ------
        UsageError
            When there is no such protocol, or the dataset has no clip in that part.
        """
        if protocol not in PROTOCOLS:
            raise UsageError(f"protocol is {protocol!r}; it must be {' or '.join(PROTOCOLS)}")
        kept = np.ones(len(self), bool)
        if self.split is not None:
            kept &= self.split == SPLITS.index(split)
        if self.role is not None and protocol == "core":
            kept &= self.role == ROLES.index("core")
        if not kept.any():
            raise UsageError(f"the dataset of {self.layers} has no {split} clip; give another one")
        if kept.all():
            return self
        used, pattern = np.unique(self.pattern[kept], return_inverse=True)
        return replace(
            self, raster=self.raster[used], key=self.key[used], pattern=pattern,
            label=self.label[kept],
            split=None if self.split is None else self.split[kept],
            role=None if self.role is None else self.role[kept],
        )  # fmt: skip


def load_dataset(path: Path) -> Dataset:
    """Read a dataset.

    Raises
    ------
    UsageError
        When there is none at `path`, or it is not finished.
    """
    try:
        group = zarr.open_group(path, mode="r")
        arrays = {name: np.asarray(group[name]) for name in ("raster", "key", "pattern", "label")}
        more = {name: np.asarray(group[name]) for name in ("split", "role") if name in group}
        about: dict[str, Any] = dict(group.attrs)
    except (FileNotFoundError, KeyError) as error:
        raise UsageError(
            f"{path} holds no finished dataset ({error}); make one with: hotscan label, or "
            "hotscan dataset"
        ) from error
    return Dataset(
        **arrays,
        **more,
        spec=RasterSpec(**about["raster"]),
        process=about["process"],
        layers=tuple(about["layers"]),
        provenance=about["provenance"],
    )


def write_dataset(
    out: Path,
    attributes: Mapping[str, Any],
    columns: Mapping[str, npt.NDArray[Any]],
    places: tuple[Int64s, Int64s],
    drawn: Drawn,
) -> None:
    """Write a dataset to `out`, which appears when everything is in it.

    Parameters
    ----------
    attributes, columns
        All attributes but ``raster``, all arrays but ``raster``.
    places : (p,), (p,)
        x and y of a clip of each distinct picture, which is drawn from the packed layout.
    """
    unfinished = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    group = zarr.create_group(unfinished, attributes={"raster": asdict(drawn.spec), **attributes})
    for name, values in columns.items():
        group.create_array(name, data=values)
    n, picture = len(places[0]), (drawn.spec.layers, drawn.spec.clip_px, drawn.spec.clip_px)
    raster = group.create_array(
        "raster", shape=(n, *picture), dtype="u1", chunks=(256, *picture),
        shards=(SHARD_PATTERNS, *picture),
        compressors=BloscCodec(cname="zstd", shuffle="bitshuffle"),
    )  # fmt: skip
    for first in range(0, n, SHARD_PATTERNS):
        part = slice(first, first + SHARD_PATTERNS)
        pictures = draw_places(places[0][part], places[1][part], drawn)
        raster[part] = canonicalize(pictures, drawn.symmetries)
    shutil.move(unfinished, out)
