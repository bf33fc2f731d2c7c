"""Datasets of labelled clips: make them, and use them with torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import torch
import torch.utils.data

from hotscan.inputs import Layoutlike, layout_file
from hotscan.settings import (
    NameSettings,
    PathLike,
    SessionSettings,
    names_of,
    progress_of,
    refuse_unknown,
    resources,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from stages.contracts import RasterSpec


class Dataset(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Labelled clips, for a `torch.utils.data.DataLoader`.

    An item is a picture, (layers, h, w) float32 area coverage in [0, 1] with row 0 at the lowest
    y, and a label, a float32 scalar: 1 for a hotspot.

    Parameters
    ----------
    path
        A dataset that `label`, `select` or ``hotscan dataset`` wrote.
    split
        ``"train"`` or ``"test"``, of datasets that are divided; others have everything in both.
    protocol
        Of marked datasets, the marked cores only, or the cores beside them too.

    Raises
    ------
    UsageError
        When there is none at `path`, or it is not finished.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        split: Literal["train", "test"] | None = None,
        protocol: Literal["core", "scan"] = "scan",
    ) -> None:
        from pipeline.datasets.store import load_dataset

        loaded = load_dataset(Path(path))
        self._clips = loaded if split is None else loaded.subset(split, protocol)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture = torch.from_numpy(self._clips.raster[self._clips.pattern[index]])
        return picture.float() / 255, torch.tensor(float(self._clips.label[index]))

    @property
    def hotspots(self) -> int:
        """How many of the clips are hotspots."""
        return int(self._clips.label.sum())

    @property
    def margins(self) -> dict[str, npt.NDArray[np.float32]]:
        """How far past its limit the worst place of each clip is, by kind; empty if unknown."""
        if self._clips.margin is None:
            return {}
        return dict(zip(self._clips.kinds, self._clips.margin.T, strict=True))

    @property
    def raster(self) -> RasterSpec:
        """Pixel, clip and core of the pictures."""
        return self._clips.spec

    @property
    def process(self) -> str:
        """Name of the process that the labels come from."""
        return self._clips.process


class LabelSettings(SessionSettings, NameSettings, total=False):
    """Keyword arguments of `label`."""

    process: PathLike
    """Shipped process or TOML file; ``krf130`` by default."""
    opc: Literal["none", "model", "curvy"]
    """Whether the mask is corrected first; ``none`` by default."""
    mask: str | None
    """Layer of the mask, if not the drawn layer."""
    cell: str | None
    """Top cell; needed when the layout has several."""
    roi: Sequence[float] | None
    """Region x0, y0, x1, y1 in um; everything by default."""
    pixel_nm: float
    """Side of a pixel; 40 by default."""
    clip_px: int
    """Side of a clip, in pixels; 64 by default."""
    core_px: int
    """Side of a core, in pixels; 32 by default."""
    stride_nm: float | None
    """Step of the grid; one core by default."""
    reader: Mapping[str, float]
    """Other limits on reading the layout, see `read_layout`."""


def label(
    layout: Layoutlike,
    *,
    layers: str | Sequence[str],
    out: PathLike,
    **settings: Unpack[LabelSettings],
) -> dict[str, Any]:
    """Label the clips of a layout by full simulation, and write a dataset.

    Parameters
    ----------
    layers
        The target layer, as ``"layer/datatype"`` or by name; of channels of one picture, written
        ``"67/20+68/20"``, the first is the target and all are drawn.
    out
        The dataset; must not exist.
    **settings
        See `LabelSettings`.

    Returns
    -------
    dict
        Counts of clips, hotspots, patterns and defects.
    """
    from pipeline.datasets.from_simulation import LabelRequest, label_layout
    from pipeline.layout.ingest import load_limits
    from stages.contracts import RasterSpec
    from stages.layout.layer_settings import load_names

    refuse_unknown("label", settings, LabelSettings, SessionSettings)
    names, mask = load_names(names_of(settings)), settings.get("mask")
    path, roi = Path(out), settings.get("roi")
    spec = RasterSpec(
        settings.get("pixel_nm", 40.0), settings.get("clip_px", 64), settings.get("core_px", 32)
    )
    with progress_of(settings) as listen:
        request = LabelRequest(
            layout=layout_file(layout, path.with_name(f"{path.name}.input.gds")), out=path,
            layers=(layers,) if isinstance(layers, str) else tuple(layers),
            process=str(settings.get("process", "krf130")), opc=settings.get("opc", "none"),
            mask=None if mask is None else names.find(mask), names=names, cell=settings.get("cell"),
            roi_um=None if roi is None else tuple(float(value) for value in roi), spec=spec,
            stride_nm=settings.get("stride_nm"), limits=load_limits(settings.get("reader", {})),
        )  # fmt: skip
        return label_layout(request, resources(settings), listen)


def select(
    run: PathLike, *, out: PathLike, count: int, **session: Unpack[SessionSettings]
) -> dict[str, Any]:
    """Label the clips of a complete scan that would improve its model most; write a dataset."""
    from pipeline.datasets.from_scan import SelectRequest, select_clips

    refuse_unknown("select", session, SessionSettings)
    with progress_of(session) as listen:
        request = SelectRequest(run=Path(run), out=Path(out), count=count)
        return select_clips(request, resources(session), listen)
