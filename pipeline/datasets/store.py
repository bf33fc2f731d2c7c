"""The dataset file: labelled clips, written atomically, read for training and evaluation.

in       a dataset: pictures of the distinct clips, and the label of every clip
out      the same in memory, or the subset that a training run or a protocol uses

A dataset is a Zarr group with the arrays ``raster`` (p, layer, h, w) uint8 and ``key`` (p, 16) of
the distinct pictures, in the canonical orientation, and ``pattern``, ``x_dbu``, ``y_dbu``,
``label`` (n,) of every clip: the index of its picture, its centre, whether it is a hotspot.
Datasets from marker layers add ``split`` and ``role`` per clip, indices into `SPLITS` and `ROLES`.
Datasets from simulation add ``margin`` (n, k): how far past its limit the worst place of each of
the kinds in the attribute ``margin_kinds`` is, over 0 where it fails; others have labels alone.
Datasets from simulation or from a defect list add ``defect_x_dbu``, ``defect_y_dbu`` (d,) and what
is known of each defect. The attributes are the raster, the process whose symmetries apply, the
layers and the provenance.
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

from pipeline.engine.storage.checksums import SEAL, is_sealed, seal_folder, sync
from pipeline.engine.storage.run_directory import require_own_files
from pipeline.engine.storage.tables import ANY, Shapes, explain_damage, open_arrays, read_array
from pipeline.passes.job import DrawSettings
from pipeline.passes.units import draw_places
from stages.contracts import Bytes, Float32s, Int64s, RasterSpec
from stages.errors import UsageError
from stages.lithography.measure.margins import find_worst_margin
from stages.patterns import KEY_BYTES, canonicalize

SPLITS = ("train", "test")
"""What a clip is for; a dataset without the array may be used for both."""

ROLES = ("core", "neighbour")
"""Centred on a labelled core, or one core beside it; without the array, every clip is a core."""

PROTOCOLS = ("core", "scan")
"""Which clips count: those centred on labelled cores, or also their eight neighbours."""

ARRAYS: Shapes = {
    "raster": ((ANY, ANY, ANY, ANY), "u1"), "key": ((ANY, KEY_BYTES), "u1"),
    "pattern": ((ANY,), "i8"), "label": ((ANY,), "b1"), "split": ((ANY,), "u1"),
    "role": ((ANY,), "u1"), "margin": ((ANY, ANY), "f4"),
}  # fmt: skip
OPTIONAL = ("split", "role", "margin")

MAKE_ONE = "make one with: hotscan label, or hotscan dataset"

SHARD_PATTERNS = 8192
"""Pictures in one shard of the file; also how many are drawn at once, which bounds memory."""


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
    margin: Float32s | None = None
    """(n, kinds) see `stages.lithography.measure.margins`; None where only labels are known."""
    kinds: tuple[str, ...] = ()
    """What each margin is of."""

    @property
    def opc(self) -> str:
        """How the masks were corrected before simulation: ``none``, ``model`` or ``curvy``."""
        return str(self.provenance.get("opc", "none"))

    def __len__(self) -> int:
        return len(self.label)

    def worst_margin(self) -> Float32s:
        """Return how far the worst place of each clip is past its limit, (n,).

        Without margins labels are sure: 1 for a hotspot, else -1.
        """
        if self.margin is None:
            return np.where(self.label, 1, -1).astype(np.float32)
        return find_worst_margin(self.margin)

    def counts(self) -> tuple[Int64s, Int64s]:
        """Return the number of hotspots and the number of clips of each picture, (p,) each."""
        clips = np.bincount(self.pattern, minlength=len(self.raster))
        hotspots = np.bincount(self.pattern[self.label], minlength=len(self.raster))
        return hotspots, clips

    def subset(self, split: str, protocol: str = "scan") -> Dataset:
        """Return the clips of one of `SPLITS` that count in one of `PROTOCOLS`.

        Raises
        ------
        UsageError
            When there is no such protocol, or no clip of the dataset is in the subset.
        """
        if protocol not in PROTOCOLS:
            raise UsageError(f"protocol is {protocol!r}; it must be {' or '.join(PROTOCOLS)}")
        chosen = np.ones(len(self), bool)
        if self.split is not None:
            chosen &= self.split == SPLITS.index(split)
        if self.role is not None and protocol == "core":
            chosen &= self.role == ROLES.index("core")
        if not chosen.any():
            raise UsageError(
                f"the dataset of {self.layers} has no {split} clip; give another dataset"
            )
        if chosen.all():
            return self
        used, pattern = np.unique(self.pattern[chosen], return_inverse=True)
        return replace(
            self, raster=self.raster[used], key=self.key[used], pattern=pattern,
            label=self.label[chosen],
            split=None if self.split is None else self.split[chosen],
            role=None if self.role is None else self.role[chosen],
            margin=None if self.margin is None else self.margin[chosen],
        )  # fmt: skip


def load_dataset(path: Path) -> Dataset:
    """Read a dataset.

    Raises
    ------
    UsageError
        When `path` holds no finished dataset, or a damaged one.
    IncompleteError
        When something in it is a link or a device.
    """
    require_dataset(path)
    with explain_damage(path, UsageError, fault="holds no finished dataset", advice=MAKE_ONE):
        group = zarr.open_group(path, mode="r", zarr_format=3)
        about: dict[str, Any] = dict(group.attrs)
        spec = RasterSpec(**about["raster"])
        chosen = {name: ARRAYS[name] for name in ARRAYS if name not in OPTIONAL or name in group}
        stored = open_arrays(path, chosen)
        dataset = Dataset(
            **{name: read_array(array) for name, array in stored.items()},
            spec=spec,
            process=str(about["process"]),
            layers=tuple(map(str, about["layers"])),
            provenance=dict(about["provenance"]),
            kinds=tuple(map(str, about.get("margin_kinds", ()))) if "margin" in group else (),
        )
        _check(dataset)
    return dataset


def _check(dataset: Dataset) -> None:
    """Refuse arrays that do not go together, or an index into one that is not there.

    Raises
    ------
    ValueError
        The message names the array.
    """
    pictures, clips, spec = len(dataset.raster), len(dataset.label), dataset.spec
    if dataset.raster.shape[1:] != (spec.layers, spec.clip_px, spec.clip_px):
        raise ValueError(f"raster is of shape {dataset.raster.shape}, not of {spec}")
    if dataset.margin is not None and dataset.margin.shape[1] != len(dataset.kinds):
        raise ValueError(f"margin is of {dataset.margin.shape[1]} kinds, not of {dataset.kinds}")
    lengths = {"key": pictures, "pattern": clips, **dict.fromkeys(OPTIONAL, clips)}
    limits = {"pattern": pictures, "split": len(SPLITS), "role": len(ROLES)}
    for name, length in lengths.items():
        values = getattr(dataset, name)
        if values is None:
            continue
        if len(values) != length:
            raise ValueError(f"{name} has {len(values)} rows, not {length}")
        most = limits.get(name)
        if most is not None and length and not 0 <= values.min() <= values.max() < most:
            raise ValueError(f"{name} is not in [0, {most})")


def require_dataset(path: Path) -> None:
    """Refuse what is no dataset, or is not as it was written: a lost chunk would read as zeros.

    Raises
    ------
    UsageError
        The message says how to make it again.
    IncompleteError
        When something in it is a link or a device.
    """
    require_own_files(path)
    if not path.is_dir() or not any(path.iterdir()):
        raise UsageError(f"{path} holds no finished dataset; {MAKE_ONE}")
    if not is_sealed(path):
        raise UsageError(
            f"dataset {path} is damaged on disk, or no dataset of this hotscan: its files are not "
            f"those of its {SEAL}; remove it, and make it again with the command that made it"
        )


def write_dataset(
    out: Path,
    attributes: Mapping[str, Any],
    columns: Mapping[str, npt.NDArray[Any]],
    places: tuple[Int64s, Int64s],
    drawn: DrawSettings,
) -> None:
    """Write a dataset to `out`, which appears only once it is complete.

    Parameters
    ----------
    attributes, columns
        All attributes except ``raster``, all arrays except ``raster``.
    places : (p,), (p,)
        x and y of one clip of each distinct picture; the pictures are drawn from the packed layout.
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
    seal_folder(unfinished)
    unfinished.rename(out)
    sync(out.parent)
