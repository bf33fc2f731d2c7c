"""A model of a few features of a picture: what certifying starts from without a model, and keeps.

in       a process, a model that gives log odds if there is one, a fitted head
out      a model that scans; one JSON file of plain values
promise  a file that was changed is refused; nothing in it is executed
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pipeline.engine.storage.run_directory import write_whole
from pipeline.engine.storage.tables import explain_damage
from stages.audit.refit import Head
from stages.contracts import Bytes, Float32s, RasterSpec
from stages.detector.models import checkpoint
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import UsageError
from stages.lithography.coarse_print import MARGINS, Optics, make_optics, measure_pictures
from stages.lithography.process import Process, load_process, process_of
from stages.scores import BATCH, Scorer, build_scorer, score_rasters

if TYPE_CHECKING:
    from pipeline.passes.print_network import PrintNetwork

KIND = "hotscan print model"
PROCESS = "process:"
"""Before the name of a process, in place of a model's name: start from no model."""
MOST_ODDS = 16.0
"""Log odds past which a score in float32 is 1."""
PIXELS_PER_RESOLUTION = 9
"""Pixels in a wavelength / NA, of pictures for a process without a model; multiples of 5 nm."""
BAND = 0.15
"""How far from the limit a share is that a process without a model takes for sure."""
SURE_ODDS = 6.0


@dataclass(frozen=True, slots=True)
class Features:
    """How the features of pictures are computed; one of both at least is given."""

    optics: Optics | None
    """None where pictures cannot be imaged with the process."""
    detector: Scorer | None
    """A model's detector, without its prefilter, whose 0 says nothing."""

    def measure(self, pictures: Bytes) -> Float32s:
        """Return the features of pictures, (n, f): margins of the coarse print, log odds."""
        columns = [np.empty((len(pictures), 0), np.float32)]
        if self.optics is not None:
            parts = np.split(pictures, range(BATCH, len(pictures), BATCH))
            columns.append(np.concatenate([measure_pictures(part, self.optics) for part in parts]))
        if self.detector is not None:
            score = score_rasters(pictures, self.detector).score.astype(np.float64)
            with np.errstate(divide="ignore"):
                odds = np.log(score) - np.log1p(-score)
            columns.append(np.clip(odds, -MOST_ODDS, MOST_ODDS).astype(np.float32)[:, None])
        return np.concatenate(columns, axis=1)


def make_features(process: Process, spec: RasterSpec, detector: Scorer | None) -> Features:
    """Return the features for pictures of a process.

    Raises
    ------
    ConfigError
        When there is no detector, and pictures cannot be imaged with the process.
    """
    imaged = process.kernels is None or detector is None
    return Features(make_optics(process, spec) if imaged else None, detector)


@dataclass(frozen=True, eq=False, kw_only=True)
class PrintModel:
    """A head on features of pictures; see `ScanModel`."""

    raster: RasterSpec
    process: str
    process_settings: dict[str, Any]
    opc: str
    head: Head
    threshold: float
    layers: tuple[str, ...] = ("metal",)
    base: str | None = None
    """Name or path of the checkpoint that gives the log odds; None for none."""
    base_digest: str = ""
    packed: bytes = field(default=b"", repr=False)
    """The file of that checkpoint: whatever becomes of it, this model stays as it is."""
    provenance: dict[str, Any] = field(default_factory=dict)

    prefilter = None
    examples = None
    familiar = None
    embedding = 1
    kinds = ()
    file_name = "model.json"

    @property
    def operating_point(self) -> OperatingPoint:
        """The threshold; nothing was measured on clips that were not chosen."""
        return OperatingPoint(self.threshold, 0.0, 0, 0.0, 0, 0)

    def may_prefilter(self, threshold: float) -> bool:
        """Return False: there is no prefilter."""
        return False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything but where it comes from."""
        about = {key: value for key, value in self.as_dict().items() if key != "provenance"}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without the checkpoint, of which they have the digest."""
        return {
            "raster": asdict(self.raster), "process": self.process,
            "process_settings": self.process_settings, "opc": self.opc,
            "knots": self.head.knots.tolist(), "rises": self.head.rises.tolist(),
            "bias": self.head.bias, "threshold": self.threshold, "layers": list(self.layers),
            "base": self.base, "base_digest": self.base_digest, "provenance": self.provenance,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, about: dict[str, Any]) -> Self:
        """Return a model from plain values."""
        head = Head(
            np.array(about.pop("knots"), np.float64), np.array(about.pop("rises"), np.float64),
            float(about.pop("bias")),
        )  # fmt: skip
        pieces = head.knots.shape[0] * (head.knots.shape[1] - 1)
        if head.rises.shape != (pieces,) or not np.isfinite(head.rises).all():
            raise ValueError("its head does not fit its knots")
        raster, layers = RasterSpec(**about.pop("raster")), tuple(about.pop("layers"))
        packed = base64.b64decode(about.pop("packed", ""), validate=True)
        return cls(raster=raster, layers=layers, head=head, packed=packed, **about)

    def make_features(self, device: str = "cpu") -> Features:
        """Return how its features are computed.

        Raises
        ------
        UsageError
            When the model that it starts from is gone, or is another.
        """
        scorer = None
        if self.base is not None:
            base = (
                checkpoint.unpack(self.packed, Path(self.base))
                if self.packed
                else checkpoint.load(checkpoint.find(self.base))
            )
            if base.digest != self.base_digest:
                raise UsageError(
                    f"this model builds on {self.base} of digest {self.base_digest}, but that is "
                    f"now {base.digest}; certify again to fit another"
                )
            scorer = build_scorer(base, device, prefiltered=False)
        return make_features(process_of(self.process_settings), self.raster, scorer)

    def detector(self) -> PrintNetwork:
        """Return it as a network."""
        from pipeline.passes.print_network import PrintNetwork  # with torch

        features = self.make_features()
        return PrintNetwork(
            self.raster.layers,
            lambda pictures: self.head.compute_odds(features.measure(pictures)),
        )


def make_process_model(name: str) -> PrintModel:
    """Return a model of a process that nothing was fitted for: a clip fails if its print does.

    Parameters
    ----------
    name
        Shipped process, or a TOML file.

    Raises
    ------
    ConfigError
        When there is no such process, or pictures cannot be imaged with it.
    """
    process = load_process(name)
    step_nm = process.wavelength_nm / process.na / PIXELS_PER_RESOLUTION
    raster = RasterSpec(pixel_nm=5.0 * max(1, round(step_nm / 5)), clip_px=64, core_px=32, layers=1)
    make_optics(process, raster)  # refused here
    limits = np.zeros(len(MARGINS))
    limits[:2] = process.limits.pinch_share, process.limits.space_share
    measured = np.arange(len(MARGINS)) < 2
    rises = np.where(measured, -2 * SURE_ODDS, 0.0)
    head = Head(np.stack([limits - BAND, limits + BAND], axis=1), rises, 3 * SURE_ODDS)
    return PrintModel(
        raster=raster, process=process.name, process_settings=process.as_dict(), opc="none",
        head=head, threshold=0.5,
    )  # fmt: skip


def write_print_model(path: Path, model: PrintModel) -> None:
    """Write a model; a reader never sees half a file."""
    packed = base64.b64encode(model.packed).decode()
    about = {"kind": KIND, "digest": model.digest, **model.as_dict(), "packed": packed}
    write_whole(path, (json.dumps(about, indent=1) + "\n").encode())


def read_print_model(path: Path) -> PrintModel:
    """Read what `write_print_model` wrote.

    Raises
    ------
    UsageError
        When it is not there, is no such file, or was changed.
    """
    if not path.is_file():
        raise UsageError(f"model {str(path)!r} is not there; give the path of a .json or .pt file")
    advice = "give a file that --keep-model wrote"
    with explain_damage(path, UsageError, fault="cannot be read as a model", advice=advice):
        about = json.loads(path.read_bytes())
        if about.pop("kind") != KIND:
            raise ValueError("it is something else")
        digest = about.pop("digest")
        model = PrintModel.from_dict(about)
        if model.digest != digest or not math.isfinite(model.head.bias):
            raise ValueError("its digest is not that of its content")
    return model
