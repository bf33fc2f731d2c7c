"""A lithography process: optics, resist anchor, process window, rules and limits of failure.

in: a TOML file, or the name of a shipped one; out: `Process`, frozen and checked.
promise: an unknown key, a wrong type or a value out of range is refused by name.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from stages.errors import ConfigError

T = TypeVar("T")
SHIPPED = Path(__file__).parent / "processes"
SourceShape = Literal["circular", "annular", "dipole", "quasar"]


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value}; it must be {limit}")


def _require_positive(instance: object, *names: str) -> None:
    for name in names:
        value = getattr(instance, name)
        _require(0 < value < math.inf, name, value, "over 0")


@dataclass(frozen=True, slots=True)
class Source:
    """The illumination, in shares of the pupil's radius NA / wavelength."""

    shape: SourceShape
    sigma_out: float
    """Outer radius."""
    sigma_in: float = 0.0
    """Inner radius, 0 for a circular source."""
    opening_deg: float = 90.0
    """Angle that each pole of a dipole or quasar spans."""
    axis_deg: float = 0.0
    """Direction of the first pole: 0 is x, 45 is usual for a quasar."""

    def __post_init__(self) -> None:
        _require(self.shape in get_args(SourceShape), "shape", self.shape, "a known source")
        _require(0 < self.sigma_out <= 1, "sigma_out", self.sigma_out, "over 0, at most 1")
        _require(
            0 <= self.sigma_in < self.sigma_out, "sigma_in", self.sigma_in, "from 0 to sigma_out"
        )
        _require(
            self.shape != "circular" or self.sigma_in == 0,
            "sigma_in", self.sigma_in, "0 for a circular source",
        )  # fmt: skip
        widest = 90.0 if self.shape == "quasar" else 180.0
        _require(
            0 < self.opening_deg <= widest, "opening_deg", self.opening_deg, f"at most {widest:g}"
        )


@dataclass(frozen=True, slots=True)
class Corner:
    """One condition of the process window."""

    name: str
    dose: float
    """Factor on the intensity."""
    defocus_nm: float

    def __post_init__(self) -> None:
        _require_positive(self, "dose")
        _require(math.isfinite(self.defocus_nm), "defocus_nm", self.defocus_nm, "finite")


@dataclass(frozen=True, slots=True)
class Anchor:
    """The line and space that print to size at nominal dose and focus, which sets the threshold."""

    line_nm: float
    space_nm: float

    def __post_init__(self) -> None:
        _require_positive(self, "line_nm", "space_nm")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a print counts as a defect."""

    pinch_share: float
    """Least printed width, as a share of the drawn width."""
    space_share: float
    """Least printed space, as a share of the drawn space."""
    epe_nm: float
    """Largest edge placement error of a straight edge, either way."""
    line_end_epe_nm: float
    """Largest edge placement error of a line end, either way."""
    corner_nm: float
    """How far a point must be from the nearest corner for its edge to count as straight."""

    def __post_init__(self) -> None:
        _require_positive(self, "epe_nm", "line_end_epe_nm", "corner_nm")
        for name in ("pinch_share", "space_share"):
            share = getattr(self, name)
            _require(0 < share < 1, name, share, "between 0 and 1")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Limits of the rule checks that choose the places worth looking at."""

    space_nm: float
    width_nm: float
    tip_to_tip_nm: float
    line_end_to_side_nm: float
    line_end_nm: float
    """Largest width of an edge, convex at both ends, that counts as a line end."""

    def __post_init__(self) -> None:
        _require_positive(self, *self.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Process:
    """Everything that a simulation needs to know; lengths in nm on the wafer."""

    name: str
    wavelength_nm: float
    na: float
    """Numerical aperture on the wafer's side."""
    refractive_index: float
    """Of the medium above the resist: 1 is air, 1.44 water at 193 nm."""
    min_width_nm: float
    min_space_nm: float
    source: Source
    anchor: Anchor
    corners: tuple[Corner, ...]
    limits: Limits
    sampling: Sampling

    @property
    def symmetries(self) -> int:
        """How many symmetries of the square leave every print alike, see `stages.patterns`."""
        square = self.source.shape in ("circular", "annular")
        if self.source.shape == "quasar":
            square = self.source.axis_deg % 45 == 0
        if square:
            return 8
        return 4 if self.source.axis_deg % 90 == 0 else 1

    def __post_init__(self) -> None:
        _require_positive(self, "wavelength_nm", "na", "refractive_index")
        _require_positive(self, "min_width_nm", "min_space_nm")
        _require(self.na < self.refractive_index, "na", self.na, "under refractive_index")
        names = [corner.name for corner in self.corners]
        _require(len(names) > 0, "corners", names, "at least one corner")
        _require(len(set(names)) == len(names), "corners", names, "of different names")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values in a fixed order: what a digest is taken of."""
        return dataclasses.asdict(self)


def load_process(name_or_path: str | Path) -> Process:
    """Read a process from a TOML file, or a shipped one by its name.

    Raises
    ------
    ConfigError
        When there is no such process, or a key or value of it is refused.

    Examples
    --------
    >>> load_process("krf130").wavelength_nm
    248.0
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise ConfigError(
            f"no process {str(name_or_path)!r}; give one of {known}, or the path of a .toml file"
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"process {path} is not TOML: {error}") from error
    try:
        return _build(Process, table, "")
    except ConfigError as error:
        raise ConfigError(f"process {path}: {error}") from error


def _build(kind: type[T], table: object, where: str) -> T:
    """Build the dataclass `kind` from a TOML table, refusing what does not fit."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where.rstrip('.')} is {table!r}; it must be a table")
    hints = get_type_hints(kind)
    for key in table:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)[0]
            raise ConfigError(f"unknown key {where}{key}; did you mean {near}?")
    values = {key: _value(hints[key], table[key], where + key) for key in table}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.name not in values:
            raise ConfigError(f"{where}{field.name} is missing; add it")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from error


def _value(hint: Any, value: object, where: str) -> object:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where + ".")  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is {value!r}; it must be an array of tables")
        item = get_args(hint)[0]
        return tuple(_build(item, table, f"{where}[{i}].") for i, table in enumerate(value))
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{where} is {value!r}; it must be a number")
        return float(value)
    if not isinstance(value, str):
        raise ConfigError(f"{where} is {value!r}; it must be text")
    return value
