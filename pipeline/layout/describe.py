"""What a layout file holds, as ``hotscan info`` says it.

in       a layout file
out      plain values
promise  nothing but the reader is imported for it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.layout.ingest import DEFAULT_LIMITS, Limits, read_info
from stages.layout.layer_names import NO_NAMES, LayerNames


def layout_info(
    path: Path, limits: Limits = DEFAULT_LIMITS, names: LayerNames = NO_NAMES
) -> dict[str, Any]:
    """Return what a layout file holds."""
    info, warnings = read_info(path, limits=limits)
    um = {name: [round(v, 6) for v in box] for name, box in info.extents_um.items()}
    return {
        "file": str(path),
        "dbu_nm": info.dbu_nm,
        "cells": list(info.cells),
        "instances": info.instances,
        "top_cells": list(info.top_cells),
        "extents_um": um,
        "layers": info.layers,
        "names": {layer: names.name_of[layer] for layer in info.layers if layer in names.name_of},
        "warnings": list(warnings),
    }
