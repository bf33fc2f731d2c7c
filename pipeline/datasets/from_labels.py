"""Datasets from layouts that come with labels: the part that all label formats share.

in       a layout, and the position and label of each clip
out      a dataset, see `pipeline.datasets.store`
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.datasets.store import ROLES, SHARD_PATTERNS, SPLITS, write_dataset
from pipeline.engine.storage.run_directory import Run
from pipeline.layout import ingest
from pipeline.passes.job import DrawSettings
from pipeline.passes.units import draw_places
from stages.contracts import Bytes, Int64s, Layer, PackedLayout, RasterSpec
from stages.errors import UsageError
from stages.lithography.process import Process, load_process
from stages.patterns import canonicalize, compute_keys, find_distinct

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Places:
    """The clips of a dataset without their pictures."""

    x_dbu: Int64s
    y_dbu: Int64s
    label: Bools
    split: Bytes | None
    role: Bytes

    def __len__(self) -> int:
        return len(self.label)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of a dataset."""
        arrays = {name: getattr(self, name) for name in self.__slots__}
        return {name: values for name, values in arrays.items() if values is not None}

    def counts(self) -> dict[str, int]:
        """Return the numbers of clips, hotspots and non-hotspots, per split and protocol."""
        core = self.role == ROLES.index("core")
        hotspot, negative = self.label, core & ~self.label
        counts = {
            "clips": len(self), "hotspots": int(hotspot.sum()),
            "non_hotspots": int(negative.sum()),
        }  # fmt: skip
        for number, split in enumerate(SPLITS if self.split is not None else ()):
            own = self.split == number
            counts[f"{split}_hotspots"] = int((own & hotspot).sum())
            counts[f"{split}_non_hotspots"] = int((own & negative).sum())
            counts[f"{split}_non_hotspots_scan"] = int((own & ~hotspot).sum())
        return counts


@dataclass(frozen=True, slots=True)
class LabelledLayout:
    """A packed layout whose labels are known."""

    path: Path
    out: Path
    metal: tuple[str, ...]
    process: Process
    layout: PackedLayout
    drawn: DrawSettings

    def write(
        self,
        places: Places,
        about: Mapping[str, Any],
        columns: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, Any]:
        """Draw the clips at `places`, write the dataset, and return its counts.

        Parameters
        ----------
        about
            Where the labels come from, for the provenance.
        columns
            Additional arrays.
        """
        keys = _compute_keys(places.x_dbu, places.y_dbu, self.drawn)
        found = find_distinct(keys, places.x_dbu, places.y_dbu)
        counts = {**places.counts(), "patterns": len(found.first)}
        layout = {"name": self.path.name, "sha256": ingest.compute_sha256(self.path)}
        settings = {"process": self.process.name, "process_settings": self.process.as_dict()}
        write_dataset(
            self.out,
            {
                "process": self.process.name, "layers": self.metal,
                "splits": SPLITS, "roles": ROLES,
                "provenance": {"layout": layout, **settings, **about, **counts},
            },
            {
                "key": keys[found.first], "pattern": found.pattern, **places.columns(),
                **(columns or {}),
            },
            (places.x_dbu[found.first], places.y_dbu[found.first]),
            self.drawn,
        )  # fmt: skip
        return counts


@contextmanager
def read_labelled_layout(
    path: Path,
    out: Path,
    metal: Sequence[str],
    spec: RasterSpec,
    process: str,
    *,
    markers: Sequence[Layer] = (),
    cell: str | None = None,
    limits: ingest.Limits = ingest.DEFAULT_LIMITS,
) -> Iterator[LabelledLayout]:
    """Read and pack a layout whose labels are known.

    Parameters
    ----------
    markers
        Layers that are read together with the metal: with several top cells side by side, the
        position of each depends on the extent of its shapes.

    Raises
    ------
    UsageError
        When `out` exists.
    LayoutError
        When the layout cannot be read, or is refused.
    """
    if out.exists():
        raise UsageError(f"dataset {out} exists; choose another --out, or remove it")
    model = load_process(process)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        layers = [*(Layer.parse(name) for name in metal), *markers]
        layout = ingest.pack_into(path, Run(Path(folder)).layout, layers, cell, limits=limits)
        pixel = spec.pixel_dbu(layout.dbu_nm)
        drawn = DrawSettings(
            Path(folder), replace(spec, layers=len(metal)), pixel, spec.core_px * pixel,
            model.symmetries,
        )  # fmt: skip
        yield LabelledLayout(path, out, tuple(metal), model, layout, drawn)


def _compute_keys(x_dbu: Int64s, y_dbu: Int64s, drawn: DrawSettings) -> Bytes:
    keys = []
    for first in range(0, len(x_dbu), SHARD_PATTERNS):
        part = slice(first, first + SHARD_PATTERNS)
        pictures = draw_places(x_dbu[part], y_dbu[part], drawn)
        keys.append(compute_keys(canonicalize(pictures, drawn.symmetries)))
    return np.concatenate(keys)
