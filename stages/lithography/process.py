"""A lithography process: optics, resist, process window, OPC, sampling rules, failure limits.

in       a TOML file, or the name of a shipped process
out      `Process`, frozen and checked; lengths in nm on the wafer
promise  an unknown key, a wrong type or a value out of range is refused by name
"""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from stages.errors import ConfigError
from stages.settings import describe_validation_error

SHIPPED = Path(__file__).parent / "processes"
SourceShape = Literal["circular", "annular", "dipole", "quasar", "map"]
Polarization = Literal["unpolarized", "x", "y", "te", "tm"]

Text = Annotated[str, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Positive = Annotated[float, Field(strict=True, gt=0)]
NotNegative = Annotated[float, Field(strict=True, ge=0)]
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
ShareOrAll = Annotated[float, Field(strict=True, gt=0, le=1)]
Count = Annotated[int, Field(strict=True, gt=0)]

_SCALAR_NA = 0.8
"""Over this, an image of scalar light is too good; settings of runs from before have none other."""

_CHECKS = ConfigDict(extra="forbid", allow_inf_nan=False)


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Refuse what no single field shows; see `stages.settings` for the rest of the text."""
    if not holds:
        raise ConfigError(f"{name} is {value}; allowed: {allowed}")


@dataclass(frozen=True, slots=True, config=_CHECKS)
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
        _require(self.sigma_in < self.sigma_out, "sigma_in", self.sigma_in, "less than sigma_out")
        _require(
            self.shape != "circular" or self.sigma_in == 0,
            "sigma_in", self.sigma_in, "0 for a circular source",
        )  # fmt: skip
        _require(
            self.shape != "quasar" or self.opening_deg <= 90,
            "opening_deg", self.opening_deg, "at most 90 for a quasar",
        )  # fmt: skip
        _require((self.shape == "map") == bool(self.map), "map", self.map, "with shape map only")
        rows = {len(row) for row in self.map} | {len(self.map)}
        _require(len(rows) == 1, "map", f"of sides {sorted(rows)}", "a square")
        dark = bool(self.map) and not any(value for row in self.map for value in row)
        _require(not dark, "map", "dark", "light somewhere")

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


@dataclass(frozen=True, slots=True, config=_CHECKS)
class Corner:
    """One condition of the process window."""

    name: Text
    dose: Positive
    """Factor on the intensity."""
    defocus_nm: Number


@dataclass(frozen=True, slots=True, config=_CHECKS)
class Anchor:
    """The line and space that print to size at nominal dose and focus, which sets the threshold."""

    line_nm: Positive
    space_nm: Positive


@dataclass(frozen=True, slots=True, config=_CHECKS)
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
        _require(
            (self.tail_share != 0) == (self.tail_nm > 0),
            "tail_nm", self.tail_nm, f"over 0 with a tail_share, which is {self.tail_share}",
        )  # fmt: skip


@dataclass(frozen=True, slots=True, config=_CHECKS)
class KernelSet:
    """The kernels of one defocus in a file of kernels."""

    defocus_nm: Number
    kernels: Text
    """Name of the array (k, 2 band + 1, 2 band + 1) in the frequency domain, frequency 0 in the
    middle, rows y."""
    weights: Text
    """Name of the array (k,) of their weights."""


@dataclass(frozen=True, slots=True, config=_CHECKS)
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


@dataclass(frozen=True, slots=True, config=_CHECKS)
class Curves:
    """How a mask with curved outlines is found; of 0, lengths follow from the light."""

    rounds: Count = 200
    """Rounds down the gradient of the printed areas."""
    smooth_nm: NotNegative = 0.0
    """Standard deviation of the Gaussian that outlines are smooth to; 0: wavelength / (10 NA)."""
    tolerance_nm: NotNegative = 0.0
    """How far polygons may be from the outlines, before their corners are put on whole database
    units; 0: wavelength / (150 NA)."""
    min_area_nm2: NotNegative = 0.0
    """Least area of a polygon, and of a hole; 0: twice that of a square of the least width."""


@dataclass(frozen=True, slots=True, config=_CHECKS)
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


@dataclass(frozen=True, slots=True, config=_CHECKS)
class Limits:
    """When a print counts as a defect."""

    pinch_share: Share
    """Least printed width, as a share of the drawn width."""
    space_share: Share
    """Least printed space, as a share of the drawn space."""
    epe_nm: Positive
    """Largest edge placement error of a straight edge, either way."""
    line_end_epe_nm: Positive
    """Largest edge placement error of a line end, either way."""
    corner_nm: Positive
    """How far a point must be from the nearest corner for its edge to count as straight."""


@dataclass(frozen=True, slots=True, config=_CHECKS)
class Sampling:
    """Limits of the rule checks that choose the sites to scan."""

    space_nm: Positive
    width_nm: Positive
    tip_to_tip_nm: Positive
    line_end_to_side_nm: Positive
    line_end_nm: Positive
    """Longest edge, convex at both ends, that counts as a line end."""


@dataclass(frozen=True, slots=True, config=_CHECKS)
class Levels:
    """How bad a hotspot is: level 1 is the worst, 3 everything else that fails.

    They change no verdict, only how results are sorted and counted.
    """

    always_first: tuple[Text, ...] = ("bridge", "open", "missing", "extra")
    """Kinds of defects that are of level 1 at any severity."""
    first_severity: ShareOrAll = 0.1
    """Least severity of level 1, of a hotspot that was simulated."""
    second_severity: ShareOrAll = 0.03
    """Least severity of level 2."""
    first_score: ShareOrAll = 0.99
    """Least score of level 1, of a hotspot that was not simulated."""
    second_score: ShareOrAll = 0.9
    """Least score of level 2."""

    def __post_init__(self) -> None:
        for name in ("severity", "score"):
            first, second = getattr(self, f"first_{name}"), getattr(self, f"second_{name}")
            _require(second <= first, f"second_{name}", second, f"at most first_{name}, {first}")


@dataclass(frozen=True, slots=True, config=_CHECKS)
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
    opc: Opc | None = None
    kernels: KernelFile | None = None
    levels: Levels = Levels()
    energy: Share = 0.985
    """Share of the light that the kernels carry; of the rest only the mean is kept."""

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
        _require(self.na < self.refractive_index, "na", self.na, "less than refractive_index")
        index, source = self.resist.refractive_index, self.source
        _require(
            index == 0 or index > self.na, "resist.refractive_index", index, "0, or more than na"
        )
        _require(
            index == 0 or self.kernels is None,
            "resist.refractive_index", index, "0 with kernels of a file",
        )  # fmt: skip
        _require(
            index > 0 or source.polarization == "unpolarized",
            "source.polarization", source.polarization,
            "unpolarized, as there is no resist.refractive_index",
        )  # fmt: skip
        # The guard of a field is three times this wide.
        reach_nm = self.wavelength_nm / self.na
        _require(
            self.resist.tail_nm <= reach_nm, "resist.tail_nm", self.resist.tail_nm,
            f"at most wavelength / NA, {reach_nm:.0f}",
        )  # fmt: skip
        names = [corner.name for corner in self.corners]
        _require(len(set(names)) == len(names), "corners", names, "different names")
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
        about = dataclasses.asdict(self)
        if self.opc is not None and not self.opc.descent:
            # Models and runs from before there was a descent, or a tail, have the same settings.
            del about["opc"]["descent"], about["opc"]["band_weight"]
        if not self.is_vector:
            del about["resist"]["refractive_index"], about["source"]["polarization"]
        if not self.resist.tail_share:
            del about["resist"]["tail_share"], about["resist"]["tail_nm"]
        if self.levels == Levels():  # nor were there levels
            del about["levels"]
        if self.opc is not None and self.opc.curves == Curves():
            del about["opc"]["curves"]
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
        _require(
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
