"""A lithography process: optics, resist anchor, process window, rules and limits of failure.

in: a TOML file, or the name of a shipped one; out: `Process`, frozen and checked.
promise: an unknown key, a wrong type or a value out of range is refused by name.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import math
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from stages.errors import ConfigError

T = TypeVar("T")
SHIPPED = Path(__file__).parent / "processes"
SourceShape = Literal["circular", "annular", "dipole", "quasar", "map"]


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
    """Outer radius; half the side of a map."""
    sigma_in: float = 0.0
    """Inner radius, 0 for a circular source."""
    opening_deg: float = 90.0
    """Angle that each pole of a dipole or quasar spans."""
    axis_deg: float = 0.0
    """Direction of the first pole: 0 is x, 45 is usual for a quasar."""
    map: tuple[tuple[float, ...], ...] = ()
    """Brightness of the square pixels of a map, the row of largest y first, as it reads."""

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
        _require((self.shape == "map") == bool(self.map), "map", self.map, "given for a map only")
        rows = {len(row) for row in self.map} | {len(self.map)}
        _require(len(rows) == 1, "map", f"of sides {sorted(rows)}", "square")
        lit = [value for row in self.map for value in row]
        _require(min(lit, default=0) >= 0, "map", min(lit, default=0), "nowhere under 0")
        _require(not lit or sum(lit) > 0, "map", "dark", "lit somewhere")

    def looks_like(self, turned: Literal["half", "quarter", "mirrored"]) -> bool:
        """Whether the source is the same after a turn about its middle, or in a mirror along x."""
        if self.shape == "map":
            rows = self.map
            if turned == "half":
                return rows == tuple(row[::-1] for row in rows[::-1])
            if turned == "mirrored":
                return rows == rows[::-1]
            return rows == tuple(zip(*rows[::-1], strict=True))
        if self.shape in ("circular", "annular") or turned == "half":
            return True
        if turned == "mirrored":
            return self.axis_deg % (90 if self.shape == "dipole" else 45) == 0
        return self.shape == "quasar"


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
class Resist:
    """What the resist makes of an image."""

    diffusion_nm: float = 0.0
    """Standard deviation of the Gaussian that the image is blurred with."""
    threshold: float = 0.0
    """Intensity that prints, in shares of the clear field; 0: the anchor sets it."""

    def __post_init__(self) -> None:
        for name in ("diffusion_nm", "threshold"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, name, value, "0 or more")


@dataclass(frozen=True, slots=True)
class KernelSet:
    """The kernels of one defocus in a file of kernels."""

    defocus_nm: float
    kernels: str
    """Name of the array (k, 2 band + 1, 2 band + 1) in the frequency domain, frequency 0 in the
    middle, rows y."""
    weights: str
    """Name of the array (k,) of their weights."""


@dataclass(frozen=True, slots=True)
class KernelFile:
    """Kernels that another program made, used in place of the optics."""

    file: str
    """A .npz file; in a process file, its path from there."""
    period_nm: float
    """Side of the periodic field that the kernels are sampled for."""
    sets: tuple[KernelSet, ...]
    pixel_nm: float = 0.0
    """Side of the pixels of the masks that the kernels are meant for, whose spectrum is taken at
    the pixels' centres; 0 for masks without pixels."""
    sha256: str = ""
    """Of the file; it is put in when the process is loaded."""

    def __post_init__(self) -> None:
        _require_positive(self, "period_nm")
        _require(0 <= self.pixel_nm < math.inf, "pixel_nm", self.pixel_nm, "0 or more")
        _require(len(self.sets) > 0, "sets", self.sets, "at least one set")


@dataclass(frozen=True, slots=True)
class Opc:
    """How the mask is corrected before it is printed; lengths in nm on the wafer."""

    iterations: int
    damping: float
    """Share of an edge placement error that an iteration corrects."""
    fragment_nm: float
    """Length of the pieces that an edge is cut into."""
    corner_nm: float
    """Length of the pieces next to a corner."""
    max_move_nm: float
    """Furthest that a piece may move from the drawn edge."""
    min_mask_width_nm: float
    min_mask_space_nm: float
    bar_nm: float = 0.0
    """Width of scatter bars; 0 for none."""
    bar_distance_nm: float = 0.0
    """From an edge to its scatter bar."""

    def __post_init__(self) -> None:
        _require_positive(
            self, "iterations", "fragment_nm", "corner_nm", "max_move_nm", "min_mask_width_nm",
            "min_mask_space_nm",
        )  # fmt: skip
        _require(0 < self.damping <= 1, "damping", self.damping, "over 0, at most 1")
        for name in ("bar_nm", "bar_distance_nm"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, name, value, "0 or more")


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
    corners: tuple[Corner, ...]
    limits: Limits
    sampling: Sampling
    anchor: Anchor | None = None
    resist: Resist = Resist()
    opc: Opc | None = None
    kernels: KernelFile | None = None
    energy: float = 0.985
    """Share of the light that the kernels carry one by one; of the rest only the mean is kept."""

    @property
    def symmetries(self) -> int:
        """How many symmetries of the square leave every print alike, see `stages.patterns`."""
        if self.kernels is not None or not self.source.looks_like("mirrored"):
            return 1
        if not self.source.looks_like("half"):
            return 1
        return 8 if self.source.looks_like("quarter") else 4

    @property
    def even_in_focus(self) -> bool:
        """Whether either side of focus gives one image: so it is of a real mask, evenly lit."""
        return self.kernels is None and self.source.looks_like("half")

    def __post_init__(self) -> None:
        _require_positive(self, "wavelength_nm", "na", "refractive_index")
        _require_positive(self, "min_width_nm", "min_space_nm")
        _require(self.na < self.refractive_index, "na", self.na, "under refractive_index")
        names = [corner.name for corner in self.corners]
        _require(len(names) > 0, "corners", names, "at least one corner")
        _require(len(set(names)) == len(names), "corners", names, "of different names")
        _require(0 < self.energy < 1, "energy", self.energy, "between 0 and 1")
        set_how = (self.anchor is not None) + (self.resist.threshold > 0)
        _require(
            set_how == 1, "anchor and resist.threshold", f"{set_how} of the two", "one of them"
        )
        if self.kernels is not None:
            known = {kernels.defocus_nm for kernels in self.kernels.sets}
            for corner in self.corners:
                _require(
                    corner.defocus_nm in known, f"defocus_nm of corner {corner.name}",
                    corner.defocus_nm, f"that of a set of kernels: {sorted(known)}",
                )  # fmt: skip

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
        return _with_kernels(process_of(table), path.parent)
    except ConfigError as error:
        raise ConfigError(f"process {path}: {error}") from error


def process_of(table: object) -> Process:
    """Build a process from plain values, such as `Process.as_dict` returns.

    Raises
    ------
    ConfigError
        When a key or value is refused.
    """
    return _build(Process, table, "")


def _with_kernels(process: Process, folder: Path) -> Process:
    """Find the file of kernels, and bind the process to its content."""
    if process.kernels is None:
        return process
    file = folder / process.kernels.file
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"kernels.file {file} cannot be read: {error.strerror}") from error
    kernels = dataclasses.replace(process.kernels, file=str(file.resolve()), sha256=digest)
    return dataclasses.replace(process, kernels=kernels)


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
    if get_origin(hint) is types.UnionType:  # a part that may be left out
        return None if value is None else _value(get_args(hint)[0], value, where)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where + ".")  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}; it must be an array")
        item = get_args(hint)[0]
        return tuple(_value(item, each, f"{where}[{i}]") for i, each in enumerate(value))
    if hint in (float, int):
        fits = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and hint(value) == value
        )
        if not fits:
            wanted = "a number" if hint is float else "a whole number"
            raise ConfigError(f"{where} is {value!r}; it must be {wanted}")
        return hint(value)
    if not isinstance(value, str):
        raise ConfigError(f"{where} is {value!r}; it must be text")
    return value
