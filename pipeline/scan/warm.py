"""Compile all kernels before anybody needs them: for images, and for caches made read-only later.

in       nothing: two layouts of a few kilobytes that have every construct come with the program
out      the kernels, in the cache
promise  a later scan, with or without ``--confirm``, and a simulation compile nothing
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.config import Resources, load_config
from pipeline.engine.events import Listener
from pipeline.layout.describe import layout_info
from pipeline.layout.reader_process import SHORT_BYTES
from pipeline.scan.request import ScanRequest
from pipeline.scan.scan import scan
from pipeline.simulate.region import SimulateRequest, simulate_region
from stages.kernel_folders import user_cache

SAMPLES = Path(__file__).parent / "samples"
"""The tiny layouts of ``sample_layouts``, as GDSII and as OASIS."""
LAYER = "68/20"
_HERE = Resources(workers=0)


def warm_cache(listen: Listener) -> Path:
    """Compile every kernel that is not in the cache; return the folder of the cache."""
    with TemporaryDirectory() as folder:
        for number, request in enumerate(_list_scans(Path(folder))):
            layout_info(request.layout)
            scan(request, _HERE, listen)
            simulate_region(
                SimulateRequest(
                    request.layout, Path(folder) / f"simulation{number}", LAYER, opc="model"
                ),
                _HERE, listen,
            )  # fmt: skip
    return user_cache()


def _list_scans(folder: Path) -> Iterator[ScanRequest]:
    """Yield scans that come upon every construct, in both formats, sampled and on a grid."""
    for layout, mode in (("tiny.gds", "grid"), ("tiny.oas", "sites")):
        tables: dict[str, dict[str, Any]] = {
            "layout": {"layers": (LAYER,)}, "clips": {"mode": mode},
            "confirm": {"enabled": True}, "scores": {"threshold": 0.5},
        }  # fmt: skip
        sample = folder / layout
        # A short GDSII file is read without the compiled kernels: padded, as tapes are, it is not.
        padded = SHORT_BYTES + 1 if layout == "tiny.gds" else 0
        sample.write_bytes((SAMPLES / layout).read_bytes().ljust(padded, b"\0"))
        yield ScanRequest(layout=sample, out=folder / mode, config=load_config(None, tables))
