"""Layouts in memory: what a file holds, exact areas, and pictures of any place."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hotscan.inputs import Layoutlike, layout_file
from hotscan.settings import PathLike, Technology

if TYPE_CHECKING:
    from stages.contracts import PackedLayer, PackedLayout


@dataclass(frozen=True, slots=True)
class Layout:
    """Layers of one top cell, hierarchy kept."""

    _packed: PackedLayout

    @property
    def top(self) -> str:
        """Name of the top cell."""
        return self._packed.top

    @property
    def dbu_um(self) -> float:
        """Database unit, in um."""
        return self._packed.dbu_nm / 1000

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that were read, as ``"layer/datatype"``."""
        return tuple(str(layer) for layer in self._packed.layers)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader noticed."""
        return self._packed.warnings

    def bbox_dbu(self, layer: str) -> tuple[int, int, int, int] | None:
        """Return x_min, y_min, x_max, y_max of a layer in dbu; None where nothing is drawn."""
        box = self._layer(layer).box
        return None if box is None else box.as_tuple()

    def area_dbu2(self, layer: str) -> float:
        """Return the area of a layer's merged region in dbu squared, overlaps counted once."""
        from stages.layout.measure import compute_merged_area

        return compute_merged_area(self._layer(layer))

    def rasters(
        self,
        layers: str | Sequence[str],
        centres_um: npt.ArrayLike,
        *,
        pixel_nm: float,
        clip_px: int,
    ) -> npt.NDArray[np.uint8]:
        """Draw clips: exact area coverage, 0 to 255.

        Parameters
        ----------
        layers
            One layer, or several, drawn as channels.
        centres_um : (n, 2)
            Centres of the clips, in um; rounded to whole dbu.
        pixel_nm, clip_px
            Side of a pixel in nm, a whole number of dbu; side of a clip in pixels, even.

        Returns
        -------
        (n, layers, clip_px, clip_px) uint8
            Row 0 at the lowest y.

        Raises
        ------
        ConfigError
            When a pixel is no whole number of dbu, or there is no such layer.
        """
        from pipeline.passes.units import draw_scattered
        from stages.contracts import RasterSpec

        names = [layers] if isinstance(layers, str) else list(layers)
        spec = RasterSpec(pixel_nm, clip_px, clip_px, len(names))
        places = np.asarray(centres_um, float).reshape(-1, 2) / self.dbu_um
        x, y = np.rint(places).astype(np.int64).T
        packed = [self._layer(name) for name in names]
        return draw_scattered(packed, x, y, clip_px, spec.pixel_dbu(self._packed.dbu_nm))

    def _layer(self, name: str) -> PackedLayer:
        from stages.contracts import Layer
        from stages.errors import ConfigError

        layer = Layer.parse(name)
        if layer not in self._packed.layers:
            known = ", ".join(self.layers)
            raise ConfigError(f"layer {name} was not read; read were {known}")
        return self._packed.packed[self._packed.layers.index(layer)]


def read_layout(
    layout: Layoutlike,
    *,
    layers: str | Sequence[str],
    cell: str | None = None,
    reader: Mapping[str, float] | None = None,
) -> Layout:
    """Read layers of a GDSII or OASIS file, plain or gzip, or of a layout object.

    The file may be damaged or hostile: it is read in a process of its own, within limits.

    Parameters
    ----------
    reader
        Other limits, as the table ``[reader]`` of a config, such as ``{"seconds": 7200.0}``.

    Raises
    ------
    LayoutError
        When it cannot be read, is refused, or is over a limit.
    ConfigError
        When it has no such layer or cell.
    """
    from pipeline.layout.ingest import load_limits
    from pipeline.layout.ingest import read_layout as read
    from stages.contracts import Layer

    names = [layers] if isinstance(layers, str) else list(layers)
    with tempfile.TemporaryDirectory() as folder:
        path = layout_file(layout, Path(folder, "input.gds"))
        chosen = [Layer.parse(name) for name in names]
        return Layout(read(path, chosen, cell, limits=load_limits(reader or {})))


def info(
    layout: PathLike,
    *,
    reader: Mapping[str, float] | None = None,
    tech: Technology | None = None,
    lyp: PathLike | None = None,
) -> dict[str, Any]:
    """Return what a layout file holds: cells, top cells with extents, layers, database unit.

    Parameters
    ----------
    reader
        Other limits on reading, see `read_layout`.
    tech, lyp
        Technology, or layer properties file of KLayout, with names for the layers.
    """
    from pipeline.layout.describe import layout_info
    from pipeline.layout.ingest import load_limits
    from stages.layout.layer_settings import load_names

    names = load_names({"tech": tech, "lyp": None if lyp is None else str(lyp)})
    return layout_info(Path(layout), load_limits(reader or {}), names)


def validate(
    layout: PathLike, *, strict: bool = False, reader: Mapping[str, float] | None = None
) -> tuple[str, ...]:
    """Check that a layout file can be read, and return the warnings about it.

    Parameters
    ----------
    reader
        Other limits on reading, see `read_layout`.

    Raises
    ------
    LayoutError
        When it cannot, or when it gives a warning and `strict` is set.
    """
    from pipeline.layout.ingest import load_limits, read_info

    return read_info(Path(layout), limits=load_limits(reader or {}), strict=strict)[1]
