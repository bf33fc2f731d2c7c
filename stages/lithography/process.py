"""A lithography process: optics, resist, process window, OPC, sampling rules, failure limits.

in       a TOML file, or the name of a shipped process
out      `Process`, frozen and checked; lengths in nm on the wafer
promise  an unknown key, a wrong type or a value out of range is refused by name
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from stages.errors import ConfigError
from stages.lithography.checks import (
    CHECKS,
    Count,
    NotNegative,
    Number,
    Positive,
    Share,
    ShareOrAll,
    Text,
    require,
)
from stages.lithography.limits import Contacts, Levels, Limits, Sampling
from stages.settings import describe_validation_error

SHIPPED = Path(__file__).parent / "processes"
SourceShape = Literal["circular", "annular", "dipole", "quasar", "map"]
Polarization = Literal["unpolarized", "x", "y", "te", "tm"]

_SCALAR_NA = 0.8
"""Over this, an image of scalar light is too good; settings of runs from before have none other."""


GUARD = 3.2
"""Width of the guard around the core of a field, where a process does not say."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class Source:
    """The illumination, in shares of the pupil's radius NA / wavelength."""

    shape: SourceShape
    sigma_out: ShareOrAll
    """Outer radius; half the side of a map."""
    sigma_in: NotNegative = 0.0
    """Inner radius, 0 for a circular source."""
    opening_deg: Annotated[float, Field(strict=True, gt=0, le=180)] = 90.0
    """Angle that each pole of a dipole or quasar spans; at most 90 for a quasar."""
    axis_deg: Number = 0.0
    """Direction of the first pole: 0 is x, 45 is usual for a quasar."""
    map: tuple[tuple[NotNegative, ...], ...] = ()
    """Brightness of the square pixels of a map, the row of largest y first, as it reads."""
    polarization: Polarization = "unpolarized"
    """Of vector light: along x or y everywhere, around the source's centre (te) or to it (tm)."""

    def __post_init__(self) -> None:
        require(self.sigma_in < self.sigma_out, "sigma_in", self.sigma_in, "less than sigma_out")
        require(
            self.shape != "circular" or self.sigma_in == 0,
            "sigma_in", self.sigma_in, "0 for a circular source",
        )  # fmt: skip
        require(
            self.shape != "quasar" or self.opening_deg <= 90,
            "opening_deg", self.opening_deg, "at most 90 for a quasar",
        )  # fmt: skip
        require((self.shape == "map") == bool(self.map), "map", self.map, "with shape map only")
        rows = {len(row) for row in self.map} | {len(self.map)}
        require(len(rows) == 1, "map", f"of sides {sorted(rows)}", "a square")
        dark = bool(self.map) and not any(value for row in self.map for value in row)
        require(not dark, "map", "dark", "light somewhere")

    def is_unchanged_when(self, turned: Literal["half", "quarter", "mirrored"]) -> bool:
        """Whether a half or quarter turn about the centre, or a mirror in y, keeps the source."""
        if turned == "quarter" and self.polarization in ("x", "y"):
            return False
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


@dataclass(frozen=True, slots=True, config=CHECKS)
class Corner:
    """One condition of the process window."""

    name: Text
    dose: Positive
    """Factor on the intensity."""
    defocus_nm: Number


@dataclass(frozen=True, slots=True, config=CHECKS)
class Anchor:
    """The line and space that print to size at nominal dose and focus, which sets the threshold."""

    line_nm: Positive
    space_nm: Positive
    shape: Literal["line", "hole"] = "line"
    """Holes are squares of this size and space, in a square array."""
    bias_nm: NotNegative = 0.0
    """How far the edges of its mask lie outside those that print: holes need it to be bright."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class Mask:
    """What the mask lets through beside the drawn shapes, which are clear."""

    transmission: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    """Share of the light: 0 of chrome, some 0.06 of a phase-shift mask."""
    phase_deg: Literal[0, 180] = 180
    """Of the light that it lets through."""

    @property
    def amplitude(self) -> float:
        """Amplitude of the background; that of what is drawn is 1."""
        return math.copysign(math.sqrt(self.transmission), 1 if self.phase_deg == 0 else -1)


@dataclass(frozen=True, slots=True, config=CHECKS)
class Resist:
    """How the resist turns an image into a print."""

    diffusion_nm: NotNegative = 0.0
    """Standard deviation of the Gaussian that blurs the image."""
    threshold: NotNegative = 0.0
    """Intensity above which it prints, as a share of the clear field; 0: the anchor sets it."""
    refractive_index: NotNegative = 0.0
    """The image is that of vector light in a resist of this index; 0: of scalar light."""
    tail_share: Annotated[float, Field(strict=True, ge=-0.5, le=0.5)] = 0.0
    """Share of the image that another Gaussian blurs, `tail_nm`: an empirical term for what acts
    over a longer range, as flare, loading and quenchers do; negative where it sharpens."""
    tail_nm: NotNegative = 0.0
    """Standard deviation of that Gaussian; at most wavelength / NA."""

    def __post_init__(self) -> None:
        require(
            (self.tail_share != 0) == (self.tail_nm > 0),
            "tail_nm", self.tail_nm, f"over 0 with a tail_share, which is {self.tail_share}",
        )  # fmt: skip


@dataclass(frozen=True, slots=True, config=CHECKS)
class KernelSet:
    """The kernels of one defocus in a file of kernels."""

    defocus_nm: Number
    kernels: Text
    """Name of the array (k, 2 band + 1, 2 band + 1) in the frequency domain, frequency 0 in the
    middle, rows y."""
    weights: Text
    """Name of the array (k,) of their weights."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class KernelFile:
    """Kernels computed by another program, used instead of the optics."""

    file: Text
    """A .npz file; in a process file, its path from there."""
    period_nm: Positive
    """Side of the periodic field that the kernels are sampled for."""
    sets: Annotated[tuple[KernelSet, ...], Field(min_length=1)]
    pixel_nm: NotNegative = 0.0
    """Side of the pixels of the masks that the kernels are meant for, whose spectrum is taken at
    the pixels' centres; 0 for masks without pixels."""
    sha256: Text = ""
    """Of the file; `load_process` fills it in."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class Curves:
    """How a mask with curved outlines is found; of 0, lengths follow from the light."""

    rounds: Count = 200
    """Rounds down the gradient of the printed areas."""
    band_weight: NotNegative = 0.4
    """Weight of the process variation band in that, against the area that prints wrongly."""
    smooth_nm: NotNegative = 0.0
    """Standard deviation of the Gaussian that outlines are smooth to; 0: wavelength / (10 NA)."""
    tolerance_nm: NotNegative = 0.0
    """How far polygons may be from the outlines, before their corners are put on whole database
    units; 0: wavelength / (150 NA)."""
    min_area_nm2: NotNegative = 0.0
    """Least area of a polygon, and of a hole; 0: twice that of a square of the least width."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class Opc:
    """How the mask is corrected before it is printed."""

    iterations: Count
    """Rounds that move fragments against their edge placement errors."""
    damping: ShareOrAll
    """Share of an edge placement error that a round corrects, less where that is too much."""
    fragment_nm: Positive
    """Length of the fragments that an edge is cut into."""
    corner_nm: Positive
    """Length of the fragments next to a corner."""
    max_move_nm: Positive
    """Furthest that a fragment may move from the drawn edge."""
    min_mask_width_nm: Positive
    min_mask_space_nm: Positive
    bar_nm: NotNegative = 0.0
    """Width of scatter bars; 0 for none."""
    bar_distance_nm: NotNegative = 0.0
    """From an edge to its scatter bar; 0: rounds of descent place bars where they pay."""
    descent: Annotated[int, Field(strict=True, ge=0)] = 0
    """Rounds that, after these, move fragments down the gradient of the printed areas."""
    band_weight: NotNegative = 0.5
    """Weight of the process variation band in that, against the area that prints wrongly."""
    curves: Curves = Curves()
    """Of masks that are curved instead."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class Process:
    """Everything that a simulation needs to know of a process."""

    name: Text
    wavelength_nm: Positive
    na: Positive
    """Numerical aperture on the wafer's side."""
    refractive_index: Positive
    """Of the medium above the resist: 1 is air, 1.44 water at 193 nm."""
    min_width_nm: Positive
    min_space_nm: Positive
    source: Source
    corners: Annotated[tuple[Corner, ...], Field(min_length=1)]
    limits: Limits
    sampling: Sampling
    anchor: Anchor | None = None
    resist: Resist = Resist()
    mask: Mask = Mask()
    contacts: Contacts | None = None
    """For layers of contacts and vias: each shape is measured as a whole."""
    opc: Opc | None = None
    kernels: KernelFile | None = None
    levels: Levels = Levels()
    energy: Share = 0.985
    """Share of the light that the kernels carry; of the rest only the mean is kept."""
    guard: Annotated[float, Field(strict=True, ge=2, le=8)] = GUARD
    """How far around a place the mask is taken into account, in wavelength / NA."""

    @property
    def is_vector(self) -> bool:
        """Whether the polarization of light counts."""
        return self.resist.refractive_index > 0

    @property
    def symmetries(self) -> int:
        """How many symmetries of the square leave every print unchanged, see `stages.patterns`."""
        if self.kernels is not None or not self.source.is_unchanged_when("mirrored"):
            return 1
        if not self.source.is_unchanged_when("half"):
            return 1
        return 8 if self.source.is_unchanged_when("quarter") else 4

    @property
    def even_in_focus(self) -> bool:
        """Whether +z and -z of defocus give the same image, as an even source does."""
        return self.kernels is None and self.source.is_unchanged_when("half")

    def __post_init__(self) -> None:
        require(self.na < self.refractive_index, "na", self.na, "less than refractive_index")
        index, source = self.resist.refractive_index, self.source
        require(
            index == 0 or index > self.na, "resist.refractive_index", index, "0, or more than na"
        )
        require(
            index == 0 or self.kernels is None,
            "resist.refractive_index", index, "0 with kernels of a file",
        )  # fmt: skip
        require(
            index > 0 or source.polarization == "unpolarized",
            "source.polarization", source.polarization,
            "unpolarized, as there is no resist.refractive_index",
        )  # fmt: skip
        # The guard of a field is three times this wide.
        reach_nm = self.wavelength_nm / self.na
        require(
            self.resist.tail_nm <= reach_nm, "resist.tail_nm", self.resist.tail_nm,
            f"at most wavelength / NA, {reach_nm:.0f}",
        )  # fmt: skip
        names = [corner.name for corner in self.corners]
        require(len(set(names)) == len(names), "corners", names, "different names")
        set_how = (self.anchor is not None) + (self.resist.threshold > 0)
        require(set_how == 1, "anchor and resist.threshold", f"{set_how} of the two", "one of them")
        if self.kernels is not None:
            known = {kernels.defocus_nm for kernels in self.kernels.sets}
            for corner in self.corners:
                require(
                    corner.defocus_nm in known, f"defocus_nm of corner {corner.name}",
                    corner.defocus_nm, f"that of a set of kernels: {sorted(known)}",
                )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return plain values in a fixed order: what a digest is taken of."""
        about = dataclasses.asdict(self)
        if self.opc is not None and not self.opc.descent:
            # Models and runs from before there was a descent, or a tail, have the same settings.
            del about["opc"]["descent"], about["opc"]["band_weight"]
        if not self.is_vector:
            del about["resist"]["refractive_index"], about["source"]["polarization"]
        if not self.resist.tail_share:
            del about["resist"]["tail_share"], about["resist"]["tail_nm"]
        if self.opc is not None and self.opc.curves == Curves():
            del about["opc"]["curves"]
        if self.anchor is not None and (self.anchor.shape, self.anchor.bias_nm) == ("line", 0):
            del about["anchor"]["shape"], about["anchor"]["bias_nm"]
        plain = {"mask": not self.mask.transmission, "contacts": self.contacts is None}
        plain |= {"guard": self.guard == GUARD, "levels": self.levels == Levels()}
        for name in (name for name, is_plain in plain.items() if is_plain):
            del about[name]
        return about


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
        process = _bind_kernels(process_of(table), path.parent)
        require(
            process.na <= _SCALAR_NA or process.is_vector or process.kernels is not None,
            "resist.refractive_index", 0,
            f"over 0, such as 1.7, as na is {process.na:g}: over {_SCALAR_NA} polarization counts",
        )  # fmt: skip
        return process
    except ConfigError as error:
        raise ConfigError(f"process {path}: {error}") from error


def process_of(table: object) -> Process:
    """Return the process of plain values, such as `Process.as_dict` returns.

    Raises
    ------
    ConfigError
        When a key or value is refused.
    """
    try:
        return _PROCESS.validate_python(table)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(Process, error)) from None


_PROCESS = TypeAdapter(Process)


def _bind_kernels(process: Process, folder: Path) -> Process:
    """Find the kernel file, and bind the process to its content."""
    if process.kernels is None:
        return process
    file = folder / process.kernels.file
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"kernels.file {file} cannot be read: {error.strerror}") from error
    kernels = dataclasses.replace(process.kernels, file=str(file.resolve()), sha256=digest)
    return dataclasses.replace(process, kernels=kernels)
