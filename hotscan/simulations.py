"""Lithography simulation of a region."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from hotscan.inputs import Layoutlike, layout_file
from hotscan.pictures import Picture, PngPicture
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
    import pyarrow as pa
    import zarr


class RegionSettings(SessionSettings, NameSettings, total=False):
    """Keyword arguments of `simulate`."""

    process: PathLike
    """Shipped process or TOML file; ``krf130`` by default."""
    cell: str | None
    """Top cell; needed when the layout has several."""
    roi: Sequence[float] | None
    """Region x0, y0, x1, y1 in um; everything by default."""
    opc: Literal["none", "model", "curvy"]
    """Whether the mask is corrected first; ``none`` by default."""
    mask: str | None
    """Layer of the mask, if not the drawn layer."""
    contours: bool
    """Whether printed contours are drawn, too; True by default."""
    image: Sequence[Literal["png", "svg", "zarr"]]
    """What is drawn of light, mask and contours: pictures, or an array; nothing by default."""
    image_step_nm: float | None
    """Distance of the array's samples; by default a 36th of wavelength / NA."""
    reader: Mapping[str, float]
    """Other limits on reading the layout, see `read_layout`."""


class Simulation:
    """A simulated region in its directory.

    Attributes
    ----------
    path : pathlib.Path
        The directory, with ``index.html``, ``simulation.gds`` and ``defects.csv``.
    """

    def __init__(self, path: PathLike) -> None:
        from pipeline.engine.storage.run_directory import require_own_files

        self.path = Path(path)
        require_own_files(self.path)

    def __repr__(self) -> str:
        return f"<hotscan.Simulation {str(self.path)!r}: {self.metrics['defects']} defects>"

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` holds: counts of defects, area, seconds."""
        values: dict[str, Any] = json.loads((self.path / "metrics.json").read_text())
        return values

    @property
    def complete(self) -> bool:
        """Whether every tile was simulated."""
        return bool(self.metrics["complete"])

    @property
    def defects(self) -> pa.Table:
        """The defects, a row each: place in dbu, kind, worst corner, severity."""
        from pipeline.engine.storage.tables import read_table
        from pipeline.simulate.tiles import DEFECTS

        return read_table(self.path / "defects.parquet", DEFECTS)

    @overload
    def picture(self, form: Literal["svg"] = "svg") -> Picture: ...

    @overload
    def picture(self, form: Literal["png"]) -> PngPicture: ...

    def picture(self, form: Literal["svg", "png"] = "svg") -> Picture | PngPicture:
        """Return light, drawn shapes, contours, band, mask and defects as a picture.

        Raises
        ------
        UsageError
            When the region was simulated without ``image=["svg"]``, or ``["png"]``.
        """
        path = self._find_image(form)
        return PngPicture(path.read_bytes()) if form == "png" else Picture(path.read_text("utf-8"))

    @property
    def image(self) -> zarr.Group:
        """The same as arrays: ``intensity``, ``band``, ``target``, ``mask``, with coordinates.

        Needs ``image=["zarr"]``. With xarray: ``xarray.open_dataset(sim.path / "image.zarr",
        engine="zarr", consolidated=False)``.
        """
        import zarr

        return zarr.open_group(self._find_image("zarr"), mode="r")

    def _find_image(self, form: str) -> Path:
        from stages.errors import UsageError

        path = self.path / f"image.{form}"
        if not path.exists():
            raise UsageError(
                f"{self.path} has no image.{form}; simulate again into it with image=[{form!r}]"
            )
        return path

    @property
    def margins(self) -> pa.Table:
        """The margins, a row for each core: its lower left corner in dbu, and each kind's."""
        from pipeline.engine.storage.tables import read_table
        from pipeline.simulate.tiles import MARGINS

        return read_table(self.path / "margins.parquet", MARGINS)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>"
            for name, value in self.metrics.items()
        )
        return f"<table><caption>hotscan simulation</caption>{rows}</table>"


def simulate(
    layout: Layoutlike, *, layer: str, out: PathLike, **settings: Unpack[RegionSettings]
) -> Simulation:
    """Simulate the lithography of a region; one that was stopped in `out` is resumed.

    Parameters
    ----------
    layout
        GDSII or OASIS file; or a layout object, which is written to `out` first.
    layer
        The target layer, as ``"layer/datatype"`` or by name.
    out
        Directory, created when absent.
    **settings
        See `RegionSettings`.

    Raises
    ------
    UsageError
        When the request cannot be met, or `out` is of another one.
    LayoutError
        When the layout cannot be read, or is refused.
    """
    from pipeline.engine.storage.run_directory import open_run_directory
    from pipeline.layout.ingest import load_limits
    from pipeline.simulate.region import SimulateRequest, simulate_region
    from stages.layout.layer_settings import load_names

    refuse_unknown("simulate", settings, RegionSettings, SessionSettings)
    names = load_names(names_of(settings))
    mask = settings.get("mask")
    path, roi = Path(out), settings.get("roi")
    with progress_of(settings) as listen:
        request = SimulateRequest(
            layout_file(layout, open_run_directory(path).input), path,
            names.find(layer), process=str(settings.get("process", "krf130")),
            mask=None if mask is None else names.find(mask),
            opc=settings.get("opc", "none"), cell=settings.get("cell"),
            roi_um=None if roi is None else [float(value) for value in roi],
            contours=settings.get("contours", True), image=tuple(settings.get("image", ())),
            image_step_nm=settings.get("image_step_nm"),
            limits=load_limits(settings.get("reader", {})),
        )  # fmt: skip
        simulate_region(request, resources(settings), listen)
    return Simulation(path)
