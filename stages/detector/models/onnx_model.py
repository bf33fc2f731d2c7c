"""A model as an ONNX file.

in: a checkpoint
out: the bytes of an ONNX model from pictures to calibrated probabilities and embeddings
promise: the bytes were run with ONNX Runtime and agree with the detector to `TOLERANCE`; a model
that does not agree is refused

Pictures are ``pictures`` (n, layers, h, w), float32 in [0, 1] or uint8 up to 255; the outputs are
``probability`` (n,) and ``embedding`` (n, e) of unit norm, as a scan without prefilter has them,
and ``margin`` (n, kinds) where the detector predicts margins.
The exporter is the one on `torch.export`: that on TorchScript drops the in-place maximum of
`stages.detector.networks.detector.largest_around` without a warning.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stages.contracts import Bytes
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.networks.network import Network, Prediction
from stages.errors import IncompleteError, UsageError
from stages.threads import limit_threads

TOLERANCE = 1e-5
"""Largest difference of a probability, of a component of an embedding, or of a margin."""

TYPES = {"float": torch.float32, "uint8": torch.uint8}
"""Types that the pictures may have."""

CHECKED = 48
"""Pictures that a model is checked on, beside the hotspots that it keeps as examples."""


class Exported(nn.Module):
    """From pictures to probability, embedding and margins, in one graph."""

    def __init__(self, detector: Network) -> None:
        super().__init__()
        self.detector = detector
        self.cut = detector.ensemble_from

    @property
    def outputs(self) -> list[str]:
        """Names of what `forward` returns."""
        return ["probability", "embedding", *["margin"] * bool(self.detector.kinds)]

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return probabilities (n,), embeddings (n, e) and, if predicted, margins (n, kinds)."""
        x = pictures.to(torch.float32)
        if pictures.dtype == torch.uint8:
            x = x / 255
        prediction: Prediction = self.detector(x)
        logit = prediction.logit
        if not math.isinf(self.cut):
            logit = torch.where(logit >= self.cut, self.detector.ensemble_logit(x), logit)
        found = logit.sigmoid(), prediction.embedding
        return found if prediction.margin is None else (*found, prediction.margin)


def export_onnx(model: Checkpoint, pictures: str = "float") -> bytes:
    """Return a model as an ONNX file.

    Parameters
    ----------
    pictures
        Type of the input, one of `TYPES`.

    Raises
    ------
    UsageError
        When a package is missing, the type is unknown, or the detector cannot be exported.
    IncompleteError
        When the exported model does not agree with the detector.
    """
    if pictures not in TYPES:
        raise UsageError(f"pictures are {pictures!r}; choose one of {', '.join(TYPES)}")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise UsageError(
                f"exporting to ONNX needs {package}; install it with: pip install 'hotscan[onnx]'"
            ) from None
    exported = Exported(model.detector().for_inference()).eval()
    checked = _sample_pictures(model)
    content = _add_metadata(_export(exported, _as_input(checked[:2], pictures), model.name), model)
    _verify(content, exported, _as_input(checked, pictures))
    return content


def _as_input(rasters: Bytes, pictures: str) -> Tensor:
    x = torch.tensor(rasters)
    return x if pictures == "uint8" else x.to(torch.float32) / 255


def _export(exported: Exported, example: Tensor, name: str) -> Any:
    """Return the ONNX model of a module, as the `onnx` package has it."""
    quiet, logger = io.StringIO(), logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of packages that are not needed
    try:
        with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(quiet):
            warnings.simplefilter("ignore")  # of torch's own libraries
            program = torch.onnx.export(
                exported, (example,), dynamo=True, verbose=False,
                input_names=["pictures"], output_names=exported.outputs,
                dynamic_shapes={"pictures": {0: torch.export.Dim("n")}},
            )  # fmt: skip
    except Exception as error:  # the exporter raises nearly anything
        reason = str(error).strip().splitlines()
        raise UsageError(
            f"detector {name!r} cannot be exported to ONNX ({reason[0] if reason else error!r}); "
            "export another detector"
        ) from error
    finally:
        logger.setLevel(level)
    assert program is not None  # a file would be written otherwise
    return program.model_proto


def _add_metadata(proto: Any, model: Checkpoint) -> bytes:
    """Return the bytes of an ONNX model that says what it takes and what its scores mean."""
    facts = {
        "digest": model.digest,
        "process": model.process,
        "opc": model.opc,
        "layers": json.dumps(model.layers),
        "raster": json.dumps(asdict(model.raster)),
        "threshold": repr(model.threshold),
        "detector": model.name,
    }
    kinds = getattr(model.config, "kinds", ())
    if kinds:
        facts["kinds"] = json.dumps(kinds)
    for key, value in facts.items():
        proto.metadata_props.add(key=f"hotscan.{key}", value=value)
    content: bytes = proto.SerializeToString()
    return content


def _sample_pictures(model: Checkpoint) -> Bytes:
    """Return pictures to check a model on: its examples, blocks of metal, noise and nothing."""
    spec = model.raster
    shape = (CHECKED, spec.layers, spec.clip_px, spec.clip_px)
    rng = np.random.default_rng(0)
    coarse = rng.random((*shape[:2], -(-spec.clip_px // 8), -(-spec.clip_px // 8))) < 0.4
    blocks = np.kron(coarse, np.ones((8, 8)))[:, :, : spec.clip_px, : spec.clip_px] * 255
    noise = rng.integers(0, 256, shape)
    made = np.where(np.arange(CHECKED)[:, None, None, None] < CHECKED - 8, blocks, noise)
    made[-1] = 0
    examples = () if model.examples is None else (model.examples,)
    return np.concatenate([*examples, made.astype(np.uint8)])


def _verify(content: bytes, exported: Exported, pictures: Tensor) -> None:
    """Run an ONNX model and the module that it came from on the same pictures."""
    found = run_onnx(content, pictures.numpy())
    with torch.inference_mode(), limit_threads(1):
        wanted = [output.numpy() for output in exported(pictures)]
    for name, ours, theirs in zip(exported.outputs, wanted, found, strict=True):
        off = float(np.abs(ours - theirs).max())
        if not off <= TOLERANCE:  # so that NaN is refused, too
            raise IncompleteError(
                f"the exported model is wrong: {name} is {off:.2g} off where {TOLERANCE:g} is "
                "allowed; nothing was written: try another version of torch or onnxscript"
            )


def run_onnx(content: bytes, pictures: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
    """Return the outputs of a model for pictures by ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    outputs: list[npt.NDArray[np.float32]] = session.run(None, {"pictures": pictures})
    return outputs
