"""A user's own torch module as a model that can scan.

in: a module, and the picture, process and threshold that it was trained for
out: a `ScanModel`, as a checkpoint is one; the module as bytes that travel to workers
promise: two modules with the same digest have the same weights, settings and source; bytes are
unpickled only when they have the SHA-256 that the process which packed them gave
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, Self

import cloudpickle
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.contracts import RasterSpec
from stages.detector.models.scan_model import USER_FILE, require_finite
from stages.detector.networks.network import Network, Prediction
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import ModelMismatchError, RunMismatchError, UsageError

PLAIN = (bool, int, float, complex, str, bytes, tuple, list, type(None))
"""Attributes of these types count as settings of a module."""


@dataclass(frozen=True, slots=True)
class ModuleShape:
    """The shape of a user's module."""

    layers: int
    embedding: int = 1


class ModuleNetwork(Network):
    """A user's module as a detector."""

    def __init__(self, module: nn.Module, shape: ModuleShape) -> None:
        super().__init__()
        self.config = shape
        self.module = module

    def for_inference(self) -> Self:
        """Return a copy in evaluation mode; nothing is known of the module that could be folded."""
        return copy.deepcopy(self).eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Prediction:
        """Predict for clips, (n, layers, h, w) area coverage in [0, 1]."""
        logit, embedding = read_output(self.module(x), len(x))
        if embedding is None:
            return Prediction(logit, torch.ones_like(logit)[:, None])
        return Prediction(logit, F.normalize(embedding.float(), eps=1e-6))


def read_output(output: Any, count: int) -> tuple[Tensor, Tensor | None]:
    """Return logits (n,) and embeddings (n, e), or None, from what a module returned.

    Raises
    ------
    ModelMismatchError
        When it is neither logits nor a pair of logits and embeddings.
    """
    logit, embedding = output if isinstance(output, tuple) and len(output) == 2 else (output, None)
    if isinstance(logit, Tensor) and logit.shape == (count, 1):
        logit = logit[:, 0]
    fits = isinstance(logit, Tensor) and logit.shape == (count,)
    if embedding is not None:
        fits &= isinstance(embedding, Tensor) and embedding.ndim == 2 and len(embedding) == count
    if not fits:
        found = [tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
                 for one in (output if isinstance(output, tuple) else (output,))]  # fmt: skip
        raise ModelMismatchError(
            f"the module returned {found} for {count} clips; return logits of shape ({count},), or "
            f"a tuple of these and embeddings of shape ({count}, e)"
        )
    return logit, embedding


@dataclass(frozen=True, eq=False, kw_only=True)
class UserModel:
    """A user's own module with what a scan must know of it; see `ScanModel`."""

    module: nn.Module
    """Maps (n, layers, h, w) float32 pictures in [0, 1] to logits (n,), or to a tuple of logits
    and embeddings (n, e)."""
    raster: RasterSpec
    process: str
    threshold: float
    """Probability from which a clip is flagged; it may be changed without a new digest."""
    layers: tuple[str, ...] = ()
    process_settings: dict[str, Any] = field(default_factory=dict)
    opc: str = "none"

    prefilter = None
    examples = None
    familiar = None
    kinds = ()
    file_name = USER_FILE

    @property
    def embedding(self) -> int:
        """Length of its embeddings."""
        return self.shape.embedding

    @property
    def provenance(self) -> dict[str, Any]:
        """Nothing is known of how it was trained."""
        return {}

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold is {self.threshold}; give a probability from 0 to 1")
        if not self.layers:
            object.__setattr__(self, "layers", ("metal",) * self.raster.layers)
        weights = self.module.state_dict().items()
        floats = {key: value.detach().cpu().double().numpy() for key, value in weights
                  if value.is_floating_point()}  # fmt: skip
        require_finite(floats, type(self.module).__name__)
        _ = self.shape  # the module must accept such pictures

    @cached_property
    def shape(self) -> ModuleShape:
        """The shape of the module, found by running it on two empty clips."""
        side, layers = self.raster.clip_px, self.raster.layers
        module = copy.deepcopy(self.module).cpu().eval()
        with torch.inference_mode():
            _, embedding = read_output(module(torch.zeros(2, layers, side, side)), 2)
        return ModuleShape(layers, 1 if embedding is None else embedding.shape[1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, settings, source, picture and process."""
        sha = hashlib.sha256(json.dumps([
            asdict(self.raster), self.process, self.process_settings, self.opc, self.layers,
        ], sort_keys=True).encode())  # fmt: skip
        sha.update(describe_module(self.module).encode())
        tensors = dict(self.module.state_dict()) | dict(self.module.named_buffers())
        for name, value in sorted(tensors.items()):
            sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            plain = value.detach().cpu().contiguous().reshape(-1)
            sha.update(plain.view(torch.uint8).numpy().tobytes())
        return sha.hexdigest()

    @property
    def operating_point(self) -> OperatingPoint:
        """The threshold; nothing was measured."""
        return OperatingPoint(self.threshold, 0.0, 0, 0.0, 0, 0)

    def may_prefilter(self, threshold: float) -> bool:
        """Return False: there is no prefilter."""
        return False

    def detector(self) -> Network:
        """Return the module as a network, on the CPU."""
        return ModuleNetwork(copy.deepcopy(self.module).cpu(), self.shape).eval()


def describe_module(module: nn.Module) -> str:
    """Return structure, settings and source of a module, for its digest."""
    classes = {type(part) for part in module.modules()}
    settings = {
        name: {
            key: repr(value)
            for key, value in sorted(vars(part).items())
            if key != "training" and not key.startswith("_") and isinstance(value, PLAIN)
        }
        for name, part in module.named_modules()
    }
    sources = sorted(_read_source(one) for one in classes if not _is_torch(one))
    return "\n".join([repr(module), json.dumps(settings, sort_keys=True), *sources])


def _is_torch(one: type) -> bool:
    return one.__module__.split(".")[0] == "torch"


def _read_source(one: type) -> str:
    """Return the source of a class, or its compiled methods where it was typed interactively."""
    try:
        return inspect.getsource(one)
    except (OSError, TypeError):
        codes = {
            name: value.__code__ for name, value in vars(one).items() if hasattr(value, "__code__")
        }
        return "\n".join([one.__qualname__, *(
            f"{name} {code.co_code.hex()} {code.co_names} "
            f"{[value for value in code.co_consts if isinstance(value, PLAIN)]}"
            for name, code in sorted(codes.items())
        )])  # fmt: skip


def pack_model(model: UserModel) -> tuple[bytes, str]:
    """Return a model as bytes for other processes, and their SHA-256.

    Classes are packed by value, except those of installed packages: a worker need not be able to
    import the user's script.
    """
    with _by_value(model.module):
        content = cloudpickle.dumps(model)
    return content, hashlib.sha256(content).hexdigest()


def unpack_model(content: bytes, sha256: str) -> UserModel:
    """Return a model from the bytes of `pack_model`.

    Unpickling executes code, so `sha256` must come from the process that packed the model in this
    session, never from beside the bytes.

    Raises
    ------
    RunMismatchError
        When the bytes have another SHA-256.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise RunMismatchError(
            f"the packed module has SHA-256 {found} but this session wrote {sha256}; it was not "
            "loaded: start the scan again with the module"
        )
    model: UserModel = cloudpickle.loads(content)
    return model


@contextmanager
def _by_value(module: nn.Module) -> Iterator[None]:
    """Let the classes of a module be pickled with their code, except those of packages."""
    installed = importlib.metadata.packages_distributions().keys() | {"__main__", "torch"}
    names = {type(part).__module__ for part in module.modules()}
    with ExitStack() as stack:
        for name in sorted(names):
            own = sys.modules.get(name)
            if isinstance(own, ModuleType) and name.split(".")[0] not in installed:
                cloudpickle.register_pickle_by_value(own)
                stack.callback(cloudpickle.unregister_pickle_by_value, own)
        yield
