"""Compile the kernels of scoring in a second process, while the first compiles those of cutting.

in       the model of a scan
out      the kernels, in the cache
promise  nothing, where they are there, or there is one processor; if the process fails, the scan
         compiles them itself

Both have little in common: each processor compiles its half. It is for the first scan on a machine,
in the driver; workers share their kernels as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.passes.model_file import ModelFile
from stages.compiled import has_kernels
from stages.detector.integer import kernels
from stages.threads import count_processors

_CHILD = [sys.executable, "-P", "-m", "pipeline.passes.aside"]


@contextmanager
def compile_scoring_aside(model: ModelFile, is_compiled: bool) -> Iterator[Callable[[], object]]:
    """Start compiling, if it is needed; give a function that waits for the end of it.

    Parameters
    ----------
    is_compiled
        Whether this process scores by kernels: no workers, and a network in integers.
    """
    alone = count_processors() < 2
    if alone or not is_compiled or has_kernels(Path(kernels.__file__)):
        yield lambda: None
        return
    root = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [*_CHILD, str(model.path), model.digest], env=os.environ | {"PYTHONPATH": python_path},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process.wait
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Compile the kernels of the model whose path and digest are the arguments."""
    from pipeline.passes.units import measure_scoring

    path, digest = sys.argv[1:]
    measure_scoring(ModelFile(Path(path), digest), "cpu", True, "int8")


if __name__ == "__main__":
    main()
