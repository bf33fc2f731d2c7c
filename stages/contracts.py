"""The values that stages pass to one another.

Frozen and slotted; lengths are integers in database units (``_dbu``) unless the name says
otherwise; boxes are half-open, ``[x_min, x_max) x [y_min, y_max)``. Pictures are arrays
``(n, layer, row, column)`` with row 0 at ``y_min``: rows count **up**, as the layout does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from stages.errors import ConfigError, LayoutError

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

UINT32_MAX = 2**32 - 1
"""Largest number of a layer: of OASIS, as readers take it; GDSII ends at 65535."""


def require_even(core_dbu: int) -> None:
    """Refuse a core whose centre would lie between two coordinates."""
    if core_dbu < 2 or core_dbu % 2:
        raise ConfigError(f"core_dbu is {core_dbu}; it must be an even number over 0")


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A half-open box in dbu.

    Examples
    --------
    >>> Box(0, 0, 10, 10).intersect(Box(10, 0, 20, 10)) is None  # touching is not overlapping
    True
    >>> Box(0, 0, 10, 10).grow(5)
    Box(x_min=-5, y_min=-5, x_max=15, y_max=15)
    """

    x_min: int
    y_min: int
    x_max: int
    y_max: int

    def __post_init__(self) -> None:
        if self.x_max < self.x_min or self.y_max < self.y_min:
            raise ConfigError(
                f"box {self.x_min},{self.y_min},{self.x_max},{self.y_max} ends before it begins; "
                "give x0,y0,x1,y1 with x0 <= x1 and y0 <= y1"
            )

    @property
    def width(self) -> int:
        """Extent in x, in dbu."""
        return self.x_max - self.x_min

    @property
    def height(self) -> int:
        """Extent in y, in dbu."""
        return self.y_max - self.y_min

    @property
    def area(self) -> int:
        """Area in dbu squared."""
        return self.width * self.height

    def grow(self, by_dbu: int) -> Box:
        """Return the box with every side moved outward by `by_dbu`."""
        return Box(
            self.x_min - by_dbu, self.y_min - by_dbu, self.x_max + by_dbu, self.y_max + by_dbu
        )

    def intersect(self, other: Box) -> Box | None:
        """Return the common part, or None where there is none with an area."""
        x_min, y_min = max(self.x_min, other.x_min), max(self.y_min, other.y_min)
        x_max, y_max = min(self.x_max, other.x_max), min(self.y_max, other.y_max)
        return Box(x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None

    def as_tuple(self) -> tuple[int, int, int, int]:
        """Return ``(x_min, y_min, x_max, y_max)``."""
        return self.x_min, self.y_min, self.x_max, self.y_max


@dataclass(frozen=True, slots=True, order=True)
class Layer:
    """A layer/datatype pair.

    Examples
    --------
    >>> Layer.parse("68/20")
    Layer(layer=68, datatype=20)
    >>> str(Layer(68, 20))
    '68/20'
    """

    layer: int
    datatype: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"layer/datatype"``.

        Raises
        ------
        ConfigError
            When `text` is not two integers of 32 bits with a slash between.
        """
        parts = text.split("/")
        if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
            raise ConfigError(f"layer {text!r} is not layer/datatype; write it like 68/20")
        layer, datatype = (int(part) for part in parts)
        if max(layer, datatype) > UINT32_MAX:
            raise ConfigError(
                f"layer {text!r} is over {UINT32_MAX}, the largest number that OASIS readers take"
            )
        return cls(layer, datatype)

    def __str__(self) -> str:
        return f"{self.layer}/{self.datatype}"


@dataclass(frozen=True, slots=True)
class RasterSpec:
    """The raster that a detector expects.

    Examples
    --------
    >>> spec = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32)
    >>> spec.clip_nm, spec.core_nm, spec.halo_nm
    (2560.0, 1280.0, 640.0)
    """

    pixel_nm: float
    """Side of a pixel, in nm."""
    clip_px: int
    """Side of the clip (the input of the detector), in pixels; even."""
    core_px: int
    """Side of the core (the part that the score is about), in pixels; even."""
    layers: int = 1
    """Number of layers, drawn as channels."""

    def __post_init__(self) -> None:
        if self.pixel_nm <= 0:
            raise ConfigError(f"pixel_nm is {self.pixel_nm}; it must be over 0")
        if self.clip_px % 2 or self.core_px % 2 or not 0 < self.core_px <= self.clip_px:
            raise ConfigError(
                f"core_px is {self.core_px} and clip_px is {self.clip_px}; both must be even, "
                "and the core no larger than the clip"
            )
        if self.layers < 1:
            raise ConfigError(f"layers is {self.layers}; a picture needs at least one")

    @property
    def clip_nm(self) -> float:
        """Side of the clip, in nm."""
        return self.clip_px * self.pixel_nm

    @property
    def core_nm(self) -> float:
        """Side of the core, in nm."""
        return self.core_px * self.pixel_nm

    @property
    def halo_nm(self) -> float:
        """Width of the context around the core, in nm."""
        return (self.clip_nm - self.core_nm) / 2

    def pixel_dbu(self, dbu_nm: float) -> int:
        """Return the side of a pixel in dbu.

        Raises
        ------
        ConfigError
            When a pixel is not a whole number of dbu: its edges would fall between two
            coordinates, and equal clips would get unequal rasters.
        """
        pixel_dbu = round(self.pixel_nm / dbu_nm)
        if pixel_dbu < 1 or abs(pixel_dbu * dbu_nm - self.pixel_nm) > 1e-6 * self.pixel_nm:
            raise ConfigError(
                f"pixel_nm is {self.pixel_nm:g} but the layout's database unit is {dbu_nm:g} nm; "
                "a pixel must be a whole number of database units: choose another model"
            )
        return pixel_dbu


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """One layer below one top cell, with its hierarchy, as flat arrays that memory-map.

    A cell owns the items ``item_start[cell]:item_start[cell + 1]``. An item is a box and a
    reference: -1 means the box itself is the shape (a rectangle), ``-2 - p`` the polygon `p`, and
    ``>= 0`` an instance (placed cell, or array of one). The last cell is the top. Items are in
    spatial order; every 16 of them have a box in ``node_box``, every 16 of those another, and so
    on, so that a window is found without visiting every item.
    """

    item_start: Int64s
    """(cells + 1,)"""
    item_box: Int32s
    """(items, 4) in the cell's own dbu."""
    item_ref: Int32s
    """(items,)"""
    node_start: Int64s
    """(cells + 1,) into node_box, level after level, lowest first."""
    node_box: Int32s
    """(nodes, 4)"""
    point: Int32s
    """(points, 2) corners of all polygons that are not rectilinear."""
    point_start: Int64s
    """(polygons + 1,)"""
    inst_cell: Int32s
    """(instances,) the cell that is placed."""
    inst_turn: Bytes
    """(instances,) 0..3 quarter turns anticlockwise, plus 4 when mirrored in x axis first."""
    inst_place: Int32s
    """(instances, 8) x, y, columns, rows, column step x, y, row step x, y."""
    cell_box: Int64s
    """(cells, 4) box of everything in the cell, children included."""

    @property
    def box(self) -> Box | None:
        """Box of the whole layer in dbu, None when the layer is empty."""
        x_min, y_min, x_max, y_max = (int(v) for v in self.cell_box[-1])
        return Box(x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None

    @property
    def nbytes(self) -> int:
        """Size of all arrays, in bytes."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """The geometry of a layout file, packed for a scan."""

    top: str
    """Name of the top cell that is scanned."""
    dbu_nm: float
    """Database unit, in nm."""
    layers: tuple[Layer, ...]
    """The layers, in the order of the picture's channels."""
    packed: tuple[PackedLayer, ...]
    """The geometry, one per layer."""
    warnings: tuple[str, ...] = ()
    """Warnings of the reader, for the user."""
    file_layers: tuple[Layer, ...] = ()
    """Every layer that the file draws on, whether scanned or not."""
    cells: tuple[tuple[str, ...], ...] = ()
    """Per layer, the names of the cells of `packed`, in their order; the last is the top."""

    @property
    def extent(self) -> Box:
        """Box of all chosen layers, in dbu.

        Raises
        ------
        LayoutError
            When none of the layers has a shape below the top cell.
        """
        boxes = [box for packed in self.packed if (box := packed.box) is not None]
        if not boxes:
            names = ", ".join(str(layer) for layer in self.layers)
            raise LayoutError(
                f"cell {self.top!r} has no shape on {names}; choose another --cell or --layer"
            )
        return Box(
            min(box.x_min for box in boxes),
            min(box.y_min for box in boxes),
            max(box.x_max for box in boxes),
            max(box.y_max for box in boxes),
        )


@dataclass(frozen=True, slots=True)
class Shapes:
    """Flat geometry of one layer in one window, overlaps not merged, in dbu of the top cell."""

    rects: Int64s
    """(n, 4) x_min, y_min, x_max, y_max"""
    points: Int64s
    """(m, 2) corners of the polygons that are not rectilinear."""
    point_start: Int64s
    """(polygons + 1,)"""


@dataclass(frozen=True, slots=True)
class Clips:
    """The clips to score, by y, then x."""

    x_dbu: Int64s
    """(n,) centre of the clip."""
    y_dbu: Int64s
    """(n,) centre of the clip."""
    rule: Bytes
    """(n,) the rule that proposed it: index into `stages.clips.RULES`."""

    def __len__(self) -> int:
        return len(self.x_dbu)

    def select(self, which: npt.NDArray[np.bool_]) -> Clips:
        """Return the clips of a mask, (n,) bool."""
        return Clips(self.x_dbu[which], self.y_dbu[which], self.rule[which])

    @staticmethod
    def concatenate(parts: Sequence[Clips]) -> Clips:
        """Return the clips of all parts, in their order."""
        none = np.empty(0, np.int64)
        return Clips(
            np.concatenate([none, *(part.x_dbu for part in parts)]),
            np.concatenate([none, *(part.y_dbu for part in parts)]),
            np.concatenate([none.astype(np.uint8), *(part.rule for part in parts)]),
        )


@dataclass(frozen=True, slots=True)
class Hotspot:
    """One hotspot: clips over the threshold whose cores touch, shown by the best of them."""

    id: int
    """Rank, 1 is the highest score."""
    x_dbu: int
    """Centre of the clip of highest score."""
    y_dbu: int
    score: float
    """Probability of a hotspot, of that clip."""
    rule: str
    """The rule that proposed that clip."""
    clips: int
    """How many clips were merged into this one."""
    pattern: int
    """Index of that clip's pattern in ``patterns.zarr``."""
    pattern_key: str
    """Key of that pattern, 32 hexadecimal digits."""
    group: int
    """Rank of the pattern among those of the hotspots; 1 has the highest score."""
    box: Box
    """Box of the merged cores, in dbu."""
    answer: str = "review"
    """``hot`` where the model is confident, ``review`` where simulation should decide."""
    predicted_kind: str | None = None
    """What fails first in that clip, as the model has it; None where it predicts no margins."""
    predicted_margin: float | None = None
    """How far that is past its limit, over 0 where it fails."""

    def core(self, core_dbu: int) -> Box:
        """Return the core of the clip that shows the hotspot, or another box around its centre.

        Raises
        ------
        ConfigError
            When `core_dbu` is odd: its centre would lie between two coordinates.
        """
        require_even(core_dbu)
        return Box(self.x_dbu, self.y_dbu, self.x_dbu, self.y_dbu).grow(core_dbu // 2)


@dataclass(frozen=True, slots=True)
class Defect:
    """One printing failure found by simulation."""

    kind: str
    """``bridge``, ``open``, ``pinch``, ``space``, ``epe``, ``line_end``, ``missing``, ``extra``; of
    contacts also ``area`` and ``off_centre``."""
    x_dbu: int
    y_dbu: int
    corner: str
    """Name of the process-window corner at which it is worst."""
    severity: float
    """0 at the limit, 1 at total failure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of simulating a hotspot."""

    defects: int
    """Number of defects in the cores of its clips."""
    worst: Defect | None
    """The defect of highest severity; None when nothing fails."""
    margin: float | None = None
    """Of the worst place in its clips' cores, as a share of its limit: over 0 where it fails, under
    0 where all passes. None in runs from before margins were measured."""
    margin_kind: str | None = None
    """Kind of that place, of those of `Defect`."""

    @property
    def confirmed(self) -> bool:
        """Whether anything fails."""
        return self.worst is not None
