"""The checkpoint: a file with a trained detector and its description.

In: a checkpoint. Out: one file. Unit: a model. Promise: the digest is of the content, so equal
models have equal digests, and a file whose content does not have its digest is refused. A model is
read, and scores in integers, without torch, which takes longer to import than a small scan; what
needs its networks imports it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from stages.contracts import Bytes, RasterSpec
from stages.detector.integer.scorer import IntegerScorer
from stages.detector.models import checkpoint_check
from stages.detector.models.archive import read_archive
from stages.detector.models.familiarity import Familiar
from stages.detector.models.scan_model import require_finite
from stages.detector.networks.prefilter import Prefilter
from stages.detector.networks.shapes import (
    DetectorConfig,
    PrefilterConfig,
    Rules,
    Shape,
    read_shape,
)
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import UsageError

if TYPE_CHECKING:
    from stages.detector.networks.network import Network

Arrays = dict[str, npt.NDArray[Any]]

KIND = "hotscan detector"
VERSION = 3
CONTENT = {"kind", "version", "about", "weights"}
OPTIONAL = {"examples": "examples of hotspots", "familiar": "vectors of training pictures"}
"""Tensors that a file may have, and what each is called in its digest."""
PREFILTER = "prefilter."
"""Prefix of the names of the prefilter's weights."""
INTEGERS = "integers."
"""Prefix of the names of the weights in integers."""
_KINDS = {"process": str, "opc": str, "process_settings": dict, "provenance": dict, "layers": list}
"""Types of the settings that are taken as they are."""
FILE_NAME = "model.pt"
WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained detector and everything needed to score with it."""

    weights: Arrays
    """Those of the detector's network."""
    config: Shape
    """Of the first member; of all, unless `others` is given."""
    raster: RasterSpec
    """The picture that it was trained on and takes."""
    layers: tuple[str, ...]
    """Name of each channel of the picture, such as ``met1``."""
    process: str
    """Name of the process that its labels came from."""
    operating_point: OperatingPoint
    """The threshold, and recall and false alarms measured with it."""
    provenance: dict[str, Any]
    """Training data, seed, figures: plain values, for information."""
    process_settings: dict[str, Any] = field(default_factory=dict)
    """The process as plain values; empty when the labels are not simulated."""
    opc: str = "none"
    """Whether its labels are those of corrected masks, ``none`` or ``model``."""
    name: str = "attention"
    """Which of `stages.detector.catalogue.DETECTORS` it is."""
    rules: Rules | None = None
    """How several members are combined; None for a single network."""
    others: tuple[Shape, ...] = ()
    """Configs of all members but the first, where their shapes differ."""
    examples: Bytes | None = None
    """(k, layers, h, w) uint8, canonical pictures of training hotspots."""
    prefilter: Prefilter | None = None
    """A smaller network that rejects confident negatives; None when there is none."""
    familiar: Familiar | None = None
    """What it was trained on, as vectors of pictures; None where that was not kept."""
    integers: Arrays | None = None
    """The weights in integers of all members and the prefilter; None where they are not made."""

    def __post_init__(self) -> None:
        if not self.raster.layers == self.config.layers == len(self.layers):
            raise UsageError(
                f"the picture has {self.raster.layers} layers, the detector {self.config.layers} "
                f"and {len(self.layers)} are named; all three must agree"
            )

    @property
    def file_name(self) -> str:
        """Name of its file in a run directory."""
        return FILE_NAME

    @property
    def embedding(self) -> int:
        """Length of its embeddings."""
        return self.config.embedding

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of defects whose margins it predicts."""
        return self.config.kinds if isinstance(self.config, DetectorConfig) else ()

    @property
    def threshold(self) -> float:
        """Score from which a clip is flagged."""
        return self.operating_point.threshold

    def may_prefilter(self, threshold: float) -> bool:
        """Return whether the prefilter may be used: its loss is known for such thresholds only."""
        return self.prefilter is not None and threshold >= self.threshold

    @property
    def digest(self) -> str:
        """SHA-256 of the content, 64 hexadecimal digits."""
        return _digest(_content(self))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Configs of all members."""
        members = self.rules.members if self.rules else 1
        return (self.config, *(self.others or (self.config,) * (members - 1)))

    def build(self) -> Network:
        """Return the network, not yet with these weights."""
        from stages.detector.catalogue import find_kind
        from stages.detector.networks.committee import Committee

        members = [find_kind(self.name).network(config) for config in self.shapes]
        return Committee(members, self.rules) if self.rules else members[0]

    def detector(self) -> Network:
        """Return the network with these weights; for scoring, see `Network.for_inference`.

        Raises
        ------
        UsageError
            Its weights are not those of its network.
        """
        try:
            checkpoint_check.check_networks(self.build, self.weights, self.prefilter)
        except ValueError as error:
            raise UsageError(
                f"the model is damaged: {error}; copy it, or train it, again"
            ) from error
        return self.build().load_arrays(self.weights)

    def integer_scorer(self, *, prefiltered: bool = True) -> IntegerScorer:
        """Return what scores in integers; only where there are `integers`.

        Raises
        ------
        ValueError
            They are not those of its networks.
        """
        return IntegerScorer(
            self.integers or {}, cast(tuple[DetectorConfig, ...], self.shapes),
            self.rules or Rules(), self.raster, self.prefilter if prefiltered else None,
        )  # fmt: skip


def pack(checkpoint: Checkpoint) -> bytes:
    """Return the content of a file of `checkpoint`."""
    import torch

    content, packed = _content(checkpoint), io.BytesIO()
    torch.save(_to_tensors(content | {"digest": _digest(content)}), packed)
    return packed.getvalue()


def _to_tensors(value: Any) -> Any:
    """Return a content with a tensor for each array."""
    import torch

    if isinstance(value, dict):
        return {name: _to_tensors(each) for name, each in value.items()}
    return torch.from_numpy(value).contiguous() if isinstance(value, np.ndarray) else value


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint`; a reader never sees half a file."""
    # torch does not say that a disk is full by an OSError.
    packed = pack(checkpoint)
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_bytes(packed)
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def load(path: Path) -> Checkpoint:
    """Read what `save` wrote; nothing in the file is executed.

    Raises
    ------
    UsageError
        When `path` does not exist, is not a checkpoint, has another version, was changed, or has
        weights that are not finite or not those of its network.
    """
    if not path.is_file():
        raise UsageError(f"model {str(path)!r} is not there; give the path of a .pt file")
    return unpack(path, path)


def unpack(source: Path | bytes, path: Path) -> Checkpoint:
    """Return the checkpoint of a file or its content, as `load` does; messages name `path`."""
    content = _read(source, path)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise UsageError(
            f"{str(path)!r} is a PyTorch file but no {KIND}; give a file that `hotscan train` wrote"
        )
    if content.get("version") != VERSION:
        raise UsageError(
            f"model {str(path)!r} is of format {content.get('version')} but this hotscan reads "
            f"format {VERSION}; train it again, or use the hotscan that wrote it"
        )
    try:
        digest = content.pop("digest", None)
        if set(content) - OPTIONAL.keys() != CONTENT or _digest(content) != digest:
            raise ValueError("its digest is not that of its content")
        require_finite(content["weights"], str(path))
        model = _describe(json.loads(content["about"]), content)
        _check(model)
    except UsageError:
        raise
    except Exception as error:  # settings of any type may come to anything
        reason = str(error) or type(error).__name__
        raise UsageError(
            f"model {str(path)!r} is damaged: {reason}; copy it, or train it, again"
        ) from error
    return model


def _check(model: Checkpoint) -> None:
    """Refuse, by ValueError, sizes that cannot be and weights that are not its networks'."""
    checkpoint_check.check_sizes(model.raster, model.threshold, model.rules, len(model.weights))
    if model.integers is None:
        checkpoint_check.check_networks(model.build, model.weights, model.prefilter)
    else:
        model.integer_scorer()
    checkpoint_check.check_optional(model.raster, model.examples, model.familiar)


def _describe(about: dict[str, Any], content: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint of a file's content."""
    for key, kind in _KINDS.items():
        if not isinstance(about[key], kind):
            raise ValueError(f"its {key} is {about[key]!r}")
    name = about.get("detector", "attention")
    config = _find_config(name)
    return Checkpoint(
        weights=content["weights"],
        config=read_shape(config, about["config"]),
        others=tuple(read_shape(config, other) for other in about.get("others", ())),
        raster=RasterSpec(**about["raster"]),
        layers=tuple(about["layers"]),
        process=about["process"],
        operating_point=OperatingPoint(**about["operating_point"]),
        provenance=about["provenance"],
        process_settings=about["process_settings"],
        opc=about["opc"],
        name=name,
        rules=Rules(**about["rules"]) if about.get("rules") else None,
        examples=content.get("examples"),
        integers=_take(INTEGERS, content["weights"]) or None,
        prefilter=_take_prefilter(about.get("prefilter"), content["weights"]),
        familiar=Familiar(content["familiar"], float(about["familiar_limit"]))
        if "familiar" in content
        else None,
    )


def _find_config(name: str) -> type[Any]:
    if name == "attention":
        return DetectorConfig
    from stages.detector.catalogue import find_kind

    config: type[Any] = find_kind(name).config
    return config


def _take_prefilter(about: dict[str, Any] | None, weights: Arrays) -> Prefilter | None:
    """Take the prefilter and its weights out of the content of a file."""
    if about is None:
        return None
    own = _take(PREFILTER, weights)
    return Prefilter(**(about | {"config": PrefilterConfig(**about["config"]), "weights": own}))


def _take(prefix: str, weights: Arrays) -> Arrays:
    """Take the weights whose names begin so, by the rest of their names."""
    names = [name for name in weights if name.startswith(prefix)]
    return {name.removeprefix(prefix): weights.pop(name) for name in names}


def _read(source: Path | bytes, path: Path) -> Any:
    try:
        return read_archive(source)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"model {str(path)!r} cannot be read as a checkpoint ({error}); "
            "give a file that `hotscan train` wrote"
        ) from error


def shipped() -> tuple[str, ...]:
    """Return the names of the models that come with hotscan."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.pt")))


def find(name_or_path: str) -> Path:
    """Return the file of a shipped model's name, or of a path.

    Raises
    ------
    UsageError
        When it is neither.
    """
    if name_or_path in shipped():
        return WEIGHTS / f"{name_or_path}.pt"
    path = Path(name_or_path)
    if not path.is_file():
        names = ", ".join(shipped()) or "none"
        raise UsageError(
            f"model {name_or_path!r} is neither a file nor a shipped model; shipped are: {names}"
        )
    return path


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    about: dict[str, Any] = {
        "detector": checkpoint.name,
        "rules": asdict(checkpoint.rules) if checkpoint.rules else None,
        "config": _describe_shape(checkpoint.config),
        "raster": asdict(checkpoint.raster),
        "layers": checkpoint.layers,
        "process": checkpoint.process,
        "operating_point": asdict(checkpoint.operating_point),
        "provenance": checkpoint.provenance,
        "process_settings": checkpoint.process_settings,
        "opc": checkpoint.opc,
    }
    if checkpoint.familiar is not None:
        about["familiar_limit"] = checkpoint.familiar.limit
    if checkpoint.others:
        about["others"] = [_describe_shape(config) for config in checkpoint.others]
    tensors = dict(checkpoint.weights)
    if checkpoint.prefilter is not None:
        about["prefilter"] = checkpoint.prefilter.about()
        own = checkpoint.prefilter.weights
        tensors |= {PREFILTER + name: value for name, value in own.items()}
    for name, value in (checkpoint.integers or {}).items():
        tensors[INTEGERS + name] = value
    content: dict[str, Any] = {
        "kind": KIND, "version": VERSION, "about": json.dumps(about, sort_keys=True),
        "weights": tensors,
    }  # fmt: skip
    if checkpoint.examples is not None:
        content["examples"] = checkpoint.examples
    if checkpoint.familiar is not None:
        content["familiar"] = checkpoint.familiar.vectors
    return content


def _describe_shape(config: Shape) -> dict[str, Any]:
    """Return a config as plain values; a head that is not there is left out, as it once was."""
    values = asdict(cast(Any, config))
    if not values.get("kinds"):
        values.pop("kinds", None)
    return values


def _digest(content: dict[str, Any]) -> str:
    sha = hashlib.sha256(f"{content['kind']} {content['version']} {content['about']}".encode())
    tensors = dict(content["weights"])
    tensors |= {called: content[name] for name, called in OPTIONAL.items() if name in content}
    for name, value in sorted(tensors.items()):
        sha.update(f"{name} {checkpoint_check.name_type(value)} {tuple(value.shape)}".encode())
        sha.update(value.tobytes())
    return sha.hexdigest()
