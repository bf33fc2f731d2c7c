"""``hotscan models export``: a model in the format of another program.

in       a model
out      an ONNX file
promise  the file appears only after it was checked against the model
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.engine.storage.run_directory import write_whole
from stages.detector.models import checkpoint
from stages.detector.models.onnx_model import export_onnx
from stages.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """A model to export."""

    model: str
    """Name of a shipped model, or path of a checkpoint."""
    onnx: Path
    """The ONNX file to write."""
    pictures: str = "float"
    """Type of the input: ``float`` in [0, 1], or ``uint8`` up to 255."""


def export_model(request: ExportRequest) -> dict[str, Any]:
    """Write a model as an ONNX file; return what is in it.

    Raises
    ------
    UsageError
        When a package is missing, the file exists, or the detector cannot be exported.
    IncompleteError
        When the exported model does not agree with the detector.
    """
    if request.onnx.exists():
        raise UsageError(f"{request.onnx} exists; choose another --onnx, or remove it")
    model = checkpoint.load(checkpoint.find(request.model))
    write_whole(request.onnx, export_onnx(model, request.pictures))
    return {
        "onnx": str(request.onnx), "digest": model.digest, "threshold": model.threshold,
        "pictures": request.pictures,
    }  # fmt: skip
